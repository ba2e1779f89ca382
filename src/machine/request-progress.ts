/** What a request has come to while its statements run. Runs nothing. */

import type { Failure } from "../sql/errors.ts";
import type { Limits } from "../sql/limits.ts";
import type { JudgedStatement } from "./prepared-statement.ts";
import type { SchemaFacts } from "./schema-facts.ts";

/** What goes on from one step of a transaction to the next. */
export interface TransactionProgress {
  /** Number of the next step's first statement; its dice know it. */
  statement: number;
  /** As Progress.rowid. */
  rowid: bigint;
  /** Undone, a change of the schema leaves a connection that is not like a fresh one. */
  changedSchema: boolean;
}

/** What a request has come to so far. */
export interface Progress {
  /** The statement under way, from 0. */
  index: number;
  /** Of the transaction that the request is a step of. */
  readonly transaction: TransactionProgress | null;
  wrote: boolean;
  inspected: boolean;
  readonly severalRows: boolean;
  /** CREATE, DROP, ALTER, ANALYZE or REINDEX has begun to run, or a command to full text. */
  changedSchema: boolean;
  /** As SQLite's last_insert_rowid() would be, had the connection begun with this request. */
  rowid: bigint;
  /** What this program itself has put into SQLite's total_changes() meanwhile. */
  ownChanges: number;
  /** Rows that its statements themselves have changed; null where only SQLite's total would tell. */
  counted: number | null;
  /** The connection's own last_insert_rowid() and changes() began with this request. */
  readonly native: boolean;
  /** Bound of the rows of any one request, bytes. */
  readonly resultBytes: number;
}

export function beginProgress(
  statements: readonly JudgedStatement[],
  transaction: TransactionProgress | null,
  limits: Limits,
  native = false,
): Progress {
  return {
    index: 0,
    transaction,
    wrote: false,
    inspected: false,
    severalRows: statements.some(({ shape }) => shape.severalRows),
    changedSchema: false,
    rowid: transaction?.rowid ?? 0n,
    ownChanges: 0,
    counted: 0,
    native,
    resultBytes: limits.resultBytes,
  };
}

/** The failures that SQLite may not undo, met where nothing was foreseen: a row too large, foreign keys that cascade. */
export function mayLeaveRows(
  { code, message }: Failure,
  progress: Progress,
  facts: SchemaFacts,
): boolean {
  if (code === "SQLITE_TOOBIG") return progress.severalRows;
  if (facts.sideTables.length === 0) return false;
  if (code === "SQLITE_MISMATCH" || code === "SQLITE_CONSTRAINT_DATATYPE") return true;
  return message.includes("trigger recursion");
}
