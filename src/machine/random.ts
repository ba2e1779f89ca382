/** Random numbers that are the same wherever the same seed is given: xoshiro128**, seeded by splitmix. */

const MAX_INT64 = 2n ** 63n - 1n;

export class SeededRandom {
  readonly #state = new Uint32Array(4);

  /** Three words of 32 bits. */
  seed(high: number, low: number, stream: number): void {
    let x = Math.imul(stream + 1, 0x9e3779b9) ^ low;
    for (let i = 0; i < 4; i++) {
      // splitmix32; the other half of the seed enters on the way.
      x = (x + 0x9e3779b9) | 0;
      let z = i === 1 ? x ^ high : x;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      z ^= z >>> 15;
      this.#state[i] = z;
      if (i === 1) x ^= z;
    }
    // All zeros would stay so.
    this.#state[3] = (this.#state[3] ?? 0) | 1;
    for (let i = 0; i < 8; i++) this.next();
  }

  /** 32 bits, unsigned. */
  next(): number {
    const s = this.#state;
    const s0 = s[0] ?? 0;
    const s1 = s[1] ?? 0;
    const s2 = (s[2] ?? 0) ^ s0;
    const s3 = (s[3] ?? 0) ^ s1;
    const scaled = Math.imul(s1, 5);
    const result = Math.imul((scaled << 7) | (scaled >>> 25), 9) >>> 0;
    s[1] = s1 ^ s2;
    s[0] = s0 ^ s3;
    s[2] = s2 ^ (s1 << 9);
    s[3] = (s3 << 11) | (s3 >>> 21);
    return result;
  }

  /** As SQLite's random(): any 64-bit integer but the smallest, whose abs() would overflow. */
  int64(): bigint {
    const value = (BigInt(this.next() | 0) << 32n) | BigInt(this.next());
    return value < 0n ? -(value & MAX_INT64) : value;
  }

  fill(bytes: Buffer): void {
    let at = 0;
    for (; at + 4 <= bytes.length; at += 4) bytes.writeUInt32LE(this.next(), at);
    for (let rest = at < bytes.length ? this.next() : 0; at < bytes.length; at++, rest >>>= 8) {
      bytes[at] = rest & 0xff;
    }
  }
}
