/** What comes back from a statement, in better-sqlite3's words. */

import type { Row } from "./value.ts";

export interface RunResult {
  /** Rows inserted, updated or deleted by the statement itself (not by triggers). */
  readonly changes: number;
  /** Rowid of the last successful INSERT of the request; 0 when there was none. */
  readonly lastInsertRowid: number | bigint;
  /** Log index at which the write took effect: a token for session reads. 0 if nothing was logged. */
  readonly index: number;
}

/** One statement's part of a batch. */
export interface StatementResult {
  readonly columns: readonly string[];
  readonly rows: readonly Row[];
  readonly changes: number;
  readonly lastInsertRowid: number | bigint;
}
