/** More writes at once than a node admits: those beyond are refused in words, nobody stands for leader, and it is soon well. */

import { connect } from "node:http2";
import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestCluster } from "../../src/testing/cluster.ts";
import {
  type ClientRequest,
  decodeExecuteResponse,
  decodeServerFrame,
  encodeClientFrame,
  encodeExecuteRequest,
} from "../../src/wire/sql-codec.ts";
import { encodeBatch, encodeStatement } from "../../src/wire/statement-codec.ts";
import { fromGrpc } from "../../src/wire/status.ts";

const PENDING_MAX = 16;
const CALLERS = 400;
const INSERT = "INSERT INTO t(n) VALUES (?)";

const same = (bytes: Buffer): Buffer => bytes;

/** Sends so many writes at once on one stream, and again and again those that are refused, until `enough` of them were served. */
function flood(endpoint: string, writes: number, enough: number, noForward = true) {
  const client = new Client(endpoint, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
  });
  const path = "/balsa.v1.Sql/Connect";
  const stream = client.makeBidiStreamRequest(path, same, same, new Metadata(), {});
  const codes = new Set<string>();
  let nextId = 1;
  let served = 0;
  let refused = 0;
  const send = (count: number): void => {
    const batch = encodeBatch([{ sql: INSERT, args: [0] }]);
    const numbers = { session: 0, sequence: 0, acknowledgedThrough: 0, timeoutMs: 100_000 };
    const requests = Array.from({ length: count }, (_, at): ClientRequest => {
      return { id: nextId + at, body: { kind: "execute", batch, ...numbers, noForward } };
    });
    nextId += count;
    stream.write(encodeClientFrame(requests));
  };
  return new Promise<{ served: number; refused: number; codes: Set<string> }>((resolve, reject) => {
    stream.on("error", reject);
    stream.on("data", (frame: Buffer) => {
      let again = 0;
      for (const { body } of decodeServerFrame(frame)) {
        if (body.kind === "execute") served += 1;
        else if (body.kind === "failure") {
          codes.add(`${body.failure.code} ${body.failure.outcome}`);
          again += 1;
        }
      }
      refused += again;
      if (served < enough) {
        if (again > 0) send(again);
      } else if (served + refused === nextId - 1) {
        stream.removeListener("error", reject).on("error", () => {});
        stream.cancel();
        client.close();
        resolve({ served, refused, codes });
      }
    });
    send(writes);
  });
}

/** One write by a call of its own, tried once. */
function writeOnce(client: Client, n: number, noForward: boolean) {
  const batch = encodeBatch([{ sql: INSERT, args: [n] }]);
  const numbers = { session: 0, sequence: 0, acknowledgedThrough: 0, timeoutMs: 60_000 };
  return new Promise<"applied" | ServiceError>((resolve) => {
    client.makeUnaryRequest(
      "/balsa.v1.Sql/Execute",
      encodeExecuteRequest,
      decodeExecuteResponse,
      { batch, ...numbers, noForward },
      (error: ServiceError | null) => resolve(error ?? "applied"),
    );
  });
}

/** 1 MiB a read. */
const WIDE = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1024)
  SELECT i, hex(zeroblob(512)) FROM n`;

/**
 * Asks for so many wide reads and as many writes, and takes no answers. Without gRPC's library, which takes some. The promise
 * is kept once the connection is full: nothing of what the node sends is taken any more.
 */
async function stopReading(endpoint: string, requests: number): Promise<() => void> {
  const session = connect(`http://${endpoint}`);
  session.on("error", () => {});
  const headers = { "content-type": "application/grpc", te: "trailers" };
  const path = "/balsa.v1.Sql/Connect";
  const stream = session.request({ ":method": "POST", ":path": path, ...headers });
  stream.on("error", () => {});
  const batch = encodeBatch([{ sql: INSERT, args: [0] }]);
  const numbers = { session: 0, sequence: 0, acknowledgedThrough: 0, timeoutMs: 100_000 };
  const write = { kind: "execute" as const, batch, ...numbers, noForward: false };
  const bounds = { atLeast: 0, maxStalenessMs: 0, timeoutMs: 100_000, window: 0 };
  const statement = encodeStatement({ sql: WIDE, args: [] });
  const read = { kind: "query" as const, statement, consistency: "stale" as const, ...bounds };
  const frame = encodeClientFrame(
    Array.from({ length: 2 * requests }, (_, at): ClientRequest => {
      return { id: at + 1, body: at < requests ? write : read };
    }),
  );
  const head = Buffer.alloc(5);
  head.writeUInt32BE(frame.length, 1);
  stream.write(Buffer.concat([head, frame]));
  // HTTP/2's window of 64 KiB, of which the stream's buffer takes some.
  await new Promise<void>((resolve) => {
    const look = () => {
      if (stream.readableLength < stream.readableHighWaterMark) return void setTimeout(look, 10);
      resolve();
    };
    stream.once("readable", look);
  });
  return () => session.destroy();
}

describe("too many writes at once", () => {
  let cluster: TestCluster;

  beforeAll(async () => {
    cluster = await TestCluster.start({ args: ["--max-pending-writes", String(PENDING_MAX)] });
    await cluster.ready();
    await cluster.connect().exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)");
  });

  afterAll(() => cluster.stop());

  const terms = async () => (await cluster.status()).nodes.map(({ status }) => status?.term);

  it("what is refused is OVERLOADED and did not happen, and nobody stands for leader", async () => {
    const before = await terms();
    const { endpoint } = await cluster.leader();
    const client = new Client(endpoint, credentials.createInsecure());
    // Until some have met the bound: how many come together is the machine's affair.
    let applied = 0;
    let refused = 0;
    while (refused === 0) {
      const answers = await Promise.all(
        Array.from({ length: CALLERS }, (_, n) => writeOnce(client, n, true)),
      );
      for (const answer of answers) {
        if (answer === "applied") {
          applied += 1;
          continue;
        }
        const { code, outcome, facts } = fromGrpc(answer, "unknown");
        expect({ code, outcome }).toEqual({ code: "OVERLOADED", outcome: "not-applied" });
        expect(facts).toMatchObject({ limit: "pendingWrites", value: String(PENDING_MAX) });
        refused += 1;
      }
    }
    client.close();
    const count = cluster.connect().prepare("SELECT count(*) AS n FROM t");
    expect(await count.get()).toEqual({ n: applied });
    expect(await terms()).toEqual(before);
  });

  it("floods on streams are refused where they arrive; what is served is there, others get their turn", async () => {
    const before = await terms();
    const { endpoint } = await cluster.leader();
    const db = cluster.connect({ deadlineMs: 100_000 });
    await db.exec("DELETE FROM t");
    const floods = Promise.all([1, 2, 3].map(() => flood(endpoint, 5_000, 500)));
    const beside = db.prepare("INSERT INTO t(n) VALUES (1)");
    let own = 0;
    let over = false;
    const ended = floods.finally(() => {
      over = true;
    });
    do {
      await beside.run();
      own += 1;
    } while (!over);
    const done = await ended;
    for (const { refused, codes } of done) {
      expect(refused).toBeGreaterThan(0);
      expect([...codes]).toEqual(["OVERLOADED not-applied"]);
    }
    const applied = done.reduce((sum, { served }) => sum + served, own);
    expect(await db.prepare("SELECT count(*) AS n FROM t").get()).toEqual({ n: applied });
    expect(await terms()).toEqual(before);
  });

  it("the same at a follower, which passes on what it can", async () => {
    const before = await terms();
    const leader = await cluster.leader();
    const follower = cluster.nodes.find(({ id }) => id !== leader.id) ?? leader;
    const db = cluster.connect({ deadlineMs: 100_000 });
    await db.exec("DELETE FROM t");
    const floods = [1, 2, 3].map(() => flood(follower.endpoint, 5_000, 300, false));
    const done = await Promise.all(floods);
    for (const { refused, codes } of done) {
      expect(refused).toBeGreaterThan(0);
      expect([...codes]).toEqual(["OVERLOADED not-applied"]);
    }
    const applied = done.reduce((sum, { served }) => sum + served, 0);
    expect(await db.prepare("SELECT count(*) AS n FROM t").get()).toEqual({ n: applied });
    // Nobody else is there any more: at once there is room again, here as at the leader.
    const alone = new Client(follower.endpoint, credentials.createInsecure());
    for (let turn = 0; turn < 20; turn += 1) {
      expect(await writeOnce(alone, turn, false)).toBe("applied");
    }
    alone.close();
    expect(await terms()).toEqual(before);
  });

  it("clients that read no answers keep nobody from reading and writing", async () => {
    const before = await terms();
    const stopped = await Promise.all(
      cluster.nodes.map(({ endpoint }) => stopReading(endpoint, 2_000)),
    );
    const db = cluster.connect({ deadlineMs: 100_000 });
    await db.exec("DELETE FROM t");
    const insert = db.prepare(INSERT);
    for (const { id } of cluster.nodes) {
      const here = cluster.connectTo(id).prepare("SELECT count(*) AS n FROM t");
      const wide = cluster.connectTo(id).prepare(WIDE);
      const turns = Array.from({ length: 20 }, (_, n) => n);
      await Promise.all(turns.map((n) => insert.run(n)));
      await Promise.all(turns.map(() => here.get()));
      expect(await wide.all()).toHaveLength(1024);
    }
    expect(await db.prepare("SELECT count(*) AS n FROM t WHERE n > 0").get()).toEqual({ n: 57 });
    for (const close of stopped) close();
    expect(await terms()).toEqual(before);
  });

  it("our client waits and tries again: in the end all its writes are there", async () => {
    const before = await terms();
    const db = cluster.connect({ deadlineMs: 100_000 });
    await db.exec("DELETE FROM t");
    const insert = db.prepare(INSERT);
    await Promise.all(Array.from({ length: CALLERS }, (_, n) => insert.run(n)));
    expect(await db.prepare("SELECT count(*) AS n FROM t").get()).toEqual({ n: CALLERS });
    expect(await terms()).toEqual(before);
  });
});
