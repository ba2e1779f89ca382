/**
 * Where each entry of the log lies, its term and its length: 20 bytes an entry, in blocks, no object per entry.
 * Reads no file and holds no payload.
 */

import type { EntryId } from "../raft/entry.ts";
import { invariant } from "../sql/invariant.ts";

const BLOCK_ENTRIES = 4096;

interface Block {
  readonly terms: Float64Array;
  readonly payloadBytes: Uint32Array;
  readonly segments: Uint32Array;
  readonly offsets: Uint32Array;
}

function newBlock(): Block {
  return {
    terms: new Float64Array(BLOCK_ENTRIES),
    payloadBytes: new Uint32Array(BLOCK_ENTRIES),
    segments: new Uint32Array(BLOCK_ENTRIES),
    offsets: new Uint32Array(BLOCK_ENTRIES),
  };
}

export class EntryIndex {
  readonly #blocks = new Map<number, Block>();
  #base: EntryId;
  #last: number;

  constructor(base: EntryId) {
    this.#base = base;
    this.#last = base.index;
  }

  /** The last entry that was dropped: its term is known, nothing else. */
  get base(): EntryId {
    return this.#base;
  }

  get last(): number {
    return this.#last;
  }

  /** Adds an entry; whatever stood from its index on is forgotten. Its place may be told later. */
  put(index: number, term: number, payloadBytes: number): void {
    invariant(index > this.#base.index, "an entry at or below the log's base");
    invariant(index <= this.#last + 1, "an entry beyond the end of the log");
    const number = Math.floor(index / BLOCK_ENTRIES);
    let block = this.#blocks.get(number);
    if (block === undefined) {
      block = newBlock();
      this.#blocks.set(number, block);
    }
    const at = index % BLOCK_ENTRIES;
    block.terms[at] = term;
    block.payloadBytes[at] = payloadBytes;
    if (index <= this.#last) this.#dropBlocksAbove(number);
    this.#last = index;
  }

  place(index: number, segment: number, offset: number): void {
    if (index > this.#last || index <= this.#base.index) return;
    const block = this.#block(index);
    block.segments[index % BLOCK_ENTRIES] = segment;
    block.offsets[index % BLOCK_ENTRIES] = offset;
  }

  term(index: number): number {
    if (index === this.#base.index) return this.#base.term;
    return this.#block(index).terms[index % BLOCK_ENTRIES] as number;
  }

  payloadBytes(index: number): number {
    return this.#block(index).payloadBytes[index % BLOCK_ENTRIES] as number;
  }

  /** Number of the segment that holds it. Only once it was placed. */
  segment(index: number): number {
    return this.#block(index).segments[index % BLOCK_ENTRIES] as number;
  }

  /** Of the record in its segment. Only once it was placed. */
  offset(index: number): number {
    return this.#block(index).offsets[index % BLOCK_ENTRIES] as number;
  }

  /** The first index from which on there are at most so many entries, and bytes of payload. */
  tailFrom(entries: number, bytes: number): number {
    const lowest = Math.max(this.#base.index + 1, this.#last + 1 - Math.floor(entries));
    let from = this.#last + 1;
    let left = bytes;
    // Block by block: this looks at a hundred thousand entries.
    while (from > lowest) {
      const number = Math.floor((from - 1) / BLOCK_ENTRIES);
      const { payloadBytes } = this.#block(from - 1);
      const start = Math.max(lowest, number * BLOCK_ENTRIES);
      for (; from > start; from -= 1) {
        left -= payloadBytes[(from - 1) % BLOCK_ENTRIES] as number;
        if (left < 0) return from;
      }
    }
    return from;
  }

  /** Drops all up to `base`; with a base beyond the last entry, everything. */
  rebase(base: EntryId): void {
    this.#base = base;
    this.#last = Math.max(this.#last, base.index);
    const first = Math.floor((base.index + 1) / BLOCK_ENTRIES);
    for (const number of this.#blocks.keys()) if (number < first) this.#blocks.delete(number);
  }

  /** Forgets everything; the next entry follows `base`. */
  restart(base: EntryId): void {
    this.#blocks.clear();
    this.#base = base;
    this.#last = base.index;
  }

  #block(index: number): Block {
    const inside = index > this.#base.index && index <= this.#last;
    const block = inside ? this.#blocks.get(Math.floor(index / BLOCK_ENTRIES)) : undefined;
    if (block !== undefined) return block;
    const range = `${this.#base.index + 1} to ${this.#last}`;
    invariant(false, `log index ${index} asked for, but the log holds ${range}`);
  }

  #dropBlocksAbove(kept: number): void {
    for (const number of this.#blocks.keys()) if (number > kept) this.#blocks.delete(number);
  }
}
