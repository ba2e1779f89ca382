/**
 * One writer per database file, whoever started it. A small SQLite file held with BEGIN EXCLUSIVE: the kernel releases it
 * when the process dies, however it dies. Blocks its thread while it waits; never used by a node itself.
 */

import { join } from "node:path";
import Database from "better-sqlite3";

const RETRY_MS = 2;

/**
 * Waits until the process that holds it is gone.
 *
 * @returns what must be kept for as long as the lock is to be held.
 * @throws Error when another process still holds it after `waitMs`.
 */
export function takeWriterLock(dir: string, waitMs: number): Database.Database {
  const database = new Database(join(dir, "writer.lock"), { timeout: 0 });
  const giveUpAtMs = performance.now() + waitMs;
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    try {
      // Nothing is ever written: a journal file would only be left over for the next writer to roll back.
      database.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
      return database;
    } catch (error) {
      const code = error instanceof Database.SqliteError ? error.code : "";
      if (!code.startsWith("SQLITE_BUSY")) throw error;
      if (performance.now() >= giveUpAtMs) {
        throw new Error(`another writer still holds ${dir}/writer.lock after ${waitMs} ms`);
      }
    }
    Atomics.wait(pause, 0, 0, RETRY_MS);
  }
}
