/**
 * Reads the rows of a table as they are stored, in order, into bytes to be hashed: by their text where that is exact, and else
 * by their bytes. It holds one row at a time.
 */

import type { Database } from "better-sqlite3";
import type { StoredValue } from "../wire/checksum-codec.ts";
import type { RowBytes } from "./row-bytes.ts";
import {
  isLargeMark,
  keyOf,
  type ReadMode,
  rowArguments,
  type StoredTable,
  selectPiece,
  selectRows,
} from "./stored-table.ts";

/** Bytes of a large value that are read at a time; SQLite holds all of it meanwhile. */
const PIECE_BYTES = 8 * 1024 * 1024;

export interface RowsToRead {
  /** Key of the row behind which to begin; empty: at the first. */
  readonly after: readonly StoredValue[];
  /** At most so many. Default all. */
  readonly rowsMax?: number;
  /** Nothing more is read when so many bytes were. Default all. */
  readonly bytesMax?: number;
  /** Also the bytes of values that are too large for a moment, for whoever has time. Default false. */
  readonly withLarge?: boolean;
  /** Asked for now and then, with the rows so far. */
  progress?(rows: number): void;
}

export interface RowsRead {
  readonly rows: number;
  /** No row was seen behind them. */
  readonly ended: boolean;
  /** Key of the last. */
  readonly last: readonly StoredValue[];
}

const PROGRESS_ROWS = 4_096;

export function readRows(
  database: Database,
  table: StoredTable,
  bytes: RowBytes,
  { after, rowsMax = -1, bytesMax = Infinity, withLarge = false, progress }: RowsToRead,
): RowsRead {
  let mode: ReadMode = "plain";
  let last = after;
  let rows = 0;
  for (;;) {
    let mustReread = false;
    let isFull = false;
    const given = rowArguments(last, rowsMax < 0 ? -1 : rowsMax - rows + 1);
    const parts = selectRows(table, mode, last).map((sql) => {
      return database.prepare<unknown[], unknown[]>(sql).raw(true).safeIntegers(true);
    });
    for (const row of sideBySide(parts.map((part) => part.iterate(given)))) {
      isFull = rows === rowsMax || bytes.total >= bytesMax;
      if (isFull) break;
      if (mode === "exact") bytes.exact(row);
      else mustReread = !bytes.plain(row);
      if (mustReread) break;
      rows += 1;
      last = keyOf(table, row, mode);
      if (withLarge) readLarge(database, table, { row, mode, key: last }, bytes);
      if (rows % PROGRESS_ROWS === 0) progress?.(rows);
    }
    if (!mustReread) return { rows, ended: !isFull, last };
    mode = "exact";
    // Rows that cannot be named are read from the first on again.
    if (table.key.length === 0) rows = 0;
  }
}

/** Each row's parts as one row. They are of one transaction, so they have the same rows. */
function sideBySide(parts: IterableIterator<unknown[]>[]): Iterable<unknown[]> {
  const [first] = parts;
  return first !== undefined && parts.length === 1 ? first : joined(parts);
}

function* joined(parts: IterableIterator<unknown[]>[]): Generator<unknown[]> {
  try {
    for (;;) {
      const row: unknown[] = [];
      for (const part of parts) {
        const { done, value } = part.next();
        if (done === true) return;
        row.push(...value);
      }
      yield row;
    }
  } finally {
    for (const part of parts) part.return?.();
  }
}

/** What its row had only a mark for. */
function readLarge(
  database: Database,
  table: StoredTable,
  at: {
    readonly row: readonly unknown[];
    readonly mode: ReadMode;
    readonly key: readonly StoredValue[];
  },
  bytes: RowBytes,
): void {
  if (at.key.length === 0) return;
  for (const [column, sql] of table.values.entries()) {
    const value = at.row[at.mode === "plain" ? column : column * 2];
    if (typeof value !== "string" || !isLargeMark(value)) continue;
    const select = database.prepare<unknown[], Uint8Array>(selectPiece(table, sql, at.key)).pluck();
    for (let from = 1; ; from += PIECE_BYTES) {
      const given = { ...rowArguments(at.key, PIECE_BYTES), [at.key.length + 2]: BigInt(from) };
      const piece = select.get(given);
      if (piece === undefined || piece === null || piece.length === 0) break;
      bytes.exact([piece, "blob"]);
    }
  }
}
