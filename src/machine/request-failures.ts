/** What a request is told that failed in a way of ours, and where SQLite's own words need help. Decides nothing. */

import { BalsaError, type Failure } from "../sql/errors.ts";

export function lostTransaction(): BalsaError {
  return new BalsaError("REFUSED", "the statement ended the transaction that it ran in");
}

export function resultTooLarge(bytesMax: number): BalsaError {
  const message =
    `the result has more than resultBytes allows (${bytesMax}); read with iterate(), with LIMIT, ` +
    "or write without RETURNING";
  const facts = { limit: "resultBytes", value: String(bytesMax) };
  return new BalsaError("LIMIT_EXCEEDED", message, { facts });
}

/** SQLite's words are kept; where they mislead, the way out is added. */
export function explain(failure: Failure): Failure {
  if (!failure.message.includes("non-deterministic functions prohibited")) return failure;
  const advice =
    "; date, time and random functions cannot be part of an index or a generated column of a " +
    "replicated database: store the value in a column of its own, by a trigger or from the client";
  return { ...failure, message: failure.message + advice };
}
