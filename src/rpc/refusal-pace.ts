/**
 * How fast a node refuses what is too much. A refusal is cheap, but who was refused asks again, and a flood that is
 * answered at once comes again at once, until little is left for the requests that are served. So a stream that has been
 * refused something rests: it is not read, and its flood waits in the sender. The time for that is counted over all streams.
 * Decides nothing about which request is refused.
 */

import type { StreamBounds } from "./stream-bounds.ts";

export class RefusalPace {
  readonly #perSecond: number;
  readonly #restMs: number;
  #untilMs = 0;

  constructor({ refusalsPerSecond, restMs }: StreamBounds) {
    this.#perSecond = refusalsPerSecond;
    this.#restMs = restMs;
  }

  /** So many were refused on a stream; returns for how long it rests. Milliseconds. */
  rest(refused: number, nowMs = performance.now()): number {
    const fromMs = Math.max(this.#untilMs, nowMs);
    const untilMs = fromMs + (refused * 1_000) / this.#perSecond;
    this.#untilMs = Math.min(untilMs, nowMs + this.#restMs);
    return this.#untilMs - nowMs;
  }
}
