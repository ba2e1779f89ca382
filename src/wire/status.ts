/**
 * Failures as gRPC statuses and back, for unary calls: one table. The whole failure travels in trailing metadata, so
 * that our own clients lose nothing and others have a code that their retry rules understand.
 */

import { status as Code, Metadata } from "@grpc/grpc-js";
import type { BalsaCode, Failure, Outcome } from "../sql/errors.ts";
import { decodeFailure, encodeFailure } from "./failure-codec.ts";

/** Key of the trailing metadata with the encoded balsa.v1.Failure. */
export const FAILURE_KEY = "balsa-failure-bin";

/**
 * UNAVAILABLE is what generic clients repeat by themselves: only where nothing has happened and another try, perhaps
 * elsewhere, may succeed.
 */
export const GRPC_STATUS: Record<BalsaCode, Code> = {
  INVALID_ARGUMENT: Code.INVALID_ARGUMENT,
  REFUSED: Code.INVALID_ARGUMENT,
  LIMIT_EXCEEDED: Code.INVALID_ARGUMENT,
  NOT_LEADER: Code.FAILED_PRECONDITION,
  NO_LEADER: Code.UNAVAILABLE,
  LEADERSHIP_LOST: Code.ABORTED,
  UNAVAILABLE: Code.UNAVAILABLE,
  OVERLOADED: Code.RESOURCE_EXHAUSTED,
  NO_SPACE: Code.RESOURCE_EXHAUSTED,
  DEADLINE_EXCEEDED: Code.DEADLINE_EXCEEDED,
  CANCELLED: Code.CANCELLED,
  TOO_STALE: Code.FAILED_PRECONDITION,
  SESSION_EXPIRED: Code.FAILED_PRECONDITION,
  SEQUENCE_EXPIRED: Code.FAILED_PRECONDITION,
  SNAPSHOT_TOO_OLD: Code.ABORTED,
  NO_SUCH_BLOB: Code.NOT_FOUND,
  TRANSACTION_TIMEOUT: Code.ABORTED,
  TRANSACTION_ABORTED: Code.ABORTED,
  NESTED_CALL: Code.FAILED_PRECONDITION,
  CLOSED: Code.UNAVAILABLE,
  PROTOCOL: Code.INVALID_ARGUMENT,
  WRONG_CLUSTER: Code.FAILED_PRECONDITION,
  NOT_SERVING: Code.UNAVAILABLE,
  FILE_CHANGED: Code.FAILED_PRECONDITION,
  INTERNAL: Code.INTERNAL,
};

/** What SQLite says of its file or machine, not of the statement. */
const SQLITE_SICK = /^SQLITE_(IOERR|CORRUPT|FULL|NOMEM|NOTADB|CANTOPEN|READONLY|PROTOCOL|INTERNAL)/;

/** Headers have bounds in every implementation, most of them 8 KiB. */
const TEXT_MAX = 1000;

/** Of SQLite's codes: a constraint depends on the data, anything else on the statement. */
export function grpcStatus(failure: Failure): Code {
  const { code, outcome } = failure;
  if (!isBalsa(code)) {
    if (code.startsWith("SQLITE_CONSTRAINT")) return Code.FAILED_PRECONDITION;
    return SQLITE_SICK.test(code) ? Code.INTERNAL : Code.INVALID_ARGUMENT;
  }
  const found = GRPC_STATUS[code];
  // Never repeated unasked: it may have happened.
  return found === Code.UNAVAILABLE && outcome !== "not-applied" ? Code.ABORTED : found;
}

function isBalsa(code: Failure["code"]): code is BalsaCode {
  return Object.hasOwn(GRPC_STATUS, code);
}

export interface GrpcStatus {
  readonly code: Code;
  readonly details: string;
  readonly metadata: Metadata;
}

/** What grpc-js takes as the error of a call. */
export function toGrpc(failure: Failure): GrpcStatus {
  const message = headerText(failure.message);
  const facts = Object.entries(failure.facts).map(([name, fact]) => [name, headerText(fact)]);
  const metadata = new Metadata();
  const short = { ...failure, message, facts: Object.fromEntries(facts) };
  metadata.set(FAILURE_KEY, encodeFailure(short));
  return { code: grpcStatus(failure), details: `${failure.code}: ${message}`, metadata };
}

/** Well-formed, and short enough for a header. */
function headerText(text: string): string {
  const short = text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text;
  return Buffer.from(short).toString();
}

/** Statuses that did not come from a Balsa node's failure: from gRPC itself, or from something else that listens. */
const FROM_GRPC: { readonly [code: number]: BalsaCode } = {
  [Code.CANCELLED]: "CANCELLED",
  [Code.INVALID_ARGUMENT]: "PROTOCOL",
  [Code.DEADLINE_EXCEEDED]: "DEADLINE_EXCEEDED",
  [Code.RESOURCE_EXHAUSTED]: "LIMIT_EXCEEDED",
  [Code.UNIMPLEMENTED]: "PROTOCOL",
  [Code.INTERNAL]: "UNAVAILABLE",
  [Code.UNAVAILABLE]: "UNAVAILABLE",
};

/**
 * The failure of a unary call.
 * @param outcome of a write for which the node gave none: `unknown` once it may have been sent.
 */
export function fromGrpc(
  error: { readonly code: number; readonly details: string; readonly metadata?: Metadata },
  outcome: Outcome,
): Failure {
  const [bytes] = error.metadata?.get(FAILURE_KEY) ?? [];
  if (bytes instanceof Buffer) return decodeFailure(bytes);
  const code = FROM_GRPC[error.code] ?? "PROTOCOL";
  const facts = { grpc: Code[error.code] ?? String(error.code) };
  return { code, message: error.details, outcome, statementIndex: 0, facts };
}
