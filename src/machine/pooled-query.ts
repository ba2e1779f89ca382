/** One read in the pool: what its caller allows and wants, and how often it was tried. Moves between readers. */

import type { QuerySink, ReaderLimits, RunningQuery } from "../node/ports.ts";
import type { BalsaCode, Failure } from "../sql/errors.ts";

export interface QueryOwner {
  fetched(query: PooledQuery): void;
  cancelled(query: PooledQuery): void;
  stepped(query: PooledQuery, batch: Uint8Array): void;
  /** Its caller takes rows again. */
  released(query: PooledQuery): void;
}

export class PooledQuery implements RunningQuery {
  readonly statement: Uint8Array;
  readonly deadlineMs: number;
  readonly #sink: QuerySink;
  readonly #owner: QueryOwner;
  /** Chunks that the caller allows and has not got. */
  credit: number;
  /** A chunk was delivered: it cannot be begun anew. */
  started = false;
  ended = false;
  /** Its caller takes nothing at the moment, whatever it was allowed. */
  isHeld: boolean;
  /** Has no reader yet; kept by `WaitingQueries`. */
  isWaiting = false;
  /** A reader died while it had this query and no one knows of which: it is tried with no other beside it. */
  alone = false;
  /** Readers that died or were killed while they had it. */
  attempts = 0;

  constructor(
    statement: Uint8Array,
    limits: ReaderLimits,
    parts: { readonly sink: QuerySink; readonly owner: QueryOwner },
  ) {
    this.statement = statement;
    this.deadlineMs = limits.deadlineMs;
    this.credit = Math.max(1, limits.window);
    this.isHeld = limits.isHeld === true;
    this.#sink = parts.sink;
    this.#owner = parts.owner;
  }

  fetch(chunks: number): void {
    if (this.ended) return;
    this.credit += chunks;
    this.#owner.fetched(this);
  }

  step(batch: Uint8Array): void {
    if (this.ended) return;
    this.credit += 1;
    this.#owner.stepped(this, batch);
  }

  hold(isHeld: boolean): void {
    if (this.ended || this.isHeld === isHeld) return;
    this.isHeld = isHeld;
    if (!isHeld) this.#owner.released(this);
  }

  cancel(): void {
    if (this.ended) return;
    this.ended = true;
    this.#owner.cancelled(this);
  }

  deliver(bytes: Uint8Array, done: boolean): void {
    if (this.ended) return;
    this.started = true;
    this.credit -= 1;
    if (done) this.ended = true;
    this.#sink.chunk(bytes, done);
  }

  fail(failure: Failure): void {
    if (this.ended) return;
    this.ended = true;
    this.#sink.failed(failure);
  }
}

export function readFailure(
  code: BalsaCode,
  message: string,
  facts: { readonly [name: string]: string } = {},
): Failure {
  return { code, message, outcome: "not-applied", statementIndex: 0, facts };
}
