/**
 * One node per data directory. Node has no flock, so a small SQLite file is held with BEGIN EXCLUSIVE: the kernel
 * releases it when the process dies, however it dies. Holds nothing else and is never written.
 */

import { join } from "node:path";
import Database from "better-sqlite3";
import { BalsaError } from "../sql/errors.ts";

export class DirectoryLock {
  readonly #database: Database.Database;

  private constructor(database: Database.Database) {
    this.#database = database;
  }

  /** @throws BalsaError UNAVAILABLE when another process holds it or the directory cannot be written. */
  static take(dir: string): DirectoryLock {
    const path = join(dir, "node.lock");
    let database: Database.Database | undefined;
    try {
      database = new Database(path, { timeout: 0 });
      database.exec("BEGIN EXCLUSIVE");
      return new DirectoryLock(database);
    } catch (error) {
      database?.close();
      throw refusal(dir, error);
    }
  }

  release(): void {
    this.#database.close();
  }
}

function refusal(dir: string, error: unknown): BalsaError {
  const code = error instanceof Database.SqliteError ? error.code : "";
  const busy = code.startsWith("SQLITE_BUSY");
  const why = error instanceof Error ? error.message : String(error);
  const message = busy
    ? `the data directory ${dir} is in use by another process; stop it, or choose another --dir`
    : `the data directory ${dir} cannot be used: ${why}; check that it exists and may be written`;
  return new BalsaError("UNAVAILABLE", message, { cause: error });
}
