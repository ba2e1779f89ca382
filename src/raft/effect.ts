/** What the core is told, and what it asks for. The core never does anything itself (DESIGN D7). */

import type { Configuration, Entry, EntryId, HardState, LogIndex, NodeId, Term } from "./entry.ts";
import type { Message } from "./message.ts";

/** Everything that can happen to the core. Proposals and reads have methods of their own: they answer at once. */
export type Input =
  /** One unit of time passed. */
  | { readonly kind: "tick" }
  | { readonly kind: "message"; readonly message: Message }
  /** A `persist` effect with this `seq` is durable, and so is every earlier one. */
  | {
      readonly kind: "persisted";
      readonly seq: number;
      readonly last: EntryId;
      readonly term: Term;
    }
  /** Entries up to `index` were handed to the state machine and need not be offered again. */
  | { readonly kind: "applied"; readonly index: LogIndex }
  /** Start an election (through the pre-vote) now. */
  | { readonly kind: "campaign" }
  /** Whether this node may stand for leader, for reasons of its own; it may until it is told otherwise. Votes go on. */
  | { readonly kind: "eligible"; readonly mayLead: boolean }
  /** This node's machine is not fit to lead: it votes and appends on, but stands for nothing. Or it is again. */
  | { readonly kind: "abstain"; readonly isAbstaining: boolean }
  /** The leader is known to be dead: stop believing in it, so that pre-votes for others are granted (D8). */
  | { readonly kind: "forgetLeader" }
  /** Messages to this peer are being lost: fall back to probing. */
  | { readonly kind: "unreachable"; readonly peer: NodeId }
  /** This peer is not who it was: what is known of it holds no more (trap A12). */
  | { readonly kind: "peerReset"; readonly peer: NodeId }
  /** Hand the leadership to this voter; to itself: call a transfer off. Ignored elsewhere than on a leader. */
  | { readonly kind: "transferLeadership"; readonly to: NodeId }
  /** The commit index was news for long enough: it is told without an entry (`holdCommitNews`). */
  | { readonly kind: "tellCommit" }
  /** A snapshot that `fetchSnapshot` asked for, or a newer one, is here and verified, but not installed. */
  | { readonly kind: "snapshotReady"; readonly snapshot: SnapshotMark }
  /** What became of a snapshot that this leader offered to a peer. */
  | {
      readonly kind: "snapshotEnded";
      readonly peer: NodeId;
      readonly outcome: "taken" | "failed";
    };

/**
 * Must be stored in order. When it is durable: send `thenSend` (to peers), then step `persisted` with the same
 * `seq`, `last` and `term`. Votes and acknowledgements travel only here (trap A1).
 */
export interface Persist {
  readonly seq: number;
  /** If set: install this snapshot first; the log is empty behind it, whatever it held (§7). */
  readonly snapshot: SnapshotMark | null;
  /** null when unchanged. */
  readonly hardState: HardState | null;
  /** Replace everything in the log from entries[0].index on. */
  readonly entries: readonly Entry[];
  /** The log's last entry once this is stored, also when `entries` is empty (trap D9). */
  readonly last: EntryId;
  /** currentTerm when this was asked. */
  readonly term: Term;
  readonly thenSend: readonly Message[];
}

/** A read may be served once the state machine has applied `index`. `context` is the caller's. */
export interface ReadState {
  readonly context: number;
  readonly index: LogIndex;
}

/** A state at an index, with the configuration as of it (§7). */
export interface SnapshotMark extends EntryId {
  readonly configuration: Configuration;
}

/** The log that this node needs is gone at the leader: fetch the state from `from`, at `index` or later. */
export interface SnapshotRequest extends EntryId {
  readonly from: NodeId;
}

export type Role = "follower" | "preCandidate" | "candidate" | "leader";

/** All that the core asks since it was last asked, in the order in which the parts must be handled. */
export interface Effects {
  /** At most one: what one turn brought is stored together. */
  readonly persist: Persist | null;
  readonly send: readonly Message[];
  /** Committed and locally durable: may be applied, in order (trap D10). Bounded by maxApplyBytes. */
  readonly apply: readonly Entry[];
  readonly readStates: readonly ReadState[];
  /** Contexts of reads that were dropped: no leader, or this leader was deposed. */
  readonly readsDropped: readonly number[];
  /** Repeated while the leader offers it; then step `snapshotReady`. */
  readonly fetchSnapshot: SnapshotRequest | null;
  /** Set when term, role, leader, commitIndex or the configuration moved. */
  readonly changed: RaftStatus | null;
}

export interface RaftStatus {
  readonly id: NodeId;
  readonly role: Role;
  readonly currentTerm: Term;
  readonly votedFor: NodeId;
  /** NOBODY if unknown. */
  readonly leader: NodeId;
  /** Committed by the cluster as far as this node knows; on a leader it may be ahead of its own disk. */
  readonly commitIndex: LogIndex;
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
  readonly configuration: Configuration;
  /** The own disk has not answered for so long that this node does not lead (trap D1). */
  readonly isStalled: boolean;
}

/** What the core needs of the stored log. Synchronous; every index from firstIndex to lastIndex can be read. */
export interface LogReader {
  /** 1 for a log that was never compacted; then index 0 has term 0. */
  firstIndex(): LogIndex;
  lastIndex(): LogIndex;
  /** Term at `index`, for firstIndex − 1 ≤ index ≤ lastIndex. */
  term(index: LogIndex): Term;
  /** Entries from ≤ index < to: at least one, then as many as fit in maxBytes of payload. */
  entries(from: LogIndex, to: LogIndex, maxBytes: number): readonly Entry[];
}

export interface RaftOptions {
  readonly id: NodeId;
  /** Ticks without word from a leader before an election; drawn from [n, 2n) anew each time (§5.2). */
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
  /** Payload bytes in one AppendEntries. Default 256 KiB. */
  readonly maxMessageBytes: number;
  /** AppendEntries under way to one follower. Default 64. */
  readonly maxInflightMessages: number;
  /** Payload bytes under way to one follower. Default 4 MiB. */
  readonly maxInflightBytes: number;
  /** Payload bytes proposed and not yet committed; more is refused. Default 64 MiB. */
  readonly maxUncommittedBytes: number;
  /** Payload bytes offered for applying at once. */
  readonly maxApplyBytes: number;
  /** Reads waiting for a quorum round; one more is refused. */
  readonly maxPendingReads: number;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  /**
   * The commit index travels with the next entries, and alone only on `tellCommit`. Whoever sets it must see to that
   * input: `owesCommit()` says when. Default false.
   */
  readonly holdCommitNews?: boolean;
  /**
   * Answer, send and store each change by itself, and let a configuration be in force when it is applied, as etcd's
   * raft does, instead of merging what one turn brings. For comparing transcripts only. Default false.
   */
  readonly eager?: boolean;
  /** A leader that is no voter any more hands over and follows. Default true; false as in etcd's raft. */
  readonly stepDownOnRemoval?: boolean;
  /** False: a change of the members is written whatever is pending, as in etcd's raft on demand. Default true. */
  readonly validateChanges?: boolean;
  /** Give a vote also to who has not caught up, as etcd's raft does. Default false. */
  readonly promoteUncaught?: boolean;
  /** 0 ≤ n < 1: the only dice. */
  readonly random: () => number;
}

export type ProposalResult =
  | { readonly kind: "accepted"; readonly first: EntryId; readonly last: EntryId }
  | {
      readonly kind: "refused";
      readonly reason:
        | "notLeader"
        | "tooMuchUncommitted"
        | "transferring"
        /** Of a configuration change: an earlier one is not committed, or may not be. */
        | "changePending"
        /** Of a configuration change: the configuration is not the one that it was meant for. */
        | "configurationMoved"
        /** Of a configuration change: it would give a vote to a node that has not caught up. */
        | "notCaughtUp"
        /** Of a configuration change: it does not fit the configuration. */
        | "invalidChange";
    };
