/**
 * An existing SQLite file as the first state of a cluster: copied byte for byte, judged, and given Balsa's own tables. The
 * file itself is only read, never opened as a database. What could not be the same on every node is refused.
 */

import { createHash } from "node:crypto";
import { existsSync, type Stats, statSync } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import Database from "better-sqlite3";
import type { EntryId } from "../raft/entry.ts";
import { BalsaError } from "../sql/errors.ts";
import type { KnownExtension } from "../sql/extension.ts";
import { DeterministicFunctions } from "./deterministic-functions.ts";
import { loadExtensions } from "./extension-loading.ts";
import { judge } from "./gate.ts";
import { seedTables } from "./machine-meta.ts";
import { findNodeTables, refuseOverNodeTable } from "./node-tables.ts";
import { shapeOf } from "./statement-shape.ts";
import { splitStatements } from "./tokenizer.ts";
import { type UndeclaredNames, undeclaredNames } from "./undeclared-names.ts";

const CHUNK_BYTES = 1024 * 1024;
const MAGIC = "SQLite format 3\0";

/**
 * Copies the file to all targets at once. Gives its SHA-256, hex, as sha256sum tells it.
 * @throws BalsaError REFUSED if it is no database, or if somebody writes it
 */
export async function copySeed(
  path: string,
  targets: readonly string[],
  progress: (done: number, total: number) => void,
  signal: AbortSignal,
): Promise<string> {
  const source = await openSource(path);
  const copies: FileHandle[] = [];
  try {
    for (const target of targets) copies.push(await open(target, "wx"));
    const before = await source.stat();
    await demandDatabase(source, path, before);
    const digest = createHash("sha256");
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    let done = 0;
    for (;;) {
      if (signal.aborted) throw new BalsaError("CANCELLED", "the import was interrupted");
      const { bytesRead } = await source.read(buffer, 0, buffer.length, done);
      // One that grows as fast as it is read would never end.
      if (bytesRead === 0 || done > before.size) break;
      const chunk = buffer.subarray(0, bytesRead);
      digest.update(chunk);
      for (const copy of copies) await writeWhole(copy, chunk, done);
      done += bytesRead;
      progress(done, before.size);
    }
    for (const copy of copies) await copy.sync();
    await demandUnchanged(path, before, done);
    return digest.digest("hex");
  } finally {
    await source.close();
    for (const copy of copies) await copy.close();
  }
}

async function openSource(path: string): Promise<FileHandle> {
  if (!existsSync(path)) throw refused(path, "there is no such file");
  if (!statSync(path).isFile()) throw refused(path, "it is no file");
  return open(path, "r");
}

async function demandDatabase(source: FileHandle, path: string, { size }: Stats): Promise<void> {
  const { buffer } = await source.read(Buffer.alloc(MAGIC.length), 0, MAGIC.length, 0);
  if (size === 0) throw refused(path, "it is empty");
  if (buffer.toString("latin1") !== MAGIC) {
    throw refused(path, "it is no SQLite database, or an encrypted one");
  }
  demandClosed(path);
}

/** What is not in the file itself yet, or must be taken back first. */
function demandClosed(path: string): void {
  for (const suffix of ["-wal", "-journal"]) {
    const beside = path + suffix;
    if ((statSync(beside, { throwIfNoEntry: false })?.size ?? 0) === 0) continue;
    throw refused(
      path,
      `${beside} belongs to it: a program has it open, or did not end well. Close what uses it; if the file ` +
        `stays, run: sqlite3 ${path} "PRAGMA journal_mode = DELETE"`,
    );
  }
}

async function demandUnchanged(path: string, before: Stats, copied: number): Promise<void> {
  demandClosed(path);
  const after = await stat(path);
  const same = after.mtimeMs === before.mtimeMs && after.ino === before.ino;
  if (same && after.size === before.size && copied === before.size) return;
  throw refused(path, "it was changed while it was copied; close what uses it");
}

async function writeWhole(file: FileHandle, chunk: Uint8Array, at: number): Promise<void> {
  for (let written = 0; written < chunk.length; ) {
    const rest = chunk.length - written;
    written += (await file.write(chunk, written, rest, at + written)).bytesWritten;
  }
}

/** Of a copy of `path`. Reads all of it. @throws BalsaError REFUSED, naming what cannot be taken and the way out */
export function judgeSeed(
  path: string,
  copy: string,
  extensions: readonly KnownExtension[] = [],
): void {
  const database = new Database(copy, { fileMustExist: true });
  try {
    loadExtensions(database, extensions);
    judgeSchema(database, undeclaredNames(extensions));
    const found = database.pragma("integrity_check(1)", { simple: true });
    if (found !== "ok") throw new Error(`it is damaged: ${found}`);
    // As the writer sees it: with the functions that all nodes compute alike.
    new DeterministicFunctions().register(database);
    database.unsafeMode(true);
    database.pragma("writable_schema = RESET");
    readSchema(database);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw refused(path, reason, error);
  } finally {
    database.close();
  }
}

function judgeSchema(database: Database.Database, undeclared: UndeclaredNames | null): void {
  const known = new Set(
    database.prepare<unknown[], string>("SELECT lower(name) FROM pragma_module_list").pluck().all(),
  );
  const objects = schemaOf(database);
  refuseOverNodeTable(
    findNodeTables(objects.map(({ type, name, sql }) => [type, name, sql ?? ""])),
  );
  for (const { name, sql } of objects) {
    if (/^balsa_/i.test(name)) {
      throw new Error(
        `${name}: names that begin with balsa_ are Balsa's own. Is it a node's main.db? balsa export makes a plain file of it`,
      );
    }
    if (sql === null || /^sqlite_/i.test(name)) continue;
    const module = VIRTUAL.exec(sql)?.[1];
    if (module !== undefined && !known.has(module.toLowerCase())) {
      throw new Error(
        `${name} is a virtual table of the module ${module}, which Balsa does not have; an extension is named with --extension`,
      );
    }
    for (const statement of splitStatements(sql)) {
      try {
        judge(shapeOf(statement), "write", undeclared);
      } catch (error) {
        throw new Error(`${name}: ${(error as Error).message}`, { cause: error });
      }
    }
  }
}

/** Compiles what reads and writes each table: with its columns, defaults, keys and triggers. */
function readSchema(database: Database.Database): void {
  for (const { type, name, sql } of schemaOf(database)) {
    if (type !== "table" || /^sqlite_/i.test(name)) continue;
    const table = `main.${quote(name)}`;
    try {
      database.prepare(`SELECT * FROM ${table}`);
      if (sql !== null && VIRTUAL.test(sql)) continue;
      database.prepare(`INSERT INTO ${table} DEFAULT VALUES`);
      database.prepare(`DELETE FROM ${table}`);
      const columns = database
        .prepare<unknown[], string>("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0")
        .pluck()
        .all(name);
      const same = columns.map(quote).map((column) => `${column} = ${column}`);
      database.prepare(`UPDATE ${table} SET ${same.join(", ")}`);
    } catch (error) {
      throw new Error(`${name} cannot be used: ${(error as Error).message}`, { cause: error });
    }
  }
}

const VIRTUAL = /^CREATE\s+VIRTUAL\s+TABLE[\s\S]*?\sUSING\s+["[`]?(\w+)/i;

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function schemaOf(database: Database.Database) {
  return database
    .prepare<unknown[], { type: string; name: string; sql: string | null }>(
      "SELECT type, name, sql FROM main.sqlite_schema",
    )
    .all();
}

/** Makes a judged copy a node's database that has applied the entry `at`. Durable when it returns. */
export function finishSeed(copy: string, at: EntryId): void {
  const database = new Database(copy, { fileMustExist: true });
  try {
    database.pragma("journal_mode = DELETE");
    database.pragma("synchronous = EXTRA");
    seedTables(database, at);
  } finally {
    database.close();
  }
}

function refused(path: string, why: string, cause?: unknown): BalsaError {
  return new BalsaError("REFUSED", `${path} cannot be imported: ${why}`, { cause });
}
