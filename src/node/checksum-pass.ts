/**
 * When the leader asks its writer for the next range checksum: one at a time, at an easy pace, pass after pass while
 * something changes, and seldom when nothing does. What a range is, and what becomes of it, is the machine's business.
 */

import type { Environment } from "./ports.ts";
import type { ExecuteSink } from "./service.ts";

export interface ChecksumPassParts {
  readonly environment: Environment;
  /** For a few ranges. Milliseconds; 0: never. */
  readonly intervalMs: number;
  /** May this node propose now? */
  isLeading(): boolean;
  /** SQLite has committed up to here. */
  applied(): number;
  /** Gives one to the writer, in its turn among the writes. */
  submit(sink: ExecuteSink): void;
}

/** One of them holds up the writes for a quarter of the time that all would. */
export const CHECKSUMS_AN_INTERVAL = 4;
/** Between two passes, in intervals: when something changed meanwhile, and when nothing did. */
const PAUSE_INTERVALS = 100;
const IDLE_INTERVALS = 2_400;
/** A range that took long, behind a slow disk or other work, is followed by a pause of so many times that. */
const REST_FACTOR = 10;

export class ChecksumPass {
  readonly #parts: ChecksumPassParts;
  #isUnderWay = false;
  /** Is this node known to lead since the last look? */
  #wasLeading = false;
  #isBetweenPasses = true;
  /** Index of the last own entry: nothing has changed since if nothing was applied behind it. */
  #lastIndex = 0;
  /** Did anything but checksums come into the log since the pass began? */
  #sawChange = true;
  #endedAtMs = 0;
  #notBeforeMs = 0;

  constructor(parts: ChecksumPassParts) {
    this.#parts = parts;
  }

  /** `CHECKSUMS_AN_INTERVAL` times an interval. */
  sweep(): void {
    const { environment, isLeading, submit } = this.#parts;
    if (!isLeading()) {
      this.#wasLeading = false;
      return;
    }
    const nowMs = environment.monotonicMs();
    if (!this.#wasLeading) this.#begin(nowMs);
    if (this.#isUnderWay || nowMs < this.#notBeforeMs) return;
    if (this.#isBetweenPasses && !this.#isDue(nowMs)) return;
    if (this.#isBetweenPasses) this.#sawChange = false;
    this.#isBetweenPasses = false;
    this.#isUnderWay = true;
    submit({
      done: (result, index) => this.#done(nowMs, result[0] === 1, index),
      failed: () => {
        this.#isUnderWay = false;
        this.#restSince(nowMs, PAUSE_INTERVALS);
      },
    });
  }

  /** A new leader has other things to do at first. */
  #begin(nowMs: number): void {
    this.#wasLeading = true;
    this.#sawChange = true;
    this.#endedAtMs = nowMs;
    this.#isBetweenPasses = true;
  }

  #isDue(nowMs: number): boolean {
    const hasChanged = this.#sawChange || this.#parts.applied() > this.#lastIndex;
    const intervals = hasChanged ? PAUSE_INTERVALS : IDLE_INTERVALS;
    return nowMs >= this.#endedAtMs + intervals * this.#parts.intervalMs;
  }

  #done(sinceMs: number, endsPass: boolean, index: number): void {
    this.#isUnderWay = false;
    if (index !== this.#lastIndex + 1) this.#sawChange = true;
    this.#lastIndex = index;
    this.#restSince(sinceMs, 0);
    if (!endsPass) return;
    this.#isBetweenPasses = true;
    this.#endedAtMs = this.#parts.environment.monotonicMs();
  }

  #restSince(sinceMs: number, intervals: number): void {
    const nowMs = this.#parts.environment.monotonicMs();
    const restMs = Math.max((nowMs - sinceMs) * REST_FACTOR, intervals * this.#parts.intervalMs);
    this.#notBeforeMs = nowMs + restMs;
  }
}
