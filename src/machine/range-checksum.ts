/**
 * Range checksums: what a few rows come to, on the leader to be proposed, on a follower to be compared with that. Together
 * the ranges of a pass read everything that is the same on all nodes, so rot is found that no write would touch. It only
 * reads, in the transaction that is open, and knows neither the log nor the clock: how much one takes depends on rows and
 * bytes alone.
 */

import { crc32 } from "node:zlib";
import type Database from "better-sqlite3";
import type { LoggedChecksum, StoredValue, TableRange } from "../wire/checksum-codec.ts";
import type { Command } from "../wire/log-codec.ts";
import { isSqliteError } from "./machine-fault.ts";
import { RowBytes } from "./row-bytes.ts";
import { type RowsRead, readRows } from "./stored-rows.ts";
import { type StoredTable, StoredTables } from "./stored-table.ts";
import { commandOf, type Work } from "./work.ts";

/** Of one checksum: a ms or two of reading, in which nothing is written. The row that passes the bytes is its last. */
const ROWS_MAX = 500;
const BYTES_MAX = 256 * 1024;
const RANGES_MAX = 256;
const NO_BATCH = Buffer.alloc(0);
const KEY_BYTES_MAX = 64 * 1024;

export interface RangeChecksumParts {
  /** Writes into the transaction what is only in memory; the same on all nodes. */
  settle(): void;
  /** What Balsa itself keeps in its one row, as far as it is the same on all nodes. */
  counted(): readonly (number | string)[];
}

/** Where the next range begins. */
interface Position {
  /** The schema comes first. */
  readonly isBegun: boolean;
  /** The last one that was read; null: none. */
  readonly table: string | null;
  /** Not empty: in the middle of that table. */
  readonly after: readonly StoredValue[];
}

interface ReadRange extends RowsRead {
  readonly crc: number;
  readonly bytes: number;
}

export interface Difference {
  readonly found: number;
  readonly detail: string;
}

const START: Position = { isBegun: false, table: null, after: [] };
const SCHEMA = `SELECT type, name, tbl_name, sql FROM main.sqlite_schema
  WHERE tbl_name NOT LIKE 'balsa\\_%' ESCAPE '\\' ORDER BY type, name`;
const HEADER = ["user_version", "application_id"];
/** Of a file or a disk that cannot be read. */
const ROTTEN = /^SQLITE_(CORRUPT|NOTADB|IOERR_(READ|SHORT_READ|CORRUPTFS|DATA)$)/;
/** Of the schema: a collation that is missing, a name that is gone. Anything else is of the machine. */
const SENSELESS = /^SQLITE_(ERROR|SCHEMA|TOOBIG|RANGE|MISMATCH)/;

export class RangeChecksums {
  readonly #database: Database.Database;
  readonly #parts: RangeChecksumParts;
  readonly #tables: StoredTables;
  #position = START;

  constructor(database: Database.Database, parts: RangeChecksumParts) {
    this.#database = database;
    this.#parts = parts;
    this.#tables = new StoredTables(database);
  }

  /** On the leader: the next ranges of the pass, or the first of another one. Answered with 1 if they are its last. */
  propose(work: Work): { readonly command: Command; readonly result: Uint8Array } {
    this.#parts.settle();
    const checksum = this.#next();
    const digest = digestOf(checksum.ranges.map((range) => range.checksum));
    const command = { ...commandOf(work, digest), batch: NO_BATCH, checksum };
    return { command, result: Uint8Array.of(checksum.endsPass ? 1 : 0) };
  }

  #next(): LoggedChecksum {
    const ranges: TableRange[] = [];
    let [rows, bytes] = [ROWS_MAX, BYTES_MAX];
    if (!this.#position.isBegun) {
      ranges.push(this.#schemaRange());
      this.#position = { ...START, isBegun: true };
    }
    while (rows > 0 && bytes > 0 && ranges.length < RANGES_MAX) {
      const { table: before, after } = this.#position;
      const name = after.length > 0 && before !== null ? before : this.#tables.nameBehind(before);
      if (name === null) {
        this.#position = START;
        return { ranges, endsPass: true };
      }
      const found = this.#tableRange(name, after, rows, bytes);
      if (found === null) {
        this.#position = { isBegun: true, table: name, after: [] };
        continue;
      }
      ranges.push(found.range);
      rows -= found.range.rows + 1;
      bytes -= found.bytes;
      // A key that is too long to be in the log: the rest of that table is left out.
      const goesOn = !found.range.isLast && keyBytes(found.last) <= KEY_BYTES_MAX;
      this.#position = { isBegun: true, table: name, after: goesOn ? found.last : [] };
    }
    return { ranges, endsPass: false };
  }

  /** On a follower. Null: it has the same. */
  check(checksum: LoggedChecksum): Difference | null {
    this.#parts.settle();
    let detail: string | null = null;
    const found: number[] = [];
    for (const range of checksum.ranges) {
      const isSchema = range.kind === "schema";
      const difference = isSchema ? this.#checkSchema(range) : this.#checkRows(range);
      found.push(difference?.found ?? range.checksum);
      detail ??= difference?.detail ?? null;
    }
    if (checksum.endsPass) this.#position = START;
    return detail === null ? null : { found: digestOf(found), detail };
  }

  // --- rows -------------------------------------------------------------------------------------------------------

  /** Null: there is nothing that could be named, or no such table any more. */
  #tableRange(
    name: string,
    after: readonly StoredValue[],
    rows: number,
    bytes: number,
  ): { range: TableRange; bytes: number; last: readonly StoredValue[] } | null {
    const head = { kind: "rows" as const, table: name, after };
    try {
      const table = this.#tables.describe(name);
      if (table === null || table.key.length === 0) return null;
      const bounds = { rowsMax: rows, bytesMax: bytes };
      const read = readRange(this.#database, table, after, bounds);
      const checksum = sealed(read, read.ended);
      const range = { ...head, rows: read.rows, isLast: read.ended, checksum, failed: "" };
      return { range, bytes: read.bytes, last: read.last };
    } catch (error) {
      const failed = unreadable(error);
      const range = { ...head, rows: 0, isLast: true, checksum: crc32(failed), failed };
      return { range, bytes: 0, last: [] };
    }
  }

  #checkRows(range: TableRange): Difference | null {
    const { table: name, after, rows, isLast, failed } = range;
    const where = after.length === 0 ? "from its first row on" : "behind a row";
    const what = `table ${JSON.stringify(name)}, ${rows} rows ${where}`;
    try {
      const table = this.#tables.describe(name);
      if (table === null) return { found: 0, detail: `${what}: there is no such table` };
      const bounds = { rowsMax: rows, bytesMax: Number.POSITIVE_INFINITY };
      const read = readRange(this.#database, table, after, bounds);
      if (failed !== "")
        return { found: 0, detail: `${what}: the leader cannot read it: ${failed}` };
      const found = sealed(read, isLast && read.ended);
      this.#position = { isBegun: true, table: name, after: isLast ? [] : read.last };
      if (found === range.checksum) return null;
      return { found, detail: `${what}: other content` };
    } catch (error) {
      const code = unreadable(error);
      // Nobody can, and not for a disk: a collation that no node has any more.
      if (code === failed && SENSELESS.test(code)) return null;
      return { found: 0, detail: `${what}: ${code}: ${(error as Error).message}` };
    }
  }

  // --- the schema -------------------------------------------------------------------------------------------------

  #schemaRange(): TableRange {
    const head = { kind: "schema" as const, table: "", after: [], isLast: true };
    try {
      return { ...head, ...this.#readSchema(), failed: "" };
    } catch (error) {
      const failed = unreadable(error);
      return { ...head, rows: 0, checksum: crc32(failed), failed };
    }
  }

  #checkSchema({ checksum, failed }: TableRange): Difference | null {
    if (failed !== "")
      return { found: 0, detail: `the schema: the leader cannot read it: ${failed}` };
    this.#position = { ...START, isBegun: true };
    try {
      const found = this.#readSchema().checksum;
      return found === checksum ? null : { found, detail: "the schema's text: other content" };
    } catch (error) {
      return { found: 0, detail: `the schema: ${unreadable(error)}: ${(error as Error).message}` };
    }
  }

  /** With it a pass begins: what SQLite still has of pages is dropped, so that the file is read, and rot beneath them seen. */
  #readSchema(): { rows: number; checksum: number } {
    this.#database.pragma("shrink_memory");
    const sum = new Checksum();
    let rows = 0;
    const objects = this.#database.prepare<unknown[], unknown[]>(SCHEMA).raw(true);
    for (const row of objects.iterate()) {
      sum.bytes.plain(row);
      rows += 1;
    }
    const header = HEADER.map((name) => Number(this.#database.pragma(name, { simple: true })));
    sum.bytes.plain([...header, ...this.#parts.counted()]);
    return { rows, checksum: sum.finish() };
  }
}

function readRange(
  database: Database.Database,
  table: StoredTable,
  after: readonly StoredValue[],
  bounds: { readonly rowsMax: number; readonly bytesMax: number },
): ReadRange {
  const sum = new Checksum();
  const read = readRows(database, table, sum.bytes, { after, ...bounds });
  return { ...read, bytes: sum.bytes.total, crc: sum.finish() };
}

/** The number of rows, and that they are all, belong to it. */
function sealed({ crc, rows }: ReadRange, isLast: boolean): number {
  return crc32(`${rows} ${isLast}`, crc);
}

function keyBytes(key: readonly StoredValue[]): number {
  let bytes = 0;
  for (const value of key) {
    if (value instanceof Uint8Array) bytes += value.length;
    else if (typeof value === "object" && value !== null) bytes += value.text.length;
  }
  return bytes;
}

/** SQLite's code. @throws what is not of the content but of the machine */
function unreadable(error: unknown): string {
  if (isSqliteError(error) && (ROTTEN.test(error.code) || SENSELESS.test(error.code))) {
    return error.code;
  }
  throw error;
}

class Checksum {
  #crc = 0;
  readonly bytes = new RowBytes((bytes) => {
    this.#crc = crc32(bytes, this.#crc);
  });

  finish(): number {
    this.bytes.flush();
    return this.#crc;
  }
}

/** What the digest of an entry with these ranges is. */
function digestOf(checksums: readonly number[]): number {
  return crc32(checksums.join(" "));
}
