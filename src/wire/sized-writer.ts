/**
 * Writes protobuf into a buffer of a size computed before: for frames between nodes, which every write passes through,
 * so that a payload is copied once. Fields have numbers below 16. Everything else uses message-writer.ts.
 */

const WIRE_VARINT = 0;
const WIRE_BYTES = 2;

const TWO_28 = 2 ** 28;

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

/** Its user compares `position` with the size at the end: what was written past it is lost, not refused. */
export class SizedWriter {
  readonly #buffer: Buffer;
  #position = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  /** The buffer it was given. */
  get buffer(): Buffer {
    return this.#buffer;
  }

  get position(): number {
    return this.#position;
  }

  varint(value: number): void {
    const buffer = this.#buffer;
    let position = this.#position;
    let rest = value;
    if (rest >= TWO_28) {
      // Two integers of 32 bits: arithmetic with doubles takes a call for each byte.
      const high = Math.floor(rest / TWO_28);
      let low = rest - high * TWO_28;
      for (let i = 0; i < 4; i++) {
        buffer[position++] = (low & 0x7f) | 0x80;
        low >>>= 7;
      }
      rest = high;
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
