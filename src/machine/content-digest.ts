/**
 * Says whether two database files hold the same: what is in their tables, not how it lies in pages. It only reads. For
 * `balsa verify`, tests and the demo; never on a request's path.
 */

import { createHash, type Hash } from "node:crypto";
import Database from "better-sqlite3";
import type { Extension } from "../sql/extension.ts";
import { loadExtensions } from "./extension-loading.ts";
import { RowBytes } from "./row-bytes.ts";
import { readRows } from "./stored-rows.ts";
import { isFts5, quoteName, type StoredTable, StoredTables } from "./stored-table.ts";

export interface TableContent {
  readonly name: string;
  readonly rows: number;
  /** sha256, hex. */
  readonly hash: string;
}

export interface Content {
  /** Of the schema's text, user_version and application_id. */
  readonly schemaHash: string;
  /** By name. Virtual tables by what they answer, FTS5 also by its index. */
  readonly tables: readonly TableContent[];
  /** Of all of it: equal if and only if the content is. */
  readonly digest: string;
}

interface TableInfo {
  readonly name: string;
  readonly type: string;
  readonly sql: string;
}

export interface ReadTablesOptions {
  /**
   * Also what lies beneath: the shadow tables of virtual tables and what sessions remember, the same on all nodes of a cluster,
   * and not in other files with the same content. Default false.
   */
  readonly beneath?: boolean;
  /** Told now and then how many rows of the table under way were read. */
  progress?(table: string, rows: number): void;
}

const OWN = "name NOT IN ('balsa_meta', 'balsa_session')";
const ROWID_NAMES = ["rowid", "_rowid_", "oid"];
const PROGRESS_ROWS = 4_096;
/** Name of what is no table. */
export const SCHEMA_NAME = "(schema)";

/** Of a file that nobody writes at the moment, or of what one read transaction sees of it. */
export function readContent(database: Database.Database): Content {
  const began = !database.inTransaction;
  if (began) database.exec("BEGIN");
  try {
    const [schema, ...tables] = readTables(database);
    const schemaHash = schema?.hash ?? "";
    const digest = createHash("sha256").update(schemaHash);
    for (const { name, rows, hash } of tables) digest.update(JSON.stringify([name, rows, hash]));
    return { schemaHash, tables, digest: digest.digest("hex") };
  } finally {
    if (began) database.exec("ROLLBACK");
  }
}

/** Of the whole content, as readContent tells it. */
export function contentDigest(database: Database.Database): string {
  return readContent(database).digest;
}

/** The same of a file by its path. */
export function readFileContent(path: string, extensions: readonly Extension[] = []): Content {
  const database = new Database(path, { readonly: true, fileMustExist: true });
  try {
    loadExtensions(database, extensions);
    return readContent(database);
  } finally {
    database.close();
  }
}

/** One after the other, within the transaction that is open: the schema first, the others by name. */
export function* readTables(
  database: Database.Database,
  { beneath = false, progress }: ReadTablesOptions = {},
): Generator<TableContent> {
  yield hashSchema(database);
  const tables = new StoredTables(database);
  const listed = listTables(database);
  const names = new Set(listed.map(({ name }) => name));
  if (beneath) {
    for (let next = tables.nameBehind(null); next !== null; next = tables.nameBehind(next)) {
      if (!names.has(next)) listed.push({ name: next, type: "table", sql: "" });
    }
  }
  listed.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, type, sql } of listed) {
    const told = (rows: number) => progress?.(name, rows);
    const read = (what: string, run: () => TableContent) => (beneath ? readable(what, run) : run());
    yield read(name, () => {
      const stored = type === "virtual" ? null : tables.describe(name);
      if (stored !== null) return hashStored(database, stored, told);
      return hashSelect(database, name, selectVirtual(database, name), told);
    });
    const index = `${name} (index)`;
    if (type === "virtual" && isFts5(sql)) {
      yield read(index, () => indexOf(database, name, index, told));
    }
  }
}

/** Rot is no reason to tell nothing of the other tables. */
function readable(name: string, read: () => TableContent): TableContent {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Database.SqliteError)) throw error;
    return { name, rows: 0, hash: `unreadable: ${error.code}` };
  }
}

function hashSchema(database: Database.Database): TableContent {
  const sum = new RowHash();
  for (const pragma of ["user_version", "application_id"]) {
    sum.bytes.plain([BigInt(Number(database.pragma(`main.${pragma}`, { simple: true })))]);
  }
  const select = `SELECT type, name, tbl_name, sql FROM main.sqlite_schema
    WHERE tbl_${OWN} ORDER BY 1, 2`;
  let rows = 0;
  for (const row of rowsOf(database, select)) {
    sum.bytes.plain(row, true);
    rows += 1;
  }
  return { name: SCHEMA_NAME, rows, hash: sum.finish() };
}

function listTables(database: Database.Database): TableInfo[] {
  return database
    .prepare<unknown[], TableInfo>(
      `SELECT l.name, l.type, coalesce(s.sql, '') AS sql
       FROM pragma_table_list AS l LEFT JOIN main.sqlite_schema AS s
         ON s.name = l.name AND s.type = 'table'
       WHERE l.schema = 'main' AND l.type IN ('table', 'virtual')
         AND l.${OWN} AND l.name <> 'sqlite_schema'`,
    )
    .all();
}

type Told = (rows: number) => void;

function hashStored(database: Database.Database, table: StoredTable, progress: Told): TableContent {
  const sum = new RowHash();
  const { rows } = readRows(database, table, sum.bytes, { after: [], withLarge: true, progress });
  return { name: table.name, rows, hash: sum.finish() };
}

/** What a virtual table answers, in the order of its rowids if it has any. */
function selectVirtual(database: Database.Database, name: string): string {
  const from = `main.${quoteName(name)}`;
  const columns = database
    .prepare<unknown[], string>("SELECT lower(name) FROM pragma_table_xinfo(?)")
    .pluck(true)
    .all(name);
  const rowid = ROWID_NAMES.find((alias) => !columns.includes(alias));
  if (rowid !== undefined) return `SELECT ${rowid}, * FROM ${from} ORDER BY ${rowid}`;
  const order = columns.map((_, index) => index + 1).join(", ");
  return `SELECT * FROM ${from} ORDER BY ${order}`;
}

/** An index may differ from the content that it was made of: its terms, one by one, in the order of the index. */
function indexOf(
  database: Database.Database,
  name: string,
  index: string,
  progress: Told,
): TableContent {
  const vocabulary = quoteName(`terms of ${name}`);
  database.exec(
    `CREATE VIRTUAL TABLE temp.${vocabulary} USING fts5vocab('main', ${literal(name)}, 'instance')`,
  );
  try {
    // An index with detail=none has no columns, and one with detail=column no offsets: those are NULL then.
    const select = `SELECT term, doc, col, "offset" FROM temp.${vocabulary}`;
    return hashSelect(database, index, select, progress);
  } finally {
    database.exec(`DROP TABLE temp.${vocabulary}`);
  }
}

/** What cannot be read (an FTS5 table whose content is gone) has its error for content: the same on all nodes. */
function hashSelect(
  database: Database.Database,
  name: string,
  select: string,
  progress: Told,
): TableContent {
  const sum = new RowHash();
  let rows = 0;
  try {
    for (const row of rowsOf(database, select)) {
      // Its bytes are compared beneath.
      sum.bytes.plain(row, true);
      rows += 1;
      if (rows % PROGRESS_ROWS === 0) progress(rows);
    }
  } catch (error) {
    if (!(error instanceof Database.SqliteError) || !isOfTable(error.code)) throw error;
    sum.bytes.plain([error.code, error.message], true);
  }
  return { name, rows, hash: sum.finish() };
}

/** Not of the file or the machine. */
function isOfTable(code: string): boolean {
  return code === "SQLITE_ERROR" || code === "SQLITE_CORRUPT_VTAB";
}

function rowsOf(database: Database.Database, select: string): IterableIterator<unknown[]> {
  return database.prepare<unknown[], unknown[]>(select).raw(true).safeIntegers(true).iterate();
}

class RowHash {
  readonly #hash: Hash = createHash("sha256");
  readonly bytes = new RowBytes((bytes) => void this.#hash.update(bytes));

  finish(): string {
    this.bytes.flush();
    return this.#hash.digest("hex");
  }
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
