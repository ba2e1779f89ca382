/** One read on its way: first it waits at the gate, then a reader runs it. Holds what the caller asks meanwhile. */

import type { Failure } from "../sql/errors.ts";
import type { QuerySink, ReaderLimits, RunningQuery } from "./ports.ts";
import type { Waiter } from "./read-gate.ts";
import type { QueryCall, QueryCallSink, Served } from "./service.ts";

/** The same for all reads of a node: each makes enough objects of its own. */
export interface PendingQueryParts {
  dispatch(statement: Uint8Array, limits: ReaderLimits, sink: QuerySink): RunningQuery;
  served(lagMs: number): Served;
  ended(query: PendingQuery): void;
}

/** What a call's own wishes come to under the node's limit. */
export function queryBounds(
  call: QueryCall,
  readDeadlineMs: number,
  nowMs: number,
): ReaderLimits & { readonly deadlineAtMs: number } {
  const deadlineMs = call.timeoutMs > 0 ? Math.min(call.timeoutMs, readDeadlineMs) : readDeadlineMs;
  const window = call.window > 0 ? call.window : Number.POSITIVE_INFINITY;
  return { deadlineMs, window, deadlineAtMs: nowMs + deadlineMs };
}

export class PendingQuery implements RunningQuery, Waiter, QuerySink {
  readonly bytes: number;
  readonly deadlineAtMs: number;
  cancelled = false;
  readonly #call: QueryCall;
  readonly #limits: ReaderLimits;
  readonly #sink: QueryCallSink;
  readonly #parts: PendingQueryParts;
  #running: RunningQuery | null = null;
  #served: Served | null = null;
  /** Fetches that came before a reader had it. */
  #credit = 0;
  #isHeld = false;
  #ended = false;

  constructor(
    call: QueryCall,
    limits: ReaderLimits & { readonly deadlineAtMs: number },
    sink: QueryCallSink,
    parts: PendingQueryParts,
  ) {
    this.bytes = call.statement.length + 64;
    this.deadlineAtMs = limits.deadlineAtMs;
    this.#call = call;
    this.#limits = limits;
    this.#sink = sink;
    this.#parts = parts;
  }

  fetch(chunks: number): void {
    if (this.#running === null) this.#credit += chunks;
    else this.#running.fetch(chunks);
  }

  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    this.#running?.hold?.(isHeld);
  }

  cancel(): void {
    if (this.#ended) return;
    this.cancelled = true;
    this.#running?.cancel();
    this.#end();
  }

  admit(lagMs: number): void {
    if (this.#ended) return;
    this.#served = this.#parts.served(lagMs);
    this.#running = this.#parts.dispatch(this.#call.statement, this.#limitsNow(), this);
  }

  #limitsNow(): ReaderLimits {
    if (this.#credit === 0 && !this.#isHeld) return this.#limits;
    const { deadlineMs, window } = this.#limits;
    return { deadlineMs, window: window + this.#credit, isHeld: this.#isHeld };
  }

  refuse(failure: Failure): void {
    this.failed(failure);
  }

  chunk(bytes: Uint8Array, done: boolean): void {
    if (this.#ended || this.#served === null) return;
    if (done) this.#end();
    this.#sink.chunk(bytes, done, this.#served);
  }

  failed(failure: Failure): void {
    if (this.#ended) return;
    this.#end();
    this.#sink.failed(failure);
  }

  #end(): void {
    this.#ended = true;
    this.#parts.ended(this);
  }
}
