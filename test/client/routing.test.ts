/** Where requests go: to the leader, wherever it is now, and stale reads to everybody. */

import { createServer, type Server } from "node:http";
import { createSecureServer } from "node:http2";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { connect, type Database } from "../../src/client/index.ts";
import { FakeCluster, type FakeNode, until } from "./fake-cluster.ts";

let cluster: FakeCluster;
const opened: Database[] = [];

beforeEach(async () => {
  cluster = new FakeCluster();
  await cluster.start(3);
});

afterEach(async () => {
  for (const db of opened.splice(0)) await db.close();
  cluster.stop();
});

function open(endpoints: readonly string[] = cluster.endpoints, deadlineMs = 10_000): Database {
  const db = connect({ endpoints, deadlineMs, silenceMs: 100, connectTimeoutMs: 300 });
  opened.push(db);
  return db;
}

function insert(db: Database): Promise<unknown> {
  return db.prepare("INSERT INTO t VALUES (1)").run();
}

function writesAt(node: FakeNode): number {
  return node.of("execute").length;
}

test("writes go to the leader, whichever endpoint it is", async () => {
  cluster.lead(cluster.node(2));
  const db = open();
  await insert(db);
  await insert(db);
  expect(cluster.nodes.map(writesAt)).toEqual([0, 0, 2]);
});

test("a hint is followed, also to a node that is not among the endpoints", async () => {
  const db = open([cluster.node(0).address, cluster.node(1).address]);
  await insert(db);
  cluster.lead(cluster.node(2));
  const asked = cluster.nodes.map((node) => node.statusAsked);
  await insert(db);
  expect(cluster.nodes.map(writesAt)).toEqual([2, 0, 1]);
  expect(cluster.nodes.map((node) => node.statusAsked)).toEqual(asked);
  // It is remembered: it leads the others' absence.
  cluster.node(0).kill();
  cluster.node(1).kill();
  await insert(db);
  expect(writesAt(cluster.node(2))).toBe(2);
});

test("a leader outside of the endpoints is found through a follower", async () => {
  cluster.lead(cluster.node(2));
  await insert(open([cluster.node(0).address]));
  expect(cluster.nodes.map(writesAt)).toEqual([0, 0, 1]);
});

test("two nodes that point at each other are not asked without end", async () => {
  const db = open(undefined, 600);
  await insert(db);
  const [a, b] = [cluster.node(0), cluster.node(1)];
  a.says = { role: "leader" };
  for (const [node, other] of [
    [a, b],
    [b, a],
  ] as const) {
    node.script = (request, stream) => {
      stream.fail(request.id, "NOT_LEADER", { facts: { leader: other.address } });
      return true;
    };
  }
  await expect(insert(db)).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
  expect(writesAt(a) + writesAt(b)).toBeLessThan(60);
});

test("when the leader's connection breaks, the others are asked at once and the new leader is found", async () => {
  const db = open();
  await insert(db);
  await until(() => cluster.nodes.every((node) => node.streams.size === 1));
  cluster.lead(null);
  cluster.node(0).kill();
  const pending = Promise.all([insert(db), insert(db), db.prepare("SELECT 1").all()]);
  await until(() => cluster.node(1).statusAsked > 2 && cluster.node(2).statusAsked > 2);
  cluster.lead(cluster.node(1));
  await pending;
  expect(cluster.executed).toHaveLength(3);
  expect(writesAt(cluster.node(1))).toBe(2);
});

test("a node that comes back is used again", async () => {
  const db = open([cluster.node(0).address]);
  await insert(db);
  cluster.node(0).kill();
  const pending = insert(db);
  await until(() => cluster.node(0).streams.size === 0);
  await cluster.node(0).start();
  await pending;
  expect(cluster.executed).toHaveLength(2);
});

test("a leader that falls silent is left for the one that the others follow", async () => {
  const db = open();
  await insert(db);
  cluster.node(0).isFrozen = true;
  const pending = insert(db);
  await until(() => writesAt(cluster.node(0)) === 2);
  cluster.lead(cluster.node(1));
  cluster.node(0).says = { role: "leader", term: 1 };
  await pending;
  expect(cluster.executed).toHaveLength(2);
});

test("while a leader is silent the others are asked again and again, before it is given up", async () => {
  const db = connect({ endpoints: cluster.endpoints, silenceMs: 2_000 });
  opened.push(db);
  await insert(db);
  const [leader, other] = [cluster.node(0), cluster.node(1)];
  leader.isFrozen = true;
  const pending = insert(db);
  const asked = other.statusAsked;
  await until(() => other.statusAsked >= asked + 3);
  expect(leader.streams.size).toBe(1);
  cluster.lead(other);
  leader.says = { role: "leader", term: 1 };
  await pending;
  expect(writesAt(other)).toBe(1);
  await until(() => leader.streams.size === 0);
});

test("a silent leader that nobody replaces is given up and found again when it wakes", async () => {
  const db = open();
  await insert(db);
  const node = cluster.node(0);
  node.isFrozen = true;
  const pending = insert(db);
  await until(() => node.streams.size === 0);
  node.isFrozen = false;
  await pending;
  expect(cluster.executed).toHaveLength(2);
});

test("a slow request at a node that answers otherwise is waited for", async () => {
  const db = open();
  await insert(db);
  let answer: (() => void) | null = null;
  cluster.node(0).script = (request, stream) => {
    if (request.body.kind !== "execute") return false;
    answer = () => cluster.serve(request, stream);
    return true;
  };
  const slow = insert(db);
  const asked = cluster.node(0).statusAsked;
  await until(() => cluster.node(0).statusAsked > asked + 1);
  (answer as (() => void) | null)?.();
  await slow;
  expect(writesAt(cluster.node(0))).toBe(2);
});

test("a leader that cannot be reached is written to through a follower", async () => {
  const db = open([cluster.node(1).address]);
  cluster.node(1).says = { leaderAddress: "127.0.0.1:9" };
  await insert(db);
  expect(
    cluster
      .node(1)
      .of("execute")
      .map((body) => body.noForward),
  ).toEqual([false]);
  expect(cluster.executed).toHaveLength(1);
});

test("stale reads are spread over the nodes, others go to the leader", async () => {
  const db = open();
  const stale = db.with({ consistency: "stale", maxStalenessMs: 500 });
  await stale.prepare("SELECT 1").all();
  await until(() => cluster.nodes.every((node) => node.streams.size === 1));
  await Promise.all(Array.from({ length: 300 }, () => stale.prepare("SELECT 1").all()));
  for (const node of cluster.nodes) {
    expect(node.of("query").length).toBeGreaterThan(60);
    expect(node.of("query").every((query) => query.maxStalenessMs === 500)).toBe(true);
  }
  await insert(db);
  const before = cluster.nodes.map((node) => node.of("query").length);
  for (let n = 0; n < 20; n += 1) await db.prepare("SELECT 1").all();
  const after = cluster.nodes.map((node) => node.of("query").length);
  expect(after.map((count, at) => count - (before[at] ?? 0))).toEqual([20, 0, 0]);
});

test("stale reads go on while a node is down, and return to it", async () => {
  const stale = open().with({ consistency: "stale" });
  await stale.prepare("SELECT 1").all();
  cluster.node(1).kill();
  for (let n = 0; n < 50; n += 1) await stale.prepare("SELECT 1").all();
  await cluster.node(1).start();
  const before = cluster.node(1).of("query").length;
  await until(() => {
    stale
      .prepare("SELECT 1")
      .all()
      .catch(() => {});
    return cluster.node(1).of("query").length > before;
  });
});

test("a node that is too far behind is passed over for another", async () => {
  const [fresh, behind] = [cluster.node(0), cluster.node(1)];
  const stale = open([fresh.address, behind.address]).with({ consistency: "stale" });
  await stale.prepare("SELECT 1").all();
  await until(() => fresh.streams.size + behind.streams.size === 2);
  const before = fresh.of("query").length;
  behind.script = (request, stream) => {
    stream.fail(request.id, "TOO_STALE");
    return true;
  };
  for (let n = 0; n < 200; n += 1) await stale.prepare("SELECT 1").all();
  expect(fresh.of("query").length - before).toBe(200);
  // By chance half of the reads ask it first; none asks it twice.
  expect(behind.of("query").length).toBeLessThan(150);
});

test("reads are served by any node while there is no leader to send them to", async () => {
  const db = open();
  await insert(db);
  await until(() => cluster.nodes.every((node) => node.streams.size === 1));
  cluster.lead(null);
  cluster.node(0).kill();
  await db.prepare("SELECT 1").all();
  const asked = cluster.node(1).of("query").length + cluster.node(2).of("query").length;
  expect(asked).toBe(1);
});

// --- something else listens --------------------------------------------------------------------------------------

async function listen(server: {
  listen(port: number, host: string, then: () => void): unknown;
  address(): unknown;
}) {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function withOther(address: string, code: unknown, close: () => void): Promise<void> {
  try {
    const alone = open([address], 1_000);
    const started = performance.now();
    const failed = insert(alone);
    await expect(failed).rejects.toMatchObject({ code, outcome: "not-applied" });
    await expect(failed).rejects.toThrow(address);
    expect(performance.now() - started).toBeLessThan(3_000);
    await expect(alone.prepare("SELECT 1").all()).rejects.toMatchObject({ code });
    const beside = open([address, ...cluster.endpoints], 3_000);
    await insert(beside);
    const stale = beside.with({ consistency: "stale" });
    await Promise.all(Array.from({ length: 10 }, () => stale.prepare("SELECT 1").all()));
  } finally {
    close();
  }
}

test("an HTTP/1 server at an endpoint is named in the error, and others are used", async () => {
  const server: Server = createServer((_request, response) => response.end("hello"));
  await withOther(await listen(server), "PROTOCOL", () => {
    server.closeAllConnections();
    server.close();
  });
});

test("a port that takes connections and stays silent is named in the error, and others are used", async () => {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
  });
  await withOther(await listen(server), "UNAVAILABLE", () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
});

test("a TLS server at an endpoint is named in the error, and others are used", async () => {
  const server = createSecureServer({}, () => {});
  server.on("tlsClientError", () => {});
  server.on("error", () => {});
  const code = expect.stringMatching(/^(UNAVAILABLE|PROTOCOL)$/);
  await withOther(await listen(server), code, () => server.close());
});

test("a hint to a port that stays silent leaves the write not applied", async () => {
  const silent = createTcpServer((socket) => socket.on("error", () => {}));
  const address = await listen(silent);
  const db = open([cluster.node(0).address], 900);
  await insert(db);
  cluster.node(0).says = { role: "follower", leaderAddress: address };
  cluster.node(0).script = (request, stream) => {
    stream.fail(request.id, "NOT_LEADER", { facts: { leader: address } });
    return true;
  };
  await expect(insert(db)).rejects.toMatchObject({
    code: "DEADLINE_EXCEEDED",
    outcome: "not-applied",
  });
  await db.close();
  silent.close();
});

test("an endpoint where a node has come to listen is used", async () => {
  const server: Server = createServer((_request, response) => response.end("hello"));
  const address = await listen(server);
  const db = open([address]);
  await expect(insert(db)).rejects.toMatchObject({ code: "PROTOCOL" });
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  cluster.node(0).kill();
  cluster.node(0).port = Number(address.split(":")[1]);
  await cluster.node(0).start();
  await insert(db);
  expect(cluster.executed).toHaveLength(1);
});

test("a port where nothing listens is named in the error, and others are used", async () => {
  const server = createTcpServer();
  const address = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  await withOther(address, "UNAVAILABLE", () => {});
});

test("a gRPC server that is not Balsa is named in the error", async () => {
  const { Server: GrpcServer, ServerCredentials } = await import("@grpc/grpc-js");
  const server = new GrpcServer();
  const port = await new Promise<number>((resolve) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (_error, bound) =>
      resolve(bound),
    );
  });
  await withOther(`127.0.0.1:${port}`, "PROTOCOL", () => server.forceShutdown());
});

test("an answer that cannot be read is a PROTOCOL error of that connection", async () => {
  const db = open([cluster.node(0).address], 500);
  cluster.node(0).script = (_request, stream) => {
    stream.raw(Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
    return true;
  };
  await expect(db.prepare("SELECT 1").all()).rejects.toThrow("an answer cannot be read");
});
