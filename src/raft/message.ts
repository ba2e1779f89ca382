/**
 * What nodes say to each other. The paper's RPCs as one-way messages; every message names its sender, receiver and
 * the sender's term (0 only where the message carries no term claim, as in etcd: ReadIndex and its result, Propose).
 */

import type { Entry, LogIndex, NodeId, Term } from "./entry.ts";

interface Envelope {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly term: Term;
}

/** §5.3. `entries` may be empty (a probe, or news of the commit index). */
export interface AppendEntries extends Envelope {
  readonly kind: "AppendEntries";
  readonly prevLogIndex: LogIndex;
  readonly prevLogTerm: Term;
  readonly entries: readonly Entry[];
  readonly leaderCommit: LogIndex;
}

/**
 * Sent only when what it acknowledges is durable. When rejected, `index` is the prevLogIndex refused and the hint
 * is the largest (index, term) at which the logs may still agree (fast backtracking, trap D5).
 */
export interface AppendEntriesResult extends Envelope {
  readonly kind: "AppendEntriesResult";
  readonly index: LogIndex;
  readonly rejected: boolean;
  readonly hintIndex: LogIndex;
  readonly hintTerm: Term;
}

/** Keeps followers quiet and carries the commit index, clamped to what the follower is known to match. */
export interface Heartbeat extends Envelope {
  readonly kind: "Heartbeat";
  readonly leaderCommit: LogIndex;
  /** Highest read position (minted by this leader in this term) that an answer confirms; 0 for none. */
  readonly readPosition: number;
}

export interface HeartbeatResult extends Envelope {
  readonly kind: "HeartbeatResult";
  readonly readPosition: number;
}

/** §5.2; with `preVote`, a question that changes nobody's term or vote (thesis §9.6). */
export interface RequestVote extends Envelope {
  readonly kind: "RequestVote";
  readonly preVote: boolean;
  readonly lastLogIndex: LogIndex;
  readonly lastLogTerm: Term;
  /** True when a leader asked for this election: voters then ignore their lease on the old leader (thesis §4.2.3). */
  readonly transfer: boolean;
}

export interface RequestVoteResult extends Envelope {
  readonly kind: "RequestVoteResult";
  readonly preVote: boolean;
  readonly rejected: boolean;
  /**
   * When rejected: the last entry that the voter knows to be committed, else 0. A candidate that has it knows it too, and
   * with it the configuration that is in force.
   */
  readonly commitIndex: LogIndex;
  readonly commitTerm: Term;
}

/** A follower asks its leader for a read index (thesis §6.4). `context` is the follower's own, unique while it runs. */
export interface ReadIndex extends Envelope {
  readonly kind: "ReadIndex";
  readonly context: number;
}

export interface ReadIndexResult extends Envelope {
  readonly kind: "ReadIndexResult";
  readonly context: number;
  readonly index: LogIndex;
}

/** "Start an election now" (thesis §3.10). */
export interface TimeoutNow extends Envelope {
  readonly kind: "TimeoutNow";
}

/** The state at an index replaces the log up to it (§7). The bytes travel on another connection. */
export interface InstallSnapshot extends Envelope {
  readonly kind: "InstallSnapshot";
  readonly lastIncludedIndex: LogIndex;
  readonly lastIncludedTerm: Term;
}

export type Message =
  | AppendEntries
  | AppendEntriesResult
  | Heartbeat
  | HeartbeatResult
  | RequestVote
  | RequestVoteResult
  | ReadIndex
  | ReadIndexResult
  | TimeoutNow
  | InstallSnapshot;

export type MessageKind = Message["kind"];
