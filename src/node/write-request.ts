/** One write on its way through the node, from the caller's door to its one answer. */

import { type BalsaCode, type Failure, isBalsaCode, type Outcome } from "../sql/errors.ts";
import type { Environment, ExecuteJob } from "./ports.ts";
import type { ExecuteCall, ExecuteSink } from "./service.ts";
import type { HoldingTransaction } from "./writer-hold.ts";

export type WriteStage = "waiting" | "executing" | "proposed" | "settled";

/** Who takes requests in: told when one has its answer, asked when its caller gives up. One for all of them. */
export interface WriteOwner {
  settled(request: WriteRequest): void;
  cancelled(request: WriteRequest): void;
}

/** Of requests that nobody counts and nobody gives up. */
export const NO_OWNER: WriteOwner = { settled: () => {}, cancelled: () => {} };

/** Thousands wait in an overload, each long enough to grow old: so it is one object, and its caller's handle as well. */
export class WriteRequest {
  readonly id: number;
  readonly call: ExecuteCall;
  readonly bytes: number;
  /** Monotonic. After it the caller does not wait any more. */
  deadlineAtMs: number;
  stage: WriteStage = "waiting";
  /** Must be executed between transactions: when the cycle before it has ended. */
  isApart: boolean;
  /** Whose step it is. */
  readonly transaction: HoldingTransaction | null;
  readonly #sink: ExecuteSink;
  readonly #owner: WriteOwner;

  constructor(
    id: number,
    call: ExecuteCall,
    deadlineAtMs: number,
    sink: ExecuteSink,
    owner: WriteOwner,
    transaction: HoldingTransaction | null = null,
  ) {
    this.id = id;
    this.call = call;
    this.bytes = call.batch.length + 64;
    this.deadlineAtMs = deadlineAtMs;
    this.#sink = sink;
    this.#owner = owner;
    this.transaction = transaction;
    this.isApart = call.verb === "machineVersion";
  }

  /** An answer that counts only if its transaction commits: it need not wait until that is known. */
  get isProvisional(): boolean {
    return this.transaction !== null && this.call.verb !== "commit";
  }

  /** It waits once more, now for its turn between transactions. */
  again(): this {
    this.isApart = true;
    if (this.stage !== "settled") this.stage = "waiting";
    return this;
  }

  /** Nobody waits for it any longer. */
  cancel(): void {
    this.#owner.cancelled(this);
  }

  done(result: Uint8Array, index: number): void {
    if (this.#settle()) this.#sink.done(result, index);
  }

  fail(failure: Failure): void {
    if (this.#settle()) this.#sink.failed(failure);
  }

  #settle(): boolean {
    if (this.stage === "settled") return false;
    this.stage = "settled";
    this.#owner.settled(this);
    return true;
  }
}

/** For the writer, with what makes it come out the same on every node: a time, and dice. */
export function jobOf(
  { id, call, isApart }: WriteRequest,
  dedup: boolean,
  timeMs: number,
  environment: Environment,
): ExecuteJob {
  return {
    id,
    verb: call.verb ?? (isApart ? "setting" : undefined),
    batch: call.batch,
    openSession: call.openSession,
    session: dedup ? call.session : 0,
    sequence: dedup ? call.sequence : 0,
    acknowledgedThrough: call.acknowledgedThrough,
    timeMs,
    seedHigh: Math.floor(environment.random() * 2 ** 32),
    seedLow: Math.floor(environment.random() * 2 ** 32),
  };
}

/** A failure as data. Not by way of an Error: a stack for each refusal would cost most where there is least time. */
export function failure(
  code: BalsaCode,
  message: string,
  outcome: Outcome = "not-applied",
  facts: Failure["facts"] = {},
): Failure {
  return { code, message, outcome, statementIndex: 0, facts };
}

export function lateInLine(): Failure {
  return failure("DEADLINE_EXCEEDED", "the deadline passed while the request waited for its turn");
}

export function stoppedAfter(ranMs: number, limitMs: number): Failure {
  const limit = `the node's limit is ${limitMs} ms (writeDeadlineMs)`;
  const message = `the write was stopped after ${Math.round(ranMs)} ms; ${limit}`;
  return failure("DEADLINE_EXCEEDED", message);
}

/** Refusals that any node would give at any time need not wait for what the open transaction holds. */
export function saysNothingOfData(code: string): boolean {
  if (!isBalsaCode(code)) return false;
  return code === "REFUSED" || code === "INVALID_ARGUMENT" || code === "NO_LEADER";
}
