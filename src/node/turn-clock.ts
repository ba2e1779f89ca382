/**
 * The monotonic clock, looked at once a turn of the event loop: a turn takes in a hundred writes, and each needs the time
 * to the millisecond five times. Not for measuring what happens within a turn.
 */

import type { Environment } from "./ports.ts";

export class TurnClock {
  readonly #environment: Environment;
  #nowMs = 0;
  #isKnown = false;

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** As of some moment of this turn. */
  nowMs(): number {
    if (!this.#isKnown) {
      this.#isKnown = true;
      this.#nowMs = this.#environment.monotonicMs();
      this.#environment.soon(this.#forget);
    }
    return this.#nowMs;
  }

  readonly #forget = (): void => {
    this.#isKnown = false;
  };
}
