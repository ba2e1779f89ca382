/** The stream of many requests: matching, batching, windows, cancelling, bounds, and clients that misbehave. */

import { setImmediate as turn } from "node:timers/promises";
import { type ClientDuplexStream, status as Code } from "@grpc/grpc-js";
import { afterEach, describe, expect, test } from "vitest";
import type { ExecuteSink } from "../../src/node/service.ts";
import type { RunningServer, ServerOptions } from "../../src/rpc/server.ts";
import { fromGrpc } from "../../src/wire/status.ts";
import {
  EMPTY_RESULT,
  FakeNode,
  failure,
  type Loose,
  type SeenExecute,
  serve,
  settled,
  sqlClient,
} from "./fake-node.ts";
import { closeEverything, eventually } from "./loopback.ts";

afterEach(closeEverything);

const BATCH = { statements: [{ sql: "INSERT INTO t VALUES (1)" }] };
const SELECT = { statement: { sql: "SELECT 1" } };

class Stream {
  readonly frames: Loose[] = [];
  readonly call: ClientDuplexStream<object, Loose>;
  error: Loose = null;
  ended = false;

  constructor(server: RunningServer) {
    this.call = sqlClient(server.address, { "grpc.max_receive_message_length": -1 }).Connect();
    this.call.on("data", (frame) => this.frames.push(frame));
    this.call.on("error", (error) => {
      this.error = error;
    });
    this.call.on("end", () => {
      this.ended = true;
    });
  }

  send(...requests: object[]): void {
    this.call.write({ requests });
  }

  get responses(): Loose[] {
    return this.frames.flatMap((frame) => frame.responses ?? []);
  }

  of(id: number): Loose[] {
    return this.responses.filter((response) => response.id === id);
  }

  chunks(id: number): number[] {
    return this.of(id).map(({ query }) => query.chunk.rows[0].values[0].integer);
  }
}

async function open(options: Partial<ServerOptions> = {}) {
  const node = new FakeNode();
  const server = await serve(node, options);
  return { node, server, stream: new Stream(server) };
}

describe("requests and answers", () => {
  test("are matched by id, in any order", async () => {
    const { node, stream } = await open();
    const sinks: ExecuteSink[] = [];
    node.onExecute = (_call, sink) => sinks.push(sink);
    const execute = (sequence: number) => ({ batch: BATCH, session: 1, sequence });
    stream.send({ id: 5, execute: execute(1) }, { id: 9, execute: execute(2) });
    stream.send({ id: 7, open_session: {} }, { id: 3, query: SELECT });
    await eventually(() => expect(stream.of(3)).toHaveLength(1));
    await eventually(() => expect(sinks).toHaveLength(3));
    sinks[1]?.failed(failure("SQLITE_CONSTRAINT", "no"));
    sinks[0]?.done(EMPTY_RESULT, 41);
    const opened = Buffer.from([8, 77, 16, 5]);
    sinks[2]?.done(opened, 5);
    await eventually(() => expect(stream.responses).toHaveLength(4));
    expect(stream.of(5)[0].execute).toMatchObject({ index: 41 });
    expect(stream.of(9)[0].failure).toMatchObject({ code: "SQLITE_CONSTRAINT", message: "no" });
    expect(stream.of(7)[0].open_session).toEqual({ session: 77, index: 5 });
    expect(stream.of(3)[0].query).toMatchObject({ done: true, node: 1 });
    expect(node.executes.map(({ sequence }) => sequence)).toEqual([1, 2, 0]);
  });

  test("what one turn brings is answered in one frame", async () => {
    const { node, stream } = await open();
    const sinks: ExecuteSink[] = [];
    node.onExecute = (_call, sink) => sinks.push(sink);
    stream.send(
      ...Array.from({ length: 500 }, (_, at) => ({ id: at + 1, execute: { batch: BATCH } })),
    );
    await eventually(() => expect(sinks).toHaveLength(500));
    for (const sink of sinks) sink.done(EMPTY_RESULT, 1);
    await eventually(() => expect(stream.responses).toHaveLength(500));
    expect(stream.frames).toHaveLength(1);
  });

  test("frames stay below 1 MB; a single larger answer travels alone", async () => {
    const { node, stream } = await open();
    const result = Buffer.concat([EMPTY_RESULT, unknownField(300_000)]);
    const large = Buffer.concat([EMPTY_RESULT, unknownField(3_000_000)]);
    node.onExecute = (call, sink) => sink.done(call.sequence === 5 ? large : result, 1);
    const requests = Array.from({ length: 10 }, (_, at) => {
      return { id: at + 1, execute: { batch: BATCH, session: 1, sequence: at } };
    });
    stream.send(...requests);
    await eventually(() => expect(stream.responses).toHaveLength(10));
    const counts = stream.frames.map((frame) => frame.responses.length);
    expect(Math.max(...counts)).toBeLessThanOrEqual(3);
    const alone = stream.frames.find((frame) => frame.responses.some((one: Loose) => one.id === 6));
    expect(alone.responses).toHaveLength(1);
  });

  test("the stream is confirmed before anything is sent on it", async () => {
    const { stream } = await open();
    await new Promise((resolve) => stream.call.once("metadata", resolve));
  });

  test("a write over the limit fails by itself", async () => {
    const { node, stream } = await open({ limits: { requestBytes: 100 } });
    const batch = { statements: [{ sql: "x".repeat(200) }] };
    stream.send({ id: 1, execute: { batch } }, { id: 2, execute: { batch: BATCH } });
    await eventually(() => expect(stream.responses).toHaveLength(2));
    expect(stream.of(1)[0].failure.code).toBe("LIMIT_EXCEEDED");
    expect(stream.of(2)[0].execute.index).toBe(1);
    expect(node.executes).toHaveLength(1);
  });
});

describe("rows", () => {
  test("without a window all chunks come, in order", async () => {
    const { node, stream } = await open();
    node.chunks = 100;
    stream.send({ id: 1, query: SELECT });
    await eventually(() => expect(stream.of(1)).toHaveLength(100));
    expect(stream.chunks(1)).toEqual(Array.from({ length: 100 }, (_, at) => at + 1));
    expect(stream.of(1).at(-1)?.query.done).toBe(true);
  });

  test("a window stops them until a Fetch", async () => {
    const { node, stream } = await open();
    node.chunks = 20;
    stream.send({ id: 1, query: { ...SELECT, window: 3 } }, { id: 2, query: SELECT });
    await eventually(() => expect(stream.of(2)).toHaveLength(20));
    expect(stream.chunks(1)).toEqual([1, 2, 3]);
    stream.send({ id: 1, fetch: { chunks: 7 } });
    await eventually(() => expect(stream.of(1)).toHaveLength(10));
    expect(node.queries[0]?.produced).toBe(10);
    stream.send({ id: 1, fetch: { chunks: 100 } });
    await eventually(() => expect(stream.of(1).at(-1)?.query.done).toBe(true));
    expect(stream.of(1)).toHaveLength(20);
  });

  test("a Cancel ends the read without another word, and frees the id", async () => {
    const { node, stream } = await open();
    node.chunks = 10;
    stream.send({ id: 1, query: { ...SELECT, window: 2 } });
    await eventually(() => expect(stream.of(1)).toHaveLength(2));
    stream.send({ id: 1, cancel: {} });
    await eventually(() => expect(node.queries[0]?.cancelled).toBe(true));
    node.chunks = 1;
    stream.send({ id: 1, query: SELECT });
    await eventually(() => expect(stream.of(1)).toHaveLength(3));
  });

  test("a failure ends the read", async () => {
    const { node, stream } = await open();
    node.queryFailure = failure("TOO_STALE", "too far behind");
    stream.send({ id: 1, query: SELECT });
    await eventually(() => expect(stream.of(1)[0]?.failure.code).toBe("TOO_STALE"));
  });

  test("a Fetch or Cancel of what has ended is ignored", async () => {
    const { stream } = await open();
    stream.send({ id: 8, fetch: { chunks: 1 } }, { id: 9, cancel: {} }, { id: 1, query: SELECT });
    await eventually(() => expect(stream.responses).toHaveLength(1));
    expect(stream.error).toBeNull();
  });
});

describe("the end of a stream", () => {
  test("a client that breaks off cancels everything it asked for", async () => {
    const { node, stream } = await open();
    node.onExecute = () => {};
    node.chunks = 10;
    stream.send({ id: 1, execute: { batch: BATCH } }, { id: 2, query: { ...SELECT, window: 1 } });
    await eventually(() => expect(node.queries[0]?.produced).toBe(1));
    stream.call.cancel();
    await eventually(() => {
      expect(node.executes[0]?.cancelled).toBe(true);
      expect(node.queries[0]?.cancelled).toBe(true);
    });
    expect(node.queries[0]?.produced).toBe(1);
  });

  test("a client that says it is done gets what it asked for, then the end", async () => {
    const { node, stream } = await open();
    const sinks: ExecuteSink[] = [];
    node.onExecute = (_call, sink) => sinks.push(sink);
    node.chunks = 9;
    stream.send({ id: 1, execute: { batch: BATCH } }, { id: 2, query: { ...SELECT, window: 2 } });
    stream.call.end();
    await eventually(() => expect(stream.of(2)).toHaveLength(9));
    expect(stream.ended).toBe(false);
    sinks[0]?.done(EMPTY_RESULT, 4);
    await eventually(() => expect(stream.ended).toBe(true));
    expect(stream.of(1)[0].execute.index).toBe(4);
  });

  test("a server that stops finishes what is under way, refuses more, and ends the stream", async () => {
    const { node, server, stream } = await open();
    const sinks: ExecuteSink[] = [];
    node.onExecute = (_call, sink) => sinks.push(sink);
    stream.send({ id: 1, execute: { batch: BATCH } });
    await eventually(() => expect(sinks).toHaveLength(1));
    const stopped = server.stop(5000);
    stream.send({ id: 2, execute: { batch: BATCH } });
    await eventually(() => expect(stream.of(2)[0]?.failure.code).toBe("UNAVAILABLE"));
    sinks[0]?.done(EMPTY_RESULT, 4);
    await stopped;
    await eventually(() => expect(stream.ended).toBe(true));
    expect(stream.of(1)[0].execute.index).toBe(4);
    expect(stream.error).toBeNull();
    expect(node.executes).toHaveLength(1);
  });

  test.each([
    ["an id that is in use", () => [{ id: 1, query: { ...SELECT, window: 1 } }]],
    ["a request of no kind", () => [{ id: 2 }]],
  ])("%s ends the stream with PROTOCOL, and cancels the rest", async (_what, requests) => {
    const { node, stream } = await open();
    node.chunks = 10;
    stream.send({ id: 1, query: { ...SELECT, window: 1 } });
    await eventually(() => expect(stream.of(1)).toHaveLength(1));
    stream.send(...requests());
    await eventually(() => expect(stream.error?.code).toBe(Code.INVALID_ARGUMENT));
    expect(fromGrpc(stream.error, "unknown").code).toBe("PROTOCOL");
    expect(node.queries[0]?.cancelled).toBe(true);
  });

  test("a frame of 100 MB ends that stream only", async () => {
    const { node, server, stream } = await open();
    const other = new Stream(server);
    node.onExecute = (call, sink) => {
      if (call.sequence === 0) sink.done(EMPTY_RESULT, 1);
    };
    stream.send({ id: 1, execute: { batch: BATCH, session: 1, sequence: 1 } });
    await eventually(() => expect(node.executes).toHaveLength(1));
    const blob = Buffer.alloc(100 * 1024 * 1024);
    stream.send({ id: 2, execute: { batch: { statements: [{ sql: "x", args: [{ blob }] }] } } });
    await eventually(() => expect(stream.error?.code).toBe(Code.RESOURCE_EXHAUSTED));
    await eventually(() => expect(node.executes[0]?.cancelled).toBe(true));
    other.send({ id: 1, execute: { batch: BATCH } });
    await eventually(() => expect(other.responses).toHaveLength(1));
  });
});

describe("bounds", () => {
  test("too many writes under way stop the reading, and it goes on when they are done", async () => {
    const { node, stream } = await open({ bounds: { writes: 10 } });
    const waiting: [SeenExecute, ExecuteSink][] = [];
    node.onExecute = (call, sink) => waiting.push([call, sink]);
    for (let id = 1; id <= 100; id++) stream.send({ id, execute: { batch: BATCH } });
    await eventually(() => expect(waiting.length).toBeGreaterThan(10));
    await settled(() => node.executes.length);
    expect(node.executes.length).toBeLessThan(20);
    while (stream.responses.length < 100) {
      for (const [, sink] of waiting.splice(0)) sink.done(EMPTY_RESULT, 1);
      await turn();
    }
    expect(stream.responses.map(({ id }) => id).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 100 }, (_, at) => at + 1),
    );
  });

  test("so do too many bytes of them, and memory stays small", async () => {
    const { node, stream } = await open({ bounds: { writeBytes: 4_000_000 } });
    const sinks: ExecuteSink[] = [];
    node.onExecute = (_call, sink) => sinks.push(sink);
    const batch = { statements: [{ sql: "x", args: [{ blob: Buffer.alloc(1_000_000) }] }] };
    let taken = 0;
    for (let id = 1; id <= 40; id++) {
      stream.call.write({ requests: [{ id, execute: { batch } }] }, () => {
        taken += 1;
      });
    }
    await eventually(() => expect(node.executes.length).toBeGreaterThan(3));
    await settled(() => taken);
    expect(node.executes.length).toBeLessThan(8);
    // Beyond those: one that waits, one in gRPC, and HTTP/2's window of 1 MiB.
    expect(taken).toBeLessThan(14);
  });

  test("reads that wait for a Fetch never stop the reading", async () => {
    const { node, stream } = await open({ bounds: { chunks: 8, writes: 8 } });
    node.chunks = 2;
    for (let id = 1; id <= 200; id++) stream.send({ id, query: { ...SELECT, window: 1 } });
    await eventually(() => expect(stream.responses).toHaveLength(200));
    for (let id = 1; id <= 200; id++) stream.send({ id, fetch: { chunks: 1 } });
    await eventually(() => expect(stream.responses).toHaveLength(400));
  });

  test("too many open reads are OVERLOADED", async () => {
    const { node, stream } = await open({ bounds: { openQueries: 2 } });
    node.chunks = 2;
    for (const id of [1, 2, 3]) stream.send({ id, query: { ...SELECT, window: 1 } });
    await eventually(() => expect(stream.of(3)[0]?.failure.code).toBe("OVERLOADED"));
  });

  test("a client that stops reading stops the reads; when it reads again, all comes", async () => {
    const { node, stream } = await open();
    node.chunks = 400;
    node.chunkBytes = 50_000;
    stream.send({ id: 1, query: SELECT }, { id: 2, query: SELECT });
    await eventually(() => expect(stream.responses.length).toBeGreaterThan(0));
    stream.call.pause();
    const produced = () => node.queries.reduce((sum, query) => sum + query.produced, 0);
    await settled(produced);
    // The node knows that nobody takes their rows.
    expect(node.queries.map(({ holds }) => holds.at(-1))).toEqual([true, true]);
    // 40 MB were asked for; on the way are 2 MiB of answers, HTTP/2's window, and 16 frames that grpc-js buffers.
    expect(produced()).toBeLessThan(500);
    // Nor are its requests read.
    node.chunks = 1;
    for (let id = 3; id < 100; id++) stream.send({ id, query: SELECT });
    await settled(() => node.queries.length);
    expect(node.queries.length).toBeLessThan(20);
    stream.call.resume();
    await eventually(() => expect(stream.of(99)).toHaveLength(1));
    await eventually(() => expect(stream.of(1)).toHaveLength(400));
    // Side by side, not one after the other.
    expect(stream.of(2).length).toBeGreaterThan(200);
    await eventually(() => expect(stream.of(2)).toHaveLength(400));
    for (const { holds } of node.queries.slice(0, 2)) expect(holds).toContain(false);
  });

  test("of many reads that come in one frame no more are begun than may be under way", async () => {
    const { node, stream } = await open({ bounds: { chunks: 40 } });
    node.pumpsQueries = false;
    const reads = Array.from({ length: 300 }, (_, at) => ({ id: at + 1, query: SELECT }));
    stream.send(...reads, { id: 1_000, execute: { batch: BATCH } });
    const first = await settled(() => node.queries.length);
    expect(first).toBeGreaterThan(40);
    // It looks every 32 requests.
    expect(first).toBeLessThanOrEqual(40 + 32);
    for (let done = 0; done < 300; done += 1) {
      await eventually(() => expect(node.queries.length).toBeGreaterThan(done));
      node.queries[done]?.pump();
    }
    await eventually(() => expect(stream.responses).toHaveLength(301));
    expect(stream.of(1_000)[0]?.execute).toBeDefined();
  });
});

/** A field that the schema does not know: makes an answer large without meaning anything. */
function unknownField(bytes: number): Buffer {
  const header = [0xfa, 0x01];
  for (let rest = bytes; rest > 0; rest = Math.floor(rest / 128)) {
    header.push(rest >= 128 ? (rest % 128) | 128 : rest);
  }
  return Buffer.concat([Buffer.from(header), Buffer.alloc(bytes)]);
}

describe("a node that has too much to do", () => {
  const TOO_MUCH = failure("OVERLOADED", "too much", "not-applied", { limit: "pendingWrites" });
  const requests = (from: number, count: number) =>
    Array.from({ length: count }, (_, at) => ({ id: from + at, execute: { batch: BATCH } }));

  test("is not asked: writes and reads are refused where they arrive, each in full", async () => {
    const { node, stream } = await open();
    node.full = TOO_MUCH;
    stream.send(...requests(1, 100), { id: 101, query: SELECT });
    await eventually(() => expect(stream.responses).toHaveLength(101));
    for (const response of stream.responses) {
      expect(response.failure).toMatchObject({ code: "OVERLOADED", message: "too much" });
      expect(response.failure.facts).toEqual({ limit: "pendingWrites" });
    }
    expect([node.executes.length, node.queries.length]).toEqual([0, 0]);
  });

  test("leaves the rest of a flood unread for a while, and other streams as they are", async () => {
    const { node, server, stream } = await open({
      bounds: { refusalsPerSecond: 1, restMs: 3_600_000 },
    });
    node.full = TOO_MUCH;
    stream.send(...requests(1, 100));
    await eventually(() => expect(stream.responses).toHaveLength(100));
    node.full = null;
    stream.send(...requests(101, 100));
    const other = new Stream(server);
    for (let id = 1; id <= 20; id += 1) {
      other.send(...requests(id, 1));
      await eventually(() => expect(other.of(id)[0]?.execute).toBeDefined());
    }
    // At most the message that was on its way when the stream began to rest.
    expect(node.executes.length).toBeLessThanOrEqual(120);
    stream.send(...requests(201, 100));
    other.send(...requests(21, 1));
    await eventually(() => expect(other.of(21)).toHaveLength(1));
    expect(stream.of(201)).toHaveLength(0);
  });

  test("reads on after the rest", async () => {
    const { node, stream } = await open({ bounds: { refusalsPerSecond: 1, restMs: 20 } });
    node.full = TOO_MUCH;
    stream.send(...requests(1, 100));
    await eventually(() => expect(stream.responses).toHaveLength(100));
    node.full = null;
    for (const from of [101, 201, 301]) stream.send(...requests(from, 100));
    await eventually(() => expect(stream.of(400)[0]?.execute).toBeDefined());
    expect(node.executes).toHaveLength(300);
  });

  test("goes on reading a stream with an open transaction, for whose end the others wait", async () => {
    const { node, stream } = await open({ bounds: { refusalsPerSecond: 1, restMs: 3_600_000 } });
    stream.send({ id: 1, begin: {} });
    await eventually(() => expect(stream.of(1)[0]?.begin).toBeDefined());
    node.full = TOO_MUCH;
    stream.send(...requests(2, 100));
    await eventually(() => expect(stream.of(101)).toHaveLength(1));
    for (let id = 201; id <= 203; id += 1) {
      stream.send({ id, step: { transaction: 1, kind: "RUN", batch: BATCH } });
      await eventually(() => expect(stream.of(id)[0]?.execute).toBeDefined());
    }
  });
});
