/** A request's text as its statements, each of them judged and prepared alone. It judges nothing itself. */

import { BalsaError } from "../sql/errors.ts";
import { type SplitStatement, splitStatements } from "./tokenizer.ts";

/** @throws BalsaError INVALID_ARGUMENT unless the text is exactly one statement. */
export function onlyStatement(text: string): SplitStatement {
  const [first, second] = splitText(text);
  if (first === undefined) throw emptyStatement(text);
  if (second === undefined) return first;
  const message = "the text has more than one statement; use exec() for a script, or batch()";
  throw new BalsaError("INVALID_ARGUMENT", message);
}

/** A script's statements. @throws BalsaError INVALID_ARGUMENT if there is none. */
export function scriptStatements(text: string): SplitStatement[] {
  const statements = splitText(text);
  if (statements.length === 0) throw emptyStatement(text);
  return statements;
}

function emptyStatement(text: string): BalsaError {
  const what = text.trim() === "" ? "is empty" : "has only comments";
  return new BalsaError("INVALID_ARGUMENT", `the statement ${what}`);
}

function splitText(text: string): SplitStatement[] {
  // SQLite would stop there, and run less than what is written.
  if (text.includes("\0")) {
    throw new BalsaError("INVALID_ARGUMENT", "the statement contains a NUL character");
  }
  return splitStatements(text);
}
