/**
 * The program of a process that reads the whole content of the database for a comparison with other nodes: it opens the
 * file, waits to be told, and reads everything in one transaction, table by table. It changes nothing and judges nothing.
 */

import Database from "better-sqlite3";
import { ChildChannel } from "./child-channel.ts";
import { readTables } from "./content-digest.ts";
import { loadExtensions } from "./extension-loading.ts";
import { type ChildArguments, encodeJson, FROM_DIGEST, TO_DIGEST } from "./process-messages.ts";

const BUSY_TIMEOUT_MS = 1_000;
/** Between two words of progress. */
const PROGRESS_MS = 500;
/** Lines of damage that are told. */
const DAMAGE_LINES_MAX = 100;

/** `deep`: SQLite's own check too. */
export function runDigestTask(given: ChildArguments, path: string, deep: boolean): never {
  let mayOpen = false;
  const channel = new ChildChannel((type) => {
    if (type === TO_DIGEST.open) mayOpen = true;
  });
  try {
    channel.startWatchdog();
    const database = new Database(path, { readonly: true, timeout: BUSY_TIMEOUT_MS });
    loadExtensions(database, given.extensions);
    channel.send(FROM_DIGEST.ready, 0);
    while (!mayOpen) channel.receive();
    database.exec("BEGIN");
    channel.send(FROM_DIGEST.opened, 0, encodeJson(readIndex(database)));
    channel.flush();
    readAll(database, channel);
    if (deep) check(database, channel);
    return channel.end(FROM_DIGEST.done, 0);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return channel.end(FROM_DIGEST.fault, 0, Buffer.from(message));
  }
}

function readIndex(database: Database.Database): { index: number; term: number } {
  const found = database
    .prepare<unknown[], { index: number; term: number }>(
      `SELECT applied_index AS "index", applied_term AS term FROM main.balsa_meta`,
    )
    .get();
  if (found === undefined) throw new Error("balsa_meta is empty: not a database of Balsa's");
  return found;
}

function readAll(database: Database.Database, channel: ChildChannel): void {
  let toldMs = performance.now();
  const progress = (table: string, rows: number) => {
    const nowMs = performance.now();
    if (nowMs - toldMs < PROGRESS_MS) return;
    toldMs = nowMs;
    channel.send(FROM_DIGEST.progress, 0, encodeJson({ table, rows }));
    channel.flush();
  };
  for (const table of readTables(database, { beneath: true, progress })) {
    channel.send(FROM_DIGEST.table, 0, encodeJson(table));
    channel.flushIfDue();
  }
}

function check(database: Database.Database, channel: ChildChannel): void {
  const lines = database.prepare<unknown[], string>(
    `PRAGMA main.integrity_check(${DAMAGE_LINES_MAX})`,
  );
  for (const line of lines.pluck().iterate()) {
    if (line !== "ok") channel.send(FROM_DIGEST.damage, 0, Buffer.from(line));
  }
}
