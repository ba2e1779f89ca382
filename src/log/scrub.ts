/**
 * Re-reads the sealed segments of a running log now and then, slowly, and checks them by the rules by which they are read at
 * a start: rot is found while other nodes still hold what it took. What the kernel has in its page cache it gives from
 * there, so rot below a cached page is found once that page has gone. It changes nothing and repairs nothing.
 */

import { ChainCheck } from "./chain-check.ts";
import type { Disk } from "./disk.ts";
import { LogCorruptionError, unreadable } from "./errors.ts";
import type { Segment } from "./segment.ts";

/** A multiple of 64: no header lies across two pieces. */
const PIECE_BYTES = 256 * 1024;
/** Between two pieces: at most 5 MiB a second. */
const PAUSE_MS = 50;

export interface ScrubOptions {
  /** Between the end of a pass and the start of the next, in milliseconds. */
  readonly intervalMs: number;
  readonly nodeId: number;
  readonly incarnation: string;
}

export interface ScrubParts {
  readonly disk: Disk;
  /** Those that are not written any more and not about to be removed, ascending. */
  sealed(): readonly Segment[];
  /** Once; it stops with it. */
  damaged(error: Error): void;
}

interface Reading {
  readonly segment: Segment;
  /** Of the next piece. */
  at: number;
}

export class Scrub {
  readonly #options: ScrubOptions;
  readonly #parts: ScrubParts;
  readonly #piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
  #check = new ChainCheck();
  #reading: Reading | null = null;
  /** The last segment that was begun. */
  #number = 0;
  /** A read is under way. */
  #busy = false;
  #stopped = false;
  #onIdle: (() => void) | null = null;
  #passes = 0;

  constructor(options: ScrubOptions, parts: ScrubParts) {
    this.#options = options;
    this.#parts = parts;
  }

  /** Whole passes so far. */
  get passes(): number {
    return this.#passes;
  }

  start(): void {
    this.#parts.disk.after(this.#options.intervalMs, () => {
      this.#number = 0;
      this.#check = new ChainCheck();
      this.#nextSegment();
    });
  }

  /** `done` runs when no read of this segment is under way, nor will be. Perhaps inside the call. */
  leave(number: number, done: () => void): void {
    if (this.#reading?.segment.number !== number) return done();
    this.#reading = null;
    // What comes behind it has nothing to be held against.
    this.#check = new ChainCheck();
    if (this.#busy) this.#onIdle = done;
    else done();
  }

  /** The same of all segments, for good. */
  stop(done: () => void): void {
    this.#stopped = true;
    this.#reading = null;
    if (this.#busy) this.#onIdle = done;
    else done();
  }

  #nextSegment(): void {
    if (this.#stopped) return;
    const segment = this.#parts.sealed().find(({ number }) => number > this.#number);
    if (segment === undefined) {
      this.#passes += 1;
      return this.start();
    }
    const { number, bytes, file } = segment;
    const { nodeId, incarnation } = this.#options;
    this.#number = number;
    this.#check.begin({ number, bytes, nodeId, incarnation, path: file.path });
    this.#reading = { segment, at: 0 };
    this.#readLater();
  }

  #readLater(): void {
    this.#parts.disk.after(PAUSE_MS, () => this.#read());
  }

  #read(): void {
    if (this.#stopped) return;
    const reading = this.#reading;
    // Its segment has been left: there is another one, or none.
    if (reading === null) return this.#nextSegment();
    const { segment, at } = reading;
    const piece = this.#piece.subarray(0, Math.min(PIECE_BYTES, segment.bytes - at));
    this.#busy = true;
    segment.file.read(piece, at, (error, count) => {
      this.#busy = false;
      const onIdle = this.#onIdle;
      this.#onIdle = null;
      onIdle?.();
      if (this.#stopped) return;
      if (this.#reading === reading) this.#take(reading, piece, count, error);
      else this.#nextSegment();
    });
  }

  #take(reading: Reading, piece: Buffer, count: number, error: Error | null): void {
    const { segment, at } = reading;
    const { path } = segment.file;
    try {
      if (error !== null) throw unreadable(error, path, at);
      if (count < piece.length) {
        throw new LogCorruptionError(path, at + count, "the file ends here");
      }
      const isEnd = this.#check.take(piece);
      reading.at += count;
      if (!isEnd) return this.#readLater();
      this.#reading = null;
      this.#nextSegment();
    } catch (found) {
      this.#stopped = true;
      this.#reading = null;
      this.#parts.damaged(found instanceof Error ? found : new Error(String(found)));
    }
  }
}
