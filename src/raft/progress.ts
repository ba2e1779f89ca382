/**
 * What a leader knows of one follower, and what it may send next. Three states: `probe` (where the logs agree is not
 * known: one append at a time), `replicate` (it is known: a window of appends under way), `snapshot` (what the
 * follower needs was compacted: appends wait). Decides; never sends.
 */

import { invariant } from "../sql/invariant.ts";
import type { LogIndex, NodeId } from "./entry.ts";
import type { Inflights } from "./inflights.ts";

export type ProgressState = "probe" | "replicate" | "snapshot";

/**
 * An append that is owed: only if it carries entries; the same, and the commit index is news to be told in the end; or
 * in any case, as it tells the commit index.
 */
export type AppendWish = "none" | "ifAny" | "commit" | "always";

const URGENCY: { readonly [wish in AppendWish]: number } = {
  none: 0,
  ifAny: 1,
  commit: 2,
  always: 3,
};

/** A copy for status pages. */
export interface ProgressView {
  readonly id: NodeId;
  readonly state: ProgressState;
  readonly matchIndex: LogIndex;
  readonly nextIndex: LogIndex;
  readonly isLearner: boolean;
  /** Nothing is sent now. */
  readonly isPaused: boolean;
  /** Heard of since the last check of the quorum. */
  readonly isActive: boolean;
  /** Of a learner: it has followed closely enough of late to get a vote (trap C8). */
  readonly isCaughtUp: boolean;
  /** 0: none under way. */
  readonly pendingSnapshot: LogIndex;
  readonly inflightCount: number;
  readonly isInflightFull: boolean;
}

export class Progress {
  readonly id: NodeId;
  isLearner: boolean;
  state: ProgressState = "probe";
  /** Highest index known to be durable there. */
  matchIndex: LogIndex = 0;
  /** First index to send; always above matchIndex. */
  nextIndex: LogIndex;
  /** Heard of since the last check of the quorum. */
  isActive = false;
  isCaughtUp = false;
  pendingSnapshot: LogIndex = 0;
  wish: AppendWish = "none";
  /** Highest read position that this follower has confirmed in this term (trap B2). */
  readAck = 0;
  readonly inflights: Inflights;
  /** Where the log ended when the present round of catching up began, and when that was; 0 before the first. */
  #roundTarget: LogIndex = 0;
  #roundSinceTick = 0;
  /** Wait for an answer, of a heartbeat at least, before the next append. */
  #flowPaused = false;
  /** Highest commit index sent that the follower can have used. */
  #sentCommit: LogIndex = 0;

  constructor(id: NodeId, nextIndex: LogIndex, isLearner: boolean, inflights: Inflights) {
    this.id = id;
    this.nextIndex = nextIndex;
    this.isLearner = isLearner;
    this.inflights = inflights;
  }

  get isPaused(): boolean {
    return this.state === "snapshot" || this.#flowPaused;
  }

  becomeProbe(): void {
    const pending = this.state === "snapshot" ? this.pendingSnapshot : 0;
    this.#reset("probe");
    this.nextIndex = Math.max(this.matchIndex, pending) + 1;
    this.#clampSentCommit();
  }

  becomeReplicate(): void {
    this.#reset("replicate");
    this.nextIndex = this.matchIndex + 1;
  }

  becomeSnapshot(index: LogIndex): void {
    this.#reset("snapshot");
    this.pendingSnapshot = index;
    this.nextIndex = index + 1;
    this.#sentCommit = index;
  }

  /** The follower holds everything up to `index`. False when that is no news. */
  advance(index: LogIndex): boolean {
    if (index <= this.matchIndex) return false;
    this.matchIndex = index;
    this.nextIndex = Math.max(this.nextIndex, index + 1);
    this.#flowPaused = false;
    return true;
  }

  /**
   * Rounds as in §4.2.1 of the thesis: in each it gets what the log held when the round began. It has caught up while a
   * round is shorter than `ticksMax`, an election timeout: a voter that lags no more than that delays nothing for longer.
   */
  measureRound(nowTick: number, lastIndex: LogIndex, ticksMax: number): void {
    if (this.matchIndex < this.#roundTarget) return;
    const isShort = this.#roundTarget > 0 && nowTick - this.#roundSinceTick <= ticksMax;
    this.isCaughtUp = isShort || this.matchIndex >= lastIndex;
    this.#roundTarget = lastIndex;
    this.#roundSinceTick = nowTick;
  }

  /**
   * The follower refused an append after `rejected`; the logs may still agree up to `hint`. False when that answers
   * an append which was overtaken since (trap D7).
   */
  retreat(rejected: LogIndex, hint: LogIndex): boolean {
    if (this.state === "replicate") {
      if (rejected <= this.matchIndex) return false;
      this.nextIndex = this.matchIndex + 1;
      this.#clampSentCommit();
      return true;
    }
    if (this.nextIndex - 1 !== rejected) return false;
    this.nextIndex = Math.max(Math.min(rejected, hint + 1), this.matchIndex + 1);
    this.#clampSentCommit();
    this.#flowPaused = false;
    return true;
  }

  sentEntries(count: number, bytes: number): void {
    invariant(this.state !== "snapshot", "appends wait while a snapshot is under way");
    if (this.state === "probe") {
      if (count > 0) this.#flowPaused = true;
      return;
    }
    if (count > 0) {
      this.nextIndex += count;
      this.inflights.add(this.nextIndex - 1, bytes);
    }
    this.#flowPaused = this.inflights.full;
  }

  sentCommit(index: LogIndex): void {
    this.#sentCommit = index;
  }

  /** A lesser wish takes nothing from a greater one. */
  want(wish: AppendWish): void {
    if (URGENCY[wish] > URGENCY[this.wish]) this.wish = wish;
  }

  /** True when the follower's commit index can be moved by sending `commitIndex`. */
  canBumpCommit(commitIndex: LogIndex): boolean {
    return commitIndex > this.#sentCommit && this.#sentCommit < this.nextIndex - 1;
  }

  /** Another node answers under this id: all that was known of it is void. */
  forget(): void {
    this.matchIndex = 0;
    this.readAck = 0;
    this.isActive = false;
    this.isCaughtUp = false;
    this.#sentCommit = 0;
    this.#roundTarget = 0;
    this.#reset("probe");
  }

  /** Wait for a sign of life. */
  pause(): void {
    this.#flowPaused = true;
  }

  /** A sign of life: one more append may go, an empty one if the window is still full (trap D7). */
  resume(): void {
    this.#flowPaused = false;
  }

  view(): ProgressView {
    return {
      id: this.id,
      state: this.state,
      matchIndex: this.matchIndex,
      nextIndex: this.nextIndex,
      isLearner: this.isLearner,
      isPaused: this.isPaused,
      isActive: this.isActive,
      isCaughtUp: this.isCaughtUp,
      pendingSnapshot: this.pendingSnapshot,
      inflightCount: this.inflights.count,
      isInflightFull: this.inflights.count > 0 && this.inflights.full,
    };
  }

  #reset(state: ProgressState): void {
    this.state = state;
    this.#flowPaused = false;
    this.pendingSnapshot = 0;
    this.inflights.reset();
  }

  #clampSentCommit(): void {
    this.#sentCommit = Math.min(this.#sentCommit, this.nextIndex - 1);
  }
}
