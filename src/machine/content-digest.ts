/**
 * Says whether two database files hold the same: what is in their tables, not how it lies in pages. It only reads, and
 * leaves out what Balsa keeps for itself. For tests, the demo and whoever compares nodes; never on a request's path.
 */

import { createHash, type Hash } from "node:crypto";
import Database from "better-sqlite3";
import type { Extension } from "../sql/extension.ts";
import { RowChunkWriter } from "../wire/result-codec.ts";
import type { SqliteValue } from "../wire/value-codec.ts";
import { loadExtensions } from "./extension-loading.ts";

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
  readonly wr: number;
  readonly sql: string;
}

const OWN = "name NOT IN ('balsa_meta', 'balsa_session')";
const FLUSH_BYTES = 64 * 1024;
const ROWID_NAMES = ["rowid", "_rowid_", "oid"];

/** Of a file that nobody writes at the moment, or of what one read transaction sees of it. */
export function readContent(database: Database.Database): Content {
  const began = !database.inTransaction;
  if (began) database.exec("BEGIN");
  try {
    const schemaHash = hashSchema(database);
    const tables = listTables(database).flatMap((table) => contentOf(database, table));
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

function hashSchema(database: Database.Database): string {
  const { hash, add, finish } = rowHash();
  for (const pragma of ["user_version", "application_id"]) {
    add(rowsOf(database, `PRAGMA main.${pragma}`));
  }
  add(
    rowsOf(
      database,
      `SELECT type, name, tbl_name, sql FROM main.sqlite_schema WHERE tbl_${OWN} ORDER BY 1, 2`,
    ),
  );
  finish();
  return hash.digest("hex");
}

function listTables(database: Database.Database): TableInfo[] {
  return database
    .prepare<unknown[], TableInfo>(
      `SELECT l.name, l.type, l.wr, coalesce(s.sql, '') AS sql
       FROM pragma_table_list AS l LEFT JOIN main.sqlite_schema AS s
         ON s.name = l.name AND s.type = 'table'
       WHERE l.schema = 'main' AND l.type IN ('table', 'virtual')
         AND l.${OWN} AND l.name <> 'sqlite_schema'
       ORDER BY l.name`,
    )
    .all();
}

function contentOf(database: Database.Database, table: TableInfo): TableContent[] {
  const { name, type, wr, sql } = table;
  const contents = [hashRows(database, name, selectOf(database, name, type, wr !== 0))];
  if (type === "virtual" && /\busing\s+["[`]?fts5\b/i.test(sql)) {
    contents.push(indexOf(database, name));
  }
  return contents;
}

/** In the order of the rowid or of the primary key. */
function selectOf(
  database: Database.Database,
  name: string,
  type: string,
  withoutRowid: boolean,
): string {
  const from = `main.${quote(name)}`;
  if (type === "table" && withoutRowid) return `SELECT * FROM ${from} NOT INDEXED`;
  const columns = database
    .prepare<unknown[], string>(`SELECT lower(name) FROM pragma_table_xinfo(?)`)
    .pluck(true)
    .all(name);
  const rowid = ROWID_NAMES.find((alias) => !columns.includes(alias));
  if (rowid !== undefined) return `SELECT ${rowid}, * FROM ${from} ORDER BY ${rowid}`;
  const order = columns.map((_, index) => index + 1).join(", ");
  return `SELECT * FROM ${from} ORDER BY ${order}`;
}

/** An index may differ from the content that it was made of: its terms, one by one. */
function indexOf(database: Database.Database, name: string): TableContent {
  const vocabulary = quote(`terms of ${name}`);
  database.exec(
    `CREATE VIRTUAL TABLE temp.${vocabulary} USING fts5vocab('main', ${literal(name)}, 'instance')`,
  );
  try {
    // An index with detail=none has no columns, and one with detail=column no offsets: those are NULL then.
    const select = `SELECT term, doc, col, "offset" FROM temp.${vocabulary} ORDER BY 1, 2, 3, 4`;
    return hashRows(database, `${name} (index)`, select);
  } finally {
    database.exec(`DROP TABLE temp.${vocabulary}`);
  }
}

/** What cannot be read (an FTS5 table whose content is gone) has its error for content: the same on all nodes. */
function hashRows(database: Database.Database, name: string, select: string): TableContent {
  const { hash, add, finish } = rowHash();
  let rows = 0;
  try {
    rows = add(rowsOf(database, select));
  } catch (error) {
    if (!(error instanceof Database.SqliteError) || !isOfTable(error.code)) throw error;
    hash.update(`${error.code}: ${error.message}`);
  }
  finish();
  return { name, rows, hash: hash.digest("hex") };
}

/** Not of the file or the machine. */
function isOfTable(code: string): boolean {
  return code === "SQLITE_ERROR" || code === "SQLITE_CORRUPT_VTAB";
}

function rowsOf(database: Database.Database, select: string): IterableIterator<SqliteValue[]> {
  return database.prepare<unknown[], SqliteValue[]>(select).raw(true).safeIntegers(true).iterate();
}

/** Rows as they would be sent: every value with its kind. */
function rowHash() {
  const hash: Hash = createHash("sha256");
  const writer = new RowChunkWriter();
  writer.start([]);
  return {
    hash,
    add(rows: Iterable<SqliteValue[]>): number {
      let count = 0;
      for (const row of rows) {
        writer.row(row);
        count += 1;
        if (writer.length < FLUSH_BYTES) continue;
        hash.update(writer.finish());
        writer.start([]);
      }
      return count;
    },
    finish(): void {
      hash.update(writer.finish());
    },
  };
}

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
