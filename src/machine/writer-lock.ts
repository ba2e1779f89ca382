/**
 * One writer per database file, whoever started it. A small SQLite file held with BEGIN EXCLUSIVE: the kernel releases it
 * when the process dies, however it dies. Blocks its thread while it waits: a node itself takes it only when its writers
 * are gone, to replace the file.
 */

import { join } from "node:path";
import Database from "better-sqlite3";

const RETRY_MS = 2;
/** A process that was killed is gone within this, on a machine that is not overloaded. */
const SOON_MS = 50;

/**
 * Waits until the process that holds it is gone.
 *
 * @param onSlow called once if that takes longer than the death of a killed process does.
 * @returns what must be kept for as long as the lock is to be held.
 * @throws Error when another process still holds it after `waitMs`.
 */
export function takeWriterLock(dir: string, waitMs: number, onSlow: () => void): Database.Database {
  const database = new Database(join(dir, "writer.lock"), { timeout: 0 });
  const startedAtMs = performance.now();
  let slow = false;
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    try {
      // Nothing is ever written: a journal file would only be left over for the next writer to roll back.
      database.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
      return database;
    } catch (error) {
      const code = error instanceof Database.SqliteError ? error.code : "";
      if (!code.startsWith("SQLITE_BUSY")) throw error;
      const waitedMs = performance.now() - startedAtMs;
      if (waitedMs > SOON_MS && !slow) {
        slow = true;
        onSlow();
      }
      if (waitedMs >= waitMs) {
        throw new Error(`another writer still holds ${dir}/writer.lock after ${waitMs} ms`);
      }
    }
    Atomics.wait(pause, 0, 0, RETRY_MS);
  }
}
