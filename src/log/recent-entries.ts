/**
 * The newest entries, whole, in memory: what a follower that lags a little is sent. Their payloads lie in the memory of the
 * batches that wrote them, which is used again when they are forgotten; there is no object for an entry, because tens of
 * thousands that live for seconds kept V8's collectors busier than all else. Reads nothing and decides nothing.
 */

import type { Entry, EntryKind } from "../raft/entry.ts";
import type { Chunk } from "./batch.ts";

/** What an entry costs beside its payload, roughly: its places here, its record's header and filling. */
const ENTRY_OVERHEAD_BYTES = 96;
const BLOCK_ENTRIES = 1024;
/** Between payloads that are copied together: a record's header and filling, a batch's, and little more. */
const GAP_BYTES_MAX = 512;

/** Places of consecutive entries, a column each. Blocks do not grow: arrays that do leave their smaller selves behind. */
class Block {
  readonly chunks: (Chunk | null)[] = new Array(BLOCK_ENTRIES).fill(null);
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

  /**
   * Adds copies of the entries from..to-1, all of which it holds, to `found`: who takes them may keep them. What lies side by
   * side is copied at once.
   */
  read(from: number, to: number, found: Entry[]): void {
    for (let index = from; index < to; ) index = this.#readRun(index, to, found);
  }

  /** Entries of one chunk that lie behind each other. Gives the index after the last. */
  #readRun(from: number, to: number, found: Entry[]): number {
    const first = this.#head + from - this.#first;
    const chunk = this.#blockOf(first).chunks[first % BLOCK_ENTRIES] as Chunk;
    const start = this.#offset(first);
    let end = start + this.#length(first);
    let at = first + 1;
    for (; at < first + to - from; at += 1) {
      const gap = this.#offset(at) - end;
      const isNext = this.#blockOf(at).chunks[at % BLOCK_ENTRIES] === chunk && gap >= 0;
      if (!isNext || gap > GAP_BYTES_MAX) break;
      end = this.#offset(at) + this.#length(at);
    }
    // Never of no bytes: Node's crc32 behind others takes a view of such memory for no bytes and no others.
    const copy = Buffer.allocUnsafeSlow(Math.max(1, end - start));
    chunk.bytes.copy(copy, 0, start, end);
    for (let place = first; place < at; place += 1) {
      const block = this.#blockOf(place);
      const payload = new Uint8Array(copy.buffer, this.#offset(place) - start, this.#length(place));
      const term = block.terms[place % BLOCK_ENTRIES] as number;
      const kind = block.kinds[place % BLOCK_ENTRIES] as EntryKind;
      found.push({ index: from + place - first, term, kind, payload });
    }
    return from + at - first;
  }

  #blockOf(at: number): Block {
    return this.#blocks[Math.floor(at / BLOCK_ENTRIES)] as Block;
  }

  #offset(at: number): number {
    return this.#blockOf(at).offsets[at % BLOCK_ENTRIES] as number;
  }

  #length(at: number): number {
    return this.#blockOf(at).lengths[at % BLOCK_ENTRIES] as number;
  }

  /**
   * Its payload lies in `chunk` from `offset` on, and stays as it is while that is held. What stood from its index on is
   * forgotten.
   */
  put(entry: Entry, chunk: Chunk, offset: number): void {
    if (entry.index < this.#first) this.clear(entry.index);
    while (this.#count > entry.index - this.#first) this.#pop();
    const at = this.#head + this.#count;
    const place = at % BLOCK_ENTRIES;
    if (place === 0) this.#blocks.push(this.#spare ?? new Block());
    if (place === 0) this.#spare = null;
    const block = this.#blocks[Math.floor(at / BLOCK_ENTRIES)] as Block;
    chunk.hold();
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
    block.chunks[place]?.release();
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
    while (this.#count > 0) this.#pop();
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
