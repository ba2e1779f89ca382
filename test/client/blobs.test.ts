/** Blobs as the client cuts, sends and ends them; what the tables make of it is tried on real nodes (e2e/blobs). */

import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { cut } from "../../src/client/blob-source.ts";
import { type BlobSource, connect, type Database } from "../../src/client/index.ts";
import { BatchResultWriter, RowChunkWriter } from "../../src/wire/result-codec.ts";
import type { ClientRequest } from "../../src/wire/sql-codec.ts";
import { decodeBatch, decodeStatement } from "../../src/wire/statement-codec.ts";
import type { SqliteValue } from "../../src/wire/value-codec.ts";
import { FakeCluster, type FakeStream, until } from "./fake-cluster.ts";

const NEVER = new AbortController().signal;
const BYTES = Buffer.from(Array.from({ length: 25 }, (_, n) => n));

async function piecesOf(source: unknown, bytes = 10): Promise<number[][]> {
  const pieces: number[][] = [];
  for await (const piece of cut(source as BlobSource, bytes, NEVER)) pieces.push([...piece]);
  return pieces;
}

/** The same bytes in uneven pieces, from one buffer that is used again and again. */
async function* reusing(): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.alloc(7);
  for (let at = 0; at < BYTES.length; at += 7) {
    const length = BYTES.copy(buffer, 0, at, Math.min(at + 7, BYTES.length));
    yield buffer.subarray(0, length);
    buffer.fill(255);
  }
}

describe("a source", () => {
  const sources: [name: string, make: () => unknown][] = [
    ["a buffer", () => BYTES],
    ["an ArrayBuffer", () => Uint8Array.from(BYTES).buffer],
    ["pieces in an array", () => [BYTES.subarray(0, 3), BYTES.subarray(3, 3), BYTES.subarray(3)]],
    ["a generator that uses its buffer again", reusing],
    ["a Node stream", () => Readable.from([BYTES.subarray(0, 12), BYTES.subarray(12)])],
    ["a web stream", () => new Blob([BYTES]).stream()],
    ["a Blob", () => new Blob([BYTES])],
  ];
  test.each(sources)("may be %s", async (_, make) => {
    const all = [...BYTES];
    expect(await piecesOf(make())).toEqual([all.slice(0, 10), all.slice(10, 20), all.slice(20)]);
    expect(await piecesOf(make(), 5)).toHaveLength(5);
  });

  test("without bytes has no pieces", async () => {
    expect(await piecesOf(new Uint8Array(0))).toEqual([]);
    expect(await piecesOf([])).toEqual([]);
  });

  test.each([["text"], [["text"]], [7], [null], [[[1, 2]]]])("is not %j", async (source) => {
    await expect(piecesOf(source)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("that is silent is left when its reader is told to stop, and closed", async () => {
    const stop = new AbortController();
    const silent = new Readable({ read: () => {} });
    const reading = cut(silent, 10, stop.signal).next();
    const reason = new Error("enough");
    stop.abort(reason);
    await expect(reading).rejects.toBe(reason);
    await until(() => silent.destroyed);
    let isCancelled = false;
    const web = new ReadableStream({
      cancel: () => {
        isCancelled = true;
      },
    });
    await expect(cut(web, 10, stop.signal).next()).rejects.toBe(reason);
    await until(() => isCancelled);
  });
});

describe("an upload", () => {
  let cluster: FakeCluster;
  let db: Database;

  beforeEach(async () => {
    cluster = new FakeCluster();
    await cluster.start(1);
    // Of the content that is begun, and of the blob.
    cluster.columns = ["id"];
    cluster.returned = [[7n]];
    db = connect({ endpoints: cluster.endpoints });
  });

  afterEach(async () => {
    await db.close();
    cluster.stop();
  });

  const sqlOf = ({ body }: ClientRequest): string[] =>
    body.kind === "execute" ? decodeBatch(body.batch).statements.map(({ sql }) => sql) : [];
  const isPublish = (request: ClientRequest) =>
    sqlOf(request).some((sql) => sql.startsWith("INSERT INTO db_blob("));
  const isDiscard = (request: ClientRequest) =>
    sqlOf(request).some((sql) => /SET state = 'removed', keep_until = 0/.test(sql));
  const isChunk = (request: ClientRequest) =>
    sqlOf(request).some((sql) => sql.startsWith("INSERT INTO db_blob_chunk"));
  const received = () => cluster.node(0).received;

  /** Answers the taking back: so many rows changed, and the row of a blob found or not. */
  function answerDiscard(stream: FakeStream, id: number, changes: number, found: boolean): void {
    const writer = new BatchResultWriter();
    writer.start();
    writer.beginResult([]);
    writer.endResult(changes, 0);
    writer.beginResult(["id"]);
    if (found) writer.row([9n]);
    writer.endResult(0, 0);
    stream.send(id, { kind: "execute", result: writer.finish(), index: 55 });
  }

  async function writeWithoutAnswer(changes: number, found: boolean) {
    cluster.node(0).script = (request, stream) => {
      if (isPublish(request)) return true;
      if (!isDiscard(request)) return false;
      answerDiscard(stream, request.id, changes, found);
      return true;
    };
    return db.blob.write("a", BYTES, { deadlineMs: 200 });
  }

  test("has a few chunks under way, and waits for their answers", async () => {
    const held: (() => void)[] = [];
    cluster.node(0).script = (request, stream) => {
      if (!isChunk(request)) return false;
      held.push(() => cluster.serve(request, stream));
      return true;
    };
    let read = 0;
    async function* source(): AsyncGenerator<Uint8Array> {
      for (; read < 20; read += 1) yield Buffer.alloc(256 * 1024, read);
    }
    const writing = db.blob.write("a", source());
    await until(() => held.length === 4);
    expect(read).toBeLessThanOrEqual(4);
    held.shift()?.();
    await until(() => held.length === 4);
    const release = setInterval(() => held.shift()?.(), 1);
    const { size } = await writing;
    clearInterval(release);
    expect(size).toBe(20 * 256 * 1024);
    expect(received().filter(isChunk)).toHaveLength(20);
  });

  test("beside many others waits for room: no more than a few chunks of all are under way", async () => {
    const held: (() => void)[] = [];
    let most = 0;
    const warned = vi.spyOn(process, "emitWarning");
    cluster.node(0).script = (request, stream) => {
      if (!isChunk(request)) return false;
      most = Math.max(
        most,
        held.push(() => cluster.serve(request, stream)),
      );
      return true;
    };
    const bytes = Buffer.alloc(5 * 256 * 1024);
    const failing = new AbortController();
    const writes = Array.from({ length: 100 }, (_, n) => db.blob.write(`blob ${n}`, bytes));
    const lost = Array.from({ length: 20 }, (_, n) =>
      db.blob.write(`lost ${n}`, bytes, { signal: failing.signal }).catch(() => null),
    );
    await until(() => held.length >= 16);
    failing.abort();
    const release = setInterval(() => {
      for (const serve of held.splice(0)) serve();
    }, 1);
    const written = await Promise.all(writes);
    expect(await Promise.all(lost)).toEqual(lost.map(() => null));
    clearInterval(release);
    expect(new Set(written.map(({ size }) => size))).toEqual(new Set([bytes.length]));
    expect(most).toBe(16);
    expect(warned).not.toHaveBeenCalled();
    warned.mockRestore();
  });

  test("whose last answer is lost was not published if it can be taken back", async () => {
    const error = await writeWithoutAnswer(1, false).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "DEADLINE_EXCEEDED", outcome: "not-applied" });
  });

  test("whose last answer is lost was published if its row is there", async () => {
    expect(await writeWithoutAnswer(0, true)).toMatchObject({ id: 9, index: 55, size: 25 });
  });

  test("whose last answer is lost, and its row too, is not known", async () => {
    const error = await writeWithoutAnswer(0, false).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "DEADLINE_EXCEEDED", outcome: "unknown" });
  });

  test("that fails is taken back, and its source closed", async () => {
    cluster.node(0).script = (request, stream) => {
      if (!isChunk(request)) return false;
      stream.fail(request.id, "LIMIT_EXCEEDED");
      return true;
    };
    let isClosed = false;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield Buffer.alloc(256 * 1024);
      } finally {
        isClosed = true;
      }
    }
    const writing = db.blob.write("a", source());
    await expect(writing).rejects.toMatchObject({ code: "LIMIT_EXCEEDED" });
    await until(() => isClosed && received().some(isDiscard));
    expect(received().some(isPublish)).toBe(false);
  });

  test("whose content was removed meanwhile ends", async () => {
    cluster.node(0).script = (request, stream) => {
      if (!isChunk(request)) return false;
      answerDiscard(stream, request.id, 0, false);
      return true;
    };
    await expect(db.blob.write("a", BYTES)).rejects.toMatchObject({ code: "NO_SUCH_BLOB" });
    expect(received().some(isPublish)).toBe(false);
  });

  test("given up by its caller while the source is silent sends nothing more but that", async () => {
    const caller = new AbortController();
    let isRead = false;
    const silent = new Readable({
      read: () => {
        isRead = true;
      },
    });
    const writing = db.blob.write("a", silent, { signal: caller.signal });
    await until(() => isRead);
    caller.abort(new Error("mine"));
    await expect(writing).rejects.toMatchObject({ code: "CANCELLED" });
    await until(() => received().some(isDiscard));
    expect(silent.destroyed).toBe(true);
    expect(received().some(isPublish)).toBe(false);
  });

  test("that does not begin leaves its source closed", async () => {
    const sources = [new Readable({ read: () => {} }), new Readable({ read: () => {} })];
    const [first, second] = sources;
    const gone = AbortSignal.abort(new Error("mine"));
    await expect(db.blob.write("a", first as Readable, { signal: gone })).rejects.toMatchObject({
      code: "CANCELLED",
    });
    await expect(db.blob.write("", second as Readable)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    expect(sources.map(({ destroyed }) => destroyed)).toEqual([true, true]);
  });

  test("is cut to what a request may hold", async () => {
    const small = connect({ endpoints: cluster.endpoints, limits: { valueBytes: 100 } });
    await small.blob.write("a", Buffer.alloc(250));
    expect(received().filter(isChunk)).toHaveLength(3);
    await small.close();
  });

  test("is refused with a bad name, type or option, before anything is sent", async () => {
    const bad: [string, object][] = [
      ["", {}],
      ["x".repeat(1025), {}],
      ["a", { type: "x".repeat(256) }],
      ["a", { typ: "x" }],
    ];
    for (const [name, options] of bad) {
      const writing = db.blob.write(name, BYTES, options);
      await expect(writing).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
    expect(() => db.blob.createReadStream("a", { start: 5, end: 4 })).toThrow(/"end"/);
    expect(() => db.blob.createReadStream({ id: 1.5 })).toThrow(/\{ id \}/);
    expect(received()).toEqual([]);
  });
});

describe("a read", () => {
  let cluster: FakeCluster;
  let db: Database;
  /** Parts by their number, as the nodes have them for reads of each consistency. */
  let parts: { [consistency: string]: Map<number, Buffer> };
  const HASH = createHash("sha256").update(BYTES).digest("hex");

  beforeEach(async () => {
    cluster = new FakeCluster();
    await cluster.start(1);
    const all = new Map([0, 1, 2].map((part) => [part, BYTES.subarray(part * 10, part * 10 + 10)]));
    parts = { stale: all, linearizable: new Map(all) };
    cluster.node(0).script = ({ id, body }, stream) => {
      if (body.kind !== "query") return false;
      const { sql, args } = decodeStatement(body.statement);
      const chunks = sql.startsWith("SELECT part");
      const [, from, to] = args.kind === "positional" ? args.values.map(Number) : [];
      const found = [...(parts[body.consistency] ?? [])].filter(
        ([part]) => part >= Number(from) && part <= Number(to),
      );
      const row = [1n, "a", null, BigInt(BYTES.length), HASH, 10n, 0n, 5n];
      const names = "id name type size sha256 chunkBytes writtenAt content";
      if (chunks) {
        const rows = found.map(([part, data]): SqliteValue[] => [BigInt(part), data]);
        answer(stream, id, "part data", rows);
      } else answer(stream, id, names, [row]);
      return true;
    };
    // Two parts a read.
    db = connect({ endpoints: cluster.endpoints, limits: { resultBytes: 400 } });
  });

  afterEach(async () => {
    await db.close();
    cluster.stop();
  });

  function answer(stream: FakeStream, id: number, names: string, rows: SqliteValue[][]): void {
    const writer = new RowChunkWriter();
    writer.start(names.split(" "));
    for (const row of rows) writer.row(row);
    const chunk = writer.finish();
    stream.send(id, { kind: "query", chunk, done: true, node: 1, index: 9, lagMs: 0 });
  }

  const asked = () =>
    cluster
      .node(0)
      .of("query")
      .map(({ consistency }) => consistency);

  test("takes immutable parts from any node, however stale", async () => {
    expect(await db.blob.read("a")).toEqual(BYTES);
    expect(asked()).toEqual(["linearizable", "stale"]);
  });

  test("asks once more, linearizable, for what a node does not have yet", async () => {
    parts["stale"]?.delete(1);
    expect(await db.blob.read("a")).toEqual(BYTES);
    expect(asked()).toEqual(["linearizable", "stale", "linearizable"]);
  });

  test("of a content that is gone, or cut short, is an error", async () => {
    for (const spoil of [
      () => parts["linearizable"]?.delete(1),
      () => parts["linearizable"]?.set(1, Buffer.alloc(9)),
      () => parts["linearizable"]?.clear(),
    ]) {
      parts["stale"]?.delete(1);
      spoil();
      await expect(db.blob.read("a")).rejects.toMatchObject({ code: "NO_SUCH_BLOB" });
    }
  });

  test("of other bytes than were written is an error, if all of them are read", async () => {
    parts["stale"]?.set(1, Buffer.alloc(10));
    await expect(db.blob.read("a")).rejects.toMatchObject({ code: "PROTOCOL" });
  });
});
