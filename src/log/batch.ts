/**
 * A batch while it is being gathered: its records, encoded as they come, and what to call when they are durable. Where
 * in which file it goes is decided when it is written (batch-writer.ts).
 */

import type { Entry, EntryId, HardState } from "../raft/entry.ts";
import {
  alignUp,
  BATCH_ALIGNMENT,
  BATCH_HEADER_BYTES,
  encodeBase,
  encodeEntry,
  encodeHardState,
  encodeRestart,
  FILLING,
  HARD_STATE_BYTES,
  RECORD_HEADER_BYTES,
  recordBytes,
} from "./format.ts";

const CHUNK_BYTES = 1024 * 1024;

/** A chunk that is free is kept for the next need of one, so many of them. */
const SPARES_MAX = 2;

/** A piece of memory, and how many batches and recent entries lie in it: it is filled anew when there are none. */
export class Chunk {
  readonly bytes: Buffer;
  readonly #arena: Arena | null;
  #users = 0;

  /** `arena`: who fills it again. */
  constructor(bytes: Buffer, arena: Arena | null = null) {
    this.bytes = bytes;
    this.#arena = arena;
  }

  get isFree(): boolean {
    return this.#users === 0;
  }

  hold(): void {
    this.#users += 1;
  }

  release(): void {
    this.#users -= 1;
    if (this.#users === 0) this.#arena?.freed(this);
  }
}

/**
 * Memory for batches, one behind the other. The recent entries lie in it, too, so a chunk is filled again only when the last
 * of them is forgotten. Made anew each time it would be garbage that lives for a second, by the MiB: that alone had V8 go
 * through a node's whole heap every other second.
 */
export class Arena {
  #chunk = new Chunk(Buffer.alloc(0));
  #used = 0;
  readonly #spares: Chunk[] = [];

  /**
   * Room for `bytes`, after `keep` bytes which are copied there from `from`, where they begin at `start`. They begin at
   * `reservedAt` in the chunk that it gives, which is held once more if it is not `from`; `from` is released then.
   */
  reserve(bytes: number, from: Chunk | null, start: number, keep: number): Chunk {
    let chunk = this.#chunk;
    const isLast = from === chunk && start + keep === this.#used;
    let at = isLast ? start : this.#used;
    if (at + keep + bytes > chunk.bytes.length) {
      chunk = this.#next(keep + bytes);
      at = 0;
    }
    if (from !== chunk) chunk.hold();
    if (!isLast || from !== chunk) from?.bytes.copy(chunk.bytes, at, start, start + keep);
    if (from !== chunk) from?.release();
    this.reservedAt = at;
    this.#used = at + keep + bytes;
    return chunk;
  }

  /** Of the last `reserve`. Not a part of what it gives: an object for each entry would be the dearer half of it. */
  reservedAt = 0;

  #next(bytes: number): Chunk {
    const former = this.#chunk;
    // Only a chunk of the usual size is filled again.
    const room = bytes <= CHUNK_BYTES ? CHUNK_BYTES : 2 * bytes;
    const spare = room === CHUNK_BYTES ? this.#spares.pop() : undefined;
    this.#chunk = spare ?? new Chunk(Buffer.allocUnsafeSlow(room), this);
    if (former.isFree) this.freed(former);
    return this.#chunk;
  }

  /** For chunks alone: nothing lies in this one any more. */
  freed(chunk: Chunk): void {
    const isOfUse = chunk !== this.#chunk && chunk.bytes.length === CHUNK_BYTES;
    if (isOfUse && this.#spares.length < SPARES_MAX) this.#spares.push(chunk);
  }
}

export class Batch {
  readonly #arena: Arena;
  #chunk: Chunk;
  #start: number;
  #end: number;
  #records = 0;
  /** Of its entries, in order: index, and offset of the record from the batch's start. */
  readonly entryIndexes: number[] = [];
  readonly entryOffsets: number[] = [];
  readonly callbacks: (() => void)[] = [];
  /** Lowest index of its entries; Infinity without any. */
  firstIndex = Number.POSITIVE_INFINITY;
  /** The log's last index once this batch is stored. */
  lastIndex: number;
  hardState: HardState | null = null;
  base: EntryId | null = null;

  constructor(arena: Arena, lastIndex: number) {
    this.#arena = arena;
    this.#chunk = arena.reserve(BATCH_HEADER_BYTES, null, 0, 0);
    this.#start = arena.reservedAt;
    this.#end = this.#start + BATCH_HEADER_BYTES;
    this.lastIndex = lastIndex;
  }

  get records(): number {
    return this.#records;
  }

  /** Bytes it takes on the disk, header and filling included. */
  get length(): number {
    return alignUp(this.#end - this.#start, BATCH_ALIGNMENT);
  }

  /** Header (room for it), records and filling. Nothing may be added afterwards; closing again does nothing. */
  close(): Buffer {
    const filling = this.length - (this.#end - this.#start);
    if (filling > 0) {
      const from = this.#grow(filling);
      this.#chunk.bytes.fill(FILLING, from, from + filling);
    }
    return this.#chunk.bytes.subarray(this.#start, this.#end);
  }

  /** The disk has it: its memory may go, but for what else holds it. Once. */
  release(): void {
    this.#chunk.release();
  }

  addHardState(state: HardState): void {
    const at = this.#grow(HARD_STATE_BYTES);
    encodeHardState(this.#chunk.bytes, at, state);
    this.#records += 1;
    this.hardState = state;
  }

  addBase(base: EntryId): void {
    const at = this.#grow(RECORD_HEADER_BYTES);
    encodeBase(this.#chunk.bytes, at, base);
    this.#records += 1;
    this.base = base;
  }

  addRestart(base: EntryId): void {
    const at = this.#grow(RECORD_HEADER_BYTES);
    encodeRestart(this.#chunk.bytes, at, base);
    this.#records += 1;
    this.base = base;
    this.lastIndex = base.index;
  }

  /** Memory that holds what was added last. */
  get chunk(): Chunk {
    return this.#chunk;
  }

  /** Copies the payload, and gives where in `chunk` the copy lies. */
  addEntry(entry: Entry): number {
    const { index, payload } = entry;
    const at = this.#grow(recordBytes(payload.length));
    const payloadAt = at + RECORD_HEADER_BYTES;
    this.#chunk.bytes.set(payload, payloadAt);
    encodeEntry(this.#chunk.bytes, at, entry, payload.length);
    this.#records += 1;
    this.entryIndexes.push(index);
    this.entryOffsets.push(at - this.#start);
    this.firstIndex = Math.min(this.firstIndex, index);
    this.lastIndex = index;
    return payloadAt;
  }

  /** Makes room at the end and gives where it is; the batch may have moved to another buffer afterwards. */
  #grow(bytes: number): number {
    const used = this.#end - this.#start;
    this.#chunk = this.#arena.reserve(bytes, this.#chunk, this.#start, used);
    this.#start = this.#arena.reservedAt;
    this.#end = this.#start + used + bytes;
    return this.#end - bytes;
  }
}
