/**
 * Rows as bytes to be hashed: each value with its kind and its length, so that no two rows come to the same. Gathers small
 * ones; holds one row at most. What is made of the bytes is the sink's business.
 */

const GATHER_BYTES = 64 * 1024;
/** Kind and length. */
const HEAD_BYTES = 5;
const KIND = { row: 0, null: 1, integer: 2, real: 3, text: 4, blob: 5 } as const;
/** A character that a decoder puts where bytes are no text. */
const REPLACED = "\uFFFD";

export class RowBytes {
  readonly #sink: (bytes: Uint8Array) => void;
  readonly #buffer = Buffer.allocUnsafe(GATHER_BYTES);
  #at = 0;
  /** Bytes so far. */
  total = 0;

  constructor(sink: (bytes: Uint8Array) => void) {
    this.#sink = sink;
  }

  /**
   * Values as better-sqlite3 gives them with safe integers. False, and nothing was taken, if text may have lost bytes, unless
   * it may.
   */
  plain(row: readonly unknown[], mayLoseBytes = false): boolean {
    for (const value of row) {
      if (!mayLoseBytes && typeof value === "string" && value.includes(REPLACED)) return false;
    }
    this.#head(KIND.row, row.length);
    for (const value of row) {
      if (typeof value === "string") this.#text(value);
      else this.#value(value, KIND.blob);
    }
    return true;
  }

  /** Each value, text as its bytes, followed by SQLite's name of its kind. */
  exact(row: readonly unknown[]): void {
    this.#head(KIND.row, row.length / 2);
    for (let at = 0; at < row.length; at += 2) {
      const value = row[at];
      if (typeof value === "string") this.#text(value);
      else this.#value(value, row[at + 1] === "text" ? KIND.text : KIND.blob);
    }
  }

  /** What was gathered goes to the sink. */
  flush(): void {
    if (this.#at > 0) this.#sink(this.#buffer.subarray(0, this.#at));
    this.#at = 0;
  }

  #value(value: unknown, kind: number): void {
    if (typeof value === "bigint") {
      this.#head(KIND.integer, 8);
      this.#at = this.#buffer.writeBigInt64LE(value, this.#at);
      this.total += 8;
    } else if (typeof value === "number") {
      this.#head(KIND.real, 8);
      this.#at = this.#buffer.writeDoubleLE(value, this.#at);
      this.total += 8;
    } else if (value instanceof Uint8Array) this.#bytes(kind, value);
    else this.#head(KIND.null, 0);
  }

  #text(value: string): void {
    // A unit of UTF-16 takes three bytes at most.
    if (value.length * 3 > GATHER_BYTES - HEAD_BYTES)
      return this.#bytes(KIND.text, Buffer.from(value));
    if (this.#at + HEAD_BYTES + value.length * 3 > GATHER_BYTES) this.flush();
    const begin = this.#at + HEAD_BYTES;
    const size = this.#buffer.write(value, begin);
    this.#head(KIND.text, size);
    this.#at = begin + size;
    this.total += size;
  }

  #bytes(kind: number, value: Uint8Array): void {
    this.#head(kind, value.length);
    this.total += value.length;
    if (this.#at + value.length > GATHER_BYTES) this.flush();
    if (value.length > GATHER_BYTES) return this.#sink(value);
    this.#buffer.set(value, this.#at);
    this.#at += value.length;
  }

  /** Leaves room for a number behind it. */
  #head(kind: number, length: number): void {
    if (this.#at + HEAD_BYTES + 8 > GATHER_BYTES) this.flush();
    this.#buffer[this.#at] = kind;
    this.#at = this.#buffer.writeUInt32LE(length, this.#at + 1);
    this.total += HEAD_BYTES;
  }
}
