/**
 * The readers of a node: a few processes, each with a read-only connection. Point reads go in batches to the least
 * busy one; a long query has a process to itself; one that runs past its deadline, or that nobody waits for any more, is
 * stopped by killing its process. Queries beside it are given to others and notice nothing. Never opens the database.
 */

import { availableParallelism } from "node:os";
import type { QuerySink, ReaderLimits, Readers, RunningQuery, StepAnswer } from "../node/ports.ts";
import type { Failure } from "../sql/errors.ts";
import { decodeFailure as readFailureOf } from "../wire/failure-codec.ts";
import type { ChildSupply } from "./child-supply.ts";
import { PooledQuery, type QueryOwner, readFailure } from "./pooled-query.ts";
import { PooledReader, type ReaderEvents } from "./pooled-reader.ts";
import { STEP_ANSWER } from "./step-answer.ts";
import { WaitingQueries } from "./waiting-queries.ts";

export interface ReaderPoolOptions {
  readonly supply: ChildSupply;
  readonly readersMin: number;
  readonly readersMax: number;
  /** Queries waiting for a reader; one more is OVERLOADED. */
  readonly waitingMax: number;
  /** A stream older than this loses its snapshot. Milliseconds. */
  readonly snapshotMsMax: number;
  databaseBytes(): number;
}

/** How often running queries are looked at. */
const TICK_MS = 5;
/** The same while readers only hold streams whose callers are slow. */
const SLOW_TICK_MS = 100;
/** A query that has run for so long is long: others do not wait behind it. */
const STALL_MS = 10;
/** A reader that does not answer a poke for so long hangs. */
const UNSURE_MS = 250;
/** Queries that have run for so long, in all readers at once, are worth another process. */
const GROW_MS = 50;
/** More queries than the readers can take for so long, with no longer pause than that, are worth one if there is a CPU for it. */
const PRESS_MS = 250;
/** A query that nobody waits for may run on for so long before its reader is killed. */
const ABANDONED_MS_MAX = 100;
/** A reader beyond the least number ends after so long without a query. */
const IDLE_MS_MAX = 30_000;
/** Readers that may die under one query before it fails. */
const ATTEMPTS_MAX = 3;
/** Readers that died in a row before any was ready: after these, waiting queries fail. */
const FAILED_STARTS_MAX = 3;
/** A stream whose caller asks for no more may keep its reader for so long from queries that have none. */
const PAUSED_MS_MAX = 1_000;
const RESTART_MS_MAX = 5_000;
const CLOSE_MS_MAX = 1_000;

export class ReaderPool implements Readers, QueryOwner, ReaderEvents {
  readonly #options: ReaderPoolOptions;
  readonly #readers = new Set<PooledReader>();
  readonly #waiting = new WaitingQueries();
  /** Counts queries as they are given out. */
  #turn = 0;
  #state: "new" | "open" | "suspended" | "closed" = "new";
  #failedStarts = 0;
  #lastDeath = "";
  #tickTimer: NodeJS.Timeout | null = null;
  #tickAtMs = 0;
  /** Since when there have been more queries than the readers can take, and when that was seen last. */
  #pressedSinceMs = 0;
  #pressedAtMs = Number.NEGATIVE_INFINITY;
  #restartTimer: NodeJS.Timeout | null = null;
  #idleTimer: NodeJS.Timeout | null = null;
  /** Processes not gone yet, also those that left the pool. */
  #processes = 0;
  #onClosed: (() => void) | null = null;
  #onSuspended: (() => void) | null = null;

  constructor(options: ReaderPoolOptions) {
    this.#options = options;
  }

  get pids(): readonly number[] {
    return [...this.#readers].map((reader) => reader.pid);
  }

  /** A writer has made the file. Further calls do nothing. */
  start(): void {
    if (this.#state !== "new" && this.#state !== "suspended") return;
    this.#state = "open";
    this.#fill();
    this.#idleTimer ??= setInterval(() => this.#shrink(), IDLE_MS_MAX / 2).unref();
  }

  /**
   * Another file takes the place of this one: ends all processes, then calls `done`. Queries wait for `start`; those
   * that had begun to answer fail.
   */
  suspend(done: () => void): void {
    this.#onSuspended = done;
    // An end does not wait for the new file, but whoever puts it there waits for the readers.
    if (this.#state === "closed") return void setImmediate(() => this.#tellIfEmpty());
    this.#state = "suspended";
    for (const reader of [...this.#readers]) {
      this.#readers.delete(reader);
      const queries = reader.takeBackAll();
      this.#waiting.putBack(queries.filter((query) => !query.started));
      for (const query of queries)
        if (query.started) query.fail(tooOld("the node took over a newer database file"));
      reader.kill("the database file is being replaced");
    }
    setImmediate(() => this.#tellIfEmpty());
  }

  /** Ends every stream that holds an old snapshot: the WAL has waited for long enough. */
  releaseSnapshots(): void {
    for (const reader of this.#readers) {
      const query = reader.running;
      if (query === null || !reader.isStreaming) continue;
      reader.abandon(query);
      query.fail(tooOld("the write-ahead log had no more room for what it held"));
    }
  }

  query(statement: Uint8Array, limits: ReaderLimits, sink: QuerySink): RunningQuery {
    const query = new PooledQuery(statement, limits, { sink, owner: this });
    const refusal = this.#refusal();
    if (refusal !== null) {
      setImmediate(() => query.fail(refusal));
      return query;
    }
    this.#waiting.add(query);
    this.#dispatch();
    return query;
  }

  databaseBytes(): number {
    return this.#options.databaseBytes();
  }

  close(done: () => void): void {
    if (this.#state === "closed") {
      setImmediate(done);
      return;
    }
    this.#state = "closed";
    for (const timer of [this.#tickTimer, this.#restartTimer, this.#idleTimer]) {
      if (timer !== null) clearTimeout(timer);
    }
    const orphans = this.#waiting.drain();
    for (const reader of this.#readers) {
      reader.leave();
      orphans.push(...reader.takeBackAll());
    }
    setImmediate(() => {
      for (const query of orphans) query.fail(readFailure("CLOSED", "the node is closing"));
    });
    const impatient = setTimeout(() => {
      for (const reader of this.#readers) reader.kill("did not close in time");
    }, CLOSE_MS_MAX);
    this.#onClosed = () => {
      clearTimeout(impatient);
      this.#options.supply.close(done);
    };
    setImmediate(() => this.#tellIfEmpty());
  }

  // --- told by queries ------------------------------------------------------------------------------------------

  fetched(query: PooledQuery): void {
    for (const reader of this.#readers) reader.fetched(query);
  }

  stepped(query: PooledQuery, batch: Uint8Array): void {
    for (const reader of this.#readers) reader.stepped(query, batch);
    this.#arm(TICK_MS);
  }

  readStep(bytes: Uint8Array): StepAnswer {
    const rest = bytes.subarray(1);
    return bytes[0] === STEP_ANSWER.result ? { result: rest } : { failure: readFailureOf(rest) };
  }

  cancelled(query: PooledQuery): void {
    if (query.isWaiting) return this.#waiting.withdraw(query);
    for (const reader of this.#readers) if (reader.abandon(query)) return;
  }

  released(query: PooledQuery): void {
    this.#waiting.rejoin(query);
    this.#dispatch();
  }

  // --- told by readers ------------------------------------------------------------------------------------------

  ready(_reader: PooledReader): void {
    this.#failedStarts = 0;
    this.#dispatch();
  }

  progressed(_reader: PooledReader): void {
    if (this.#waiting.size > 0) this.#dispatch();
  }

  occupied(reader: PooledReader): void {
    this.#giveElsewhere(reader);
  }

  exited(reader: PooledReader, reason: string): void {
    this.#processes -= 1;
    if (this.#readers.delete(reader)) this.#died(reader, reason);
    this.#tellIfEmpty();
  }

  // --- queries --------------------------------------------------------------------------------------------------

  #refusal(): Failure | null {
    if (this.#state === "closed") return readFailure("CLOSED", "the node is closing");
    if (this.#state === "new") {
      return readFailure("UNAVAILABLE", "the database has not been opened yet; try again");
    }
    if (this.#failedStarts >= FAILED_STARTS_MAX) return this.#noReader();
    const { waitingMax } = this.#options;
    if (this.#waiting.size < waitingMax) return null;
    const message = `${waitingMax} reads are waiting already (option limits.pendingReads)`;
    return readFailure("OVERLOADED", message, { waiting: String(this.#waiting.size) });
  }

  #noReader(): Failure {
    return readFailure("UNAVAILABLE", `no reader process can be started: ${this.#lastDeath}`);
  }

  /** Gives out what waits, in order, for as long as a reader can take it. */
  #dispatch(): void {
    if (this.#state !== "open") return;
    for (let query = this.#waiting.first(); query !== null; query = this.#waiting.first()) {
      const reader = this.#leastBusy(query);
      if (reader === null) {
        this.#grow();
        break;
      }
      this.#waiting.shift();
      this.#turn += 1;
      reader.turn = this.#turn;
      reader.give(query);
    }
    this.#arm(TICK_MS);
  }

  /** Of equally busy ones the kept ones take turns; the others, so that they may end again, get what is too much for those. */
  #leastBusy(query: PooledQuery): PooledReader | null {
    let best: PooledReader | null = null;
    let kept = this.#options.readersMin;
    for (const reader of this.#readers) {
      kept -= 1;
      if (!reader.accepts(query)) continue;
      if (reader.isGathering) return reader;
      const isOlder = kept >= 0 && best !== null && reader.turn < best.turn;
      const most = (best?.inFlight ?? Number.POSITIVE_INFINITY) + (isOlder ? 1 : 0);
      if (reader.inFlight < most) best = reader;
    }
    return best;
  }

  #failWaiting(): void {
    for (const query of this.#waiting.drain()) query.fail(this.#noReader());
  }

  // --- time -------------------------------------------------------------------------------------------------------

  #arm(delayMs: number): void {
    if (this.#state !== "open") return;
    const atMs = performance.now() + delayMs;
    if (this.#tickTimer !== null) {
      if (this.#tickAtMs - atMs < TICK_MS) return;
      clearTimeout(this.#tickTimer);
    }
    this.#tickAtMs = atMs;
    this.#tickTimer = setTimeout(() => this.#tick(), delayMs).unref();
  }

  #tick(): void {
    this.#tickTimer = null;
    const nowMs = performance.now();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const reader of [...this.#readers]) {
      if (reader.inFlight === 0) continue;
      this.#judge(reader, nowMs);
      nextMs = Math.min(nextMs, reader.isPaused ? SLOW_TICK_MS : TICK_MS);
    }
    if (this.#waiting.first() !== null) this.#dispatch();
    if (nextMs !== Number.POSITIVE_INFINITY) this.#arm(nextMs);
  }

  #judge(reader: PooledReader, nowMs: number): void {
    reader.pokeIfSilent(nowMs, TICK_MS);
    const ranMs = reader.ranMs(nowMs);
    const query = reader.running;
    if (query === null) {
      if (reader.ghostMs(nowMs) <= ABANDONED_MS_MAX) return;
      if (!this.#isSure(reader)) return;
      return this.#stop(reader, "it ran a query that nobody waits for");
    }
    if (reader.snapshotMs(nowMs) > this.#options.snapshotMsMax) {
      reader.abandon(query);
      return query.fail(this.#heldTooLong());
    }
    if (ranMs > query.deadlineMs && this.#isSure(reader)) {
      return this.#expire(reader, query, ranMs);
    }
    if (ranMs <= STALL_MS || reader.stalled || reader.isStreaming) return;
    // A reader that is dying is silent too, and of what it was given any query may be the cause.
    if (!reader.isCertain && ranMs <= UNSURE_MS) return;
    reader.stalled = true;
    this.#giveElsewhere(reader);
  }

  /** This thread may have slept, and the answer may be waiting to be read: only the second tick is sure. */
  #isSure(reader: PooledReader): boolean {
    const seenBefore = reader.expired;
    reader.expired = true;
    return seenBefore;
  }

  #heldTooLong(): Failure {
    const { snapshotMsMax } = this.#options;
    const why = `the stream held it for more than ${snapshotMsMax} ms (option snapshotMsMax)`;
    return tooOld(why, { snapshotMsMax: String(snapshotMsMax) });
  }

  #expire(reader: PooledReader, query: PooledQuery, ranMs: number): void {
    const { deadlineMs } = query;
    const ran = Math.round(ranMs);
    const message =
      `the read was stopped after it had run for ${ran} ms; its deadline is ${deadlineMs} ms ` +
      "(the request's timeoutMs, at most the node's readDeadlineMs)";
    const facts = { ranMs: String(ran), deadlineMs: String(deadlineMs) };
    query.fail(readFailure("DEADLINE_EXCEEDED", message, facts));
    this.#stop(reader, "its query ran past the deadline");
  }

  // --- processes --------------------------------------------------------------------------------------------------

  #giveElsewhere(reader: PooledReader): void {
    const queries = reader.takeBackWaiting();
    if (!reader.isCertain) for (const query of queries) query.alone = true;
    this.#waiting.putBack(queries);
    this.#dispatch();
  }

  /** Kills a reader for its running query, which has been dealt with. The others did nothing wrong. */
  #stop(reader: PooledReader, why: string): void {
    this.#options.supply.logger.warn({ pid: reader.pid, why }, "killing a reader process");
    this.#readers.delete(reader);
    this.#waiting.putBack(reader.takeBackAll().filter((query) => !query.ended));
    reader.kill(why);
    this.#fill();
    this.#dispatch();
  }

  #died(reader: PooledReader, reason: string): void {
    if (this.#state === "closed") return;
    this.#options.supply.logger.warn({ pid: reader.pid, reason }, "a reader process died");
    this.#lastDeath = reason;
    if (reader.wasReady) this.#rescue(reader, reason);
    else this.#failedStarts += 1;
    if (this.#failedStarts >= FAILED_STARTS_MAX) this.#failWaiting();
    this.#fill();
    this.#dispatch();
  }

  /** Queries of a reader that died by itself. Which one killed it is certain only if it had run for a while. */
  #rescue(reader: PooledReader, reason: string): void {
    const certain = reader.isCertain;
    const head = reader.running;
    const again: PooledQuery[] = [];
    for (const query of reader.takeBackAll()) {
      query.attempts += 1;
      const guilty = query === head && (certain || query.alone);
      if (guilty || query.started || query.attempts >= ATTEMPTS_MAX) {
        const message = `the reader process died while it ran this query: ${reason}`;
        query.fail(readFailure("UNAVAILABLE", message));
      } else {
        query.alone = !certain;
        again.push(query);
      }
    }
    this.#waiting.putBack(again);
  }

  #fill(): void {
    if (this.#state !== "open" || this.#restartTimer !== null) return;
    if (this.#readers.size >= this.#options.readersMin) return;
    if (this.#failedStarts === 0) {
      while (this.#readers.size < this.#options.readersMin) this.#startReader();
      return;
    }
    const delayMs = Math.min(RESTART_MS_MAX, 50 * 2 ** this.#failedStarts);
    this.#restartTimer = setTimeout(() => {
      this.#restartTimer = null;
      if (this.#state === "open") this.#startReader();
    }, delayMs).unref();
  }

  /** Nobody can take the next query. Another process helps if the others are taken, or if there are CPUs for it. */
  #grow(): void {
    const readers = [...this.#readers];
    if (this.#failedStarts > 0 || readers.some((reader) => !reader.isReady)) return;
    const nowMs = performance.now();
    const isPressed = this.#isPressed(nowMs);
    // No process is worth starting while a connection that takes nothing has one.
    const held = readers.filter((reader) => reader.running?.isHeld === true);
    if (this.#reclaim(held, nowMs)) return;
    const taken = readers.every((reader) => {
      return reader.pausedMs(nowMs) > STALL_MS || reader.ranMs(nowMs) > GROW_MS;
    });
    const { readersMax } = this.#options;
    const most = isPressed ? Math.min(readersMax, availableParallelism()) : 0;
    if (readers.length < (taken ? readersMax : most)) this.#startReader();
    else if (readers.length >= readersMax) this.#reclaim(readers, nowMs);
  }

  /** A burst that is over before a process had helped is not worth one. */
  #isPressed(nowMs: number): boolean {
    if (nowMs - this.#pressedAtMs > PRESS_MS) this.#pressedSinceMs = nowMs;
    this.#pressedAtMs = nowMs;
    return nowMs - this.#pressedSinceMs >= PRESS_MS;
  }

  /** Callers who stopped reading would otherwise shut all others out. True if one of them lost its reader. */
  #reclaim(readers: readonly PooledReader[], nowMs: number): boolean {
    let longest: PooledReader | null = null;
    for (const reader of readers) {
      if (longest === null || reader.pausedMs(nowMs) > longest.pausedMs(nowMs)) longest = reader;
    }
    const query = longest?.running ?? null;
    if (longest === null || query === null) return false;
    if (longest.pausedMs(nowMs) < PAUSED_MS_MAX) return false;
    longest.abandon(query);
    const message =
      `the stream was not read for more than ${PAUSED_MS_MAX} ms while other reads waited for a reader ` +
      "(option readersMax); read faster, in pages by key, or all at once";
    query.fail(readFailure("SNAPSHOT_TOO_OLD", message));
    return true;
  }

  #startReader(): void {
    const reader = new PooledReader(this.#options.supply, this);
    this.#readers.add(reader);
    this.#processes += 1;
    reader.start();
  }

  #shrink(): void {
    const nowMs = performance.now();
    for (const reader of this.#readers) {
      if (this.#readers.size <= this.#options.readersMin) return;
      const idle = reader.isReady && reader.inFlight === 0;
      if (!idle || nowMs - reader.idleSinceMs < IDLE_MS_MAX) continue;
      this.#readers.delete(reader);
      reader.leave();
    }
  }

  #tellIfEmpty(): void {
    if (this.#processes > 0) return;
    const [suspended, closed] = [this.#onSuspended, this.#onClosed];
    this.#onClosed = null;
    this.#onSuspended = null;
    suspended?.();
    closed?.();
  }
}

function tooOld(why: string, facts: { readonly [name: string]: string } = {}): Failure {
  const message = `the snapshot was given up: ${why}; read faster, or in pages by key`;
  return readFailure("SNAPSHOT_TOO_OLD", message, facts);
}
