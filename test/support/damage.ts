/** Damage to the files of a stopped node, as a disk does it. */

import { closeSync, openSync, readdirSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";

/** Flips one bit in what the oldest segment of a log holds behind its first batch's header: durable long ago. */
export function damageLog(directory: string, dice: () => number): void {
  const [oldest] = readdirSync(directory)
    .filter((name) => name.endsWith(".wal"))
    .sort();
  if (oldest === undefined) throw new Error(`no segment in ${directory}`);
  const file = openSync(join(directory, oldest), "r+");
  try {
    const byte = Buffer.alloc(1);
    const at = 128 + Math.floor(dice() * 64);
    readSync(file, byte, 0, 1, at);
    byte[0] = (byte[0] ?? 0) ^ 0x10;
    writeSync(file, byte, 0, 1, at);
  } finally {
    closeSync(file);
  }
}
