/** Puts what the parts of a node know into one status. Decides nothing. */

import type { RaftStatus } from "../raft/effect.ts";
import { NOBODY, type NodeId, votersOnly } from "../raft/entry.ts";
import type { ProgressView } from "../raft/progress.ts";
import { isVoter, memberIds } from "../raft/quorum.ts";
import type { NodeConfig } from "./config.ts";
import type { PeerBook } from "./peer-book.ts";
import type { Identity } from "./ports.ts";
import type { MemberStatus, NodeStatus } from "./service.ts";

export interface NodeFacts {
  readonly config: NodeConfig;
  readonly identity: Identity;
  readonly raft: RaftStatus;
  /** `waiting`: the core does not run yet. */
  readonly phase: "waiting" | "running" | "halted";
  readonly appliedIndex: number;
  readonly lagMs: number;
  readonly databaseBytes: number;
  readonly book: PeerBook;
  readonly progress: readonly ProgressView[];
  readonly trouble: string;
  /** Of the cluster. */
  readonly machineVersion: string;
}

export function describeNode(facts: NodeFacts): NodeStatus {
  const { config, identity, raft, book } = facts;
  const { appliedIndex, lagMs, databaseBytes, trouble, machineVersion } = facts;
  return {
    id: config.id,
    role: roleOf(facts),
    term: raft.currentTerm,
    leader: raft.leader,
    leaderAddress: book.addressOf(raft.leader),
    lastIndex: raft.lastIndex,
    commitIndex: raft.commitIndex,
    appliedIndex,
    lagMs,
    databaseBytes,
    clusterId: identity.clusterId,
    address: config.advertise,
    members: membersOf(facts),
    configurationIndex: raft.configuration.index,
    trouble,
    machineVersion,
    ownMachineVersion: config.machineVersion,
  };
}

function membersOf({ config, raft, book, progress, phase }: NodeFacts): MemberStatus[] {
  const { configuration } = raft;
  const { voters, records } = configuration;
  const ids = phase === "waiting" ? config.members : memberIds(configuration);
  return ids.map((id) => {
    const peer = progress.find((one) => one.id === id);
    const isIn = phase === "waiting" || voters.includes(id);
    return {
      id,
      address: book.addressOf(id),
      role: isIn ? "voter" : isVoter(configuration, id) ? "leaving" : "learner",
      awaitsVote: records.find((record) => record.id === id)?.awaitsVote === true,
      connected: id === config.id || book.view(id)?.phase === "formed",
      matchIndex: peer?.matchIndex ?? 0,
      caughtUp: peer?.isCaughtUp === true,
      machineVersion: id === config.id ? config.machineVersion : book.versionOf(id),
    };
  });
}

function roleOf({ phase, identity, raft }: NodeFacts): NodeStatus["role"] {
  if (phase === "halted") return "halted";
  if (phase === "waiting") return identity.phase === "forming" ? "forming" : "blank";
  return raft.role === "preCandidate" ? "candidate" : raft.role;
}

/** Of the core while it does not run yet. */
export function idleStatus(id: NodeId, members: readonly NodeId[]): RaftStatus {
  return {
    id,
    role: "follower",
    currentTerm: 0,
    votedFor: NOBODY,
    leader: NOBODY,
    commitIndex: 0,
    lastIndex: 0,
    lastTerm: 0,
    configuration: votersOnly(members),
    isStalled: false,
  };
}
