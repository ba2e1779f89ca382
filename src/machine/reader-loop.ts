/**
 * The main thread of a reader's process: runs queries in the order of their arrival, one at a time. A query that is
 * not done with its first chunk owns the process until it is done or cancelled, because its connection would show
 * an old snapshot to others. Never returns. A query's failure is an answer; any other ends the process.
 */

import { toFailure } from "../sql/errors.ts";
import { invariant } from "../sql/invariant.ts";
import { ChildChannel } from "./child-channel.ts";
import type { Chunk, ReaderEngine } from "./process-engines.ts";
import {
  decodeCount,
  decodeQuery,
  encodeJson,
  FROM_READER,
  TO_READER,
} from "./process-messages.ts";

/** After a query of this length the node is asked what of the rest is still wanted. */
const SLOW_MS = 5;
/** Answers leave after this long, so that node and client work on them while the reader goes on: a batch of 64 takes longer. */
const HOLD_MS_MAX = 0.25;

interface Query {
  readonly id: number;
  readonly statement: Uint8Array;
  /** Chunks that may still be sent. */
  credit: number;
  cancelled: boolean;
  /** Of a snapshot, which has no statement of its own: what to read in it. */
  readonly steps: Uint8Array[];
}

function isReady({ statement, steps, credit }: Query): boolean {
  return statement.length === 0 ? steps.length > 0 : credit > 0;
}

export function runReader(open: () => ReaderEngine): never {
  let loop: ReaderLoop | null = null;
  const channel = new ChildChannel((type, id, payload) => loop?.take(type, id, payload));
  try {
    loop = new ReaderLoop(channel, open());
    channel.send(FROM_READER.ready, 0);
    channel.flush();
    // A thread takes long to start, and until the first query a closed pipe is noticed without it.
    channel.startWatchdog();
    for (;;) loop.turn();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return channel.end(FROM_READER.fault, 0, Buffer.from(message));
  }
}

class ReaderLoop {
  readonly #channel: ChildChannel;
  readonly #engine: ReaderEngine;
  #queue: Query[] = [];
  #running: Query | null = null;
  #mayGoOn = true;
  /** Queries that are still to see the snapshot that is held; 0 without one. */
  #held = 0;

  constructor(channel: ChildChannel, engine: ReaderEngine) {
    this.#channel = channel;
    this.#engine = engine;
  }

  /** A frame of the node. Only notes what it says: it comes in the middle of a query as well. */
  take(type: number, id: number, payload: Uint8Array): void {
    switch (type) {
      case TO_READER.query: {
        const { credit, statement } = decodeQuery(payload);
        this.#queue.push({ id, statement, credit, cancelled: false, steps: [] });
        return;
      }
      case TO_READER.queryOnce:
        this.#queue.push({ id, statement: payload, credit: 1, cancelled: false, steps: [] });
        return;
      case TO_READER.fetch:
        if (this.#running?.id === id) this.#running.credit += decodeCount(payload);
        return;
      case TO_READER.step:
        // A copy: the room of its frame is used again before its turn.
        if (this.#running?.id === id) this.#running.steps.push(Buffer.from(payload));
        return;
      case TO_READER.cancel:
        return this.#cancel(id);
      case TO_READER.go:
        this.#mayGoOn = true;
        return;
      case TO_READER.close:
        this.#engine.close();
        return this.#channel.end(FROM_READER.closed, 0);
      default:
        invariant(false, `a call of unknown type ${type}`);
    }
  }

  turn(): void {
    this.#channel.receive();
    const batch = this.#queue;
    let nowMs = performance.now();
    for (let query = batch.shift(); query !== undefined; query = batch.shift()) {
      this.#channel.flushIfDue(nowMs, HOLD_MS_MAX);
      this.#holdSnapshot(batch.length + 1);
      const startedAtMs = nowMs;
      this.#running = query;
      const streamed = this.#run(query);
      this.#running = null;
      nowMs = performance.now();
      const slow = streamed || nowMs - startedAtMs > SLOW_MS;
      this.#held -= 1;
      if (slow || this.#held === 0) this.#releaseSnapshot();
      if (slow && batch.length > 0) {
        this.#askToGoOn();
        nowMs = performance.now();
      }
    }
    this.#releaseSnapshot();
    // No query is left that could be a view of it.
    this.#channel.reuse();
  }

  /**
   * One snapshot for the queries that are here: each was sent before it is taken. Those that come later get another. Also
   * for a single one: that costs less than to ask SQLite for what is known as long as the snapshot's schema is.
   */
  #holdSnapshot(present: number): void {
    if (this.#held > 0) return;
    this.#held = present;
    this.#engine.hold();
  }

  #releaseSnapshot(): void {
    this.#held = 0;
    this.#engine.release();
  }

  #cancel(id: number): void {
    if (this.#running?.id === id) {
      this.#running.cancelled = true;
      return;
    }
    const at = this.#queue.findIndex((query) => query.id === id);
    if (at < 0) return;
    this.#queue.splice(at, 1);
    this.#channel.send(FROM_READER.dropped, id);
  }

  /** Was more than one chunk sent? */
  #run(query: Query): boolean {
    let chunk = this.#step(query, "start");
    if (chunk === null || chunk.done) return false;
    while (chunk !== null && !chunk.done) {
      // Waiting is the only place where a fetch or a cancel is heard; a few chunks of credit are soon used up.
      while (!isReady(query) && !query.cancelled) this.#channel.receive();
      if (query.cancelled) {
        this.#engine.stop();
        this.#channel.send(FROM_READER.dropped, query.id);
        return true;
      }
      chunk = this.#step(query, "next");
    }
    return true;
  }

  /** Computes one chunk and sends it. Null if the query failed. */
  #step(query: Query, verb: "start" | "next"): Chunk | null {
    const engine = this.#engine;
    try {
      const chunk =
        verb === "start" ? engine.start(query.statement) : engine.next(query.steps.shift());
      const type = chunk.done ? FROM_READER.last : FROM_READER.chunk;
      query.credit = Math.max(0, query.credit - 1);
      this.#channel.send(type, query.id, chunk.bytes);
      if (!chunk.done) this.#channel.flush();
      return chunk;
    } catch (error) {
      this.#channel.send(FROM_READER.failed, query.id, encodeJson(toFailure(error)));
      return null;
    }
  }

  #askToGoOn(): void {
    this.#mayGoOn = false;
    this.#channel.send(FROM_READER.sync, 0);
    while (!this.#mayGoOn) this.#channel.receive();
  }
}
