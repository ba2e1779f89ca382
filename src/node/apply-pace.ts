/**
 * How often a follower hands what is committed to its SQLite when nobody waits for it. Each time costs a frame, a wake-up and
 * a COMMIT, so entries gather; a node whose clients read whatever is there keeps closer. Applies nothing itself, and never
 * holds back what a read waits for: such reads do not ask it.
 */

import { APPLY_PACE_MS, APPLY_PACE_READ_MS, READ_LATELY_MS } from "./driver-limits.ts";
import type { Environment, Timer } from "./ports.ts";

export class ApplyPace {
  readonly #environment: Environment;
  readonly #isReadLocally: boolean;
  readonly #again: () => void;
  #timer: Timer | null = null;
  #readAtMs = Number.NEGATIVE_INFINITY;

  /** `isReadLocally`: reads that nobody tells of take what is there. `again` is called when a rest is over. */
  constructor(environment: Environment, isReadLocally: boolean, again: () => void) {
    this.#environment = environment;
    this.#isReadLocally = isReadLocally;
    this.#again = again;
  }

  /** What was handed over last is so recent that more may gather. */
  get isResting(): boolean {
    return this.#timer !== null;
  }

  /** A read took what was there. */
  read(): void {
    this.#readAtMs = this.#environment.monotonicMs();
  }

  /** Something was handed over. */
  rest(): void {
    if (this.#timer !== null) return;
    const unreadMs = this.#environment.monotonicMs() - this.#readAtMs;
    const isRead = this.#isReadLocally || unreadMs < READ_LATELY_MS;
    this.#timer = this.#environment.after(isRead ? APPLY_PACE_READ_MS : APPLY_PACE_MS, () => {
      this.#timer = null;
      this.#again();
    });
  }

  cancel(): void {
    this.#timer?.cancel();
  }
}
