/** Puts what the parts of a node know into one status. Decides nothing. */

import type { RaftStatus } from "../raft/effect.ts";
import { NOBODY, type NodeId, votersOnly } from "../raft/entry.ts";
import type { NodeConfig } from "./config.ts";
import type { Identity } from "./ports.ts";
import type { NodeStatus } from "./service.ts";

export interface NodeFacts {
  readonly config: NodeConfig;
  readonly identity: Identity;
  readonly raft: RaftStatus;
  /** `waiting`: the core does not run yet. */
  readonly phase: "waiting" | "running" | "halted";
  readonly appliedIndex: number;
  readonly lagMs: number;
  readonly databaseBytes: number;
  readonly addresses: ReadonlyMap<NodeId, string>;
  readonly trouble: string;
}

export function describeNode(facts: NodeFacts): NodeStatus {
  const { config, identity, raft, addresses } = facts;
  const { appliedIndex, lagMs, databaseBytes, trouble } = facts;
  const addressOf = (id: NodeId) => addresses.get(id) ?? "";
  return {
    id: config.id,
    role: roleOf(facts),
    term: raft.currentTerm,
    leader: raft.leader,
    leaderAddress: addressOf(raft.leader),
    lastIndex: raft.lastIndex,
    commitIndex: raft.commitIndex,
    appliedIndex,
    lagMs,
    databaseBytes,
    clusterId: identity.clusterId,
    address: config.advertise,
    members: config.members.map((id) => ({ id, address: addressOf(id) })),
    trouble,
  };
}

function roleOf({ phase, identity, raft }: NodeFacts): NodeStatus["role"] {
  if (phase === "halted") return "halted";
  if (phase === "waiting") return identity.phase === "blank" ? "blank" : "forming";
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
