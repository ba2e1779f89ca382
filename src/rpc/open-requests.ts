/**
 * What is under way on a stream, by the client's ids. Not a Map: one that is added to and deleted from makes itself new
 * tables, and the dead ones, each of which holds its last entries and the next table, keep what came after them from being
 * collected young, once the first has grown old: all that a request had left behind.
 */

const SLOTS_MIN = 64;
/** Spreads ids that have their low bits in common (Knuth's multiplicative hashing: 2^32 by the golden ratio). */
const SPREAD = 0x9e3779b1;

export class OpenRequests<T extends { readonly id: number }> {
  #slots: (T | null)[] = emptySlots(SLOTS_MIN);
  #mask = SLOTS_MIN - 1;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): T | null {
    return this.#slots[this.#find(id)] ?? null;
  }

  has(id: number): boolean {
    return this.get(id) !== null;
  }

  /** Its id must not be in use. */
  add(item: T): void {
    if (this.#size * 2 >= this.#slots.length) this.#grow();
    this.#slots[this.#find(item.id)] = item;
    this.#size += 1;
  }

  /** Does nothing if there is none. Those that stand behind it because its place was taken move up. */
  delete(id: number): void {
    let hole = this.#find(id);
    if (this.#slots[hole] === null) return;
    this.#size -= 1;
    this.#slots[hole] = null;
    for (let at = (hole + 1) & this.#mask; ; at = (at + 1) & this.#mask) {
      const item = this.#slots[at] ?? null;
      if (item === null) return;
      const passed = (at - this.#home(item.id)) & this.#mask;
      if (passed < ((at - hole) & this.#mask)) continue;
      this.#slots[hole] = item;
      this.#slots[at] = null;
      hole = at;
    }
  }

  /** In no order. */
  values(): T[] {
    return this.#slots.filter((item) => item !== null);
  }

  clear(): void {
    this.#slots = emptySlots(SLOTS_MIN);
    this.#mask = SLOTS_MIN - 1;
    this.#size = 0;
  }

  #home(id: number): number {
    return (Math.imul(id, SPREAD) >>> 8) & this.#mask;
  }

  /** Where it is, or where it would be put. */
  #find(id: number): number {
    let at = this.#home(id);
    for (;;) {
      const item = this.#slots[at] ?? null;
      if (item === null || item.id === id) return at;
      at = (at + 1) & this.#mask;
    }
  }

  #grow(): void {
    const items = this.values();
    this.#slots = emptySlots(this.#slots.length * 2);
    this.#mask = this.#slots.length - 1;
    for (const item of items) this.#slots[this.#find(item.id)] = item;
  }
}

function emptySlots<T>(count: number): (T | null)[] {
  return new Array<T | null>(count).fill(null);
}
