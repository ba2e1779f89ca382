/** The newest entries, whole, in memory: what replication and applying ask for. Reads nothing and decides nothing. */

import type { Entry } from "../raft/entry.ts";

/** What an entry costs beside its payload, roughly: two objects and its record's header. */
const ENTRY_OVERHEAD_BYTES = 256;
const COMPACT_FROM = 1024;

export class RecentEntries {
  readonly #bytesMax: number;
  /** Consecutive entries; those before #head were evicted. */
  #entries: (Entry | null)[] = [];
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
    return this.#entries[this.#head + index - this.#first] as Entry;
  }

  /** What stood from its index on is forgotten. */
  put(entry: Entry): void {
    if (entry.index < this.#first) this.clear(entry.index);
    while (this.#entries.length - this.#head > entry.index - this.#first) {
      this.#bytes -= cost(this.#entries.pop() as Entry);
    }
    this.#entries.push(entry);
    this.#bytes += cost(entry);
  }

  /** Forgets the oldest until the rest fits; nothing from `pinnedFrom` on, which the disk may not hold yet. */
  evict(pinnedFrom: number): void {
    while (this.#bytes > this.#bytesMax && this.#first < pinnedFrom) {
      const entry = this.#entries[this.#head];
      if (entry === undefined || entry === null) return;
      this.#bytes -= cost(entry);
      this.#entries[this.#head] = null;
      this.#head += 1;
      this.#first += 1;
    }
    if (this.#head >= COMPACT_FROM && this.#head * 2 >= this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
  }

  /** Holds nothing; the next entry put has this index. */
  clear(nextIndex: number): void {
    this.#entries = [];
    this.#head = 0;
    this.#bytes = 0;
    this.#first = nextIndex;
  }
}

function cost(entry: Entry): number {
  return entry.payload.length + ENTRY_OVERHEAD_BYTES;
}
