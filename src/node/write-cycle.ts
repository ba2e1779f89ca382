/** The open SQLite transaction of a leader, as far as its end is a matter of time and number (DESIGN D2). Runs nothing. */

import type { Environment } from "./ports.ts";

/**
 * What is committed may rest for so long before SQLite commits it, if nobody waits: a lone caller's next write is on its
 * way, and a COMMIT for each would cost a third of its latency.
 */
const CYCLE_MS_MIN = 3;
/** A cycle is ended by force after this long or this many requests; otherwise when nothing is in flight. */
const CYCLE_MS_MAX = 10;
const CYCLE_REQUESTS_MAX = 1_000;

export class WriteCycle {
  #isOpen = false;
  #sinceMs = 0;
  #requests = 0;
  #isResting = false;

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Does nothing if it is open. */
  open(nowMs: number): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#sinceMs = nowMs;
    this.#requests = 0;
  }

  add(): void {
    this.#requests += 1;
  }

  end(): void {
    this.#isOpen = false;
  }

  /** True: its COMMIT may wait, and `again` is called when it may no longer. */
  rests(environment: Environment, again: () => void): boolean {
    const leftMs = this.#sinceMs + CYCLE_MS_MIN - environment.monotonicMs();
    if (leftMs <= 0) return false;
    if (this.#isResting) return true;
    this.#isResting = true;
    environment.after(leftMs, () => {
      this.#isResting = false;
      again();
    });
    return true;
  }

  /** It must come to its COMMIT before anything else is executed. */
  isDue(nowMs: number): boolean {
    return this.#requests >= CYCLE_REQUESTS_MAX || nowMs - this.#sinceMs >= CYCLE_MS_MAX;
  }
}
