/**
 * One client's stream of requests and answers (Sql.Connect). Everything on it is bounded: when too much is under way
 * it reads no further requests, and when the client reads no answers it asks the node for no more rows. It keeps no
 * request that could not finish by itself from being read: a Fetch or Cancel must always get through in the end.
 */

import type { ServerDuplexStream } from "@grpc/grpc-js";
import { Metadata } from "@grpc/grpc-js";
import type { RunningQuery } from "../node/ports.ts";
import type { ExecuteSink, NodeService, QueryCallSink, Served } from "../node/service.ts";
import { BalsaError, type Failure, toFailure } from "../sql/errors.ts";
import { unreachable } from "../sql/invariant.ts";
import { AnswerFrames } from "../wire/answer-frames.ts";
import { lagOnWire } from "../wire/cluster-codec.ts";
import { keepEncoded } from "../wire/failure-codec.ts";
import {
  type ClientRequest,
  decodeOpenSessionResponse,
  type QueryRequest,
  type ResponseBody,
} from "../wire/sql-codec.ts";
import { toGrpc } from "../wire/status.ts";
import type { StepRequest } from "../wire/transaction-codec.ts";
import { OpenRequests } from "./open-requests.ts";
import type { RefusalPace } from "./refusal-pace.ts";
import { RequestInbox, type TurnBudget } from "./request-inbox.ts";
import type { StreamBounds } from "./stream-bounds.ts";
import { StreamTransactions } from "./stream-transactions.ts";
import { type RunningWrite, toWrite, type WriteGate, type WriteRequest } from "./write-gate.ts";

/** Refused requests that make a stream rest; one that brings few is let alone, though others bring many. */
const FLOOD = 64;
/** Chunks that the node may have ready for one read, beyond the first. */
const CHUNKS_AHEAD = 4;
/** Asked for at first: most reads end with it. */
const CHUNKS_FIRST = 1;

type Settle = (write: StreamWrite, body: ResponseBody) => void;

/** A write of this stream until its answer. A class, because each request makes one: closures would be four. */
class StreamWrite implements ExecuteSink {
  readonly id: number;
  readonly bytes: number;
  running: RunningWrite | null = null;
  readonly #openSession: boolean;
  readonly #settle: Settle;

  constructor(id: number, bytes: number, openSession: boolean, settle: Settle) {
    this.id = id;
    this.bytes = bytes;
    this.#openSession = openSession;
    this.#settle = settle;
  }

  done(result: Uint8Array, index: number): void {
    if (!this.#openSession) this.#settle(this, { kind: "execute", result, index });
    else this.#settle(this, { kind: "openSession", ...decodeOpenSessionResponse(result) });
  }

  failed(failure: Failure): void {
    this.#settle(this, { kind: "failure", failure });
  }
}

/** What a read of this stream tells it. */
interface QueryOwner {
  chunk(query: StreamQuery, rows: Uint8Array, done: boolean, served: Served): void;
  refused(query: StreamQuery, failure: Failure): void;
}

/** A read of this stream until its last answer. A class for the same reason. */
class StreamQuery implements QueryCallSink {
  readonly id: number;
  running: RunningQuery | null = null;
  /** Chunks that the client will still take; Infinity if it set no window. */
  credit: number;
  /** Chunks asked of the node and not yet come. */
  granted: number;
  readonly #owner: QueryOwner;

  constructor(id: number, credit: number, granted: number, owner: QueryOwner) {
    this.id = id;
    this.credit = credit;
    this.granted = granted;
    this.#owner = owner;
  }

  chunk(rows: Uint8Array, done: boolean, served: Served): void {
    this.#owner.chunk(this, rows, done, served);
  }

  failed(failure: Failure): void {
    this.#owner.refused(this, failure);
  }
}

export interface ConnectStreamParts {
  readonly node: NodeService;
  readonly gate: WriteGate;
  readonly bounds: StreamBounds;
  /** Of the node, for all its streams. */
  readonly turn: TurnBudget;
  readonly pace: RefusalPace;
  /** The stream is over. */
  ended(): void;
}

export class ConnectStream implements QueryOwner {
  readonly #call: ServerDuplexStream<Buffer, Buffer>;
  readonly #parts: ConnectStreamParts;
  readonly #writes = new OpenRequests<StreamWrite>();
  readonly #queries = new OpenRequests<StreamQuery>();
  readonly #transactions: StreamTransactions;
  readonly #inbox: RequestInbox;
  #writeBytes = 0;
  #granted = 0;
  readonly #answers = new AnswerFrames();
  /** Of `#answers`, and of frames that the socket has not taken. */
  #answerBytes = 0;
  #flushing = false;
  /** The client reads too slowly: no more rows are asked for, and no more requests read. */
  #congested = false;
  #paused = false;
  /** Requests refused since it last rested, because the node has too much to do. */
  #refused = 0;
  #resting = false;
  /** The client sends no more; half-closed once all that it sent is begun. */
  #endSeen = false;
  #halfClosed = false;
  #draining = false;
  #over = false;

  constructor(call: ServerDuplexStream<Buffer, Buffer>, parts: ConnectStreamParts) {
    this.#call = call;
    this.#parts = parts;
    this.#inbox = new RequestInbox(
      {
        begin: (request) => {
          if (!this.#over) this.#dispatch(request);
        },
        mayBegin: () => this.#mayBegin(),
        emptied: () => this.#caughtUp(),
        failed: (error) => this.#failBy(error),
      },
      parts.turn,
    );
    this.#transactions = new StreamTransactions({
      node: parts.node,
      most: parts.bounds.transactions,
      answer: (id, body) => this.#answer(id, body),
    });
  }

  start(): void {
    const call = this.#call;
    holdOneMessage(call);
    // At once, so that a client knows the stream to be standing before it sends what it could not take back.
    call.sendMetadata(new Metadata());
    call.on("data", (bytes: Buffer) => this.#receive(bytes));
    // A client that breaks off is seen to end first, and to be cancelled right after.
    call.on("end", () => setImmediate(() => this.#halfClose()));
    call.on("cancelled", () => this.#abandon());
    call.on("error", () => this.#abandon());
    call.on("close", () => this.#abandon());
  }

  /** Takes no new requests and ends when those under way are done. */
  drain(): void {
    this.#draining = true;
    this.#endIfIdle();
  }

  /** Of what has come already. The same that stops the reading, but for writes: a step may be what they wait for. */
  #mayBegin(): boolean {
    return !this.#congested && this.#granted <= this.#parts.bounds.chunks;
  }

  /** All requests that have come are begun. */
  #caughtUp(): void {
    this.#regulate();
    if (this.#endSeen && !this.#halfClosed) this.#halfClose();
    else this.#endIfIdle();
  }

  /** It can fetch no more; what it has asked for still goes out as fast as it reads. */
  #halfClose(): void {
    this.#endSeen = true;
    if (this.#over || !this.#inbox.isEmpty) return;
    this.#halfClosed = true;
    // Nothing more will be asked of them.
    this.#transactions.cancelAll();
    for (const query of this.#queries.values()) {
      query.credit = Number.POSITIVE_INFINITY;
      this.#grant(query);
    }
    this.#endIfIdle();
  }

  // --- requests ------------------------------------------------------------------------------------------------

  #receive(bytes: Buffer): void {
    if (this.#over) return;
    this.#inbox.add(bytes);
    this.#regulate();
  }

  #dispatch({ id, body }: ClientRequest): void {
    switch (body.kind) {
      case "execute":
        return this.#execute(id, toWrite(body));
      case "openSession": {
        const numbers = { session: 0, sequence: 0, acknowledgedThrough: 0 };
        return this.#execute(id, { ...body, ...numbers, openSession: true, batch: NOTHING });
      }
      case "begin":
        if (this.#admit(id)) this.#transactions.begin(id, body);
        return;
      case "step":
        return this.#step(id, body);
      case "query":
        return this.#query(id, body);
      case "fetch": {
        const query = this.#queries.get(id);
        if (query === null) return;
        query.credit += body.chunks;
        this.#grant(query);
        return;
      }
      case "cancel":
        return this.#cancel(id);
      default:
        return unreachable(body);
    }
  }

  /** False if it was answered here. @throws BalsaError PROTOCOL if the id is in use: its answers could not be told apart. */
  #admit(id: number): boolean {
    if (this.#writes.has(id) || this.#queries.has(id) || this.#transactions.has(id)) {
      throw new BalsaError("PROTOCOL", `request id ${id} is in use on this stream`);
    }
    if (!this.#draining) return true;
    this.#answer(id, { kind: "failure", failure: refusal("UNAVAILABLE", "the node is stopping") });
    return false;
  }

  /** If so it is answered here, before anything is made of the request. */
  #isTooMuch(id: number, failure: Failure | null): boolean {
    if (failure === null) return false;
    keepEncoded(failure);
    this.#refused += 1;
    this.#answer(id, { kind: "failure", failure });
    return true;
  }

  #execute(id: number, request: WriteRequest): void {
    const { node, gate } = this.#parts;
    if (!this.#admit(id)) return;
    if (this.#isTooMuch(id, node.overloaded("write") ?? gate.overloaded(request))) return;
    const { batch, openSession } = request;
    const write = new StreamWrite(id, batch.length, openSession, this.#settle);
    this.#track(write);
    write.running = gate.execute(request, write);
  }

  #step(id: number, request: StepRequest): void {
    if (!this.#admit(id)) return;
    const write = new StreamWrite(id, request.batch.length, false, this.#settle);
    this.#track(write);
    write.running = this.#transactions.step(request, write);
  }

  #track(write: StreamWrite): void {
    this.#writes.add(write);
    this.#writeBytes += write.bytes;
  }

  #settle = (write: StreamWrite, body: ResponseBody): void => {
    if (this.#writes.get(write.id) !== write) return;
    this.#forgetWrite(write.id, write);
    this.#answer(write.id, body);
  };

  #query(id: number, request: QueryRequest): void {
    const { node, bounds } = this.#parts;
    if (!this.#admit(id) || this.#isTooMuch(id, node.overloaded("read"))) return;
    if (this.#queries.size >= bounds.openQueries) {
      const message = `${bounds.openQueries} reads are open on this stream; end some, then try again`;
      this.#answer(id, { kind: "failure", failure: refusal("OVERLOADED", message) });
      return;
    }
    const asked = request.window === 0 ? Number.POSITIVE_INFINITY : request.window;
    const first = Math.min(asked, CHUNKS_FIRST);
    const query = new StreamQuery(id, asked - first, first, this);
    this.#granted += first;
    this.#queries.add(query);
    const { statement, consistency, atLeast, maxStalenessMs, timeoutMs } = request;
    const call = { statement, consistency, atLeast, maxStalenessMs, timeoutMs, window: first };
    query.running = node.query(call, query);
    if (this.#congested) query.running.hold?.(true);
  }

  /** For its queries alone. */
  chunk(query: StreamQuery, chunk: Uint8Array, done: boolean, served: Served): void {
    const { id } = query;
    if (this.#queries.get(id) !== query) return;
    query.granted -= 1;
    this.#granted -= 1;
    if (this.#mayBegin()) this.#inbox.goOn();
    const { node, index } = served;
    if (done) this.#forgetQuery(id, query);
    if (this.#over) return;
    const lagMs = lagOnWire(served.lagMs);
    this.#gathered(this.#answers.query(id, { chunk, done, node, index, lagMs }));
    if (!done) this.#grant(query);
  }

  /** For its queries alone. */
  refused(query: StreamQuery, failure: Failure): void {
    const { id } = query;
    if (this.#queries.get(id) !== query) return;
    this.#forgetQuery(id, query);
    this.#answer(id, { kind: "failure", failure });
  }

  /** Asks the node for as many chunks as client and stream can take. */
  #grant(query: StreamQuery): void {
    if (this.#congested || query.running === null) return;
    const chunks = Math.min(CHUNKS_AHEAD - query.granted, query.credit);
    if (chunks <= 0) return;
    query.credit -= chunks;
    query.granted += chunks;
    this.#granted += chunks;
    query.running.fetch(chunks);
  }

  #cancel(id: number): void {
    const write = this.#writes.get(id);
    if (write !== null) {
      this.#forgetWrite(id, write);
      write.running?.cancel();
    }
    const query = this.#queries.get(id);
    if (query !== null) {
      this.#forgetQuery(id, query);
      query.running?.cancel();
    }
    this.#transactions.cancel(id);
    this.#endIfIdle();
  }

  #forgetWrite(id: number, write: StreamWrite): void {
    this.#writes.delete(id);
    this.#writeBytes -= write.bytes;
  }

  #forgetQuery(id: number, query: StreamQuery): void {
    this.#queries.delete(id);
    this.#granted -= query.granted;
    query.granted = 0;
    if (this.#mayBegin()) this.#inbox.goOn();
  }

  // --- answers -------------------------------------------------------------------------------------------------

  #answer(id: number, body: ResponseBody): void {
    if (!this.#over) this.#gathered(this.#answers.add(id, body));
  }

  /** What one turn of the loop brings, from whatever process it comes, leaves together. */
  #gathered(bytes: number): void {
    this.#answerBytes += bytes;
    if (this.#answerBytes > this.#parts.bounds.answerBytes) this.#congest(true);
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#over) return;
    for (const frame of this.#answers.take()) this.#send(frame);
    this.#regulate();
    this.#endIfIdle();
  }

  #send(frame: Buffer): void {
    this.#call.write(frame, () => {
      this.#answerBytes -= frame.length;
      this.#relieve();
    });
  }

  #relieve(): void {
    if (this.#over) return;
    if (this.#congested && this.#answerBytes <= this.#parts.bounds.answerBytes / 2) {
      this.#congest(false);
      for (const query of this.#queries.values()) this.#grant(query);
    }
    this.#regulate();
    if (this.#mayBegin()) this.#inbox.goOn();
  }

  #congest(isCongested: boolean): void {
    if (this.#congested === isCongested) return;
    this.#congested = isCongested;
    for (const { running } of this.#queries.values()) running?.hold?.(isCongested);
  }

  // --- bounds and ends -----------------------------------------------------------------------------------------

  /**
   * Reads on or stops. Only what ends by itself may stop the reading: an open read that waits for the client's Fetch
   * does not count.
   */
  #regulate(): void {
    if (this.#over) return;
    const { writes, writeBytes, chunks } = this.#parts.bounds;
    const most = Math.max(
      this.#writes.size / writes,
      this.#writeBytes / writeBytes,
      this.#granted / chunks,
    );
    if (this.#refused >= FLOOD && this.#inbox.isEmpty) this.#restIfDue();
    const mayRead = this.#inbox.isEmpty && !this.#congested && !this.#resting;
    if (!this.#paused && (!mayRead || most > 1)) {
      this.#paused = true;
      this.#call.pause();
    } else if (this.#paused && mayRead && most <= 0.5) {
      this.#paused = false;
      this.#call.resume();
    }
  }

  /** Those with a transaction are spared: the others wait for its next step. */
  #restIfDue(): void {
    const restMs = this.#parts.pace.rest(this.#refused);
    this.#refused = 0;
    if (restMs < 1 || this.#resting || this.#transactions.size > 0) return;
    this.#resting = true;
    setTimeout(() => {
      this.#resting = false;
      this.#regulate();
    }, restMs).unref();
  }

  #endIfIdle(): void {
    if (this.#over || !(this.#halfClosed || this.#draining) || !this.#inbox.isEmpty) return;
    if (this.#writes.size > 0 || this.#queries.size > 0 || !this.#answers.isEmpty) return;
    if (this.#transactions.size > 0) return;
    this.#over = true;
    this.#call.end();
    this.#parts.ended();
  }

  /** The stream itself is broken: the client spoke nonsense. */
  #failBy(error: unknown): void {
    if (!(error instanceof BalsaError)) throw error;
    const failure = toFailure(error);
    this.#flush();
    if (this.#over) return;
    this.#withdrawAll();
    this.#call.emit("error", toGrpc(failure));
  }

  /** The client is gone. */
  #abandon(): void {
    if (!this.#over) this.#withdrawAll();
  }

  #withdrawAll(): void {
    this.#over = true;
    this.#inbox.clear();
    const running = [...this.#writes.values(), ...this.#queries.values()];
    this.#writes.clear();
    this.#queries.clear();
    this.#answers.take();
    for (const one of running) one.running?.cancel();
    this.#transactions.cancelAll();
    this.#parts.ended();
  }
}

const NOTHING = new Uint8Array(0);

function refusal(code: "UNAVAILABLE" | "OVERLOADED", message: string): Failure {
  return { code, message, outcome: "not-applied", statementIndex: 0, facts: {} };
}

/**
 * grpc-js buffers 16 messages of a paused stream, each perhaps 8 MiB; one is enough. There is no option for it, and
 * where the field is missing the bound is only looser.
 */
function holdOneMessage(call: ServerDuplexStream<Buffer, Buffer>): void {
  const state: unknown = Reflect.get(call, "_readableState");
  if (typeof state === "object" && state !== null && "highWaterMark" in state) {
    state.highWaterMark = 1;
  }
}
