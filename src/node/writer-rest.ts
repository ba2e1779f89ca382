/** The pause between writers that ended because the disk is full: longer each time, until one has got on. */

import type { Environment, Timer } from "./ports.ts";

const REST_MS_MIN = 1_000;
const REST_MS_MAX = 4_000;
/** ENOSPC as SQLite tells it of a write. */
const FULL = /\bSQLITE_FULL\b/;
/** How else it may show: in the WAL's index, a quota, a file that cannot be made. */
const PERHAPS_FULL = /\bSQLITE_(IOERR|CANTOPEN)/;

export class WriterRest {
  readonly #environment: Environment;
  readonly #changed: (isResting: boolean) => void;
  #delayMs = REST_MS_MIN;
  #timer: Timer | null = null;
  #isOn = false;

  /** `changed`: writers end for want of space, or have stopped doing so. */
  constructor(environment: Environment, changed: (isResting: boolean) => void) {
    this.#environment = environment;
    this.#changed = changed;
  }

  /** Whether a writer that ended with these words lacked space. `isLow`: little is left. */
  isDue(reason: string, isLow: boolean): boolean {
    return FULL.test(reason) || (isLow && PERHAPS_FULL.test(reason));
  }

  begin(then: () => void): void {
    this.#timer = this.#environment.after(this.#delayMs, then);
    this.#delayMs = Math.min(REST_MS_MAX, 2 * this.#delayMs);
    if (this.#isOn) return;
    this.#isOn = true;
    this.#changed(true);
  }

  /** A writer has got on. */
  over(): void {
    if (!this.#isOn) return;
    this.#isOn = false;
    this.#delayMs = REST_MS_MIN;
    this.#changed(false);
  }

  cancel(): void {
    this.#timer?.cancel();
  }
}
