/** CRC-32 (IEEE), of any length at its cheapest: entering native code costs more than 100 bytes do in JavaScript. */

import { crc32 } from "node:zlib";

const NATIVE_FROM_BYTES = 96;

const TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** Of bytes[from .. to), behind others whose checksum is `before`. An unsigned 32-bit number. */
export function checksum(bytes: Uint8Array, from: number, to: number, before = 0): number {
  if (to - from >= NATIVE_FROM_BYTES) return crc32(bytes.subarray(from, to), before);
  let crc = ~before;
  for (let at = from; at < to; at += 1) {
    crc = (TABLE[(crc ^ (bytes[at] as number)) & 0xff] as number) ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}
