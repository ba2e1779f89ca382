/**
 * One reader process of the pool: the queries it was given, in order, and which of them it is running since when. It tells
 * the pool what happened and judges nothing.
 */

import { invariant } from "../sql/invariant.ts";
import type { ChildProcess } from "./child-process.ts";
import type { ChildSupply } from "./child-supply.ts";
import { POKED } from "./frames.ts";
import type { PooledQuery } from "./pooled-query.ts";
import {
  decodeFailure,
  decodeText,
  encodeCount,
  FROM_READER,
  TO_READER,
} from "./process-messages.ts";

/** Queries in the pipe or in the reader: enough that it never waits for the node. */
export const IN_FLIGHT_MAX = 64;
/** Queries that are given in one turn to the same reader, though another has less to do: a wake-up costs more than they. */
const TOGETHER_MAX = 32;
/** Chunks of one query that the reader may be ahead: keeps it busy, bounds what a cancel cannot stop. */
const AHEAD_MAX = 4;

/** A query given to this reader. It has one terminal answer, whether or not anyone still waits for it. */
interface Given {
  readonly id: number;
  /** Null when it was cancelled or moved to another reader. */
  query: PooledQuery | null;
  /** Chunks asked for and not received. */
  ahead: number;
}

export interface ReaderEvents {
  ready(reader: PooledReader): void;
  /** A query is over here, or a chunk showed that it goes on. */
  progressed(reader: PooledReader): void;
  /** It just became the owner of the reader: others must go elsewhere. */
  occupied(reader: PooledReader): void;
  exited(reader: PooledReader, reason: string): void;
}

export class PooledReader {
  readonly #supply: ChildSupply;
  #child: ChildProcess | null = null;
  readonly #events: ReaderEvents;
  #nextId = 1;
  readonly #given: Given[] = [];
  isReady = false;
  wasReady = false;
  /** When it was given a query last, as the pool counts. */
  turn = 0;
  /** No more queries: it was told to end, or killed. */
  isLeaving = false;
  /** The first of the given is a stream that has begun. */
  #streaming = false;
  #streamSinceMs = 0;
  /** When the running query began or went on; execution before that is in #ranMs. */
  #runningSinceMs = 0;
  #ranMs = 0;
  #ghostSinceMs = 0;
  #silentSinceMs = 0;
  /** It answered the poke, and has said nothing since: the first of the given is what it runs. */
  #isSure = false;
  idleSinceMs = 0;
  /** Its running query takes long: nothing more is given to it, and what waits behind is given to others. */
  stalled = false;
  /** The running query was seen past its time once already. */
  expired = false;

  constructor(supply: ChildSupply, events: ReaderEvents) {
    this.#supply = supply;
    this.#events = events;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get inFlight(): number {
    return this.#given.length;
  }

  get isStreaming(): boolean {
    return this.#streaming;
  }

  /** Holds a stream whose caller has not asked for more. */
  get isPaused(): boolean {
    const head = this.#given[0];
    return head !== undefined && !this.#isExecuting(head);
  }

  /** The query it runs; null if none, or one that nobody waits for. */
  get running(): PooledQuery | null {
    return this.#given[0]?.query ?? null;
  }

  /** May another query be given to it? */
  accepts(query: PooledQuery): boolean {
    if (!this.isReady || this.isLeaving || this.#streaming || this.stalled) return false;
    if (query.alone) return this.#given.length === 0;
    return this.#given.length < IN_FLIGHT_MAX && this.#given[0]?.query?.alone !== true;
  }

  /** It is being given queries in this turn of the event loop, and has room for some more beside them. */
  get isGathering(): boolean {
    return this.#child?.isGathering === true && this.#given.length < TOGETHER_MAX;
  }

  start(): void {
    this.#child = this.#supply.take("reader", {
      frame: (type, id, payload) => this.#frame(type, id, payload),
      exited: (reason) => {
        this.isReady = false;
        this.#events.exited(this, reason);
      },
    });
  }

  give(query: PooledQuery): void {
    const id = this.#nextId;
    this.#nextId = (this.#nextId % 0xffff_ffff) + 1;
    const ahead = Math.min(query.credit, AHEAD_MAX);
    this.#given.push({ id, query, ahead });
    if (this.#given.length === 1) this.#begin(performance.now());
    // Most reads by far.
    if (ahead === 1) this.#child?.send(TO_READER.queryOnce, id, query.statement);
    else this.#child?.send(TO_READER.query, id, encodeCount(ahead), query.statement);
  }

  /** The caller allows more chunks of the stream. */
  fetched(query: PooledQuery): void {
    const head = this.#given[0];
    if (head?.query === query && this.#streaming) this.#refill(head, query);
  }

  /** Something to read in its snapshot. */
  stepped(query: PooledQuery, batch: Uint8Array): void {
    const head = this.#given[0];
    if (head?.query !== query || !this.#streaming) return;
    if (head.ahead === 0) this.#runningSinceMs = performance.now();
    head.ahead += 1;
    this.#child?.send(TO_READER.step, head.id, batch);
  }

  /** Nobody waits for it here any more. True if it was given to this reader. */
  abandon(query: PooledQuery): boolean {
    const given = this.#given.find((candidate) => candidate.query === query);
    if (given === undefined) return false;
    given.query = null;
    this.#ghostSinceMs = performance.now();
    this.#child?.send(TO_READER.cancel, given.id);
    return true;
  }

  /** Takes back all queries but the running one; they may be given to others. */
  takeBackWaiting(): PooledQuery[] {
    const taken: PooledQuery[] = [];
    for (const { query } of this.#given.slice(1)) if (query !== null) taken.push(query);
    for (const query of taken) this.abandon(query);
    return taken;
  }

  /** The process is gone or going: takes back everything, the running query first. */
  takeBackAll(): PooledQuery[] {
    const taken = this.#given.flatMap(({ query }) => (query === null ? [] : [query]));
    this.#given.length = 0;
    return taken;
  }

  /** Execution time of the running query; the time it waits for its caller is not counted. */
  ranMs(nowMs: number): number {
    const head = this.#given[0];
    if (head === undefined) return 0;
    return this.#ranMs + (this.#isExecuting(head) ? nowMs - this.#runningSinceMs : 0);
  }

  /** How long it has run a query that nobody waits for. */
  ghostMs(nowMs: number): number {
    const head = this.#given[0];
    if (head === undefined || head.query !== null) return 0;
    return nowMs - Math.max(this.#ghostSinceMs, this.#runningSinceMs);
  }

  /** Age of the snapshot that a stream holds; 0 without a stream. */
  snapshotMs(nowMs: number): number {
    return this.#streaming ? nowMs - this.#streamSinceMs : 0;
  }

  /** For how long its stream has waited for its caller; 0 while it runs. */
  pausedMs(nowMs: number): number {
    return this.#streaming && this.isPaused ? nowMs - this.#runningSinceMs : 0;
  }

  /** Is the first of the given certain to be the one that runs? An answer to it may be held back. */
  get isCertain(): boolean {
    return this.#isSure || this.#given.length === 1;
  }

  /** Asks a silent reader for the answers it holds back; called again, it repeats that until it was heard. */
  pokeIfSilent(nowMs: number, afterMs: number): void {
    if (this.#isSure || this.#given.length === 0 || nowMs - this.#silentSinceMs < afterMs) return;
    this.#child?.poke();
  }

  kill(why: string): void {
    this.isLeaving = true;
    this.#child?.kill(why);
  }

  /** Ends in order, if it is idle. */
  leave(): void {
    this.isLeaving = true;
    if (this.#given.length > 0) this.#child?.kill("closed while a query ran");
    else this.#child?.send(TO_READER.close, 0);
  }

  #isExecuting(head: Given): boolean {
    return head.query === null || !this.#streaming || head.ahead > 0;
  }

  #begin(nowMs: number): void {
    this.#runningSinceMs = nowMs;
    this.#silentSinceMs = nowMs;
    this.#ranMs = 0;
    this.#streaming = false;
    this.stalled = false;
    this.expired = false;
  }

  #refill(head: Given, query: PooledQuery): void {
    const more = Math.min(query.credit, AHEAD_MAX) - head.ahead;
    // In pairs: a fetch for each chunk would be a wake-up for each chunk.
    if (more < Math.min(2, query.credit)) return;
    if (head.ahead === 0) this.#runningSinceMs = performance.now();
    head.ahead += more;
    this.#child?.send(TO_READER.fetch, head.id, encodeCount(more));
  }

  #frame(type: number, id: number, payload: Uint8Array): void {
    if (this.isLeaving && type !== FROM_READER.closed) return;
    if (type === POKED) {
      this.#isSure = true;
      return;
    }
    const nowMs = performance.now();
    this.#silentSinceMs = nowMs;
    this.#isSure = false;
    switch (type) {
      case FROM_READER.ready:
        this.isReady = true;
        this.wasReady = true;
        this.idleSinceMs = nowMs;
        return this.#events.ready(this);
      case FROM_READER.chunk:
        return this.#chunk(id, payload, nowMs);
      case FROM_READER.last:
        this.#terminate(id, nowMs)?.deliver(payload, true);
        return this.#events.progressed(this);
      case FROM_READER.failed:
        this.#terminate(id, nowMs)?.fail(decodeFailure(payload));
        return this.#events.progressed(this);
      case FROM_READER.dropped:
        this.#terminate(id, nowMs);
        return this.#events.progressed(this);
      case FROM_READER.sync:
        return this.#child?.send(TO_READER.go, 0);
      case FROM_READER.fault:
        return this.#child?.expectExit(decodeText(payload));
      case FROM_READER.closed:
        return this.#child?.expectExit("closed");
      default:
        invariant(false, `a frame of unknown type ${type} from a reader`);
    }
  }

  #chunk(id: number, payload: Uint8Array, nowMs: number): void {
    const head = this.#given[0];
    invariant(head !== undefined && head.id === id, `a chunk of query ${id}, which does not run`);
    // Such a chunk is never held back.
    this.#isSure = true;
    head.ahead -= 1;
    const first = !this.#streaming;
    if (first) {
      this.#streaming = true;
      this.#streamSinceMs = nowMs;
    }
    this.#ranMs += nowMs - this.#runningSinceMs;
    this.#runningSinceMs = nowMs;
    const query = head.query;
    query?.deliver(payload, false);
    // The sink may have cancelled it.
    if (head.query !== null && !head.query.ended) this.#refill(head, head.query);
    if (first) this.#events.occupied(this);
    this.#events.progressed(this);
  }

  /** A terminal answer came. Returns who waits for it. */
  #terminate(id: number, nowMs: number): PooledQuery | null {
    // Nearly always the first: answers come in order, but for queries that were cancelled while they waited.
    const at = this.#given[0]?.id === id ? 0 : this.#given.findIndex((each) => each.id === id);
    invariant(at >= 0, `an answer to query ${id}, which was not given`);
    const given = at === 0 ? this.#given.shift() : this.#given.splice(at, 1)[0];
    if (at === 0) this.#begin(nowMs);
    if (this.#given.length === 0) this.idleSinceMs = nowMs;
    return given?.query ?? null;
  }
}
