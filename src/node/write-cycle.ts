/** The open SQLite transaction of a leader, as far as its end is a matter of time and number (DESIGN D2). Runs nothing. */

/** A cycle is ended by force after this long or this many requests; otherwise when nothing is in flight. */
const CYCLE_MS_MAX = 10;
const CYCLE_REQUESTS_MAX = 1_000;

export class WriteCycle {
  #isOpen = false;
  #sinceMs = 0;
  #requests = 0;

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

  /** It must come to its COMMIT before anything else is executed. */
  isDue(nowMs: number): boolean {
    return this.#requests >= CYCLE_REQUESTS_MAX || nowMs - this.#sinceMs >= CYCLE_MS_MAX;
  }
}
