/** The digest of a request's effects (DESIGN D5), which its entry carries: crc32 of the result, the changes, the statements. */

import { crc32 } from "node:zlib";

/** Entering native code costs more than so many bytes do here. */
const NATIVE_FROM_BYTES = 96;

const TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** @param changes of SQLite's total_changes(), from 0 on @returns an unsigned 32-bit number */
export function digestOfEffects(result: Uint8Array, changes: number, statements: number): number {
  const { length } = result;
  let crc = -1;
  if (length < NATIVE_FROM_BYTES) {
    for (let at = 0; at < length; at += 1) crc = next(crc, result[at] as number);
  } else crc = ~crc32(result);
  crc = word(crc, changes >>> 0);
  crc = word(crc, Math.floor(changes / 2 ** 32));
  // Behind them four bytes of nothing, as in every log so far.
  return ~word(word(crc, statements), 0) >>> 0;
}

function next(crc: number, byte: number): number {
  return (TABLE[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8);
}

/** Little-endian. */
function word(before: number, value: number): number {
  let crc = next(before, value);
  crc = next(crc, value >>> 8);
  crc = next(crc, value >>> 16);
  return next(crc, value >>> 24);
}
