/** What a caller is told when a call ends without an answer: the code, and for a write what became of it. Pure. */

import { BalsaError, type Failure, isBalsaCode, type SqlError, toError } from "../sql/errors.ts";
import type { Call } from "./call.ts";

/** A node's refusal, final. An attempt before it may have been applied all the same. */
export function refusalError(call: Call, failure: Failure): BalsaError | SqlError {
  // SQLite's own answer comes from behind the check for duplicates: no earlier attempt was applied.
  if (!isBalsaCode(failure.code) || failure.outcome === "applied") return toError(failure);
  return toError({ ...failure, outcome: isOpen(call) ? "unknown" : failure.outcome });
}

/** The deadline passed here. `trouble`: why no node could be asked, if none could. */
export function deadlineError(call: Call, trouble: BalsaError | null): BalsaError {
  const waited = `after ${Math.round(call.deadlineMs)} ms`;
  if (call.attempts === 0 && trouble !== null) {
    const { code, message, facts } = trouble;
    return new BalsaError(code, `${message}; gave up ${waited}`, { facts, cause: trouble });
  }
  const last = call.lastFailure;
  const outcome = isOpen(call) ? "unknown" : "not-applied";
  if (last === null) {
    return new BalsaError("DEADLINE_EXCEEDED", `no answer ${waited}${consequence(call)}`, {
      outcome,
    });
  }
  const text = `gave up ${waited}; the last attempt failed with ${last.code}: ${last.message}`;
  return new BalsaError("DEADLINE_EXCEEDED", text + consequence(call), {
    outcome,
    facts: { ...last.facts, last: last.code },
  });
}

export function cancelledError(call: Call): BalsaError {
  return new BalsaError("CANCELLED", `the caller gave up${consequence(call)}`, {
    outcome: isOpen(call) ? "unknown" : "not-applied",
    cause: call.signal?.reason,
  });
}

export function closedError(call: Call | null): BalsaError {
  if (call === null) return new BalsaError("CLOSED", "the client is closed");
  return new BalsaError("CLOSED", `the client was closed${consequence(call)}`, {
    outcome: isOpen(call) ? "unknown" : "not-applied",
  });
}

function isOpen(call: Call): boolean {
  return call.kind === "write" && call.uncertain;
}

function consequence(call: Call): string {
  return isOpen(call) ? "; the write may have been applied, or be applied yet" : "";
}
