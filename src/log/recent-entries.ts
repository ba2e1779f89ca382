/**
 * The newest entries, whole, in memory: what replication and applying ask for. Their payloads lie in the memory of the
 * batches that wrote them; there is no object for an entry, because tens of thousands that live for seconds kept V8's
 * collectors busier than all else. Reads nothing and decides nothing.
 */

import type { Entry, EntryKind } from "../raft/entry.ts";

/** What an entry costs beside its payload, roughly: its places here, its record's header and filling. */
const ENTRY_OVERHEAD_BYTES = 96;
const COMPACT_FROM = 1024;

export class RecentEntries {
  readonly #bytesMax: number;
  // Consecutive entries, a column each; those before #head were evicted.
  #chunks: (ArrayBufferLike | null)[] = [];
  #offsets: number[] = [];
  #lengths: number[] = [];
  #terms: number[] = [];
  #kinds: EntryKind[] = [];
  #head = 0;
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
    const chunk = this.#chunks[at] as ArrayBufferLike;
    const payload = new Uint8Array(chunk, this.#offsets[at] as number, this.#lengths[at] as number);
    return { index, term: this.#terms[at] as number, kind: this.#kinds[at] as EntryKind, payload };
  }

  /** Its payload lies in `chunk` from `offset` on, and stays as it is. What stood from its index on is forgotten. */
  put(entry: Entry, chunk: ArrayBufferLike, offset: number): void {
    if (entry.index < this.#first) this.clear(entry.index);
    while (this.#lengths.length - this.#head > entry.index - this.#first) this.#pop();
    this.#chunks.push(chunk);
    this.#offsets.push(offset);
    this.#lengths.push(entry.payload.length);
    this.#terms.push(entry.term);
    this.#kinds.push(entry.kind);
    this.#bytes += cost(entry.payload.length);
  }

  #pop(): void {
    this.#bytes -= cost(this.#lengths.pop() as number);
    this.#chunks.pop();
    this.#offsets.pop();
    this.#terms.pop();
    this.#kinds.pop();
  }

  /** Forgets the oldest until the rest fits; nothing from `pinnedFrom` on, which the disk may not hold yet. */
  evict(pinnedFrom: number): void {
    while (this.#bytes > this.#bytesMax && this.#first < pinnedFrom) {
      if (this.#head === this.#lengths.length) return;
      this.#bytes -= cost(this.#lengths[this.#head] as number);
      this.#chunks[this.#head] = null;
      this.#head += 1;
      this.#first += 1;
    }
    if (this.#head >= COMPACT_FROM && this.#head * 2 >= this.#lengths.length) this.#compact();
  }

  #compact(): void {
    this.#chunks = this.#chunks.slice(this.#head);
    this.#offsets = this.#offsets.slice(this.#head);
    this.#lengths = this.#lengths.slice(this.#head);
    this.#terms = this.#terms.slice(this.#head);
    this.#kinds = this.#kinds.slice(this.#head);
    this.#head = 0;
  }

  /** Holds nothing; the next entry put has this index. */
  clear(nextIndex: number): void {
    this.#head = this.#lengths.length;
    this.#compact();
    this.#bytes = 0;
    this.#first = nextIndex;
  }
}

function cost(payloadBytes: number): number {
  return payloadBytes + ENTRY_OVERHEAD_BYTES;
}
