/**
 * The batch that nearly every write is: one statement with values by position, and nothing else. Read where it lies,
 * without an object for each of its parts. What is another batch, or malformed, is left to decodeBatch.
 */

import { TextCache } from "./text-cache.ts";
import type { SqliteValue } from "./value-codec.ts";

const STATEMENT_TAG = 10;
const SQL_TAG = 10;
const VALUE_TAG = 18;
const INTEGER_TAG = 8;
const REAL_TAG = 17;
const TEXT_TAG = 26;
const BLOB_TAG = 34;
/** Text shorter than this is put together in JavaScript if it is ASCII. */
const SHORT_TEXT = 16;

export class PlainBatchReader {
  readonly #texts = new TextCache();
  #buffer: Buffer = Buffer.alloc(0);
  #at = 0;
  #end = 0;
  #count = 0;
  /** Of the batch read last. */
  sql = "";
  /** Of the batch read last, as SQLite binds them; the same array each time. A blob is a view. */
  readonly values: SqliteValue[] = [];

  /** Reads bytes[from .. to). False: it is not such a batch, or not whole. */
  read(bytes: Buffer, from: number, to: number): boolean {
    this.#buffer = bytes;
    this.#at = from;
    this.#end = to;
    this.#count = 0;
    if (!this.#enters(STATEMENT_TAG) || this.#lengthLeft() !== 0) return false;
    if (!this.#readsText()) return false;
    while (this.#at < to) if (!this.#readsValue()) return false;
    if (this.values.length > this.#count) this.values.length = this.#count;
    return true;
  }

  #gives(value: SqliteValue): true {
    this.values[this.#count] = value;
    this.#count += 1;
    return true;
  }

  #lengthLeft(): number {
    const length = this.#length();
    return this.#end - this.#at - length;
  }

  /** The next byte is this tag. */
  #enters(tag: number): boolean {
    if (this.#at >= this.#end || this.#buffer[this.#at] !== tag) return false;
    this.#at += 1;
    return true;
  }

  /** −1 if it is longer than what is left. */
  #length(): number {
    let length = 0;
    for (let shift = 0; shift < 28 && this.#at < this.#end; shift += 7) {
      const byte = this.#buffer[this.#at] as number;
      this.#at += 1;
      length |= (byte & 0x7f) << shift;
      if (byte < 0x80) return length > this.#end - this.#at ? -1 : length;
    }
    return -1;
  }

  #readsText(): boolean {
    if (!this.#enters(SQL_TAG)) return false;
    const length = this.#length();
    if (length < 0) return false;
    this.sql = this.#texts.text(this.#buffer, this.#at, this.#at + length);
    this.#at += length;
    return true;
  }

  #readsValue(): boolean {
    if (!this.#enters(VALUE_TAG)) return false;
    const length = this.#length();
    if (length < 0) return false;
    const end = this.#at + length;
    if (length === 0) return this.#gives(null);
    const tag = this.#buffer[this.#at];
    this.#at += 1;
    if (tag === INTEGER_TAG) return this.#readsInteger(end);
    if (tag === REAL_TAG) return this.#readsReal(end);
    if (tag !== TEXT_TAG && tag !== BLOB_TAG) return false;
    const bytes = this.#length();
    if (bytes < 0 || this.#at + bytes !== end) return false;
    const from = this.#at;
    this.#at = end;
    return this.#gives(tag === TEXT_TAG ? this.#text(from, end) : this.#buffer.subarray(from, end));
  }

  #text(from: number, to: number): string {
    if (to - from >= SHORT_TEXT) return this.#buffer.toString("utf8", from, to);
    let text = "";
    for (let at = from; at < to; at += 1) {
      const byte = this.#buffer[at] as number;
      if (byte > 0x7f) return this.#buffer.toString("utf8", from, to);
      text += String.fromCharCode(byte);
    }
    return text;
  }

  #readsInteger(end: number): boolean {
    const begin = this.#at;
    let value = 0;
    let scale = 1;
    // As far as a number can hold it.
    const bytesMax = Math.min(end, begin + 7);
    while (this.#at < bytesMax) {
      const byte = this.#buffer[this.#at] as number;
      this.#at += 1;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return this.#at === end && this.#gives(BigInt(value));
      scale *= 128;
    }
    return this.#readsLong(begin, end);
  }

  /** Negative, or beyond 2^49. */
  #readsLong(begin: number, end: number): boolean {
    let value = 0n;
    for (let at = begin; at < Math.min(end, begin + 10); at += 1) {
      const byte = this.#buffer[at] as number;
      value |= BigInt(byte & 0x7f) << BigInt(7 * (at - begin));
      if (byte < 0x80) {
        this.#at = at + 1;
        return this.#at === end && this.#gives(BigInt.asIntN(64, value));
      }
    }
    return false;
  }

  #readsReal(end: number): boolean {
    if (end - this.#at !== 8) return false;
    const at = this.#at;
    this.#at = end;
    return this.#gives(this.#buffer.readDoubleLE(at));
  }
}
