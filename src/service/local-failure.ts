/**
 * What better-sqlite3 throws where an app calls it in its own process, as the two classes that every caller of Balsa knows. It
 * decides nothing.
 */

import Database from "better-sqlite3";
import { BalsaError, SqlError } from "../sql/errors.ts";

/** To be thrown instead of `error`. */
export function localFailure(error: unknown): unknown {
  if (error instanceof Database.SqliteError) return new SqlError(error.code, error.message);
  if (!(error instanceof TypeError || error instanceof RangeError)) return error;
  const { message } = error;
  if (message.includes("busy executing a query")) return openIterator(error);
  return new BalsaError("INVALID_ARGUMENT", message, { cause: error });
}

/** An iterator that is open keeps its moment, so that no other can begin or end. */
export function openIterator(cause: unknown): BalsaError {
  const message =
    "an iterator of node.local is open: a transaction can neither begin nor end before it has ended. Read it to " +
    "its end, leave its loop, or take all()";
  return new BalsaError("INVALID_ARGUMENT", message, { cause });
}
