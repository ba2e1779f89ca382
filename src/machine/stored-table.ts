/**
 * How a table's rows are read as they are stored: in the order of its b-tree, from any key on, every stored value by its
 * bytes. Shadow tables of virtual tables are tables like others. It reads no row itself, and computes nothing.
 */

import type { Database } from "better-sqlite3";
import type { StoredValue } from "../wire/checksum-codec.ts";

/** A part of a table's key: the rowid, or a column of the primary key of a table without rowids. */
export interface KeyPart {
  readonly sql: string;
  readonly collation: string;
  readonly isDescending: boolean;
  /** Where it stands among the values. */
  readonly at: number;
}

export interface StoredTable {
  readonly name: string;
  /** Empty: its rows cannot be named (its columns have taken all names of the rowid); they come in order all the same. */
  readonly key: readonly KeyPart[];
  /** Expressions of what is stored: columns that are computed when they are read are left out. */
  readonly values: readonly string[];
}

/**
 * `plain`: text as text, which loses the bytes of what is not valid UTF-8. `exact`: each value, text as a blob, and behind it
 * its kind.
 */
export type ReadMode = "plain" | "exact";

interface ColumnRow {
  readonly name: string;
  readonly type: string;
  readonly pk: bigint | number;
  readonly hidden: bigint | number;
}

interface KeyRow {
  readonly name: string;
  readonly coll: string;
  readonly isDescending: bigint | number;
}

const ROWID_NAMES = ["rowid", "_rowid_", "oid"];
/** Columns that are stored, ordinary and generated; the others are hidden or computed. */
const STORED = "hidden IN (0, 3)";
/** A larger value is no string that this process could hold, nor read within a few ms. */
export const LARGE_BYTES = 16 * 1024 * 1024;
/** SQLite allows a result as many columns as a table; of a row we want its key beside them, and their kinds. */
const RESULT_COLUMNS_MAX = 2_000;
/** What is read in a large value's place, behind which come its kind and its length. */
const LARGE_MARK = "a large value: ";

/** Is this the text of a virtual table of FTS5? */
export function isFts5(sql: string): boolean {
  return /\busing\s+["'[`]?fts5\b/i.test(sql);
}

export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Names of what has rows of its own, shadow tables and SQLite's own too, but not what Balsa keeps of its node; in order. */
export class StoredTables {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** The first behind `name`, or the first of all; null at the end. */
  nameBehind(name: string | null): string | null {
    const found = this.#database
      .prepare<unknown[], string>(
        `SELECT name FROM main.sqlite_schema WHERE type = 'table' AND rootpage > 0
         AND name <> 'balsa_meta' AND (?1 IS NULL OR name > ?1) ORDER BY name LIMIT 1`,
      )
      .pluck(true)
      .get({ 1: name });
    return found ?? null;
  }

  /** Null if there is no such table. */
  describe(name: string): StoredTable | null {
    const database = this.#database;
    const columns = database
      .prepare<unknown[], ColumnRow>(
        `SELECT name, type, pk, hidden FROM pragma_table_xinfo(?, 'main') WHERE ${STORED}`,
      )
      .all(name);
    if (columns.length === 0) return null;
    const isWithoutRowid = database
      .prepare<unknown[], bigint | number>(
        "SELECT wr FROM pragma_table_list(?) WHERE schema = 'main'",
      )
      .pluck(true)
      .get(name);
    const values = columns.map((column) => this.#valueOf(name, column.name));
    if (Number(isWithoutRowid) !== 0) return { name, key: this.#primaryKey(name, columns), values };
    const rowid = rowidName(columns);
    if (rowid === undefined) return { name, key: [], values };
    const key = { sql: rowid, collation: "BINARY", isDescending: false, at: 0 };
    return { name, key: [key], values: [rowid, ...values] };
  }

  /**
   * FTS5 counts changes of its configuration at the head of one record (row 10 of `_data`), by which connections notice
   * them. A rebuild as the first thing that a connection does sets it back; nothing else depends on it.
   */
  #valueOf(table: string, column: string): string {
    const sql = quoteName(column);
    if (column !== "block" || !table.endsWith("_data")) return sql;
    const owner = this.#database
      .prepare<unknown[], string>(
        "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND rootpage = 0 AND name = ?",
      )
      .pluck(true)
      .get(table.slice(0, -"_data".length));
    return owner !== undefined && isFts5(owner)
      ? "CASE id WHEN 10 THEN substr(block, 5) ELSE block END"
      : sql;
  }

  #primaryKey(table: string, columns: readonly ColumnRow[]): KeyPart[] {
    const rows = this.#database
      .prepare<unknown[], KeyRow>(
        `SELECT x.name, x.coll, x."desc" AS isDescending
         FROM pragma_index_list(?1, 'main') AS l, pragma_index_xinfo(l.name, 'main') AS x
         WHERE l.origin = 'pk' AND x.key ORDER BY x.seqno`,
      )
      .all({ 1: table });
    return rows.map(({ name, coll, isDescending }) => ({
      sql: quoteName(name),
      collation: coll,
      isDescending: Number(isDescending) !== 0,
      at: columns.findIndex((column) => column.name === name),
    }));
  }
}

function rowidName(columns: readonly ColumnRow[]): string | undefined {
  const taken = new Set(columns.map(({ name }) => name.toLowerCase()));
  const free = ROWID_NAMES.find((name) => !taken.has(name));
  if (free !== undefined) return free;
  const keys = columns.filter(({ pk }) => Number(pk) > 0);
  const alias = keys.find(({ type }) => keys.length === 1 && type.toUpperCase() === "INTEGER");
  return alias === undefined ? undefined : quoteName(alias.name);
}

/**
 * Rows behind a key, as many as its last parameter says (−1: all); see `rowArguments`. A table of many columns takes several
 * statements, to be read side by side: each gives the next columns of the same rows.
 */
export function selectRows(
  table: StoredTable,
  mode: ReadMode,
  after: readonly StoredValue[],
): string[] {
  const selected = table.values.flatMap((sql) => (mode === "plain" ? [plain(sql)] : exact(sql)));
  const statements: string[] = [];
  for (let at = 0; at < selected.length; at += RESULT_COLUMNS_MAX) {
    const some = selected.slice(at, at + RESULT_COLUMNS_MAX);
    statements.push(selectColumns(table, some, after));
  }
  return statements;
}

function selectColumns(
  { name, key }: StoredTable,
  selected: readonly string[],
  after: readonly StoredValue[],
): string {
  const where = after.length === 0 ? "" : ` WHERE ${behind(key, after)}`;
  const order = key.map(({ sql, collation, isDescending }) => {
    return `${sql} COLLATE ${quoteName(collation)}${isDescending ? " DESC" : ""}`;
  });
  const ordered = order.length === 0 ? "" : ` ORDER BY ${order.join(", ")}`;
  const from = `main.${quoteName(name)} NOT INDEXED`;
  return `SELECT ${selected.join(", ")} FROM ${from}${where}${ordered} LIMIT ?${after.length + 1}`;
}

function large(sql: string): string {
  return `'${LARGE_MARK}' || typeof(${sql}) || ' ' || octet_length(${sql})`;
}

function plain(sql: string): string {
  return `iif(octet_length(${sql}) > ${LARGE_BYTES}, ${large(sql)}, ${sql})`;
}

function exact(sql: string): string[] {
  const isLarge = `WHEN octet_length(${sql}) > ${LARGE_BYTES} THEN ${large(sql)}`;
  const asBlob = `WHEN typeof(${sql}) = 'text' THEN CAST(${sql} AS BLOB)`;
  return [`CASE ${isLarge} ${asBlob} ELSE ${sql} END`, `typeof(${sql})`];
}

/** In one direction a row value is compared, which finds its place in the b-tree; the rest is for keys of both directions. */
function behind(key: readonly KeyPart[], after: readonly StoredValue[]): string {
  const [first] = key;
  const columns = key.map(({ sql, collation }) => `${sql} COLLATE ${quoteName(collation)}`);
  const parameters = after.map((value, at) => parameter(value, at + 1));
  if (first === undefined || key.every((part) => part.isDescending === first.isDescending)) {
    const operator = first?.isDescending === true ? "<" : ">";
    return `(${columns.join(", ")}) ${operator} (${parameters.join(", ")})`;
  }
  const ways = key.map((part, at) => {
    const equal = columns.slice(0, at).map((column, i) => `${column} = ${parameters[i]}`);
    return [...equal, `${columns[at]} ${part.isDescending ? "<" : ">"} ${parameters[at]}`].join(
      " AND ",
    );
  });
  const bound = `${columns[0]} ${first.isDescending ? "<=" : ">="} ${parameters[0]}`;
  return `${bound} AND (${ways.map((way) => `(${way})`).join(" OR ")})`;
}

function parameter(value: StoredValue, number: number): string {
  return isText(value) ? `CAST(?${number} AS TEXT)` : `?${number}`;
}

function isText(value: StoredValue): value is { readonly text: Uint8Array } {
  return typeof value === "object" && value !== null && "text" in value;
}

/** A piece of a value, as a blob. Its parameters: `rowArguments` with the piece's length, and behind them its first byte. */
export function selectPiece(
  { name, key }: StoredTable,
  sql: string,
  at: readonly StoredValue[],
): string {
  const where = key.map((part, i) => {
    return `${part.sql} COLLATE ${quoteName(part.collation)} = ${parameter(at[i] ?? null, i + 1)}`;
  });
  const piece = `substr(CAST(${sql} AS BLOB), ?${at.length + 2}, ?${at.length + 1})`;
  return `SELECT ${piece} FROM main.${quoteName(name)} NOT INDEXED WHERE ${where.join(" AND ")}`;
}

export function isLargeMark(value: string): boolean {
  return value.startsWith(LARGE_MARK);
}

/** The parameters of `selectRows`. */
export function rowArguments(
  after: readonly StoredValue[],
  rowsMax: number,
): { [number: number]: unknown } {
  const given = after.map((value) => (isText(value) ? value.text : value));
  return Object.fromEntries([...given, BigInt(rowsMax)].map((value, at) => [at + 1, value]));
}

/** Of a row as it was read in this mode. */
export function keyOf(
  { key }: StoredTable,
  row: readonly unknown[],
  mode: ReadMode,
): StoredValue[] {
  return key.map(({ at }) => {
    const value = row[mode === "plain" ? at : at * 2];
    if (typeof value === "string") return { text: Buffer.from(value) };
    if (mode === "exact" && row[at * 2 + 1] === "text") return { text: value as Uint8Array };
    return value as StoredValue;
  });
}
