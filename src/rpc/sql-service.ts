/** balsa.v1.Sql for gRPC: the stream, and the unary methods that do the same one by one. Executes nothing itself. */

import type {
  ServerDuplexStream,
  ServerWritableStream,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { RunningQuery } from "../node/ports.ts";
import type { NodeService } from "../node/service.ts";
import { BalsaError, type Failure } from "../sql/errors.ts";
import { lagOnWire } from "../wire/cluster-codec.ts";
import {
  decodeExecuteRequest,
  decodeOpenSessionRequest,
  decodeQueryRequest,
  encodeExecuteResponse,
  encodeQueryResponse,
} from "../wire/sql-codec.ts";
import { toGrpc } from "../wire/status.ts";
import { ConnectStream } from "./connect-stream.ts";
import {
  asFailure,
  refuse,
  remainingMs,
  type UnaryCall,
  type UnaryCallback,
} from "./grpc-methods.ts";
import { RefusalPace } from "./refusal-pace.ts";
import { TurnBudget } from "./request-inbox.ts";
import type { StreamBounds } from "./stream-bounds.ts";
import { toWrite, type WriteGate, type WriteRequest } from "./write-gate.ts";

/** Chunks of a unary query that the node may have ready before the client has taken them. */
const CHUNKS_AHEAD = 4;

export interface SqlServiceParts {
  readonly node: NodeService;
  readonly gate: WriteGate;
  readonly bounds: StreamBounds;
}

export class SqlService {
  readonly #parts: SqlServiceParts;
  readonly #streams = new Set<ConnectStream>();
  readonly #turn = new TurnBudget();
  readonly #pace: RefusalPace;
  #draining = false;

  constructor(parts: SqlServiceParts) {
    this.#parts = parts;
    this.#pace = new RefusalPace(parts.bounds);
  }

  implementation(): UntypedServiceImplementation {
    return {
      connect: (call: ServerDuplexStream<Buffer, Buffer>) => this.#connect(call),
      execute: (call: UnaryCall, callback: UnaryCallback) => this.#execute(call, callback),
      openSession: (call: UnaryCall, callback: UnaryCallback) => this.#openSession(call, callback),
      query: (call: ServerWritableStream<Buffer, Buffer>) => this.#query(call),
    };
  }

  /** Streams end when what is under way on them is done; new ones end at once. */
  drain(): void {
    this.#draining = true;
    for (const stream of this.#streams) stream.drain();
  }

  #connect(call: ServerDuplexStream<Buffer, Buffer>): void {
    const stream: ConnectStream = new ConnectStream(call, {
      ...this.#parts,
      turn: this.#turn,
      pace: this.#pace,
      ended: () => this.#streams.delete(stream),
    });
    this.#streams.add(stream);
    stream.start();
    if (this.#draining) stream.drain();
  }

  #execute(call: UnaryCall, callback: UnaryCallback): void {
    guarded(
      (reason) => refuse(callback, reason),
      () => {
        const request = toWrite(decodeExecuteRequest(call.request));
        this.#write(call, request, callback, (result, index) => {
          return encodeExecuteResponse({ result, index });
        });
      },
    );
  }

  #openSession(call: UnaryCall, callback: UnaryCallback): void {
    guarded(
      (reason) => refuse(callback, reason),
      () => {
        const numbers = { session: 0, sequence: 0, acknowledgedThrough: 0 };
        const asked = decodeOpenSessionRequest(call.request);
        const request = { ...asked, ...numbers, openSession: true, batch: new Uint8Array(0) };
        this.#write(call, request, callback, (result) => Buffer.from(result));
      },
    );
  }

  #write(
    call: UnaryCall,
    request: WriteRequest,
    callback: UnaryCallback,
    encode: (result: Uint8Array, index: number) => Buffer,
  ): void {
    const timeoutMs = remainingMs(request.timeoutMs, call.getDeadline());
    if (timeoutMs === null) {
      refuse(callback, tooLate());
      return;
    }
    let settled = false;
    const running = this.#parts.gate.execute(
      { ...request, timeoutMs },
      {
        done: (result, index) => {
          settled = true;
          callback(null, encode(result, index));
        },
        failed: (failure) => {
          settled = true;
          refuse(callback, failure);
        },
      },
    );
    // grpc-js says so also after the end of every call.
    call.on("cancelled", () => {
      if (!settled) running.cancel();
    });
  }

  #query(call: ServerWritableStream<Buffer, Buffer>): void {
    const fail = (reason: unknown) => call.emit("error", toGrpc(asFailure(reason)));
    guarded(fail, () => {
      const request = decodeQueryRequest(call.request);
      const timeoutMs = remainingMs(request.timeoutMs, call.getDeadline());
      if (timeoutMs === null) {
        fail(tooLate());
        return;
      }
      let settled = false;
      const running: RunningQuery = this.#parts.node.query(
        { ...request, timeoutMs, window: CHUNKS_AHEAD },
        {
          chunk: (chunk, done, served) => {
            if (call.cancelled) return;
            settled = done;
            // The next is asked for when this one has left: a client that does not read stops the reader.
            call.write(
              encodeQueryResponse({ chunk, done, ...served, lagMs: lagOnWire(served.lagMs) }),
              () => {
                if (!done && !call.cancelled) running.fetch(1);
              },
            );
            if (done) call.end();
          },
          failed: (failure) => {
            settled = true;
            fail(failure);
          },
        },
      );
      call.on("cancelled", () => {
        if (!settled) running.cancel();
      });
    });
  }
}

/**
 * What a malformed request throws is the caller's fault. Anything else is ours: gRPC would swallow it, so it is thrown
 * again where nothing does.
 */
function guarded(fail: (reason: unknown) => void, run: () => void): void {
  try {
    run();
  } catch (error) {
    fail(error);
    if (error instanceof BalsaError) return;
    setImmediate(() => {
      throw error;
    });
  }
}

function tooLate(): Failure {
  const message = "the deadline had passed when the request arrived";
  return {
    code: "DEADLINE_EXCEEDED",
    message,
    outcome: "not-applied",
    statementIndex: 0,
    facts: {},
  };
}
