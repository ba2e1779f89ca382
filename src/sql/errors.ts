/**
 * Every way a request fails (DESIGN D14). Two classes, and nothing else reaches a caller:
 * `SqlError` is SQLite's own answer; `BalsaError` says that a request could not be served.
 * A broken invariant is neither: it halts the node (see invariant.ts).
 */

/** What became of a write that failed. `unknown`: it may still take effect; a retry in the same session is safe. */
export type Outcome = "applied" | "not-applied" | "unknown";

/** Codes of `BalsaError`, with what each means. The table is the single place where a code is defined. */
export const BALSA_CODES = {
  INVALID_ARGUMENT:
    "the request itself is wrong: an unsupported value, wrong parameters, a bad option",
  REFUSED:
    "the statement, or the change of the cluster, is not allowed here; the message says why, and what to do instead",
  LIMIT_EXCEEDED:
    "the request or its result is larger than a limit; facts name the limit and its value",
  NOT_LEADER: "this node does not lead; facts.leader is the address of the one that does, if known",
  NO_LEADER: "no leader is known at the moment",
  LEADERSHIP_LOST: "the leader was deposed while it worked on the request",
  UNAVAILABLE: "the node cannot be reached or is not ready",
  OVERLOADED: "a queue is full; try again later",
  NO_SPACE: "the disk is full, or nearly; reads are served. Free space, or try again later",
  DEADLINE_EXCEEDED: "the deadline passed",
  CANCELLED: "the caller gave up",
  TOO_STALE: "the node is further behind than the read allows",
  SESSION_EXPIRED: "the session is unknown; open another. Nothing was executed",
  SEQUENCE_EXPIRED: "a late duplicate of a write whose answer was already acknowledged",
  SNAPSHOT_TOO_OLD: "a streamed read held its snapshot for too long",
  NO_SUCH_BLOB: "no blob has that name or id, or it was removed while it was read or written",
  TRANSACTION_TIMEOUT:
    "the transaction was open for longer than it may be, or idle for too long; it was rolled back",
  TRANSACTION_ABORTED:
    "the transaction was rolled back before its commit: the leader or the connection was lost. It may be run again",
  NESTED_CALL:
    "a call of db inside db.transaction would wait for that transaction; use the tx that the function is given",
  CLOSED: "the client or the node is closed",
  PROTOCOL: "something that is not Balsa, or another version of it, answered",
  WRONG_CLUSTER: "the node belongs to another cluster",
  NOT_SERVING:
    "the node cannot answer rightly: its data differs from the others', or its disk is too full to keep up; others may serve",
  FILE_CHANGED:
    "the database file was changed from outside, and there is no other node to take one from; the message says what to do",
  INTERNAL: "a bug in Balsa",
} as const;

export type BalsaCode = keyof typeof BALSA_CODES;

/** Facts of a failure as flat text, so that they survive the wire. */
export type Facts = { readonly [name: string]: string };

export interface BalsaErrorOptions {
  /** For writes: what became of it. Default `not-applied`. */
  readonly outcome?: Outcome;
  readonly facts?: Facts;
  /** Default 0. */
  readonly statementIndex?: number;
  readonly cause?: unknown;
}

/** A request that could not be served. */
export class BalsaError extends Error {
  override readonly name = "BalsaError";
  readonly code: BalsaCode;
  readonly outcome: Outcome;
  readonly facts: Facts;
  /** Which statement of a batch or script is to blame, from 0; 0, too, where none is. */
  readonly statementIndex: number;

  constructor(code: BalsaCode, message: string, options: BalsaErrorOptions = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.outcome = options.outcome ?? "not-applied";
    this.facts = options.facts ?? {};
    this.statementIndex = options.statementIndex ?? 0;
  }
}

/** SQLite refused a statement. Nothing of the request took effect. */
export class SqlError extends Error {
  override readonly name = "SqlError";
  /** SQLite's extended result code by name, e.g. `SQLITE_CONSTRAINT_UNIQUE`. */
  readonly code: string;
  /** Which statement of the request failed, from 0. */
  readonly statementIndex: number;

  constructor(code: string, message: string, statementIndex = 0) {
    super(message);
    this.code = code;
    this.statementIndex = statementIndex;
  }
}

/** A failure as data: what travels between processes and over the wire. `SQLITE_*` codes become SqlError. */
export interface Failure {
  readonly code: BalsaCode | `SQLITE_${string}`;
  readonly message: string;
  readonly outcome: Outcome;
  readonly statementIndex: number;
  readonly facts: Facts;
}

export function isBalsaCode(code: string): code is BalsaCode {
  return Object.hasOwn(BALSA_CODES, code);
}

export function toError(failure: Failure): BalsaError | SqlError {
  if (isBalsaCode(failure.code)) {
    const { outcome, facts, statementIndex } = failure;
    return new BalsaError(failure.code, failure.message, { outcome, facts, statementIndex });
  }
  return new SqlError(failure.code, failure.message, failure.statementIndex);
}

/** The only way in from `unknown`: anything that is not ours is a bug, and says so. */
export function toFailure(reason: unknown): Failure {
  if (reason instanceof BalsaError) {
    const { code, message, outcome, facts, statementIndex } = reason;
    return { code, message, outcome, statementIndex, facts };
  }
  if (reason instanceof SqlError) {
    const { message, statementIndex } = reason;
    const code = reason.code as `SQLITE_${string}`;
    return { code, message, outcome: "not-applied", statementIndex, facts: {} };
  }
  const message = reason instanceof Error ? reason.message : String(reason);
  return { code: "INTERNAL", message, outcome: "unknown", statementIndex: 0, facts: {} };
}
