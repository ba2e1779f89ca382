/**
 * The calls of an interactive transaction: its beginning, which stays on its connection as long as the transaction is
 * open; its steps, each sent once, on that connection or not at all; and the question what became of its commit.
 */

import { BalsaError, type SqlError } from "../sql/errors.ts";
import type { Consistency } from "../sql/statement.ts";
import type { StepKind } from "../sql/transaction.ts";
import type { ExecuteResponse, RequestBody, ResponseBody } from "../wire/sql-codec.ts";
import { Call, type CallOwner, type CallTerms, type Receipt, unexpected } from "./call.ts";
import { type Served, servedOf } from "./served.ts";
import { NumberedCall, WriteCall } from "./write-call.ts";

export interface BeginTerms extends CallTerms {
  readonly idleMs: number;
  readonly totalMs: number;
  /** Null: it writes. */
  readonly reading: {
    readonly consistency: Consistency;
    readonly atLeast: number;
    readonly maxStalenessMs: number;
  } | null;
}

/**
 * Repeated elsewhere until it is open: nothing has happened before. Then it is pending until it ends, and whatever loses
 * its connection ends it. It keeps its number until its fate is known.
 */
export class BeginCall extends NumberedCall {
  readonly kind = "transaction";
  override readonly keepsNumber = true;
  /** Which log index it sees, at least. */
  readonly opened: Promise<number>;
  /** It has ended by itself. */
  onEnd: (error: BalsaError | SqlError) => void = ignore;
  readonly #terms: BeginTerms;
  /** Once it is open. */
  served: Served = { node: 0, index: 0, lagMs: null };
  #isOpen = false;
  #resolve: (index: number) => void = ignore;
  #reject: (error: BalsaError | SqlError) => void = ignore;

  constructor(owner: CallOwner, terms: BeginTerms) {
    super(owner, terms);
    this.#terms = terms;
    this.opened = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  override get readConsistency(): Consistency | null {
    return this.#terms.reading?.consistency ?? null;
  }

  body(now: number): RequestBody {
    const { idleMs, totalMs, reading } = this.#terms;
    return {
      kind: "begin",
      session: this.session?.id ?? 0,
      sequence: this.sequence,
      acknowledgedThrough: this.session?.acknowledgedThrough ?? 0,
      timeoutMs: this.timeoutMs(now),
      idleMs,
      totalMs,
      readOnly: reading !== null,
      consistency: reading?.consistency ?? "linearizable",
      atLeast: reading?.atLeast ?? 0,
      maxStalenessMs: reading?.maxStalenessMs ?? 0,
    };
  }

  receive(response: ResponseBody): Receipt {
    if (response.kind !== "begin") throw unexpected(response.kind);
    this.#isOpen = true;
    this.served = servedOf(response);
    // From here on the node counts its time, and each step has a deadline.
    this.deadline = Number.POSITIVE_INFINITY;
    this.owner.saw(response.index);
    this.#resolve(response.index);
    return "more";
  }

  override restart(): boolean {
    return !this.#isOpen;
  }

  override get interrupted(): string {
    return "the connection broke while the transaction was open";
  }

  fail(error: BalsaError | SqlError): void {
    if (this.#isOpen) this.onEnd(error);
    else this.#reject(error);
  }
}

/** Sent once: what became of one that was lost is known from what becomes of its transaction. */
export class StepCall extends Call {
  readonly kind = "step";
  readonly promise: Promise<ExecuteResponse>;
  readonly begin: BeginCall;
  readonly #step: StepKind;
  readonly #batch: Uint8Array;
  #resolve: (response: ExecuteResponse) => void = ignore;
  #reject: (error: BalsaError | SqlError) => void = ignore;

  constructor(
    begin: BeginCall,
    terms: CallTerms,
    step: { readonly kind: StepKind; readonly batch: Uint8Array },
  ) {
    super(begin.owner, terms);
    this.begin = begin;
    this.#step = step.kind;
    this.#batch = step.batch;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  body(now: number): RequestBody {
    const timeoutMs = this.timeoutMs(now);
    return {
      kind: "step",
      transaction: this.begin.id,
      step: this.#step,
      batch: this.#batch,
      timeoutMs,
    };
  }

  receive(response: ResponseBody): Receipt {
    if (response.kind !== "execute") throw unexpected(response.kind);
    this.owner.saw(response.index);
    this.#resolve(response);
    return "last";
  }

  override restart(): boolean {
    return false;
  }

  override get interrupted(): string {
    return "the connection broke inside a transaction";
  }

  fail(error: BalsaError | SqlError): void {
    this.#reject(error);
  }
}

/** Asks what became of a commit, under its number: if it was not applied by then, it never will be. */
export class SettleCall extends WriteCall {
  override readonly keepsNumber = true;

  constructor(begin: BeginCall, terms: CallTerms) {
    super(begin.owner, terms, new Uint8Array(0));
    this.session = begin.session;
    this.sequence = begin.sequence;
    this.uncertain = true;
  }

  override body(now: number): RequestBody {
    return { ...this.executeBody(now), settle: true };
  }
}

/** What a transaction that ended by itself is told as: nothing of it was applied. */
export function abortedBy(error: BalsaError | SqlError): BalsaError {
  if (error instanceof BalsaError) {
    const { code, facts } = error;
    if (code.startsWith("TRANSACTION_") || code === "CANCELLED" || code === "SNAPSHOT_TOO_OLD") {
      return error;
    }
    const message = `the transaction was rolled back: ${error.message}; it may be run again`;
    const why = { reason: code, ...facts };
    return new BalsaError("TRANSACTION_ABORTED", message, { facts: why, cause: error });
  }
  const message = `the transaction was rolled back: ${error.message}`;
  const facts = { reason: error.code };
  return new BalsaError("TRANSACTION_ABORTED", message, { facts, cause: error });
}

function ignore(): void {
  // Replaced before anybody can call it.
}
