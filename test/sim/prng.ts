/** A seeded generator (splitmix32): small, fast, good enough for dice. Streams with other labels are independent. */
export class Prng {
  #state: number;

  constructor(seed: number, label: string) {
    let state = seed >>> 0;
    for (let at = 0; at < label.length; at += 1) {
      state = Math.imul(state ^ label.charCodeAt(at), 0x9e3779b1) >>> 0;
      state ^= state >>> 15;
    }
    this.#state = state;
  }

  /** 0 ≤ n < 1. */
  next(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  }

  /** A whole number, 0 ≤ n < below. */
  below(below: number): number {
    return Math.floor(this.next() * below);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError("nothing to pick from");
    return item;
  }
}
