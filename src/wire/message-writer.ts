/**
 * Writes protobuf messages whose size is not known beforehand: a growing buffer, nested messages with their length
 * put in front afterwards. Reused from message to message; never writes again to what it has handed out.
 */

// The global of this name is a getter, which is asked anew at each use.
import { Buffer } from "node:buffer";

const TWO_32 = 2 ** 32;
/** A buffer that has grown beyond this is let go after the message. */
const KEEP_BYTES = 1024 * 1024;
const START_BYTES = 16 * 1024;
/** A string of this many UTF-16 units has a one-byte length however it is encoded (3 × 42 = 126). */
const SHORT_STRING = 42;

/** Up to here room is reserved for the worst case: to ask for the size of its UTF-8 costs as much as to write it. */
const MIDDLE_STRING = 127;

/** Up to here a message is handed out where it lies, and the next one begins behind it; a longer one is copied. */
const SHORT_MESSAGE = 2 * 1024;

const WIRE_VARINT = 0;
const WIRE_FIXED64 = 1;
const WIRE_BYTES = 2;
const WIRE_FIXED32 = 5;

const float64 = new Float64Array(1);
const float64Bytes = new Uint8Array(float64.buffer);

export class MessageWriter {
  #buffer: Buffer = Buffer.allocUnsafeSlow(START_BYTES);
  /** Where the message begins: what lies before was handed out. */
  #begin = 0;
  #position = 0;

  /** Forgets whatever an earlier message, perhaps a failed one, left. */
  start(): this {
    this.#position = this.#begin;
    return this;
  }

  /** Bytes written since `start`. */
  get length(): number {
    return this.#position - this.#begin;
  }

  /** Takes back everything written after `length` bytes. */
  truncate(length: number): void {
    this.#position = this.#begin + length;
  }

  /** Its bytes are never written again. */
  finish(): Buffer {
    const [begin, end] = [this.#begin, this.#position];
    if (end - begin > SHORT_MESSAGE) return this.#copy(begin, end);
    const bytes = this.#buffer.subarray(begin, end);
    this.#begin = end;
    if (this.#buffer.length - end < SHORT_MESSAGE) this.#renew();
    return bytes;
  }

  #copy(begin: number, end: number): Buffer {
    const bytes = Buffer.allocUnsafe(end - begin);
    this.#buffer.copy(bytes, 0, begin, end);
    this.#position = begin;
    if (this.#buffer.length > KEEP_BYTES) this.#renew();
    return bytes;
  }

  #renew(): void {
    this.#buffer = Buffer.allocUnsafeSlow(START_BYTES);
    this.#begin = 0;
    this.#position = 0;
  }

  /**
   * Starts a nested message; give what it returns to `endMessage`, and the same `atLeast`: bytes that it will have at least,
   * so that a long one need not be moved to make room for its length.
   */
  beginMessage(field: number, atLeast = 0): number {
    this.#reserve(16);
    this.#tag(field, WIRE_BYTES);
    this.#position += varintSize(atLeast);
    return this.#position;
  }

  endMessage(begin: number, atLeast = 0): void {
    const length = this.#position - begin;
    const room = varintSize(atLeast);
    const more = varintSize(length) - room;
    if (more !== 0) {
      this.#reserve(Math.max(0, more));
      this.#buffer.copyWithin(begin + more, begin, this.#position);
    }
    const end = this.#position + more;
    this.#position = begin - room;
    this.#varint32(length);
    this.#position = end;
  }

  /** Safe, not negative. Nothing is written for 0. */
  uint(field: number, value: number): void {
    if (value === 0) return;
    this.#reserve(16);
    this.#tag(field, WIRE_VARINT);
    if (value < TWO_32) this.#varint32(value);
    else this.#varint64(value >>> 0, Math.floor(value / TWO_32));
  }

  bool(field: number, value: boolean): void {
    if (value) this.uint(field, 1);
  }

  /** An int64, written also when 0: a oneof tells it from an absent one. */
  int64(field: number, value: number | bigint): void {
    this.#reserve(16);
    this.#tag(field, WIRE_VARINT);
    if (typeof value === "number") {
      if (value >= 0 && value < TWO_32) this.#varint32(value);
      else this.#varint64(value >>> 0, Math.floor(value / TWO_32) >>> 0);
      return;
    }
    const small = Number(value);
    if (small >= 0 && small < TWO_32) {
      this.#varint32(small);
      return;
    }
    const bits = BigInt.asUintN(64, value);
    this.#varint64(Number(bits & 0xffff_ffffn), Number(bits >> 32n));
  }

  /** Written also when 0. */
  double(field: number, value: number): void {
    this.#reserve(16);
    this.#tag(field, WIRE_FIXED64);
    float64[0] = value;
    for (let i = 0; i < 8; i++) this.#buffer[this.#position++] = float64Bytes[i] ?? 0;
  }

  /** Nothing is written for 0. */
  fixed32(field: number, value: number): void {
    if (value === 0) return;
    this.#reserve(8);
    this.#tag(field, WIRE_FIXED32);
    this.#position = this.#buffer.writeUInt32LE(value >>> 0, this.#position);
  }

  /** Written also when empty; lone surrogates become U+FFFD. */
  string(field: number, value: string): void {
    const units = value.length;
    if (units > MIDDLE_STRING) {
      const size = Buffer.byteLength(value);
      this.#reserve(size + 16);
      this.#tag(field, WIRE_BYTES);
      this.#varint32(size);
      this.#position += this.#buffer.write(value, this.#position);
      return;
    }
    this.#reserve(3 * MIDDLE_STRING + 16);
    this.#tag(field, WIRE_BYTES);
    const begin = ++this.#position;
    const buffer = this.#buffer;
    if (units > SHORT_STRING) {
      // As if it had a length of one byte: it nearly always has.
      this.#position += buffer.write(value, begin);
      this.endMessage(begin);
      return;
    }
    for (let i = 0; i < units; i++) {
      const unit = value.charCodeAt(i);
      if (unit > 0x7f) {
        const size = buffer.write(value, begin);
        buffer[begin - 1] = size;
        this.#position = begin + size;
        return;
      }
      buffer[begin + i] = unit;
    }
    buffer[begin - 1] = units;
    this.#position = begin + units;
  }

  /** Written also when empty. */
  bytes(field: number, value: Uint8Array): void {
    this.#reserve(value.length + 16);
    this.#tag(field, WIRE_BYTES);
    this.#varint32(value.length);
    this.#buffer.set(value, this.#position);
    this.#position += value.length;
  }

  /** Fields that were encoded before. */
  encoded(fields: Uint8Array): void {
    this.#reserve(fields.length);
    this.#buffer.set(fields, this.#position);
    this.#position += fields.length;
  }

  #tag(field: number, wireType: number): void {
    this.#buffer[this.#position++] = (field << 3) | wireType;
  }

  #varint32(value: number): void {
    let rest = value >>> 0;
    while (rest >= 0x80) {
      this.#buffer[this.#position++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#buffer[this.#position++] = rest;
  }

  #varint64(low: number, high: number): void {
    let lo = low >>> 0;
    let hi = high >>> 0;
    while (hi > 0) {
      this.#buffer[this.#position++] = (lo & 0x7f) | 0x80;
      lo = ((lo >>> 7) | (hi << 25)) >>> 0;
      hi >>>= 7;
    }
    this.#varint32(lo);
  }

  #reserve(size: number): void {
    const needed = this.#position + size;
    if (needed <= this.#buffer.length) return;
    const begin = this.#begin;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2));
    // In its old place: whoever began a message within it knows where.
    this.#buffer.copy(grown, begin, begin, this.#position);
    this.#buffer = grown;
  }
}

function varintSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  return value < 0x1000_0000 ? 4 : 5;
}
