/**
 * A database as SQL text, in the form of the sqlite3 shell's `.dump`: whoever runs it in an empty file gets the same content,
 * rowids included. Values are written by SQLite's own quote(), so reals are exact; bytes pass as they are, undecoded.
 *
 * Virtual tables are entered into the schema by hand, as the shell does it, and their shadow tables are dumped like others:
 * so nothing is tokenized or indexed anew, and whatever a full text table lost of its content stays lost alone. Of the planner's
 * statistics sqlite_stat4 is left out: most builds of SQLite could not take it.
 */

import Database from "better-sqlite3";
import { BalsaError } from "../sql/errors.ts";
import type { Extension } from "../sql/extension.ts";
import { loadExtensions } from "./extension-loading.ts";

interface SchemaRow {
  readonly type: string;
  readonly name: string;
  readonly table: string;
  readonly sql: string;
}

const FLUSH_BYTES = 64 * 1024;
const ROWID_NAMES = ["rowid", "_rowid_", "oid"];

/** Of a file that nobody writes. Pieces of about 64 KiB. @throws BalsaError REFUSED for what SQL text cannot hold */
export function* dumpDatabase(
  path: string,
  extensions: readonly Extension[] = [],
): Generator<Buffer> {
  const database = new Database(path, { readonly: true, fileMustExist: true });
  try {
    loadExtensions(database, extensions);
    database.exec("BEGIN");
    yield* gathered(dumpLines(database));
  } finally {
    database.close();
  }
}

function* gathered(lines: Iterable<Buffer>): Generator<Buffer> {
  let parts: Buffer[] = [];
  let bytes = 0;
  for (const line of lines) {
    parts.push(line);
    bytes += line.length;
    if (bytes < FLUSH_BYTES) continue;
    yield Buffer.concat(parts);
    parts = [];
    bytes = 0;
  }
  yield Buffer.concat(parts);
}

function* dumpLines(database: Database.Database): Generator<Buffer> {
  const schema = database
    .prepare<unknown[], SchemaRow>(
      `SELECT type, name, tbl_name AS "table", sql FROM main.sqlite_schema
       WHERE sql IS NOT NULL AND name <> 'sqlite_stat4'
       ORDER BY type = 'table' AND name LIKE 'sqlite\\_%' ESCAPE '\\', rowid`,
    )
    .all();
  const tables = schema.filter(({ type }) => type === "table");
  const isVirtual = ({ sql }: SchemaRow) => /^CREATE VIRTUAL TABLE/i.test(sql);
  const hasVirtual = tables.some(isVirtual);
  yield text("PRAGMA foreign_keys=OFF;\n");
  yield* header(database);
  yield text("BEGIN TRANSACTION;\n");
  if (hasVirtual) yield text("PRAGMA writable_schema=ON;\n");
  for (const table of tables) {
    if (isVirtual(table)) yield virtualTable(table);
    else yield* ordinaryTable(database, table);
  }
  for (const { type, sql } of schema) if (type === "index") yield text(`${sql};\n`);
  for (const { type, sql } of schema) if (type === "view") yield text(`${sql};\n`);
  for (const { type, sql } of schema) if (type === "trigger") yield text(`${sql};\n`);
  if (hasVirtual) yield text("PRAGMA writable_schema=OFF;\n");
  for (const name of ["user_version", "application_id"]) {
    const value = database.pragma(name, { simple: true });
    if (value !== 0) yield text(`PRAGMA ${name}=${value};\n`);
  }
  yield text("COMMIT;\n");
}

/** What must stand before the first table. */
function* header(database: Database.Database): Generator<Buffer> {
  const encoding = database.pragma("encoding", { simple: true });
  if (encoding !== "UTF-8") yield text(`PRAGMA encoding='${encoding}';\n`);
  const vacuum = database.pragma("auto_vacuum", { simple: true });
  if (vacuum !== 0) yield text(`PRAGMA auto_vacuum=${vacuum};\n`);
}

function virtualTable({ name, sql }: SchemaRow): Buffer {
  const values = `'table',${literal(name)},${literal(name)},0,${literal(sql)}`;
  return text(`INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES(${values});\n`);
}

function* ordinaryTable(database: Database.Database, table: SchemaRow): Generator<Buffer> {
  const { name, sql } = table;
  if (name === "sqlite_sequence") {
    // It is there as soon as a table with AUTOINCREMENT is, and those filled it by their rows.
    yield text("DELETE FROM sqlite_sequence;\n");
  } else if (/^sqlite_stat[0-9]$/.test(name)) {
    yield text("ANALYZE sqlite_schema;\n");
    yield text(`DELETE FROM ${name};\n`);
  } else if (name.startsWith("sqlite_")) {
    throw new BalsaError("REFUSED", `${name} cannot be written as SQL; use balsa export`);
  } else {
    yield text(`${sql};\n`);
  }
  yield* rowsOf(database, name);
}

function* rowsOf(database: Database.Database, name: string): Generator<Buffer> {
  const columns = columnsOf(database, name);
  const rowid = rowidName(database, name, columns);
  const isRaw = database.pragma("encoding", { simple: true }) === "UTF-8";
  const names = rowid === null ? columns : [rowid, ...columns];
  const select = names.map((column) =>
    isRaw ? `CAST(${quoted(column)} AS BLOB)` : quoted(column),
  );
  const list = rowid === null ? "" : `(${names.map(identifier).join(",")})`;
  const head = text(`INSERT INTO ${identifier(name)}${list} VALUES(`);
  const rows = database
    .prepare<unknown[], (Buffer | string)[]>(
      `SELECT ${select.join(",")} FROM main.${identifier(name)}`,
    )
    .raw(true)
    .iterate();
  for (const row of rows) {
    const parts: Buffer[] = [head];
    row.forEach((value, at) => {
      if (at > 0) parts.push(COMMA);
      parts.push(typeof value === "string" ? text(value) : value);
    });
    parts.push(END);
    yield Buffer.concat(parts);
  }
}

const COMMA = Buffer.from(",");
const END = Buffer.from(");\n");

/** quote() ends a text at its first NUL. */
function quoted(column: string): string {
  const name = identifier(column);
  return `CASE WHEN typeof(${name}) = 'text' AND instr(CAST(${name} AS BLOB), x'00') > 0
    THEN 'CAST(' || quote(CAST(${name} AS BLOB)) || ' AS TEXT)' ELSE quote(${name}) END`;
}

/** Those that can be written: no generated ones. */
function columnsOf(database: Database.Database, name: string): string[] {
  return database
    .prepare<unknown[], string>("SELECT name FROM pragma_table_xinfo(?, 'main') WHERE hidden = 0")
    .pluck(true)
    .all(name);
}

/** By which name the rowid must be kept; null if a column is it, if there is none, or if it cannot be named. */
function rowidName(
  database: Database.Database,
  name: string,
  columns: readonly string[],
): string | null {
  const isWithout = database
    .prepare("SELECT wr FROM pragma_table_list(?) WHERE schema = 'main'")
    .pluck(true)
    .get(name);
  if (isWithout !== 0 || name.startsWith("sqlite_")) return null;
  const keys = database
    .prepare<unknown[], string>(
      "SELECT upper(type) FROM pragma_table_xinfo(?, 'main') WHERE pk > 0",
    )
    .pluck(true)
    .all(name);
  const hasKeyIndex = database
    .prepare("SELECT 1 FROM pragma_index_list(?, 'main') WHERE origin = 'pk'")
    .get(name);
  const isColumn = keys.length === 1 && keys[0] === "INTEGER" && hasKeyIndex === undefined;
  if (isColumn) return null;
  const taken = new Set(columns.map((column) => column.toLowerCase()));
  return ROWID_NAMES.find((alias) => !taken.has(alias)) ?? null;
}

function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function literal(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

function text(value: string): Buffer {
  return Buffer.from(value);
}
