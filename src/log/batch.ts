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

/**
 * Memory for batches, one behind the other. The payloads of recent entries are views of it, so it is never reused; a
 * chunk goes when the last entry in it is forgotten.
 */
export class Arena {
  #chunk: Buffer = Buffer.alloc(0);
  #used = 0;

  /** Room for `bytes`, after `keep` bytes which are copied there from `from`. Gives where they start. */
  reserve(bytes: number, from: Buffer, start: number, keep: number): { chunk: Buffer; at: number } {
    const extends_ = from === this.#chunk && start + keep === this.#used && keep > 0;
    const at = extends_ ? start : this.#used;
    if (at + keep + bytes <= this.#chunk.length) {
      if (!extends_ && keep > 0) from.copy(this.#chunk, at, start, start + keep);
      this.#used = at + keep + bytes;
      return { chunk: this.#chunk, at };
    }
    this.#chunk = Buffer.allocUnsafeSlow(Math.max(CHUNK_BYTES, 2 * (keep + bytes)));
    from.copy(this.#chunk, 0, start, start + keep);
    this.#used = keep + bytes;
    return { chunk: this.#chunk, at: 0 };
  }
}

export class Batch {
  readonly #arena: Arena;
  #buffer: Buffer;
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
    const { chunk, at } = arena.reserve(BATCH_HEADER_BYTES, Buffer.alloc(0), 0, 0);
    this.#buffer = chunk;
    this.#start = at;
    this.#end = at + BATCH_HEADER_BYTES;
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
      this.#buffer.fill(FILLING, from, from + filling);
    }
    return this.#buffer.subarray(this.#start, this.#end);
  }

  addHardState(state: HardState): void {
    const at = this.#grow(HARD_STATE_BYTES);
    encodeHardState(this.#buffer, at, state);
    this.#records += 1;
    this.hardState = state;
  }

  addBase(base: EntryId): void {
    const at = this.#grow(RECORD_HEADER_BYTES);
    encodeBase(this.#buffer, at, base);
    this.#records += 1;
    this.base = base;
  }

  addRestart(base: EntryId): void {
    const at = this.#grow(RECORD_HEADER_BYTES);
    encodeRestart(this.#buffer, at, base);
    this.#records += 1;
    this.base = base;
    this.lastIndex = base.index;
  }

  /** Memory that holds what was added last. */
  get chunk(): ArrayBufferLike {
    return this.#buffer.buffer;
  }

  /** Copies the payload, and gives where in `chunk` the copy lies. */
  addEntry(entry: Entry): number {
    const { index, payload } = entry;
    const at = this.#grow(recordBytes(payload.length));
    const payloadAt = at + RECORD_HEADER_BYTES;
    this.#buffer.set(payload, payloadAt);
    encodeEntry(this.#buffer, at, entry, payload.length);
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
    const { chunk, at } = this.#arena.reserve(bytes, this.#buffer, this.#start, used);
    this.#buffer = chunk;
    this.#start = at;
    this.#end = at + used + bytes;
    return this.#end - bytes;
  }
}
