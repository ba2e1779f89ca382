/**
 * What ends a writer: the file or the machine failed, not the statement. Never an answer to a caller's SQL, because
 * another node may fare otherwise.
 */

import Database from "better-sqlite3";
import { BalsaError, type Failure, SqlError } from "../sql/errors.ts";

/** The process that meets it ends; another one starts from the file and the log. */
export class MachineFault extends Error {
  override readonly name = "MachineFault";
  /** SQLite's extended code where there is one; "MACHINE" otherwise. */
  readonly code: string;

  constructor(message: string, options: { readonly code?: string; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.code = options.code ?? "MACHINE";
  }
}

/** Somebody else has written to the database file: what it holds is nobody's any more. */
export class FileChanged extends MachineFault {}

/** Primary codes that are no outcome of a statement (D1). */
const FAULTS = new Set([
  "BUSY",
  "CANTOPEN",
  "CORRUPT",
  "FULL",
  "INTERNAL",
  "INTERRUPT",
  "IOERR",
  "LOCKED",
  "MISUSE",
  "NOLFS",
  "NOMEM",
  "NOTADB",
  "PERM",
  "PROTOCOL",
  "READONLY",
]);

export function isSqliteError(error: unknown): error is Error & { readonly code: string } {
  return error instanceof Database.SqliteError;
}

/** A virtual table found its content at odds: any statement can do that to one, and it is the same on all nodes. */
const OUTCOME_ALL_THE_SAME = "SQLITE_CORRUPT_VTAB";

function isFault(code: string): boolean {
  return FAULTS.has(primaryCode(code)) && code !== OUTCOME_ALL_THE_SAME;
}

function primaryCode(code: string): string {
  return code.split("_")[1] ?? "";
}

/** The caller should hear of these, though the writer ends; null for all others. */
export function toExhaustion(error: unknown, statementIndex: number): Failure | null {
  if (!isSqliteError(error)) return null;
  const primary = primaryCode(error.code);
  if (primary !== "FULL" && primary !== "NOMEM") return null;
  const code = error.code as `SQLITE_${string}`;
  return { code, message: error.message, outcome: "not-applied", statementIndex, facts: {} };
}

/** What a request is answered with; throws whatever is no answer. */
export function toStatementFailure(error: unknown, statementIndex: number): Failure {
  if (error instanceof BalsaError) {
    const { code, message, outcome, facts } = error;
    const index = error.statementIndex || statementIndex;
    return { code, message, outcome, statementIndex: index, facts };
  }
  if (error instanceof SqlError) {
    const code = error.code as `SQLITE_${string}`;
    return { code, message: error.message, outcome: "not-applied", statementIndex, facts: {} };
  }
  if (isSqliteError(error)) {
    if (isFault(error.code)) {
      throw new MachineFault(error.message, { code: error.code, cause: error });
    }
    const code = error.code as `SQLITE_${string}`;
    return { code, message: error.message, outcome: "not-applied", statementIndex, facts: {} };
  }
  throw error;
}
