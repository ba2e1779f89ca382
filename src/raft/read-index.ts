/**
 * Reads that wait for an index (thesis §6.4). On a leader: the reads of this term, and which round of heartbeats will
 * confirm each. On a follower: what it asked its leader. Contexts only name the caller; what a quorum confirms is a
 * position minted here, so that a late answer to an earlier round can never confirm a later read (trap B2, B3).
 */

import { invariant } from "../sql/invariant.ts";
import type { LogIndex, NodeId } from "./entry.ts";

/** Who asked: this node itself, or a follower with a context of its own. */
export interface Asker {
  readonly from: NodeId;
  readonly context: number;
}

interface PositionedRead extends Asker {
  readonly position: number;
  /** The commit index when the read was registered. */
  readonly index: LogIndex;
}

export interface ConfirmedRead extends Asker {
  readonly index: LogIndex;
}

/** Lives as long as one leadership: positions start anew with the term. */
export class LeaderReads {
  readonly #limit: number;
  /** Came before this leader had committed an entry of its own term (trap B1). */
  #early: Asker[] = [];
  #waiting: PositionedRead[] = [];
  /** The position of the next round, or of the last one if nothing was registered since. */
  #minted = 0;
  /** The last position that heartbeats carried. */
  #announced = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get isFull(): boolean {
    return this.#early.length + this.#waiting.length >= this.#limit;
  }

  get announced(): number {
    return this.#announced;
  }

  /** Reads are registered that no heartbeat has carried yet. */
  get needsRound(): boolean {
    return this.#minted > this.#announced;
  }

  /** The commit index may still be behind what an earlier leader answered: hold the read back. */
  holdBack(asker: Asker): void {
    invariant(!this.isFull, "reads beyond the limit are refused before");
    this.#early.push(asker);
  }

  takeHeldBack(): readonly Asker[] {
    const early = this.#early;
    this.#early = [];
    return early;
  }

  /** All reads of one round share a position, which only heartbeats sent from now on will carry. */
  register(asker: Asker, commitIndex: LogIndex): void {
    if (this.#minted === this.#announced) this.#minted++;
    this.#waiting.push({
      from: asker.from,
      context: asker.context,
      position: this.#minted,
      index: commitIndex,
    });
  }

  /** What a heartbeat sent now confirms when it is answered; 0 if no read waits. */
  announce(): number {
    if (this.#waiting.length === 0) return 0;
    this.#announced = this.#minted;
    return this.#announced;
  }

  /** A quorum has answered heartbeats up to `position`. */
  confirm(position: number): readonly ConfirmedRead[] {
    invariant(position <= this.#announced, `position ${position} was never announced`);
    let count = 0;
    while ((this.#waiting[count]?.position ?? Number.POSITIVE_INFINITY) <= position) count++;
    return count === 0 ? [] : this.#waiting.splice(0, count);
  }

  /** The leadership ended: everyone who still waits. */
  takeAll(): readonly Asker[] {
    const all = [...this.#early, ...this.#waiting];
    this.#early = [];
    this.#waiting = [];
    return all;
  }
}

interface ForwardedRead {
  readonly context: number;
  readonly expiresAtTick: number;
}

/** What a follower asked its leader and has no answer to. */
export class ForwardedReads {
  readonly #limit: number;
  /** By the context on the wire; in the order of asking. */
  readonly #reads = new Map<number, ForwardedRead>();
  /** Distinct from those of an earlier run, whose answers may still be on their way. */
  #nextWireContext: number;

  constructor(limit: number, firstWireContext: number) {
    this.#limit = limit;
    this.#nextWireContext = firstWireContext;
  }

  get isFull(): boolean {
    return this.#reads.size >= this.#limit;
  }

  /** Returns the context to use on the wire. */
  add(context: number, expiresAtTick: number): number {
    const wireContext = this.#nextWireContext++;
    this.#reads.set(wireContext, { context, expiresAtTick });
    return wireContext;
  }

  /** The caller's context, or null if nobody waits for this answer any more. */
  take(wireContext: number): number | null {
    const read = this.#reads.get(wireContext);
    if (read === undefined) return null;
    this.#reads.delete(wireContext);
    return read.context;
  }

  takeExpired(tick: number): readonly number[] {
    const expired: number[] = [];
    for (const [wireContext, read] of this.#reads) {
      if (read.expiresAtTick > tick) break;
      expired.push(read.context);
      this.#reads.delete(wireContext);
    }
    return expired;
  }

  takeAll(): readonly number[] {
    const contexts = [...this.#reads.values()].map((read) => read.context);
    this.#reads.clear();
    return contexts;
  }
}
