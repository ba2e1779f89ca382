/**
 * The numbers that make a write take effect once (DESIGN D6): sequences in a session, and up to which of them all
 * answers have arrived. Sends nothing.
 *
 * A write whose outcome stays unknown (its deadline passed, its caller gave up) counts as answered: the floor may
 * pass it. The nodes then refuse it if a late duplicate of it turns up, so it happens at most once, and one lost
 * answer does not hold the window up for the rest of the session's life.
 */

import { invariant } from "../sql/invariant.ts";

/** Writes numbered and not yet answered, counted from the oldest; more wait. */
export const WINDOW = 4096;

/** A power of two above the window, so that a sequence finds its mark by masking. */
const MARKS = 2 * WINDOW;

export class Session {
  readonly id: number;
  #next = 1;
  #floor = 0;
  readonly #settled = new Uint8Array(MARKS);

  constructor(id: number) {
    this.id = id;
  }

  /** Every write up to this sequence has its answer, or nobody waits for it any more. */
  get acknowledgedThrough(): number {
    return this.#floor;
  }

  /** Whether the window has a sequence left. */
  get hasRoom(): boolean {
    return this.#next - this.#floor <= WINDOW;
  }

  /** The next sequence, or 0 if the window is full. */
  take(): number {
    if (!this.hasRoom) return 0;
    const sequence = this.#next;
    this.#next += 1;
    return sequence;
  }

  /** Nobody waits for this write any more. */
  settle(sequence: number): void {
    invariant(sequence > this.#floor, "a write is settled once");
    invariant(sequence < this.#next, "only a numbered write is settled");
    this.#settled[sequence % MARKS] = 1;
    while (this.#settled[(this.#floor + 1) % MARKS] === 1) {
      this.#floor += 1;
      this.#settled[this.#floor % MARKS] = 0;
    }
  }
}
