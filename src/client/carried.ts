/**
 * The requests that one connection carries, by id. A ring of slots rather than a Map: a Map that is added to and deleted
 * from makes itself a new table again and again, and each dead one holds the entries that it had and the table that came
 * after it, so what has once grown old keeps every later request from being collected young (a quarter of a client's time).
 */

const SLOTS_MIN = 256;
const ID_MAX = 0xffff_ffff;

interface Identified {
  id: number;
}

export class Carried<T extends Identified> {
  #slots: (T | null)[] = emptySlots(SLOTS_MIN);
  #mask = SLOTS_MIN - 1;
  #size = 0;
  #lastId = 0;

  get size(): number {
    return this.#size;
  }

  /** Gives it the next id whose slot is free. Ids run through 32 bits, so that a late answer finds nobody. */
  add(item: T): void {
    if (this.#size * 2 >= this.#slots.length) this.#grow();
    let id = this.#lastId;
    do id = id >= ID_MAX ? 1 : id + 1;
    while (this.#slots[id & this.#mask] !== null);
    this.#lastId = id;
    item.id = id;
    this.#slots[id & this.#mask] = item;
    this.#size += 1;
  }

  get(id: number): T | null {
    const item = this.#slots[id & this.#mask] ?? null;
    return item !== null && item.id === id ? item : null;
  }

  delete(id: number): void {
    if (this.get(id) === null) return;
    this.#slots[id & this.#mask] = null;
    this.#size -= 1;
  }

  /** All of them, the oldest first, but where ids have begun anew. */
  takeAll(): T[] {
    const items = this.#slots.filter((item) => item !== null);
    this.#slots = emptySlots(SLOTS_MIN);
    this.#mask = SLOTS_MIN - 1;
    this.#size = 0;
    return items.sort((a, b) => a.id - b.id);
  }

  /** Ids that differ in their low bits differ in more of them: none meets another. */
  #grow(): void {
    const before = this.#slots;
    this.#slots = emptySlots(before.length * 2);
    this.#mask = this.#slots.length - 1;
    for (const item of before) if (item !== null) this.#slots[item.id & this.#mask] = item;
  }
}

function emptySlots<T>(count: number): (T | null)[] {
  return new Array<T | null>(count).fill(null);
}
