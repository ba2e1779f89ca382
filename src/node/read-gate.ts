/**
 * Lets a read pass when this node's database is as fresh as the read demands. Linearizable: a read index confirmed by
 * a majority after the read arrived (thesis §6.4), one round for all that arrived together. Session: an index.
 * Stale: a bound is kept by proof, the age of the last confirmed read index, never by trusting clocks.
 */

import type { ReadState } from "../raft/effect.ts";
import type { LogIndex } from "../raft/entry.ts";
import type { Failure } from "../sql/errors.ts";
import type { Environment } from "./ports.ts";
import type { QueryCall } from "./service.ts";
import { failure } from "./write-request.ts";

export interface ReadGateParts {
  readonly environment: Environment;
  readIndex(context: number): "accepted" | "refused";
  appliedIndex(): LogIndex;
  /** A round begins: its reads will ask for all that is committed now. */
  hurry(): void;
  /** Asks for an index to be applied soon. */
  demand(index: LogIndex): void;
  /** A read takes what is applied now: others may follow. */
  readStale(): void;
  /** Only for the plant that shows the tests would notice. */
  readonly skipReadIndex: boolean;
}

export interface Waiter {
  /** `lagMs`: at most this far behind; -1 if nothing is known. */
  admit(lagMs: number): void;
  refuse(failure: Failure): void;
  readonly deadlineAtMs: number;
  cancelled: boolean;
}

interface Round {
  readonly context: number;
  readonly startedAtMs: number;
  waiters: Waiter[];
}

/** Rounds under way at once: reads that come meanwhile share the next one, which costs every node a message. */
const ROUNDS_AT_ONCE = 2;
/** A round that was not answered by then is asked again: its messages may be lost. */
const ROUND_MS_MAX = 300;
/** Without a leader for this long a read is refused, so that the caller may try elsewhere. */
const LEADERLESS_MS_MAX = 1_500;
const SWEEP_MS = 50;

export class ReadGate {
  readonly #parts: ReadGateParts;
  #contexts = 0;
  /** Arrived since the last round began. */
  #gathering: Waiter[] = [];
  #rounds = new Map<number, Round>();
  /** Confirmed, waiting for the machine. */
  #applying: { index: LogIndex; startedAtMs: number; waiters: Waiter[] }[] = [];
  #scheduled = false;
  #sweeping = false;
  /** When the last proof was asked for whose index is applied. */
  #provenAtMs = Number.NEGATIVE_INFINITY;
  #leaderlessSinceMs: number | null = null;
  #isStuck = false;

  constructor(parts: ReadGateParts) {
    this.#parts = parts;
  }

  admit(call: QueryCall, waiter: Waiter): void {
    switch (call.consistency) {
      case "linearizable":
        return this.#prove(waiter);
      case "session":
        return this.#await(
          call.atLeast,
          this.#parts.environment.monotonicMs(),
          [waiter],
          "session",
        );
      case "stale":
        return this.#admitStale(call.maxStalenessMs, waiter);
    }
  }

  /** Runs once all that this node had acknowledged is known to be agreed: a barrier for answers. */
  barrier(waiter: Waiter): void {
    this.#prove(waiter);
  }

  /** How long ago this node was proven up to date; Infinity if never. */
  provenAgeMs(): number {
    return this.#parts.environment.monotonicMs() - this.#provenAtMs;
  }

  #admitStale(maxStalenessMs: number, waiter: Waiter): void {
    const ageMs = this.provenAgeMs();
    this.#parts.readStale();
    if (maxStalenessMs === 0) waiter.admit(Number.isFinite(ageMs) ? ageMs : -1);
    else if (ageMs <= maxStalenessMs) waiter.admit(ageMs);
    else this.#prove(waiter);
  }

  #prove(waiter: Waiter): void {
    if (this.#parts.skipReadIndex) {
      this.#parts.environment.soon(() => waiter.admit(0));
      return;
    }
    this.#gathering.push(waiter);
    this.#schedule();
  }

  #schedule(): void {
    this.#sweepLater();
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#parts.environment.soon(() => {
      this.#scheduled = false;
      this.#begin();
    });
  }

  #begin(): void {
    if (this.#rounds.size >= ROUNDS_AT_ONCE) return;
    const waiters = this.#gathering.filter((waiter) => !waiter.cancelled);
    this.#gathering = [];
    if (waiters.length === 0) return;
    this.#contexts += 1;
    const context = this.#contexts;
    if (this.#parts.readIndex(context) === "refused") {
      // No leader at the moment: the sweep asks again, until the caller has waited long enough.
      this.#gathering = waiters;
      this.#leaderlessSinceMs ??= this.#parts.environment.monotonicMs();
      return;
    }
    this.#leaderlessSinceMs = null;
    this.#parts.hurry();
    const startedAtMs = this.#parts.environment.monotonicMs();
    this.#rounds.set(context, { context, startedAtMs, waiters });
  }

  readStates(states: readonly ReadState[]): void {
    for (const { context, index } of states) {
      const round = this.#rounds.get(context);
      if (round === undefined) continue;
      this.#rounds.delete(context);
      this.#await(index, round.startedAtMs, round.waiters, "proof");
    }
    if (this.#gathering.length > 0) this.#schedule();
  }

  /** Leader lost: the same reads ask again, in a new round. */
  readsDropped(contexts: readonly number[]): void {
    for (const context of contexts) this.#again(context);
  }

  #again(context: number): void {
    const round = this.#rounds.get(context);
    if (round === undefined) return;
    this.#rounds.delete(context);
    this.#gathering.push(...round.waiters);
    this.#schedule();
  }

  #await(index: LogIndex, atMs: number, waiters: Waiter[], kind: "proof" | "session"): void {
    // A session's index proves nothing about how fresh the node is.
    const startedAtMs = kind === "proof" ? atMs : Number.NEGATIVE_INFINITY;
    if (this.#parts.appliedIndex() >= index) return this.#release(startedAtMs, waiters);
    if (this.#isStuck) {
      return this.#parts.environment.soon(() => refuseEach(waiters, stuckAt(index)));
    }
    this.#applying.push({ index, startedAtMs, waiters });
    this.#parts.demand(index);
    this.#sweepLater();
  }

  applied(index: LogIndex): void {
    if (this.#applying.length === 0) return;
    const ready = this.#applying.filter((group) => group.index <= index);
    if (ready.length === 0) return;
    this.#applying = this.#applying.filter((group) => group.index > index);
    for (const group of ready) this.#release(group.startedAtMs, group.waiters);
  }

  /** SQLite finds no space for what is committed, or finds it again. What it lacks another node may have. */
  stuck(isStuck: boolean): void {
    this.#isStuck = isStuck;
    if (!isStuck) return;
    const groups = this.#applying;
    this.#applying = [];
    for (const { index, waiters } of groups) refuseEach(waiters, stuckAt(index));
  }

  #release(startedAtMs: number, waiters: readonly Waiter[]): void {
    this.#provenAtMs = Math.max(this.#provenAtMs, startedAtMs);
    const ageMs = this.provenAgeMs();
    const lagMs = Number.isFinite(ageMs) ? ageMs : -1;
    for (const waiter of waiters) if (!waiter.cancelled) waiter.admit(lagMs);
  }

  // --- deadlines ------------------------------------------------------------------------------------------------

  #sweepLater(): void {
    if (this.#sweeping) return;
    this.#sweeping = true;
    this.#parts.environment.after(SWEEP_MS, () => {
      this.#sweeping = false;
      this.#sweep();
      const busy = this.#gathering.length + this.#rounds.size + this.#applying.length > 0;
      if (busy) this.#sweepLater();
    });
  }

  #sweep(): void {
    const nowMs = this.#parts.environment.monotonicMs();
    for (const round of [...this.#rounds.values()]) {
      round.waiters = this.#drop(round.waiters, nowMs, "a majority's word");
      if (nowMs - round.startedAtMs > ROUND_MS_MAX) this.#again(round.context);
    }
    for (const group of this.#applying) {
      group.waiters = this.#drop(group.waiters, nowMs, `log index ${group.index} to be applied`);
    }
    this.#applying = this.#applying.filter((group) => group.waiters.length > 0);
    this.#gathering = this.#drop(this.#gathering, nowMs, "a leader");
    const since = this.#leaderlessSinceMs;
    if (since !== null && nowMs - since > LEADERLESS_MS_MAX) {
      this.#refuseAll(failure("NO_LEADER", "no leader is known to this node; try another"));
    }
    if (this.#gathering.length > 0) this.#schedule();
  }

  #refuseAll(why: Failure): void {
    const waiters = this.#gathering;
    this.#gathering = [];
    this.#leaderlessSinceMs = null;
    for (const waiter of waiters) waiter.refuse(why);
  }

  #drop(waiters: readonly Waiter[], nowMs: number, what: string): Waiter[] {
    const kept: Waiter[] = [];
    for (const waiter of waiters) {
      if (waiter.cancelled) continue;
      if (waiter.deadlineAtMs > nowMs) kept.push(waiter);
      else waiter.refuse(failure("DEADLINE_EXCEEDED", `the deadline passed waiting for ${what}`));
    }
    return kept;
  }

  /** The node stops or has stopped serving. */
  abandon(why: Failure): void {
    const groups = [...this.#rounds.values(), ...this.#applying];
    const waiters = [...this.#gathering, ...groups.flatMap((group) => group.waiters)];
    this.#gathering = [];
    this.#rounds.clear();
    this.#applying = [];
    refuseEach(waiters, why);
  }
}

function refuseEach(waiters: readonly Waiter[], why: Failure): void {
  for (const waiter of waiters) if (!waiter.cancelled) waiter.refuse(why);
}

function stuckAt(index: LogIndex): Failure {
  const text = `the disk of this node is full: log entry ${index} cannot be applied`;
  return failure("NOT_SERVING", `${text}; free some space, or ask another node`);
}
