/**
 * Ends calls whose time is up or whose caller gave up: one timer for all of them and one listener a signal, so that
 * a request costs neither. The timer runs out within a tick after the last call, and keeps no idle process alive.
 */

import type { Call } from "./call.ts";

/** How often pending calls are looked at when no deadline is nearer. */
const TICK_MS = 250;

export interface DeadlinesOwner {
  expired(call: Call): void;
  aborted(call: Call): void;
  /** While calls are pending, about every `TICK_MS`, or sooner: after so many milliseconds as it returned. */
  tick(now: number): number;
}

interface Watched {
  readonly calls: Set<Call>;
  readonly listener: () => void;
}

export class Deadlines {
  readonly #owner: DeadlinesOwner;
  readonly #tickMs: number;
  /** Pending calls, chained by `earlier` and `later`: cheaper than a set for what comes and goes this often. */
  #first: Call | null = null;
  #last: Call | null = null;
  readonly #signals = new Map<AbortSignal, Watched>();
  #timer: NodeJS.Timeout | null = null;
  #fireAt = 0;

  constructor(owner: DeadlinesOwner, silenceMs: number) {
    this.#owner = owner;
    this.#tickMs = Math.min(TICK_MS, Math.max(10, silenceMs / 4));
  }

  /** Those pending now, the oldest first. */
  calls(): readonly Call[] {
    const calls: Call[] = [];
    for (let call = this.#first; call !== null; call = call.later) calls.push(call);
    return calls;
  }

  add(call: Call): void {
    call.earlier = this.#last;
    if (this.#last === null) this.#first = call;
    else this.#last.later = call;
    this.#last = call;
    if (call.signal !== undefined) this.#watch(call.signal, call);
    if (this.#timer === null) this.#arm(Math.min(this.#tickMs, call.deadlineMs));
    else this.moved(call);
  }

  /** The call's deadline has changed. */
  moved(call: Call): void {
    if (call.deadline >= this.#fireAt) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#arm(Math.max(0, call.deadline - performance.now()));
  }

  remove(call: Call): void {
    if (call.earlier === null) this.#first = call.later;
    else call.earlier.later = call.later;
    if (call.later === null) this.#last = call.earlier;
    else call.later.earlier = call.earlier;
    call.earlier = null;
    call.later = null;
    if (call.signal !== undefined) this.#unwatch(call.signal, call);
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #arm(delayMs: number): void {
    const delay = Math.ceil(delayMs);
    this.#fireAt = performance.now() + delay;
    this.#timer = setTimeout(this.#sweep, delay);
  }

  #sweep = (): void => {
    this.#timer = null;
    const now = performance.now();
    for (const call of this.calls()) {
      if (call.deadline <= now && !call.settled) this.#owner.expired(call);
    }
    if (this.#first === null || this.#timer !== null) return;
    let next = now + Math.min(this.#tickMs, this.#owner.tick(now));
    for (const call of this.calls()) if (call.deadline < next) next = call.deadline;
    this.#arm(Math.max(1, next - now));
  };

  #watch(signal: AbortSignal, call: Call): void {
    let watched = this.#signals.get(signal);
    if (watched === undefined) {
      const calls = new Set<Call>();
      const listener = (): void => {
        for (const each of [...calls]) this.#owner.aborted(each);
      };
      watched = { calls, listener };
      this.#signals.set(signal, watched);
      signal.addEventListener("abort", listener);
    }
    watched.calls.add(call);
  }

  #unwatch(signal: AbortSignal, call: Call): void {
    const watched = this.#signals.get(signal);
    if (watched === undefined) return;
    watched.calls.delete(call);
    if (watched.calls.size > 0) return;
    signal.removeEventListener("abort", watched.listener);
    this.#signals.delete(signal);
  }
}
