/** What a leader has sent to one follower without an answer yet: a window in messages and in payload bytes. */

import type { LogIndex } from "./entry.ts";

/** Freed slots at the front that are tolerated before the arrays are moved together. */
const SLACK = 256;

export class Inflights {
  readonly #maxMessages: number;
  readonly #maxBytes: number;
  /** The last index of each message under way, ascending from #head. */
  readonly #lasts: number[] = [];
  readonly #sizes: number[] = [];
  #head = 0;
  #bytes = 0;

  constructor(maxMessages: number, maxBytes: number) {
    this.#maxMessages = maxMessages;
    this.#maxBytes = maxBytes;
  }

  get count(): number {
    return this.#lasts.length - this.#head;
  }

  get full(): boolean {
    return this.count >= this.#maxMessages || this.#bytes >= this.#maxBytes;
  }

  add(last: LogIndex, bytes: number): void {
    this.#lasts.push(last);
    this.#sizes.push(bytes);
    this.#bytes += bytes;
  }

  /** Everything up to `index` was answered. */
  freeThrough(index: LogIndex): void {
    while (this.#head < this.#lasts.length && (this.#lasts[this.#head] ?? 0) <= index) {
      this.#bytes -= this.#sizes[this.#head] ?? 0;
      this.#head++;
    }
    if (this.#head === this.#lasts.length) this.reset();
    else if (this.#head > SLACK) {
      this.#lasts.splice(0, this.#head);
      this.#sizes.splice(0, this.#head);
      this.#head = 0;
    }
  }

  reset(): void {
    this.#lasts.length = 0;
    this.#sizes.length = 0;
    this.#head = 0;
    this.#bytes = 0;
  }
}
