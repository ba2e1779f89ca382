/** The bounds of a request, held where it arrives: its sender may not be our client. */

import { BalsaError } from "../sql/errors.ts";
import type { Limits } from "../sql/limits.ts";
import type { BoundBatch, BoundStatement } from "../wire/statement-codec.ts";
import type { SqliteValue } from "../wire/value-codec.ts";

/** Limits are of the node that admits a request. What is in the log was admitted: no other node may refuse it. */
export const UNBOUNDED: Limits = {
  requestBytes: Infinity,
  valueBytes: Infinity,
  statementBytes: Infinity,
  statements: Infinity,
  parameters: Infinity,
  resultBytes: Infinity,
  pendingWrites: Infinity,
  pendingReads: Infinity,
  pendingBytes: Infinity,
};

/** @throws BalsaError LIMIT_EXCEEDED or INVALID_ARGUMENT. */
export function checkRequest(batch: BoundBatch, batchBytes: number, limits: Limits): void {
  const { statements, script } = batch;
  if (statements.length === 0) {
    throw new BalsaError("INVALID_ARGUMENT", "the batch has no statements");
  }
  if (script && statements.length > 1) {
    throw new BalsaError("INVALID_ARGUMENT", "a script is one text");
  }
  if (script && hasArgs(statements[0])) {
    throw new BalsaError("INVALID_ARGUMENT", "a script has no parameters; use batch()");
  }
  refuse("requestBytes", batchBytes, limits.requestBytes, "split the request");
  checkCount(statements.length, limits);
  // What is smaller as a whole has no part that is larger.
  if (batchBytes <= Math.min(limits.statementBytes, limits.valueBytes)) return;
  for (const [index, statement] of statements.entries()) checkStatement(statement, limits, index);
}

/** Of a batch or of a script. @throws BalsaError LIMIT_EXCEEDED. */
export function checkCount(statements: number, limits: Limits): void {
  refuse("statements", statements, limits.statements, "split the request");
}

/** As the statement numbers them. @throws BalsaError LIMIT_EXCEEDED. */
export function checkParameters(count: number, limits: Limits): void {
  if (count <= limits.parameters) return;
  refuse(
    "parameters",
    count,
    limits.parameters,
    "bind a JSON array, and read it with json_each(?)",
  );
}

/** `index` of the statement in its request. @throws BalsaError LIMIT_EXCEEDED. */
export function checkStatement({ sql, args }: BoundStatement, limits: Limits, index = 0): void {
  const advice = "pass values as parameters, and split a long script";
  refuse("statementBytes", Buffer.byteLength(sql), limits.statementBytes, advice, index);
  const values = args.kind === "positional" ? args.values : Object.values(args.values);
  for (const value of values) {
    const split = "split the value over several rows";
    refuse("valueBytes", sizeOf(value), limits.valueBytes, split, index);
  }
}

function hasArgs(statement: BoundStatement | undefined): boolean {
  if (statement === undefined) return false;
  return Object.keys(statement.args.values).length > 0;
}

function sizeOf(value: SqliteValue): number {
  if (typeof value === "string") return Buffer.byteLength(value);
  return value instanceof Uint8Array ? value.length : 0;
}

function refuse(
  limit: keyof Limits,
  found: number,
  max: number,
  advice: string,
  statementIndex = 0,
): void {
  if (found <= max) return;
  const message = `${found} is more than ${limit} allows (${max}); ${advice}`;
  const facts = { limit, value: String(max) };
  throw new BalsaError("LIMIT_EXCEEDED", message, { facts, statementIndex });
}
