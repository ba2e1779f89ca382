/**
 * Protobuf's wire format by hand, for the frames that every write passes through: varints up to 2^53 and
 * length-delimited fields. Never copies what it reads; never trusts a length.
 */

import { BalsaError } from "../sql/errors.ts";

export const WIRE_VARINT = 0;
export const WIRE_FIXED64 = 1;
export const WIRE_BYTES = 2;
export const WIRE_FIXED32 = 5;

const TWO_28 = 2 ** 28;

function malformed(what: string): BalsaError {
  return new BalsaError("PROTOCOL", `malformed message: ${what}`);
}

/** Bytes that `value` takes as a varint. 0 ≤ value ≤ 2^53 − 1. */
export function varintSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  if (value < TWO_28) return 4;
  let size = 4;
  for (let rest = Math.floor(value / TWO_28); rest > 0; rest = Math.floor(rest / 128)) size += 1;
  return size;
}

/** Size of a varint field with a number below 16; proto3 leaves out zeros. */
export function uintFieldSize(value: number): number {
  return value === 0 ? 0 : 1 + varintSize(value);
}

/** Size of a length-delimited field with a number below 16. */
export function bytesFieldSize(length: number): number {
  return 1 + varintSize(length) + length;
}

/** Writes into a buffer whose size was computed before; writing past its end is a bug and throws. */
export class ProtobufWriter {
  readonly #buffer: Buffer;
  #position = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  get position(): number {
    return this.#position;
  }

  varint(value: number): void {
    const buffer = this.#buffer;
    let position = this.#position;
    let rest = value;
    while (rest >= TWO_28) {
      buffer[position++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest >= 0x80) {
      buffer[position++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    buffer[position++] = rest;
    this.#position = position;
  }

  /** `field` below 16. Writes nothing for 0. */
  uintField(field: number, value: number): void {
    if (value === 0) return;
    this.#buffer[this.#position++] = (field << 3) | WIRE_VARINT;
    this.varint(value);
  }

  boolField(field: number, value: boolean): void {
    if (value) this.uintField(field, 1);
  }

  /** Announces `length` bytes of a field below 16; the caller writes them next. */
  bytesHeader(field: number, length: number): void {
    this.#buffer[this.#position++] = (field << 3) | WIRE_BYTES;
    this.varint(length);
  }

  raw(bytes: Uint8Array): void {
    this.#buffer.set(bytes, this.#position);
    this.#position += bytes.length;
  }

  /** Big-endian, outside of protobuf: the length in front of a frame. */
  uint32(value: number): void {
    this.#position = this.#buffer.writeUInt32BE(value, this.#position);
  }
}

/** Reads one message; nested messages get a reader of their own over the same bytes. */
export class ProtobufReader {
  readonly #bytes: Uint8Array;
  #position: number;
  readonly #end: number;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#position = start;
    this.#end = end;
  }

  get done(): boolean {
    return this.#position >= this.#end;
  }

  /** A safe integer; anything larger is malformed for us. */
  varint(): number {
    const bytes = this.#bytes;
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 8; count++) {
      if (this.#position >= this.#end) throw malformed("it ends inside a number");
      const byte = bytes[this.#position++] ?? 0;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) throw malformed("a number beyond 2^53");
        return value;
      }
      scale *= 128;
    }
    throw malformed("a number beyond 2^53");
  }

  /** Where the next length-delimited value lies; the position moves behind it. */
  #span(): readonly [number, number] {
    const length = this.varint();
    const start = this.#position;
    if (length > this.#end - start) throw malformed("a field longer than its message");
    this.#position = start + length;
    return [start, this.#position];
  }

  /** A view, not a copy. */
  bytes(): Uint8Array {
    const [start, end] = this.#span();
    return this.#bytes.subarray(start, end);
  }

  message(): ProtobufReader {
    const [start, end] = this.#span();
    return new ProtobufReader(this.#bytes, start, end);
  }

  /** Passes over a field that this version does not know. */
  skip(wireType: number): void {
    switch (wireType) {
      case WIRE_VARINT:
        this.#skipVarint();
        return;
      case WIRE_FIXED64:
        this.#advance(8);
        return;
      case WIRE_BYTES:
        this.#span();
        return;
      case WIRE_FIXED32:
        this.#advance(4);
        return;
      default:
        throw malformed(`wire type ${wireType}`);
    }
  }

  #skipVarint(): void {
    for (let count = 0; count < 10; count++) {
      if (this.#position >= this.#end) throw malformed("it ends inside a number");
      if ((this.#bytes[this.#position++] ?? 0) < 0x80) return;
    }
    throw malformed("a number of more than ten bytes");
  }

  #advance(count: number): void {
    if (count > this.#end - this.#position) throw malformed("it ends inside a field");
    this.#position += count;
  }
}
