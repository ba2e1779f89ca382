/** The words of the log: numbers that must not mix, entries, and what a node must remember. */

/** An election term, from 1; 0 before the first. A safe integer. */
export type Term = number & { readonly __brand?: "Term" };
/** A position in the log, from 1; 0 before the first entry. A safe integer. */
export type LogIndex = number & { readonly __brand?: "LogIndex" };
/** A node, from 1; never reused (trap A12). */
export type NodeId = number & { readonly __brand?: "NodeId" };

/** 0 stands for "nobody" where a NodeId may be missing (votedFor, leader). */
export const NOBODY: NodeId = 0;

export interface EntryId {
  readonly index: LogIndex;
  readonly term: Term;
}

/** `noop`: a new leader's first entry (§5.4.2). `configuration`: payload is an encoded membership change. */
export type EntryKind = "command" | "noop" | "configuration";

export interface Entry extends EntryId {
  readonly kind: EntryKind;
  /** Opaque to the core. Empty for a no-op. */
  readonly payload: Uint8Array;
}

/** What must be durable before a vote or an acknowledgement leaves (Figure 2, "persistent state"). */
export interface HardState {
  readonly currentTerm: Term;
  /** NOBODY if no vote was given in currentTerm. */
  readonly votedFor: NodeId;
  /** A hint: may lag behind what was committed; never ahead of the durable log. */
  readonly commitIndex: LogIndex;
}

/**
 * What the cluster keeps of a member beside its vote. The core reads only `incarnation`: another one is another node,
 * of which nothing is known (trap A12).
 */
export interface MemberRecord {
  readonly id: NodeId;
  /** HOST:PORT at which peers and clients reach it. */
  readonly address: string;
  /** Of its directory; empty if it was never told. */
  readonly incarnation: string;
  /** A learner that is to become a voter as soon as it has caught up. */
  readonly awaitsVote: boolean;
}

/** Who counts. `outgoing` is empty unless a joint change is under way (thesis §4.3). */
export interface Configuration {
  readonly voters: readonly NodeId[];
  readonly outgoing: readonly NodeId[];
  readonly learners: readonly NodeId[];
  readonly learnersNext: readonly NodeId[];
  readonly autoLeave: boolean;
  /** Ascending by id; founding members have none until a change names one. */
  readonly records: readonly MemberRecord[];
  /** The entry that made it; 0 for the founding one. Changes up to it are in it. */
  readonly index: LogIndex;
}

export function votersOnly(voters: readonly NodeId[]): Configuration {
  return {
    voters,
    outgoing: [],
    learners: [],
    learnersNext: [],
    autoLeave: false,
    records: [],
    index: 0,
  };
}
