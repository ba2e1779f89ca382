/** Makes the core from what a node's disk holds, or says why log and database do not belong together. */

import type { RaftStatus } from "../raft/effect.ts";
import { type NodeId, votersOnly } from "../raft/entry.ts";
import { DEFAULT_RAFT_OPTIONS, type ProgressView, Raft } from "../raft/raft.ts";
import type { NodeConfig } from "./config.ts";
import type { Environment, Identity, Log, MachineState } from "./ports.ts";

/** Ticks in a heartbeat interval: finer ticks spread the election timeouts more evenly. */
const TICKS_PER_HEARTBEAT = 2;

/** What the parts of a node look at in the core. */
export interface CoreView {
  status(): RaftStatus;
  progress(): readonly ProgressView[];
  transfer(to: NodeId): void;
}

export function tickMs(config: NodeConfig): number {
  return config.heartbeatMs / TICKS_PER_HEARTBEAT;
}

/** @throws Error when the database has applied what the log does not hold. */
export function openCore(
  config: NodeConfig,
  { members, votesFrom }: Identity,
  log: Log,
  state: MachineState,
  environment: Environment,
): Raft {
  const { appliedIndex, appliedTerm } = state;
  const known = appliedIndex <= log.lastIndex() && appliedIndex >= log.firstIndex() - 1;
  if (!known || log.term(appliedIndex) !== appliedTerm) {
    throw new Error(
      `the database file stands at log index ${appliedIndex} of term ${appliedTerm}, but the log ` +
        `holds entries up to ${log.lastIndex()}: they do not belong together. Restore the node's ` +
        "directory as a whole, or, where a majority is left, empty it: the node is then taken in anew",
    );
  }
  const { hardState } = log;
  const raft = new Raft(
    {
      ...DEFAULT_RAFT_OPTIONS,
      id: config.id,
      heartbeatTicks: TICKS_PER_HEARTBEAT,
      electionTicks: Math.max(3, Math.round(config.electionMs / tickMs(config))),
      holdCommitNews: true,
      random: () => environment.random(),
    },
    {
      hardState,
      configuration: state.configuration ?? votersOnly(members),
      log,
      appliedIndex,
      votesFrom,
    },
  );
  config.onCore(raft);
  return raft;
}
