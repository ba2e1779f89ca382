/**
 * A read-only transaction on its node: waits until the node is as fresh as it must be, then holds one snapshot in a reader
 * process. It blocks no writer; it may be idle and last only so long, and loses a snapshot that is in the way.
 */

import type { Failure } from "../sql/errors.ts";
import type { Environment, QuerySink, Readers, RunningQuery, Timer } from "./ports.ts";
import type { Waiter } from "./read-gate.ts";
import type { BeginSink, ExecuteSink, RunningTransaction, Served, StepCall } from "./service.ts";
import { failure } from "./write-request.ts";

export interface ReadTransactionParts {
  readonly environment: Environment;
  readonly readers: Readers;
  readonly idleMs: number;
  readonly totalMs: number;
  /** Of all its statements together. */
  readonly deadlineMs: number;
  served(lagMs: number): Served;
  /** Counts a request. Whoever enters must leave. */
  enter(bytes: number): Failure | null;
  leave(bytes: number): void;
}

interface Step {
  readonly sink: ExecuteSink;
  readonly bytes: number;
}

const SNAPSHOT = new Uint8Array(0);
const NOTHING = new Uint8Array(0);
const REQUEST_BYTES = 64;

export class ReadTransaction implements RunningTransaction, Waiter, QuerySink {
  readonly deadlineAtMs: number;
  cancelled = false;
  readonly #sink: BeginSink;
  readonly #parts: ReadTransactionParts;
  #state: "waiting" | "open" | "over" = "waiting";
  #snapshot: RunningQuery | null = null;
  #served: Served | null = null;
  #end: Failure | null = null;
  /** Without an answer, in order. */
  #steps: Step[] = [];
  #idle: Timer | null = null;
  #total: Timer | null = null;

  constructor(deadlineAtMs: number, sink: BeginSink, parts: ReadTransactionParts) {
    this.deadlineAtMs = deadlineAtMs;
    this.#sink = sink;
    this.#parts = parts;
  }

  /** Counted until it is over. */
  enter(): Failure | null {
    return this.#parts.enter(REQUEST_BYTES);
  }

  /** The node is fresh enough. */
  admit(lagMs: number): void {
    if (this.#state === "over") return;
    this.#served = this.#parts.served(lagMs);
    const limits = { deadlineMs: this.#parts.deadlineMs, window: 1 };
    this.#snapshot = this.#parts.readers.query(SNAPSHOT, limits, this);
  }

  refuse(why: Failure): void {
    this.#ended(why);
  }

  step(call: StepCall, sink: ExecuteSink): { cancel(): void } {
    const { environment } = this.#parts;
    const bytes = call.batch.length + REQUEST_BYTES;
    const full = this.#parts.enter(bytes);
    const refusal = this.#refusal() ?? full;
    if (refusal !== null || call.verb !== "run") {
      this.#parts.leave(bytes);
      if (refusal === null && call.verb === "commit") this.#over();
      environment.soon(() => (refusal === null ? sink.done(NOTHING, 0) : sink.failed(refusal)));
      return { cancel: () => {} };
    }
    this.#idle?.cancel();
    this.#steps.push({ sink, bytes });
    this.#snapshot?.step?.(call.batch);
    return { cancel: () => this.cancel() };
  }

  cancel(): void {
    this.#ended(failure("CANCELLED", "the caller gave up the transaction"));
  }

  /** The first says that the snapshot is held, each other one answers a step. */
  chunk(bytes: Uint8Array): void {
    if (this.#state === "over") return;
    if (this.#state === "waiting") return this.#opened();
    const step = this.#steps.shift();
    if (step === undefined) return;
    this.#parts.leave(step.bytes);
    if (this.#steps.length === 0) this.#rest();
    const answer = this.#parts.readers.readStep?.(bytes) ?? { result: bytes };
    if ("result" in answer) step.sink.done(answer.result, this.#served?.index ?? 0);
    else step.sink.failed(answer.failure);
  }

  failed(why: Failure): void {
    this.#snapshot = null;
    this.#ended(why);
  }

  #opened(): void {
    this.#state = "open";
    const { environment, totalMs } = this.#parts;
    this.#total = environment.after(totalMs, () => this.#ended(timeout("totalMs", totalMs)));
    this.#rest();
    if (this.#served !== null) this.#sink.opened(this.#served);
  }

  #rest(): void {
    const { environment, idleMs } = this.#parts;
    this.#idle?.cancel();
    this.#idle = environment.after(idleMs, () => this.#ended(timeout("idleMs", idleMs)));
  }

  #refusal(): Failure | null {
    if (this.#end !== null) return this.#end;
    return this.#state === "open"
      ? null
      : failure("INVALID_ARGUMENT", "the transaction is not open");
  }

  #ended(why: Failure): void {
    if (this.#state === "over") return;
    this.#end = why;
    this.#over();
    for (const { sink, bytes } of this.#steps.splice(0)) {
      this.#parts.leave(bytes);
      sink.failed(why);
    }
    this.#sink.failed(why);
  }

  #over(): void {
    this.#state = "over";
    this.cancelled = true;
    this.#idle?.cancel();
    this.#total?.cancel();
    this.#snapshot?.cancel();
    this.#end ??= failure("INVALID_ARGUMENT", "the transaction has ended");
    this.#parts.leave(REQUEST_BYTES);
  }
}

function timeout(limit: "idleMs" | "totalMs", value: number): Failure {
  const what = limit === "idleMs" ? "no request came for" : "it was open for";
  const message = `the transaction has ended: ${what} ${value} ms (${limit})`;
  return failure("TRANSACTION_TIMEOUT", message, "not-applied", { limit, value: `${value}` });
}
