/**
 * The one place that decides what becomes of a call: sends it where the router says, repeats it as the retry table says,
 * and settles it once, by an answer, a refusal, its deadline, its caller or the closing of the client. All objects
 * that a caller sees share one of these. It decodes no rows and opens no sockets itself.
 */

import { BalsaError, type Failure, isBalsaCode, toFailure } from "../sql/errors.ts";
import { unreachable } from "../sql/invariant.ts";
import { DEFAULT_LIMITS, type Limits } from "../sql/limits.ts";
import type { StepKind } from "../sql/transaction.ts";
import type { Row } from "../sql/value.ts";
import type { ExecuteResponse } from "../wire/sql-codec.ts";
import type { Call, CallOwner, CallTerms } from "./call.ts";
import type { Connection } from "./connection.ts";
import { Deadlines, type DeadlinesOwner } from "./deadlines.ts";
import type { ClientOptions, ResolvedCallOptions, ResolvedTransactionOptions } from "./options.ts";
import { cancelledError, closedError, deadlineError, refusalError } from "./outcome.ts";
import { AllRowsCall, FirstRowCall, type ReadTerms, RowStream } from "./read-call.ts";
import { pauseMs, RETRY } from "./retry.ts";
import { Router, type RouterOwner } from "./router.ts";
import { type ClusterStatus, type EndpointStatus, summarize } from "./status.ts";
import { BeginCall, SettleCall, StepCall } from "./transaction-call.ts";
import { refuseInside } from "./transaction-scope.ts";
import { NumberedCall, OpenSessionCall, WriteCall } from "./write-call.ts";
import { WriteQueue, type WriteQueueOwner } from "./write-queue.ts";

/** Attempts in a row without a pause: enough for a stale belief and a hint, not for a loop. */
const HASTY_ATTEMPTS_MAX = 3;

const NOTHING = new Uint8Array(0);
/** What a request takes in memory besides its bytes, about. */
const CALL_BYTES = 256;

export class Client implements CallOwner, RouterOwner, DeadlinesOwner, WriteQueueOwner {
  readonly options: ClientOptions;
  /** As the encoders take them. */
  readonly requestLimits: Limits;
  readonly #router: Router;
  readonly #deadlines: Deadlines;
  readonly #writes = new WriteQueue(this);
  /** Calls that wait for a leader, or for any node. */
  readonly #parked = new Set<Call>();
  /** Calls that wait for the end of a pause. */
  readonly #paused = new Set<Call>();
  #pauseTimer: NodeJS.Timeout | null = null;
  #pendingRequests = 0;
  #pendingBytes = 0;
  #seenIndex = 0;
  #closed = false;

  constructor(options: ClientOptions) {
    this.options = options;
    this.requestLimits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#router = new Router(this, options);
    this.#deadlines = new Deadlines(this, options.silenceMs);
  }

  get isForwarding(): boolean {
    return this.#router.isForwarding;
  }

  /** The highest log index that this client was told of. */
  get seenIndex(): number {
    return this.#seenIndex;
  }

  saw(index: number): void {
    if (index > this.#seenIndex) this.#seenIndex = index;
  }

  // --- what callers ask for ------------------------------------------------------------------------------------

  /** Executes an encoded balsa.v1.Batch. Not async: a promise of a promise costs a write three more turns of the microtasks. */
  write(batch: Uint8Array, options: ResolvedCallOptions): Promise<ExecuteResponse> {
    refuseInside(this, "a write");
    const call = new WriteCall(this, termsOf(batch, options), batch);
    this.#submit(call);
    return call.promise;
  }

  /** Begins a transaction. `endTransaction` must follow, whatever becomes of it. */
  begin({ call: options, readOnly, idleMs, totalMs }: ResolvedTransactionOptions): BeginCall {
    const { consistency } = options;
    const reading = readOnly ? { consistency, ...this.#freshness(options) } : null;
    const call = new BeginCall(this, { ...termsOf(NOTHING, options), idleMs, totalMs, reading });
    this.#submit(call);
    return call;
  }

  /** Sent at once, on the transaction's connection. */
  step(
    begin: BeginCall,
    step: { readonly kind: StepKind; readonly batch: Uint8Array },
    options: ResolvedCallOptions,
  ): StepCall {
    const call = new StepCall(begin, termsOf(step.batch, options), step);
    this.#submit(call);
    return call;
  }

  /** What became of its commit, which has no answer? */
  settle(begin: BeginCall, options: ResolvedCallOptions): Promise<ExecuteResponse> {
    const call = new SettleCall(begin, termsOf(NOTHING, options));
    this.#submit(call);
    return call.promise;
  }

  /** If it is still open it is rolled back. Its number is given back. */
  endTransaction(begin: BeginCall): void {
    this.abandon(begin);
    if (begin.readConsistency === null) this.#writes.settled(begin);
  }

  /** Reads an encoded balsa.v1.Statement. */
  read(statement: Uint8Array, options: ResolvedCallOptions): AllRowsCall {
    const { resultBytes } = this.options.limits;
    const call = new AllRowsCall(this, this.#readTerms(statement, options), resultBytes);
    this.#submit(call);
    return call;
  }

  /** The same for its first row. */
  readFirst(statement: Uint8Array, options: ResolvedCallOptions): Promise<Row | undefined> {
    const { resultBytes } = this.options.limits;
    const call = new FirstRowCall(this, this.#readTerms(statement, options), resultBytes);
    this.#submit(call);
    return call.promise;
  }

  stream(statement: Uint8Array, options: ResolvedCallOptions): RowStream {
    const start = (stream: RowStream): void => this.#submit(stream);
    return new RowStream(this, this.#readTerms(statement, options), start);
  }

  #readTerms(statement: Uint8Array, options: ResolvedCallOptions): ReadTerms {
    const { consistency, deadlineMs, signal, integers } = options;
    const isSession = consistency === "session";
    return {
      now: performance.now(),
      deadlineMs,
      signal,
      bytes: statement.length + CALL_BYTES,
      statement,
      consistency,
      atLeast: isSession ? Math.max(this.#seenIndex, options.atLeast) : 0,
      maxStalenessMs: consistency === "stale" ? options.maxStalenessMs : 0,
      integers,
    };
  }

  #freshness({ consistency, atLeast, maxStalenessMs }: ResolvedCallOptions) {
    return {
      atLeast: consistency === "session" ? Math.max(this.#seenIndex, atLeast) : 0,
      maxStalenessMs: consistency === "stale" ? maxStalenessMs : 0,
    };
  }

  /** Asks every known node, reachable or not. */
  async status(options: ResolvedCallOptions): Promise<ClusterStatus> {
    if (this.#closed) throw closedError(null);
    if (options.signal?.aborted === true) {
      throw new BalsaError("CANCELLED", "the caller gave up", { cause: options.signal.reason });
    }
    const answers: EndpointStatus[] = [];
    const asked = new Set<string>();
    // Twice, because the answers may name nodes that were not known.
    for (let round = 0; round < 2; round += 1) {
      const addresses = this.#router.members.map(({ address }) => address);
      const fresh = addresses.filter((address) => !asked.has(address));
      for (const address of fresh) asked.add(address);
      const ask = (address: string): Promise<EndpointStatus> =>
        this.#statusOf(address, options.deadlineMs);
      answers.push(...(await Promise.all(fresh.map(ask))));
    }
    return summarize(answers, this.options.endpoints);
  }

  #statusOf(endpoint: string, deadlineMs: number): Promise<EndpointStatus> {
    const timeoutMs = Math.min(deadlineMs, this.options.connectTimeoutMs);
    return new Promise((resolve) => {
      this.#router.connect(endpoint).status(timeoutMs, (error, status) => {
        if (status !== null) {
          this.#router.learn(status);
          resolve({ endpoint, status, error: null });
        } else {
          const unknown = new BalsaError("UNAVAILABLE", `${endpoint}: no answer`);
          resolve({ endpoint, status: null, error: error ?? unknown });
        }
      });
    });
  }

  // --- a call's way --------------------------------------------------------------------------------------------

  #submit(call: Call): void {
    const refusal = this.#admit(call);
    if (refusal !== null) {
      call.settled = true;
      call.fail(refusal);
      return;
    }
    this.#pendingRequests += 1;
    this.#pendingBytes += call.bytes;
    this.#deadlines.add(call);
    if (isUnnumbered(call)) this.#writes.add(call);
    else this.#dispatch(call);
  }

  #admit(call: Call): BalsaError | null {
    if (this.#closed) return closedError(null);
    if (call.signal?.aborted === true) return cancelledError(call);
    const { pendingRequests, pendingBytes } = this.options.limits;
    if (this.#pendingRequests >= pendingRequests) {
      return overloaded("pendingRequests", pendingRequests);
    }
    if (this.#pendingRequests > 0 && this.#pendingBytes + call.bytes > pendingBytes) {
      return overloaded("pendingBytes", pendingBytes);
    }
    return null;
  }

  #dispatch(call: Call): void {
    if (call.settled || this.#closed) return;
    const connection = this.#route(call);
    if (connection === null) {
      if (call instanceof StepCall) this.#settleLost(call);
      else this.#parked.add(call);
      return;
    }
    call.epoch = this.#router.epoch;
    connection.send(call);
  }

  #route(call: Call): Connection | null {
    if (call instanceof StepCall) return call.begin.connection;
    const { readConsistency } = call;
    if (readConsistency === null) return this.#router.forWrite();
    if (readConsistency === "stale") return this.#router.forStaleRead(call.avoided);
    return this.#router.forRead(call.avoided);
  }

  numbered(call: NumberedCall): void {
    this.#dispatch(call);
  }

  /** Its transaction has ended: it was not sent. */
  #settleLost(call: StepCall): void {
    this.#settle(call);
    call.fail(new BalsaError("TRANSACTION_ABORTED", "the transaction has ended"));
  }

  answered(call: Call): void {
    if (call.kind !== "read") this.#router.confirmed();
    this.#settle(call);
  }

  abandon(call: Call): void {
    if (call.settled) return;
    call.connection?.drop(call);
    this.#settle(call);
  }

  rescheduled(call: Call): void {
    if (!call.settled) this.#deadlines.moved(call);
  }

  #settle(call: Call): void {
    if (call.settled) return;
    call.settled = true;
    if (call.kind !== "open-session") {
      this.#pendingRequests -= 1;
      this.#pendingBytes -= call.bytes;
    }
    this.#deadlines.remove(call);
    this.#parked.delete(call);
    this.#paused.delete(call);
    if (call instanceof NumberedCall && !call.keepsNumber) this.#writes.settled(call);
  }

  // --- attempts that failed ------------------------------------------------------------------------------------

  lost(call: Call, error: BalsaError, sent: "sent" | "unsent"): void {
    if (call.settled) return;
    call.lastFailure = toFailure(error);
    if (sent === "sent") {
      call.attempts += 1;
      call.uncertain = true;
    }
    if (call.restart()) this.#again(call);
    else {
      this.#settle(call);
      const text = `${call.interrupted}: ${error.message}`;
      call.fail(new BalsaError("UNAVAILABLE", text, { facts: error.facts, cause: error }));
    }
  }

  refused(call: Call, failure: Failure, from: string): void {
    if (call.settled) return;
    call.lastFailure = failure;
    call.attempts += 1;
    const rule = isBalsaCode(failure.code) ? RETRY[failure.code] : "never";
    if (failure.outcome === "applied" || rule === "never" || !call.restart()) {
      this.#settle(call);
      call.fail(refusalError(call, failure));
      return;
    }
    if (failure.outcome === "unknown") call.uncertain = true;
    switch (rule) {
      case "elsewhere":
      case "same":
        this.#doubt(call, failure, from);
        this.#again(call);
        return;
      case "later":
        if (failure.code === "NO_LEADER") this.#router.refuted(from, call.epoch, undefined);
        this.#pause(call);
        return;
      case "session":
        this.#onSessionExpired(call, failure);
        return;
      default:
        unreachable(rule);
    }
  }

  /** The node that refused is not asked again for this, or no longer taken for the leader. */
  #doubt(call: Call, failure: Failure, from: string): void {
    if (failure.code !== "TOO_STALE") {
      this.#router.refuted(from, call.epoch, failure.facts["leader"]);
    }
    if (call.readConsistency === null) return;
    call.avoided ??= new Set();
    call.avoided.add(from);
    // When all have refused it, all are asked again, after a pause.
    if (this.#router.isEachAvoided(call.avoided)) {
      call.avoided = null;
      call.attempts = Math.max(call.attempts, HASTY_ATTEMPTS_MAX + 1);
    }
  }

  #onSessionExpired(call: Call, failure: Failure): void {
    if (call instanceof NumberedCall && this.#writes.sessionExpired(call)) return;
    this.#settle(call);
    call.fail(refusalError(call, failure));
  }

  #again(call: Call): void {
    if (call.attempts > HASTY_ATTEMPTS_MAX) this.#pause(call);
    else this.#dispatch(call);
  }

  #pause(call: Call): void {
    this.#paused.add(call);
    if (this.#pauseTimer !== null) return;
    this.#pauseTimer = setTimeout(this.#endPause, pauseMs(performance.now() - call.startedAt));
  }

  #endPause = (): void => {
    this.#pauseTimer = null;
    const calls = [...this.#paused];
    this.#paused.clear();
    for (const call of calls) this.#dispatch(call);
  };

  // --- what the router, the write queue and the clock say --------------------------------------------------------

  leaderFound(): void {
    this.#unpark();
  }

  nodeReady(): void {
    this.#unpark();
  }

  isWaiting(): boolean {
    return this.#parked.size > 0;
  }

  #unpark(): void {
    const calls = [...this.#parked];
    this.#parked.clear();
    for (const call of calls) this.#dispatch(call);
  }

  hopeless(error: BalsaError): void {
    for (const call of [...this.#parked]) {
      this.#settle(call);
      const failure = toFailure(error);
      call.fail(refusalError(call, failure));
    }
  }

  openSession(deadline: number): void {
    const now = performance.now();
    const deadlineMs = deadline - now;
    const call = new OpenSessionCall(
      this,
      { now, deadlineMs, signal: undefined, bytes: CALL_BYTES },
      {
        opened: (id) => this.#writes.opened(id),
        failed: (error) => {
          if (performance.now() >= deadline && !this.#closed) this.#writes.openOverdue();
          else this.#failUnnumbered(error);
        },
      },
    );
    this.#deadlines.add(call);
    this.#dispatch(call);
  }

  #failUnnumbered(error: Parameters<Call["fail"]>[0]): void {
    for (const call of this.#writes.openFailed()) {
      this.#settle(call);
      call.fail(error);
    }
  }

  expired(call: Call): void {
    const error = this.#withdraw(call, () => deadlineError(call, this.#router.trouble()));
    call.fail(error);
  }

  aborted(call: Call): void {
    call.fail(this.#withdraw(call, () => cancelledError(call)));
  }

  /** Ends a call that has no answer. The error is made when it is known whether the call was sent. */
  #withdraw(call: Call, makeError: () => BalsaError): BalsaError {
    if (call.connection?.drop(call) === true) {
      call.attempts += 1;
      call.uncertain = true;
    }
    const error = makeError();
    this.#settle(call);
    return error;
  }

  tick(now: number): number {
    return this.#router.checkSilence(now);
  }

  /** Fails what is pending with CLOSED and ends all connections. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#pauseTimer !== null) clearTimeout(this.#pauseTimer);
    for (const call of this.#deadlines.calls()) {
      if (call.settled) continue;
      call.fail(this.#withdraw(call, () => closedError(call)));
    }
    this.#deadlines.close();
    await this.#router.close(closedError(null));
  }
}

/** It needs a number before it is sent. */
function isUnnumbered(call: Call): call is NumberedCall {
  return call instanceof NumberedCall && call.session === null && call.readConsistency === null;
}

function termsOf(bytes: Uint8Array, options: ResolvedCallOptions): CallTerms {
  const { deadlineMs, signal } = options;
  return { now: performance.now(), deadlineMs, signal, bytes: bytes.length + CALL_BYTES };
}

function overloaded(limit: string, value: number): BalsaError {
  const message = `too much is pending in this client (limits.${limit} is ${value}): wait for answers`;
  return new BalsaError("OVERLOADED", message, { facts: { limit, value: String(value) } });
}
