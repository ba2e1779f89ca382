/** Looks from time to time how much room the disk has left, and says when that falls below a mark and when it is back. */

import type { Environment, Timer } from "./ports.ts";

/** The disk as far as its free space goes. */
export interface FreeSpace {
  /** Bytes that this process may still use in the file system that holds `dir`; null: it cannot be told. */
  freeBytes(dir: string, done: (bytes: number | null) => void): void;
}

export interface SpaceWatchParts {
  readonly environment: Environment;
  readonly space: FreeSpace;
  readonly dir: string;
  /** Less than this is too little. */
  readonly minFreeBytes: number;
  /** After each look. */
  looked(): void;
}

const LOOK_MS = 1_000;
/** There is room again from this many times the mark on: a node must not go back and forth. */
const AGAIN = 1.125;

export class SpaceWatch {
  readonly #parts: SpaceWatchParts;
  #timer: Timer | null = null;
  #isLow = false;
  #bytes: number | null = null;
  #stopped = false;

  constructor(parts: SpaceWatchParts) {
    this.#parts = parts;
  }

  get isLow(): boolean {
    return this.#isLow;
  }

  /** As seen last; null: not known. */
  get bytes(): number | null {
    return this.#bytes;
  }

  start(): void {
    const { space, dir, minFreeBytes, environment, looked } = this.#parts;
    space.freeBytes(dir, (bytes) => {
      if (this.#stopped) return;
      this.#bytes = bytes;
      const mark = this.#isLow ? AGAIN * minFreeBytes : minFreeBytes;
      // What cannot be told is no reason to refuse: a write that finds no room says so.
      this.#isLow = bytes !== null && bytes < mark;
      looked();
      this.#timer = environment.after(LOOK_MS, () => this.start());
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }
}
