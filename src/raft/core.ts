/**
 * The state of one node's Raft, and the few ways in which every role may touch it: terms, the vote, the leader it
 * believes in, the commit index, and what waits to be handed out. Internal to this folder: the door is raft.ts.
 */

import { invariant } from "../sql/invariant.ts";
import type {
  LogReader,
  RaftOptions,
  ReadState,
  Role,
  SnapshotMark,
  SnapshotRequest,
} from "./effect.ts";
import type { Configuration, HardState, LogIndex, NodeId, Term } from "./entry.ts";
import { NOBODY } from "./entry.ts";
import type { Leadership } from "./leadership.ts";
import { changeConfiguration, decodeChange } from "./membership.ts";
import type { AppendEntriesResult, Message, RequestVoteResult } from "./message.ts";
import { isVoter } from "./quorum.ts";
import { RaftLog } from "./raft-log.ts";
import { ForwardedReads } from "./read-index.ts";
import type { Votes } from "./votes.ts";

export interface Stored {
  readonly hardState: HardState;
  /** As of `appliedIndex`, or of a later entry that is committed: its `index` tells. */
  readonly configuration: Configuration;
  readonly log: LogReader;
  /** What the machine has applied: not offered again. */
  readonly appliedIndex: LogIndex;
  /**
   * A node that begins anew under an id that had a vote before: what its predecessor promised, it does not know, so it
   * votes only once it has committed this entry, up to which it is a learner (docs/decisions/0008). Default 0.
   */
  readonly votesFrom?: LogIndex;
}

export class Core {
  readonly options: RaftOptions;
  readonly id: NodeId;
  readonly log: RaftLog;
  readonly forwarded: ForwardedReads;

  currentTerm: Term;
  votedFor: NodeId;
  role: Role = "follower";
  /** Changed by followLeader only. */
  leader: NodeId = NOBODY;
  commitIndex: LogIndex;
  /** Handed out for applying. */
  offeredIndex: LogIndex;
  appliedIndex: LogIndex;
  configuration: Configuration;
  readonly votesFrom: LogIndex;
  /** The disk has not answered for so long that this node should not lead (trap D1). */
  isStalled = false;
  /** Told from outside: this node should not lead, whatever its log and its votes. */
  isEligible = true;
  /** Its state machine is not fit to lead. */
  isAbstaining = false;

  /** Only while (pre-)candidate. */
  votes: Votes | null = null;
  /** Only while leader. */
  leadership: Leadership | null = null;

  ticks = 0;
  /** Ticks since word from the leader, since this role began, or, on a leader, since the quorum was checked. */
  electionElapsed = 0;
  heartbeatElapsed = 0;
  electionTimeout = 0;

  send: Message[] = [];
  thenSend: Message[] = [];
  readStates: ReadState[] = [];
  readsDropped: number[] = [];
  fetchSnapshot: SnapshotRequest | null = null;

  constructor(options: RaftOptions, stored: Stored) {
    const { hardState, appliedIndex } = stored;
    this.options = options;
    this.id = options.id;
    this.log = new RaftLog(stored.log);
    this.currentTerm = hardState.currentTerm;
    this.votedFor = hardState.votedFor;
    // What was applied was committed; the stored commit index is only a hint and may be older.
    this.commitIndex = Math.max(hardState.commitIndex, appliedIndex);
    this.offeredIndex = appliedIndex;
    this.appliedIndex = appliedIndex;
    this.configuration = stored.configuration;
    this.votesFrom = stored.votesFrom ?? 0;
    this.log.findChanges(appliedIndex);
    invariant(this.id > 0 && Number.isSafeInteger(this.id), `node id ${this.id}`);
    invariant(
      this.commitIndex <= this.log.lastIndex,
      `committed to ${this.commitIndex} but the log ends at ${this.log.lastIndex}`,
    );
    // A snapshot's term says nothing about the term this node is in (trap E7).
    const isEmpty = this.log.lastIndex < this.log.firstIndex;
    invariant(
      isEmpty || this.log.lastTerm <= this.currentTerm,
      `the log's last term ${this.log.lastTerm} is above currentTerm ${this.currentTerm}`,
    );
    // Answers to the reads of an earlier run must find nobody waiting.
    const firstWireContext = 1 + Math.floor(options.random() * 2 ** 52);
    this.activateChanges(this.inForceIndex);
    this.forwarded = new ForwardedReads(options.maxPendingReads, firstWireContext);
    this.drawElectionTimeout();
  }

  /** May stand for election. */
  get isPromotable(): boolean {
    if (!this.isEligible) return false;
    if (this.isAbstaining) return false;
    return isVoter(this.configuration, this.id) && this.mayVote && !this.isStalled;
  }

  /** Whatever the configuration says: a node that knows of no promise given by a predecessor votes (trap A10). */
  get mayVote(): boolean {
    return this.commitIndex >= this.votesFrom;
  }

  /** §5.2: drawn anew for every wait, so that split votes are rare and do not repeat. */
  drawElectionTimeout(): void {
    const { electionTicks, random } = this.options;
    this.electionTimeout = electionTicks + Math.floor(random() * electionTicks);
  }

  /** A new term starts without a vote and without a leader (§5.1). */
  enterTerm(term: Term): void {
    invariant(
      term > this.currentTerm,
      `currentTerm would fall from ${this.currentTerm} to ${term}`,
    );
    this.currentTerm = term;
    this.votedFor = NOBODY;
    // Entries acknowledged to an earlier leader, but not handed out yet, may now be replaced before they are stored.
    if (this.options.eager !== true && this.thenSend.length > 0) {
      this.thenSend = this.thenSend.filter(({ kind }) => kind !== "AppendEntriesResult");
    }
  }

  voteFor(candidate: NodeId): void {
    invariant(
      this.votedFor === NOBODY || this.votedFor === candidate,
      `second vote in term ${this.currentTerm}: ${this.votedFor}, then ${candidate}`,
    );
    this.votedFor = candidate;
  }

  /** Whom a follower asked for reads no longer answers them: they are dropped with the belief. */
  followLeader(leader: NodeId): void {
    if (leader === this.leader) return;
    this.leader = leader;
    for (const context of this.forwarded.takeAll()) this.readsDropped.push(context);
  }

  /** True if the configuration moved with it: it is in force as soon as it is committed, here as everywhere. */
  commitTo(index: LogIndex): boolean {
    if (index <= this.commitIndex) return false;
    // A leader counts on entries that this node acknowledged and no longer has: its disk lost them (trap A12).
    invariant(
      index <= this.log.lastIndex,
      `told to commit ${index}, but the log ends at ${this.log.lastIndex}`,
    );
    this.commitIndex = index;
    return this.activateChanges(this.inForceIndex);
  }

  /** Configuration changes up to here are in force: all that are committed (DESIGN D7). */
  get inForceIndex(): LogIndex {
    return this.options.eager === true ? this.appliedIndex : this.commitIndex;
  }

  /** True if the configuration moved. */
  activateChanges(through: LogIndex): boolean {
    const before = this.configuration;
    for (const { index, payload } of this.log.takeChanges(through)) {
      // It came with the database file, which may be ahead of what this node knew to be committed.
      if (index <= this.configuration.index) continue;
      const change = decodeChange(payload);
      const result = change === null ? null : changeConfiguration(this.configuration, change);
      // An invalid one was refused where it was proposed; whatever slipped through changes nothing, on all nodes alike.
      if (result?.kind === "changed") this.configuration = { ...result.configuration, index };
    }
    return this.configuration !== before;
  }

  /** Everything up to the snapshot is past: committed, applied, and no longer in the log. */
  restore({ index, configuration }: SnapshotMark): void {
    invariant(index > this.commitIndex, `snapshot ${index} behind the commit index`);
    this.commitIndex = index;
    this.offeredIndex = index;
    this.appliedIndex = index;
    this.configuration = configuration;
    this.fetchSnapshot = null;
  }

  /**
   * For what attests durability: leaves when everything asked so far is stored (trap A1). Acknowledgements to
   * one leader merge into the highest: within a term, agreement with its log only grows (trap D8).
   */
  sendWhenStored(message: AppendEntriesResult | RequestVoteResult): void {
    const previous = this.thenSend[this.thenSend.length - 1];
    if (
      this.options.eager !== true &&
      previous?.kind === "AppendEntriesResult" &&
      message.kind === "AppendEntriesResult" &&
      !previous.rejected &&
      !message.rejected &&
      previous.to === message.to &&
      previous.term === message.term
    ) {
      const index = Math.max(previous.index, message.index);
      this.thenSend[this.thenSend.length - 1] = { ...message, index };
      return;
    }
    this.thenSend.push(message);
  }
}
