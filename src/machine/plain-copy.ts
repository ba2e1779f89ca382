/**
 * Makes a plain SQLite file of a copy of a node's database: without Balsa's own tables, in no WAL mode, checked. Works on
 * copies only; the one place where a node's own file is opened is a directory whose node does not run, for reading.
 */

import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import type { EntryId } from "../raft/entry.ts";
import { BalsaError } from "../sql/errors.ts";
import type { Extension } from "../sql/extension.ts";
import { DirectoryLock } from "./directory-lock.ts";
import { loadExtensions } from "./extension-loading.ts";
import { copyDatabase } from "./snapshot-task.ts";

/**
 * Copies the database of a stopped node to `to`, all pages as they are. Gives the entry at which it stands.
 * @throws BalsaError INVALID_ARGUMENT if there is none, UNAVAILABLE if the node runs
 */
export async function copyStopped(dir: string, to: string): Promise<EntryId> {
  const path = join(dir, "main.db");
  if (!existsSync(path)) {
    throw new BalsaError("INVALID_ARGUMENT", `${dir} is no node's data directory: no main.db`);
  }
  const lock = DirectoryLock.take(dir);
  try {
    const snapshots = join(dir, "snapshots");
    const found = existsSync(snapshots) ? readdirSync(snapshots) : [];
    if (found.some((name) => name.startsWith("ready-"))) {
      const message = `${dir}: a snapshot waits to take the database's place; start the node once`;
      throw new BalsaError("UNAVAILABLE", message);
    }
    return await copyDatabase(path, to);
  } finally {
    lock.release();
  }
}

/**
 * `path` becomes the users' data alone. With `compactTo` a compacted copy of that is made there: rows in order, no free
 * pages, the same rowids. @throws BalsaError INTERNAL if the result is damaged
 */
export function makePlain(
  path: string,
  compactTo: string | null,
  extensions: readonly Extension[] = [],
): void {
  const database = new Database(path, { fileMustExist: true });
  try {
    loadExtensions(database, extensions);
    database.pragma("synchronous = FULL");
    database.pragma("journal_mode = DELETE");
    database.pragma("foreign_keys = OFF");
    // What sessions remembered does not stay behind in free pages.
    database.pragma("secure_delete = ON");
    dropOwnTables(database);
    demandSound(database, path);
    if (compactTo === null) return;
    rmSync(compactTo, { force: true });
    database.prepare("VACUUM INTO ?").run(compactTo);
  } finally {
    database.close();
  }
  const compacted = new Database(compactTo, { fileMustExist: true });
  try {
    loadExtensions(compacted, extensions);
    demandSound(compacted, compactTo);
  } finally {
    compacted.close();
  }
}

function dropOwnTables(database: Database.Database): void {
  const names = database
    .prepare<unknown[], string>(
      "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name LIKE 'balsa\\_%' ESCAPE '\\'",
    )
    .pluck(true)
    .all();
  const drop = database.transaction(() => {
    for (const name of names) database.exec(`DROP TABLE main."${name.replaceAll('"', '""')}"`);
  });
  drop.immediate();
}

function demandSound(database: Database.Database, path: string): void {
  let found: unknown;
  try {
    found = database.pragma("quick_check(1)", { simple: true });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const hint = "if the cluster has extensions, name them with --extension";
    throw new BalsaError(
      "INVALID_ARGUMENT",
      `the copy at ${path} cannot be checked: ${reason}; ${hint}`,
    );
  }
  if (found === "ok") return;
  throw new BalsaError("INTERNAL", `the copy at ${path} is damaged: ${found}`);
}
