/**
 * Reads protobuf messages that came from outside: checks every length, and never copies what the caller does not ask to
 * be copied. What is malformed is a PROTOCOL error, never an invariant.
 */

// The global of this name is a getter, which is asked anew at each use.
import { Buffer } from "node:buffer";
import { BalsaError } from "../sql/errors.ts";
import type { TextCache } from "./text-cache.ts";

const TWO_32 = 2 ** 32;
const HIGH_LIMIT = 2 ** 21;
/** Text shorter than this is put together in JavaScript if it is ASCII: cheaper than a call into C++. */
const SHORT_TEXT = 16;

export class MessageReader {
  readonly #buffer: Buffer;
  #position: number;
  #end: number;
  #low = 0;
  #high = 0;

  constructor(bytes: Uint8Array) {
    this.#buffer = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#position = 0;
    this.#end = bytes.length;
  }

  /** The next field's tag (number × 8 + wire type), or 0 at the end of the message. */
  tag(): number {
    if (this.#position >= this.#end) return 0;
    const tag = this.#buffer[this.#position] ?? 0;
    if (tag < 0x80 && tag > 7) {
      this.#position++;
      return tag;
    }
    const long = this.uint();
    if (long < 8 || long >= TWO_32) throw malformed("a field without a number");
    return long;
  }

  /** Nothing is left of the message: how a packed list, which has no tags, is known to end. */
  get done(): boolean {
    return this.#position >= this.#end;
  }

  /** Enters a nested message; give what it returns to `leave`. */
  enter(): number {
    const length = this.#length();
    const outer = this.#end;
    this.#end = this.#position + length;
    return outer;
  }

  leave(outer: number): void {
    this.#end = outer;
  }

  /** A safe integer; anything larger is malformed for us. */
  uint(): number {
    // Nearly all are of one byte or two.
    const first = this.#buffer[this.#position] ?? 0;
    const rest = this.#end - this.#position;
    if (first < 0x80 && rest > 0) {
      this.#position += 1;
      return first;
    }
    const second = this.#buffer[this.#position + 1] ?? 0;
    if (second < 0x80 && rest > 1) {
      this.#position += 2;
      return (first & 0x7f) | (second << 7);
    }
    this.#varint();
    if (this.#high >= HIGH_LIMIT) throw malformed("a number beyond 2^53");
    return this.#high * TWO_32 + this.#low;
  }

  /** As uint32 fields are read: bits beyond the 32nd are dropped. */
  uint32(): number {
    this.#varint();
    return this.#low;
  }

  bool(): boolean {
    this.#varint();
    return this.#low !== 0 || this.#high !== 0;
  }

  /** A number when safe, else a bigint. */
  int64(): number | bigint {
    this.#varint();
    const high = this.#high | 0;
    if (high >= -HIGH_LIMIT && high < HIGH_LIMIT) {
      const value = high * TWO_32 + this.#low;
      if (value !== -Number.MAX_SAFE_INTEGER - 1) return value;
    }
    return (BigInt(high) << 32n) | BigInt(this.#low);
  }

  bigint64(): bigint {
    this.#varint();
    const high = this.#high | 0;
    if (high >= -HIGH_LIMIT && high < HIGH_LIMIT) return BigInt(high * TWO_32 + this.#low);
    return (BigInt(high) << 32n) | BigInt(this.#low);
  }

  double(): number {
    const at = this.#advance(8);
    return this.#buffer.readDoubleLE(at);
  }

  fixed32(): number {
    const at = this.#advance(4);
    const buffer = this.#buffer;
    const low = (buffer[at] as number) | ((buffer[at + 1] as number) << 8);
    return (low | ((buffer[at + 2] as number) << 16) | ((buffer[at + 3] as number) << 24)) >>> 0;
  }

  string(): string {
    const length = this.#length();
    const start = this.#advance(length);
    if (length >= SHORT_TEXT) return this.#buffer.toString("utf8", start, start + length);
    let text = "";
    for (let i = start; i < start + length; i++) {
      const byte = this.#buffer[i] ?? 0;
      if (byte > 0x7f) return this.#buffer.toString("utf8", start, start + length);
      text += String.fromCharCode(byte);
    }
    return text;
  }

  /** As `string`, for texts that come again and again. */
  knownString(cache: TextCache): string {
    const length = this.#length();
    const start = this.#advance(length);
    return cache.text(this.#buffer, start, start + length);
  }

  /** A view of the message. */
  bytes(): Buffer {
    const length = this.#length();
    const start = this.#advance(length);
    return this.#buffer.subarray(start, start + length);
  }

  /** Passes over a field that this version does not know. */
  skip(tag: number): void {
    switch (tag & 7) {
      case 0:
        this.#varint();
        return;
      case 1:
        this.#advance(8);
        return;
      case 2:
        this.#advance(this.#length());
        return;
      case 5:
        this.#advance(4);
        return;
      default:
        throw malformed(`wire type ${tag & 7}`);
    }
  }

  #length(): number {
    const length = this.uint();
    if (length > this.#end - this.#position) throw malformed("a field longer than its message");
    return length;
  }

  #advance(count: number): number {
    const at = this.#position;
    if (count > this.#end - at) throw malformed("it ends inside a field");
    this.#position = at + count;
    return at;
  }

  /** Leaves 64 bits in #low and #high, both unsigned. */
  #varint(): void {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.#position >= this.#end) throw malformed("it ends inside a number");
      const byte = this.#buffer[this.#position++] ?? 0;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >> 4;
      } else high |= bits << (shift - 32);
      if (byte < 0x80) {
        this.#low = low >>> 0;
        this.#high = high >>> 0;
        return;
      }
    }
    throw malformed("a number of more than ten bytes");
  }
}

export function malformed(what: string): BalsaError {
  return new BalsaError("PROTOCOL", `malformed message: ${what}`);
}
