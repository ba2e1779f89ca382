/**
 * One interactive transaction on its node: takes the steps of its caller, hands them to the writer in order, and ends it
 * when it is idle or open for too long, when its caller is gone, or when the writer is. What SQLite does is not known
 * here. A commit that has gone to the writer is not taken back: its own answer says what became of it.
 */

import type { NodeId } from "../raft/entry.ts";
import type { Failure } from "../sql/errors.ts";
import type { TransactionTerms } from "../sql/transaction.ts";
import { Deque } from "./deque.ts";
import type { Environment, Timer } from "./ports.ts";
import type { BeginSink, ExecuteSink, RunningTransaction, StepCall } from "./service.ts";
import { failure, NO_OWNER, WriteRequest } from "./write-request.ts";
import type { HoldingTransaction } from "./writer-hold.ts";

export interface TransactionParts {
  readonly environment: Environment;
  /** Its limits, as they were settled. */
  readonly idleMs: number;
  readonly totalMs: number;
  readonly stepMs: number;
  readonly nodeId: NodeId;
  nextId(): number;
  submit(begin: WriteRequest): void;
  /** A step was added to `waiting`. */
  stepped(): void;
  abandon(transaction: HoldingTransaction, rollback: WriteRequest): void;
  /** Withdraws a beginning that waits for its turn. */
  withdraw(begin: WriteRequest): void;
  /** Counts a request. Whoever enters must leave. */
  enter(bytes: number): Failure | null;
  leave(bytes: number): void;
}

const EMPTY = new Uint8Array(0);

export class Transaction implements HoldingTransaction, RunningTransaction {
  readonly waiting = new Deque<WriteRequest>();
  readonly #parts: TransactionParts;
  readonly #sink: BeginSink;
  readonly #call: TransactionTerms;
  readonly #begin: WriteRequest;
  /** Steps without an answer. */
  readonly #steps = new Set<WriteRequest>();
  #state: "waiting" | "open" | "committing" | "over" = "waiting";
  #end: Failure | null = null;
  #idle: Timer | null = null;
  #total: Timer | null = null;

  constructor(
    call: TransactionTerms,
    deadlineAtMs: number,
    sink: BeginSink,
    parts: TransactionParts,
  ) {
    this.#parts = parts;
    this.#sink = sink;
    this.#call = call;
    this.#begin = this.#request("begin", EMPTY, deadlineAtMs, {
      done: (_result, index) => this.#opened(index),
      failed: (why) => this.#ended(why),
    });
  }

  /** Waits for its turn among the writes. */
  start(refusal: Failure | null): void {
    const full = this.#parts.enter(this.#begin.bytes);
    const why = refusal ?? full;
    if (why === null) this.#parts.submit(this.#begin);
    else this.#parts.environment.soon(() => this.#begin.fail(why));
  }

  step(call: StepCall, sink: ExecuteSink): { cancel(): void } {
    const { environment, stepMs } = this.#parts;
    const timeoutMs = call.timeoutMs > 0 ? Math.min(call.timeoutMs, stepMs) : stepMs;
    const deadlineAtMs = environment.monotonicMs() + timeoutMs;
    const request = this.#request(call.verb, call.batch, deadlineAtMs, sink);
    const full = this.#parts.enter(request.bytes);
    const refusal = this.#refusal() ?? full;
    this.#steps.add(request);
    if (refusal !== null) {
      environment.soon(() => request.fail(refusal));
      return { cancel: () => {} };
    }
    this.#idle?.cancel();
    if (call.verb === "commit") this.#state = "committing";
    this.waiting.push(request);
    this.#parts.stepped();
    return { cancel: () => this.abort(failure("CANCELLED", "the caller gave up a step")) };
  }

  /** The caller wants it no more, or is gone: nobody is told. */
  cancel(): void {
    if (this.#state === "waiting") this.#parts.withdraw(this.#begin);
    this.abort(failure("CANCELLED", "the caller gave up the transaction"));
  }

  abort(why: Failure): void {
    if (this.#state === "over") return;
    // What is in the writer is not waited for: it is stopped if it goes on for long.
    const running = [...this.#steps].filter((step) => step.stage !== "waiting");
    if (running.some((step) => step.call.verb === "commit")) return;
    for (const step of running) step.deadlineAtMs = 0;
    const isBegun = this.#state !== "waiting" || this.#begin.stage === "executing";
    this.#ended(why);
    if (!isBegun) return;
    const rollback = this.#request("rollback", EMPTY, Number.POSITIVE_INFINITY, SILENT);
    this.#parts.enter(rollback.bytes);
    this.#parts.abandon(this, rollback);
  }

  lost(why: Failure): void {
    this.#ended(why);
  }

  #request(
    verb: "begin" | "rollback" | StepCall["verb"],
    batch: Uint8Array,
    deadlineAtMs: number,
    sink: ExecuteSink,
  ): WriteRequest {
    const { session, sequence, acknowledgedThrough } = this.#call;
    const numbers = { session, sequence, acknowledgedThrough, timeoutMs: 0 };
    const call = { ...numbers, verb, batch, openSession: false };
    const owner = { ...NO_OWNER, settled: (request: WriteRequest) => this.#settled(request) };
    return new WriteRequest(this.#parts.nextId(), call, deadlineAtMs, sink, owner, this);
  }

  #opened(index: number): void {
    if (this.#state !== "waiting") return;
    this.#state = "open";
    const { environment, totalMs } = this.#parts;
    this.#total = environment.after(totalMs, () => this.abort(tooLong(totalMs)));
    this.#rest();
    this.#sink.opened({ node: this.#parts.nodeId, index, lagMs: 0 });
  }

  #settled(request: WriteRequest): void {
    this.#parts.leave(request.bytes);
    if (!this.#steps.delete(request)) return;
    if (request.call.verb === "commit") this.#over();
    else if (this.#steps.size === 0) this.#rest();
  }

  /** Nothing is asked of it: it may be so only for so long. */
  #rest(): void {
    if (this.#state !== "open") return;
    const { environment, idleMs } = this.#parts;
    this.#idle?.cancel();
    this.#idle = environment.after(idleMs, () => this.abort(tooIdle(idleMs)));
  }

  #refusal(): Failure | null {
    if (this.#end !== null) return this.#end;
    if (this.#state === "open") return null;
    return failure("INVALID_ARGUMENT", "the transaction is not open");
  }

  /** Every step without an answer fails; the caller is told once. */
  #ended(why: Failure): void {
    if (this.#state === "over") return;
    const wasCommitting = this.#state === "committing";
    this.#end = why;
    this.#over();
    this.#begin.fail(why);
    for (const step of [...this.#steps]) step.fail(why);
    this.waiting.drain();
    if (!wasCommitting) this.#sink.failed(why);
  }

  #over(): void {
    this.#state = "over";
    this.#idle?.cancel();
    this.#total?.cancel();
    this.#end ??= failure("INVALID_ARGUMENT", "the transaction has ended");
  }
}

const SILENT: ExecuteSink = { done() {}, failed() {} };

function tooIdle(idleMs: number): Failure {
  const message = `the transaction was rolled back: no request came for ${idleMs} ms (idleMs)`;
  return failure("TRANSACTION_TIMEOUT", message, "not-applied", {
    limit: "idleMs",
    value: `${idleMs}`,
  });
}

function tooLong(totalMs: number): Failure {
  const message = `the transaction was rolled back: it was open for ${totalMs} ms (totalMs); split it up`;
  const facts = { limit: "totalMs", value: `${totalMs}` };
  return failure("TRANSACTION_TIMEOUT", message, "not-applied", facts);
}
