/**
 * A read on its way: its first row for `get`, its rows collected for `all`, or handed on one by one for `iterate`. The
 * node may send a few chunks ahead of what was consumed, and no more.
 */

import { BalsaError, type SqlError } from "../sql/errors.ts";
import type { Consistency } from "../sql/statement.ts";
import type { IntegerMode, Row, Value } from "../sql/value.ts";
import { decodeRowChunk, toRow, toRows } from "../wire/result-codec.ts";
import type { QueryResponse, RequestBody, ResponseBody } from "../wire/sql-codec.ts";
import { Call, type CallOwner, type CallTerms, type Receipt, unexpected } from "./call.ts";
import { type Served, servedOf } from "./served.ts";

/** Chunks that a node may send ahead, and after how many consumed ones it is asked for as many more. */
const WINDOW_CHUNKS = 8;
const REFILL_CHUNKS = 4;

export interface ReadTerms extends CallTerms {
  /** Encoded balsa.v1.Statement. */
  readonly statement: Uint8Array;
  readonly consistency: Consistency;
  readonly atLeast: number;
  readonly maxStalenessMs: number;
  readonly integers: IntegerMode;
}

export abstract class ReadCall extends Call {
  readonly kind = "read";
  readonly consistency: Consistency;
  protected readonly terms: ReadTerms;
  /** Once an answer has come. */
  served: Served | null = null;
  #columns: readonly string[] | null = null;
  #consumed = 0;

  constructor(owner: CallOwner, terms: ReadTerms) {
    super(owner, terms);
    this.terms = terms;
    this.consistency = terms.consistency;
  }

  /** Chunks that may come before any is consumed. */
  protected get window(): number {
    return WINDOW_CHUNKS;
  }

  override get readConsistency(): Consistency {
    return this.consistency;
  }

  body(now: number): RequestBody {
    const { statement, consistency, atLeast, maxStalenessMs } = this.terms;
    return {
      kind: "query",
      statement,
      consistency,
      atLeast,
      maxStalenessMs,
      timeoutMs: this.timeoutMs(now),
      window: this.window,
    };
  }

  receive(response: ResponseBody): Receipt {
    if (response.kind !== "query") throw unexpected(response.kind);
    this.owner.saw(response.index);
    this.served ??= servedOf(response);
    return this.take(response);
  }

  protected abstract take(response: QueryResponse): Receipt;

  get columns(): readonly string[] {
    return this.#columns ?? [];
  }

  /** The rows of the next chunk. Throws INVALID_ARGUMENT for an integer that `integers` does not allow. */
  protected decode(bytes: Uint8Array): { columns: readonly string[]; rows: Cells } {
    const { columns, rows } = decodeRowChunk(bytes, this.terms.integers);
    this.#columns ??= columns;
    return { columns: this.#columns, rows };
  }

  /** A chunk is out of the way; from time to time the node is asked for more. */
  protected consumed(): void {
    this.#consumed += 1;
    if (this.#consumed < REFILL_CHUNKS) return;
    this.connection?.fetch(this, this.#consumed);
    this.#consumed = 0;
  }

  override restart(): boolean {
    this.served = null;
    this.#columns = null;
    this.#consumed = 0;
    return true;
  }
}

type Cells = readonly (readonly Value[])[];

/** A read that comes to one value, or fails. */
abstract class ValueRead<T> extends ReadCall {
  readonly promise: Promise<T>;
  readonly #resultBytesMax: number;
  #resultBytes = 0;
  #resolve: (value: T) => void = ignore;
  #reject: (error: BalsaError | SqlError) => void = ignore;

  constructor(owner: CallOwner, terms: ReadTerms, resultBytesMax: number) {
    super(owner, terms);
    this.#resultBytesMax = resultBytesMax;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** True: it was answered; false: it asked for more. */
  protected abstract gather(columns: readonly string[], rows: Cells, done: boolean): boolean;

  protected answer(value: T): void {
    this.#resolve(value);
  }

  protected take({ chunk, done }: QueryResponse): Receipt {
    const end = done ? "last" : "enough";
    this.#resultBytes += chunk.length;
    if (this.#resultBytes > this.#resultBytesMax) {
      this.fail(tooLarge(this.#resultBytesMax));
      return end;
    }
    try {
      const { columns, rows } = this.decode(chunk);
      if (!this.gather(columns, rows, done)) return "more";
    } catch (error) {
      this.fail(toCallError(error));
    }
    return end;
  }

  override restart(): boolean {
    this.#resultBytes = 0;
    return super.restart();
  }

  fail(error: BalsaError | SqlError): void {
    this.#reject(error);
  }
}

/** The first row, or undefined. */
export class FirstRowCall extends ValueRead<Row | undefined> {
  protected override get window(): number {
    return 1;
  }

  protected gather(columns: readonly string[], rows: Cells, done: boolean): boolean {
    const values = rows[0];
    if (values === undefined && !done) {
      this.connection?.fetch(this, 1);
      return false;
    }
    this.answer(values === undefined ? undefined : toRow(columns, values));
    return true;
  }
}

/** Collects all rows. */
export class AllRowsCall extends ValueRead<Row[]> {
  #rows: Row[] = [];

  protected gather(columns: readonly string[], rows: Cells, done: boolean): boolean {
    const made = toRows(columns, rows);
    if (this.#rows.length === 0) this.#rows = made;
    else for (const row of made) this.#rows.push(row);
    if (done) this.answer(this.#rows);
    else this.consumed();
    return done;
  }

  override restart(): boolean {
    this.#rows = [];
    return super.restart();
  }
}

interface Waiter {
  readonly resolve: (result: IteratorResult<Row, undefined>) => void;
  readonly reject: (error: BalsaError | SqlError) => void;
}

/**
 * Rows handed on one by one, fetched as they are consumed. Starts at the first `next`. Its deadline counts only while
 * somebody waits for a row, so a slow consumer does not run out of it.
 */
export class RowStream extends ReadCall implements AsyncIterableIterator<Row, undefined> {
  readonly #start: (call: RowStream) => void;
  #state: "new" | "running" | "received" | "over" = "new";
  #chunks: Uint8Array[] = [];
  #rows: readonly Row[] = [];
  #at = 0;
  #handedOn = false;
  #error: BalsaError | SqlError | null = null;
  #waiters: Waiter[] = [];

  constructor(owner: CallOwner, terms: ReadTerms, start: (call: RowStream) => void) {
    super(owner, terms);
    this.#start = start;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Row, undefined>> {
    const row = this.#waiters.length === 0 ? this.#nextRow() : undefined;
    if (row !== undefined) return Promise.resolve({ value: row, done: false });
    if (this.#error !== null) {
      const error = this.#error;
      this.#error = null;
      return Promise.reject(error);
    }
    if (this.#state === "over") return Promise.resolve({ value: undefined, done: true });
    const promise = new Promise<IteratorResult<Row, undefined>>((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
    });
    this.deadline = performance.now() + this.deadlineMs;
    if (this.#state === "new") {
      this.#state = "running";
      this.#start(this);
    } else this.owner.rescheduled(this);
    return promise;
  }

  /** Ends it early: the node stops reading. */
  return(): Promise<IteratorResult<Row, undefined>> {
    const wasRunning = this.#state === "running";
    this.#finish();
    if (wasRunning) this.owner.abandon(this);
    return Promise.resolve({ value: undefined, done: true });
  }

  protected take({ chunk, done }: QueryResponse): Receipt {
    this.#chunks.push(chunk);
    if (done) this.#state = "received";
    this.#serve();
    return done ? "last" : "more";
  }

  /** Gives rows to those who wait. */
  #serve(): void {
    while (this.#waiters.length > 0) {
      const row = this.#nextRow();
      if (row === undefined) break;
      this.#waiters.shift()?.resolve({ value: row, done: false });
    }
    if (this.#state === "over") this.#endWaiters();
    else if (this.#waiters.length === 0) this.deadline = Number.POSITIVE_INFINITY;
    else {
      this.deadline = performance.now() + this.deadlineMs;
      this.owner.rescheduled(this);
    }
  }

  /** The next row at hand; undefined if there is none (now, or any more: then the state is `over`). */
  #nextRow(): Row | undefined {
    for (;;) {
      const row = this.#rows[this.#at];
      if (row !== undefined) {
        this.#at += 1;
        this.#handedOn = true;
        return row;
      }
      const chunk = this.#chunks.shift();
      if (chunk === undefined) {
        if (this.#state === "received") this.#state = "over";
        return undefined;
      }
      this.#at = 0;
      this.#rows = [];
      const { columns, rows } = this.#decodeOrFail(chunk);
      this.#rows = toRows(columns, rows);
      this.consumed();
    }
  }

  #decodeOrFail(chunk: Uint8Array): { columns: readonly string[]; rows: Cells } {
    try {
      return this.decode(chunk);
    } catch (error) {
      const wasRunning = this.#state === "running";
      this.fail(error instanceof BalsaError ? error : unexpected(String(error)));
      if (wasRunning) this.owner.abandon(this);
      return { columns: [], rows: [] };
    }
  }

  override restart(): boolean {
    if (this.#handedOn) return false;
    this.#chunks = [];
    this.#rows = [];
    this.#at = 0;
    return super.restart();
  }

  fail(error: BalsaError | SqlError): void {
    if (this.#state === "over") return;
    const [first] = this.#waiters;
    this.#waiters = this.#waiters.slice(1);
    if (first === undefined) this.#error = error;
    else first.reject(error);
    this.#finish();
  }

  #finish(): void {
    this.#state = "over";
    this.#chunks = [];
    this.#rows = [];
    this.#at = 0;
    this.#endWaiters();
  }

  #endWaiters(): void {
    for (const { resolve } of this.#waiters) resolve({ value: undefined, done: true });
    this.#waiters = [];
  }
}

/** An answer that cannot be given as asked fails its call; one that cannot be read fails its connection. */
function toCallError(error: unknown): BalsaError {
  if (error instanceof BalsaError && error.code !== "PROTOCOL") return error;
  throw error;
}

function tooLarge(max: number): BalsaError {
  const message = `the rows have more than ${max} bytes: use iterate(), or raise limits.resultBytes`;
  const facts = { limit: "resultBytes", value: String(max) };
  return new BalsaError("LIMIT_EXCEEDED", message, { facts });
}

function ignore(): void {
  // Replaced before anybody can call it.
}
