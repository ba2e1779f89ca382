/**
 * CRC-32 (IEEE), of any length at its cheapest: a call into native code costs more than some hundred bytes do in
 * JavaScript, eight at a time.
 */

import { crc32 } from "node:zlib";

const NATIVE_FROM_BYTES = 448;

/** Number n: what a byte adds that n others follow (Intel's "slicing by 8"). */
const TABLES = Array.from({ length: 8 }, () => new Int32Array(256));
const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES as Tables;
type Table = Int32Array;
type Tables = [Table, Table, Table, Table, Table, Table, Table, Table];

for (let byte = 0; byte < 256; byte += 1) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  T0[byte] = crc;
}
for (let byte = 0; byte < 256; byte += 1) {
  let crc = T0[byte] as number;
  for (const table of TABLES.slice(1)) {
    crc = (crc >>> 8) ^ (T0[crc & 0xff] as number);
    table[byte] = crc;
  }
}

/** Of bytes[from .. to), behind others whose checksum is `before`. An unsigned 32-bit number. */
export function checksum(bytes: Uint8Array, from: number, to: number, before = 0): number {
  if (to - from >= NATIVE_FROM_BYTES) return crc32(bytes.subarray(from, to), before);
  const at = from + ((to - from) & ~7);
  let crc = byEights(bytes, from, at, ~before);
  for (let rest = at; rest < to; rest += 1) {
    crc = (T0[(crc ^ (bytes[rest] as number)) & 0xff] as number) ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}

function byEights(bytes: Uint8Array, from: number, to: number, before: number): number {
  let crc = before;
  for (let at = from; at < to; at += 8) {
    crc ^= (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
    crc ^= ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24);
    crc =
      (T7[crc & 0xff] as number) ^
      (T6[(crc >>> 8) & 0xff] as number) ^
      (T5[(crc >>> 16) & 0xff] as number) ^
      (T4[crc >>> 24] as number) ^
      (T3[bytes[at + 4] as number] as number) ^
      (T2[bytes[at + 5] as number] as number) ^
      (T1[bytes[at + 6] as number] as number) ^
      (T0[bytes[at + 7] as number] as number);
  }
  return crc;
}
