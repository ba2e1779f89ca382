/** All checkers of a run, and who is told what. It judges nothing itself. */

import type { Effects } from "../../../src/raft/effect.ts";
import type { EntryId, HardState, LogIndex, NodeId } from "../../../src/raft/entry.ts";
import type { Message } from "../../../src/raft/message.ts";
import { AttestedDurability, type WorstCase } from "./attested-durability.ts";
import { CommittedLedger } from "./committed-ledger.ts";
import { CommittedOnQuorum } from "./committed-on-quorum.ts";
import { ConfigurationChain } from "./configuration-chain.ts";
import { DurableLogs } from "./durable-logs.ts";
import { ElectionSafety } from "./election-safety.ts";
import { IndexOrder } from "./index-order.ts";
import { LeaderCompleteness } from "./leader-completeness.ts";
import { LogMatching } from "./log-matching.ts";
import { MachineVersionRule } from "./machine-version.ts";
import { Monotony } from "./monotony.ts";
import { OneVote } from "./one-vote.ts";
import { ProgressTruth } from "./progress-truth.ts";
import { QueueBounds } from "./queue-bounds.ts";
import { StateMachineSafety } from "./state-machine-safety.ts";
import type { Checker, NodeView } from "./view.ts";

export interface RefereeParts {
  readonly founders: readonly NodeId[];
  /** Its disk lost something for good, and the cluster has not taken it in anew since. */
  isDamaged(id: NodeId): boolean;
  /** The log that a power cut now would leave. */
  worstCase(id: NodeId): WorstCase | null;
  /** What the database file alone holds, durably. */
  checkpointOf(id: NodeId): LogIndex;
}

export class Referee {
  readonly disks = new DurableLogs();
  readonly elections = new ElectionSafety();
  readonly ledger = new CommittedLedger();
  readonly versions = new MachineVersionRule();
  readonly configurations: ConfigurationChain;
  readonly #checkers: readonly Checker[];

  constructor(parts: RefereeParts) {
    const { disks, ledger } = this;
    const isDamaged = (id: NodeId) => parts.isDamaged(id);
    this.configurations = new ConfigurationChain(ledger, parts.founders);
    ledger.onCommitted = (index, { change }, entry) => {
      this.versions.committed(entry);
      if (change !== null) this.configurations.committed(index, change);
    };
    // The ledger first: the others ask it.
    this.#checkers = [
      // Who leads what is known before what he proposed is committed.
      this.versions,
      ledger,
      this.elections,
      this.configurations,
      new OneVote(),
      new LogMatching(),
      new LeaderCompleteness(ledger),
      new StateMachineSafety(),
      new CommittedOnQuorum(disks, isDamaged),
      new Monotony(),
      new AttestedDurability(disks, (id) => parts.worstCase(id)),
      new IndexOrder((id) => parts.checkpointOf(id)),
      new ProgressTruth(disks, isDamaged),
      new QueueBounds(),
    ];
  }

  stepped(node: NodeView, effects: Effects): void {
    for (const checker of this.#checkers) checker.stepped?.(node, effects);
  }

  sent(node: NodeView, message: Message): void {
    for (const checker of this.#checkers) checker.sent?.(node, message);
  }

  started(node: NodeView, hardState: HardState): void {
    for (const checker of this.#checkers) checker.started?.(node, hardState.currentTerm);
    this.disks.opened(node.id, node.log, hardState);
  }

  applied(node: NodeView, index: LogIndex, digest: number | null): void {
    for (const checker of this.#checkers) checker.applied?.(node, index, digest);
  }

  exchanged(node: NodeView, index: LogIndex): void {
    for (const checker of this.#checkers) checker.exchanged?.(node, index);
  }

  compacting(node: NodeView, index: LogIndex): void {
    for (const checker of this.#checkers) checker.compacting?.(node, index);
  }

  installing(node: NodeView, base: EntryId): void {
    for (const checker of this.#checkers) checker.installing?.(node, base);
  }

  damaged(id: NodeId): void {
    for (const checker of this.#checkers) checker.damaged?.(id);
    this.disks.lost(id);
  }
}
