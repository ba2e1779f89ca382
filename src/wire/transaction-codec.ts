/**
 * Interactive transactions on the wire: what a stream carries of them, and what a log entry keeps of one. Batches inside
 * stay bytes, as everywhere.
 */

import type { Consistency } from "../sql/statement.ts";
import type { StepKind, TransactionTerms } from "../sql/transaction.ts";
import { type MessageReader, malformed } from "./message-reader.ts";
import type { MessageWriter } from "./message-writer.ts";

// --- in the log -------------------------------------------------------------------------------------------------

export type LoggedStep =
  | {
      readonly kind: "run";
      /** Encoded balsa.v1.Batch. Empty: a savepoint stood here, and nothing is left of what ran in it. */
      readonly batch: Uint8Array;
      /** Number of its first statement in the transaction. */
      readonly statement: number;
      /** SQLite's code if it failed, and so left nothing; empty otherwise. */
      readonly failed: string;
    }
  | { readonly kind: "savepoint" | "release" | "rollbackTo" };

export interface LoggedTransaction {
  readonly steps: readonly LoggedStep[];
  /** Nothing ran: its client asked what had become of it, and from here on it is not applied. */
  readonly notApplied: boolean;
}

/** Of a batch that goes on behind it. */
export interface FailedStatement {
  readonly index: number;
  readonly code: string;
  readonly message: string;
  /** It was undone by a savepoint. */
  readonly savepoint: boolean;
}

const STEP_KINDS = ["run", "savepoint", "release", "rollbackTo"] as const;
const NOTHING = Buffer.alloc(0);

export function writeTransaction(target: MessageWriter, transaction: LoggedTransaction): void {
  for (const step of transaction.steps) {
    const begin = target.beginMessage(1);
    target.uint(1, STEP_KINDS.indexOf(step.kind));
    if (step.kind === "run") {
      if (step.batch.length > 0) target.bytes(2, step.batch);
      target.uint(3, step.statement);
      if (step.failed !== "") target.string(4, step.failed);
    }
    target.endMessage(begin);
  }
  target.bool(2, transaction.notApplied);
}

export function readTransaction(reader: MessageReader): LoggedTransaction {
  const steps: LoggedStep[] = [];
  let notApplied = false;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 10) {
      const outer = reader.enter();
      steps.push(readStep(reader));
      reader.leave(outer);
    } else if (tag === 16) notApplied = reader.bool();
    else reader.skip(tag);
  }
  return { steps, notApplied };
}

function readStep(reader: MessageReader): LoggedStep {
  let kind = 0;
  let batch: Uint8Array = NOTHING;
  let statement = 0;
  let failed = "";
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 8) kind = reader.uint32();
    else if (tag === 18) batch = reader.bytes();
    else if (tag === 24) statement = reader.uint32();
    else if (tag === 34) failed = reader.string();
    else reader.skip(tag);
  }
  const name = STEP_KINDS[kind];
  if (name === undefined) throw malformed(`a step of kind ${kind}`);
  return name === "run" ? { kind: name, batch, statement, failed } : { kind: name };
}

export function writeFailedStatement(target: MessageWriter, failed: FailedStatement): void {
  target.uint(1, failed.index);
  target.string(2, failed.code);
  target.string(3, failed.message);
  target.bool(4, failed.savepoint);
}

export function readFailedStatement(reader: MessageReader): FailedStatement {
  let index = 0;
  let code = "";
  let message = "";
  let savepoint = false;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 8) index = reader.uint32();
    else if (tag === 18) code = reader.string();
    else if (tag === 26) message = reader.string();
    else if (tag === 32) savepoint = reader.bool();
    else reader.skip(tag);
  }
  return { index, code, message, savepoint };
}

// --- on a stream ------------------------------------------------------------------------------------------------

export interface BeginResponse {
  readonly node: number;
  readonly index: number;
  readonly lagMs: number;
}

export interface StepRequest {
  /** Id of its BeginRequest. */
  readonly transaction: number;
  readonly step: StepKind;
  /** Encoded balsa.v1.Batch, of "run"; empty otherwise. */
  readonly batch: Uint8Array;
  readonly timeoutMs: number;
}

const REQUEST_KINDS: readonly StepKind[] = [...STEP_KINDS, "commit"];
/** balsa.v1.Consistency; unspecified is linearizable. */
const CONSISTENCIES: readonly Consistency[] = ["linearizable", "linearizable", "session", "stale"];

export function writeBeginRequest(target: MessageWriter, request: TransactionTerms): void {
  target.uint(1, request.session);
  target.uint(2, request.sequence);
  target.uint(3, request.acknowledgedThrough);
  target.uint(4, request.timeoutMs);
  target.uint(5, request.idleMs);
  target.uint(6, request.totalMs);
  target.bool(7, request.readOnly);
  target.uint(8, CONSISTENCIES.lastIndexOf(request.consistency));
  target.uint(9, request.atLeast);
  target.uint(10, request.maxStalenessMs);
}

export function readBeginRequest(reader: MessageReader): TransactionTerms {
  const numbers = new Array<number>(11).fill(0);
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    const field = tag >>> 3;
    if ((tag & 7) !== 0 || field > 10) reader.skip(tag);
    else numbers[field] = reader.uint();
  }
  const [, session = 0, sequence = 0, acknowledgedThrough = 0, timeoutMs = 0] = numbers;
  const [idleMs = 0, totalMs = 0, readOnly = 0, freshness = 0, atLeast = 0, stale = 0] =
    numbers.slice(5);
  const consistency = CONSISTENCIES[freshness];
  if (consistency === undefined) throw malformed(`consistency ${freshness}`);
  return {
    session,
    sequence,
    acknowledgedThrough,
    timeoutMs,
    idleMs,
    totalMs,
    readOnly: readOnly !== 0,
    consistency,
    atLeast,
    maxStalenessMs: stale,
  };
}

export function writeBeginResponse(target: MessageWriter, response: BeginResponse): void {
  target.uint(1, response.node);
  target.uint(2, response.index);
  target.uint(3, Math.ceil(response.lagMs));
}

export function readBeginResponse(reader: MessageReader): BeginResponse {
  let node = 0;
  let index = 0;
  let lagMs = 0;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 8) node = reader.uint();
    else if (tag === 16) index = reader.uint();
    else if (tag === 24) lagMs = reader.uint();
    else reader.skip(tag);
  }
  return { node, index, lagMs };
}

export function writeStepRequest(target: MessageWriter, request: StepRequest): void {
  target.uint(1, request.transaction);
  target.uint(2, REQUEST_KINDS.indexOf(request.step));
  if (request.step === "run") target.bytes(3, request.batch);
  target.uint(4, request.timeoutMs);
}

export function readStepRequest(reader: MessageReader): StepRequest {
  let transaction = 0;
  let kind = 0;
  let batch: Uint8Array = NOTHING;
  let timeoutMs = 0;
  for (let tag = reader.tag(); tag !== 0; tag = reader.tag()) {
    if (tag === 8) transaction = reader.uint32();
    else if (tag === 16) kind = reader.uint32();
    else if (tag === 26) batch = reader.bytes();
    else if (tag === 32) timeoutMs = reader.uint32();
    else reader.skip(tag);
  }
  const step = REQUEST_KINDS[kind];
  if (step === undefined) throw malformed(`a step of kind ${kind}`);
  return { transaction, step, batch, timeoutMs };
}
