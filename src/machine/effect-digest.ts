/** The digest of a request's effects (DESIGN D5), which its entry carries: crc32 of the result, the changes, the statements. */

import { checksum } from "../log/crc.ts";

/** Behind the two numbers four bytes of nothing, as in every log so far. */
const tail = Buffer.alloc(16);

/** @param changes of SQLite's total_changes(), from 0 on @returns an unsigned 32-bit number */
export function digestOfEffects(result: Uint8Array, changes: number, statements: number): number {
  tail.writeUInt32LE(changes >>> 0, 0);
  tail.writeUInt32LE(Math.floor(changes / 2 ** 32), 4);
  tail.writeUInt32LE(statements, 8);
  return checksum(tail, 0, tail.length, checksum(result, 0, result.length));
}
