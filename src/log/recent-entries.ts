/**
 * The newest entries, whole, in memory: what a follower that lags a little is sent. Their payloads lie in the memory of the
 * batches that wrote them; there is no object for an entry, because tens of thousands that live for seconds kept V8's
 * collectors busier than all else. Reads nothing and decides nothing.
 */

import type { Entry, EntryKind } from "../raft/entry.ts";

/** What an entry costs beside its payload, roughly: its places here, its record's header and filling. */
const ENTRY_OVERHEAD_BYTES = 96;
const BLOCK_ENTRIES = 1024;

/** Places of consecutive entries, a column each. Blocks do not grow: arrays that do leave their smaller selves behind. */
class Block {
  readonly chunks: (ArrayBufferLike | null)[] = new Array(BLOCK_ENTRIES).fill(null);
  readonly kinds: EntryKind[] = new Array(BLOCK_ENTRIES).fill("noop");
  readonly terms = new Float64Array(BLOCK_ENTRIES);
  readonly offsets = new Uint32Array(BLOCK_ENTRIES);
  readonly lengths = new Uint32Array(BLOCK_ENTRIES);
}

export class RecentEntries {
  readonly #bytesMax: number;
  readonly #blocks: Block[] = [];
  /** One that was left is the next one needed: under load it is used again and again. */
  #spare: Block | null = null;
  /** Of the first entry held, in the first block. */
  #head = 0;
  #count = 0;
  #bytes = 0;
  /** Index of the first one held; of the next one if none is. */
  #first: number;

  constructor(bytesMax: number, nextIndex: number) {
    this.#bytesMax = bytesMax;
    this.#first = nextIndex;
  }

  get first(): number {
    return this.#first;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Of an index from `first` up to the last one put. */
  get(index: number): Entry {
    const at = this.#head + index - this.#first;
    const block = this.#blocks[Math.floor(at / BLOCK_ENTRIES)] as Block;
    const place = at % BLOCK_ENTRIES;
    const chunk = block.chunks[place] as ArrayBufferLike;
    const payload = new Uint8Array(chunk, block.offsets[place], block.lengths[place]);
    const term = block.terms[place] as number;
    return { index, term, kind: block.kinds[place] as EntryKind, payload };
  }

  /** Its payload lies in `chunk` from `offset` on, and stays as it is. What stood from its index on is forgotten. */
  put(entry: Entry, chunk: ArrayBufferLike, offset: number): void {
    if (entry.index < this.#first) this.clear(entry.index);
    while (this.#count > entry.index - this.#first) this.#pop();
    const at = this.#head + this.#count;
    const place = at % BLOCK_ENTRIES;
    if (place === 0) this.#blocks.push(this.#spare ?? new Block());
    if (place === 0) this.#spare = null;
    const block = this.#blocks[Math.floor(at / BLOCK_ENTRIES)] as Block;
    block.chunks[place] = chunk;
    block.kinds[place] = entry.kind;
    block.terms[place] = entry.term;
    block.offsets[place] = offset;
    block.lengths[place] = entry.payload.length;
    this.#count += 1;
    this.#bytes += cost(entry.payload.length);
  }

  #pop(): void {
    this.#count -= 1;
    const at = this.#head + this.#count;
    this.#forget(at);
    if (at % BLOCK_ENTRIES === 0) this.#spare = this.#blocks.pop() as Block;
  }

  #forget(at: number): void {
    const block = this.#blocks[Math.floor(at / BLOCK_ENTRIES)] as Block;
    const place = at % BLOCK_ENTRIES;
    this.#bytes -= cost(block.lengths[place] as number);
    block.chunks[place] = null;
  }

  /** Forgets the oldest until the rest fits; nothing from `pinnedFrom` on, which the disk may not hold yet. */
  evict(pinnedFrom: number): void {
    while (this.#bytes > this.#bytesMax && this.#first < pinnedFrom && this.#count > 0) {
      this.#forget(this.#head);
      this.#first += 1;
      this.#count -= 1;
      this.#head += 1;
      if (this.#head < BLOCK_ENTRIES) continue;
      this.#head = 0;
      this.#spare = this.#blocks.shift() as Block;
    }
  }

  /** Holds nothing; the next entry put has this index. */
  clear(nextIndex: number): void {
    this.#blocks.length = 0;
    this.#head = 0;
    this.#count = 0;
    this.#bytes = 0;
    this.#first = nextIndex;
  }
}

function cost(payloadBytes: number): number {
  return payloadBytes + ENTRY_OVERHEAD_BYTES;
}
