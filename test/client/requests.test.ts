/** What a caller asks for is what arrives, and what is answered is what the caller gets. */

import { afterEach, beforeEach, expect, test } from "vitest";
import { BalsaError, connect, type Database } from "../../src/client/index.ts";
import { LAG_NEVER } from "../../src/wire/cluster-codec.ts";
import { RowChunkWriter } from "../../src/wire/result-codec.ts";
import { FakeCluster, until } from "./fake-cluster.ts";

let cluster: FakeCluster;
let db: Database;

beforeEach(async () => {
  cluster = new FakeCluster();
  await cluster.start(3);
  db = connect({ endpoints: cluster.endpoints });
});

afterEach(async () => {
  await db.close();
  cluster.stop();
});

test("run gives changes, rowid and index, in better-sqlite3's words", async () => {
  const result = await db.prepare("INSERT INTO t(name) VALUES (?)").run("Lisboa");
  expect(result).toEqual({ changes: 1, lastInsertRowid: 1, index: 2 });
  expect(cluster.executed).toEqual(["INSERT INTO t(name) VALUES (?)"]);
  expect(cluster.args).toEqual([{ kind: "positional", values: ["Lisboa"] }]);
});

test("parameters go by position, as a list, or by name", async () => {
  const insert = db.prepare("INSERT INTO t VALUES (?, ?)");
  await insert.run(1, "a");
  await insert.run([2, null]);
  await insert.run({ id: 3n, at: new Date(0), on: true });
  await insert.run(new Uint8Array([7]), 1.5);
  await insert.run();
  expect(cluster.args).toEqual([
    { kind: "positional", values: [1n, "a"] },
    { kind: "positional", values: [2n, null] },
    { kind: "named", values: { id: 3n, at: "1970-01-01T00:00:00.000Z", on: 1n } },
    { kind: "positional", values: [Buffer.from([7]), 1.5] },
    { kind: "positional", values: [] },
  ]);
});

test("get gives the first row or undefined, all gives every row", async () => {
  cluster.columns = ["id", "name"];
  cluster.rows = [
    [1n, "a"],
    [2n, "b"],
    [3n, null],
  ];
  const select = db.prepare<{ id: number; name: string | null }>("SELECT * FROM t");
  expect(await select.get()).toEqual({ id: 1, name: "a" });
  expect(await select.all()).toEqual([
    { id: 1, name: "a" },
    { id: 2, name: "b" },
    { id: 3, name: null },
  ]);
  cluster.rows = [];
  expect(await select.get()).toBeUndefined();
  expect(await select.all()).toEqual([]);
});

test("get stops the node after the first chunk", async () => {
  cluster.rows = Array.from({ length: 100 }, (_, n) => [BigInt(n)]);
  expect(await db.prepare("SELECT n FROM t").get()).toEqual({ n: 0 });
  await until(() => cluster.queries.size === 0);
  expect(cluster.node(0).of("query")[0]?.window).toBe(1);
  expect(cluster.node(0).of("cancel")).toHaveLength(1);
});

test("integers come back as the option says", async () => {
  cluster.columns = ["small", "large", "real"];
  cluster.rows = [[1n, 2n ** 53n + 1n, 2]];
  const select = db.prepare("SELECT 1");
  expect(await select.get()).toEqual({ small: 1, large: 2n ** 53n + 1n, real: 2 });
  const bigints = select.with({ integers: "bigint" });
  expect(await bigints.get()).toEqual({ small: 1n, large: 2n ** 53n + 1n, real: 2 });
  const numbers = select.with({ integers: "number" });
  await expect(numbers.get()).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(numbers.all()).rejects.toThrow("9007199254740993");
  await expect(numbers.iterate().next()).rejects.toThrow("9007199254740993");
  // The connection has not suffered.
  expect(await select.get()).toBeDefined();
});

test("a write whose answer does not fit into numbers stands, and says so", async () => {
  cluster.columns = ["large"];
  cluster.returned = [[2n ** 60n]];
  const insert = db
    .prepare("INSERT INTO t VALUES (1) RETURNING large")
    .with({ integers: "number" });
  await expect(insert.get()).rejects.toMatchObject({ outcome: "applied" });
  expect(cluster.executed).toHaveLength(1);
});

test("a blob comes back as memory of its own", async () => {
  cluster.rows = [[Buffer.from([1, 2, 3])]];
  const row = await db.prepare("SELECT x").get();
  const blob = row?.["n"];
  expect(blob).toEqual(new Uint8Array([1, 2, 3]));
  expect((blob as Uint8Array).buffer.byteLength).toBe(3);
});

test("a write with RETURNING gives its rows through get, all and iterate", async () => {
  cluster.returned = [[1n], [2n]];
  const insert = db.prepare("INSERT INTO t VALUES (1), (2) RETURNING n");
  expect(await insert.get()).toEqual({ n: 1 });
  expect(await insert.all()).toEqual([{ n: 1 }, { n: 2 }]);
  const rows = [];
  for await (const row of insert.iterate()) rows.push(row);
  expect(rows).toEqual([{ n: 1 }, { n: 2 }]);
  expect(cluster.executed).toHaveLength(3);
});

test("a write without RETURNING through get, all or iterate is refused before anything is sent", async () => {
  const update = db.prepare("UPDATE t SET n = 1");
  await expect(update.get()).rejects.toMatchObject({ code: "REFUSED" });
  await expect(update.all()).rejects.toThrow("use run() instead of all()");
  expect(() => update.iterate()).toThrow("use run()");
  expect(cluster.nodes.flatMap((node) => node.received)).toEqual([]);
});

test("a script is one entry, a batch is one request with a result each", async () => {
  const script = await db.exec("CREATE TABLE t (n); CREATE INDEX i ON t(n);");
  expect(script).toMatchObject({ changes: 1, index: 2 });
  const results = await db.batch([
    { sql: "INSERT INTO t VALUES (?)", args: [1] },
    { sql: "INSERT INTO t VALUES (:n)", args: { n: 2 } },
  ]);
  expect(results).toMatchObject([
    { changes: 1, rows: [], index: 3 },
    { changes: 1, rows: [], index: 3 },
  ]);
  expect(cluster.node(0).of("execute")).toHaveLength(2);
  expect(await db.batch([])).toEqual([]);
});

test("requests of one tick travel in one frame", async () => {
  await db.prepare("INSERT INTO t VALUES (0)").run();
  const before = cluster.node(0).frames;
  const insert = db.prepare("INSERT INTO t VALUES (?)");
  await Promise.all(Array.from({ length: 100 }, (_, n) => insert.run(n)));
  expect(cluster.node(0).frames - before).toBe(1);
});

test("frames stay below a megabyte, and a larger request travels alone", async () => {
  await db.prepare("INSERT INTO t VALUES (0)").run();
  const before = cluster.node(0).frames;
  const insert = db.prepare("INSERT INTO t VALUES (?)");
  const blob = new Uint8Array(400_000);
  const large = new Uint8Array(2_000_000);
  await Promise.all([insert.run(blob), insert.run(blob), insert.run(blob), insert.run(large)]);
  expect(cluster.node(0).frames - before).toBe(3);
});

test("query gives rows, columns, and who served them and how fresh they are", async () => {
  const result = await db.prepare<{ n: number }>("SELECT n FROM t").query();
  const [node] = cluster.nodes.filter((each) => each.of("query").length > 0);
  expect(result).toEqual({
    columns: ["n"],
    rows: [{ n: 1 }],
    node: node?.id,
    index: cluster.index,
    lagMs: 0,
  });
  const rows = db.prepare("SELECT n FROM t").iterate();
  expect(rows.served).toBeNull();
  await rows.next();
  expect(rows.served).toMatchObject({ index: cluster.index, lagMs: 0 });
  const write = db.prepare("INSERT INTO t VALUES (1) RETURNING n");
  await expect(write.query()).rejects.toMatchObject({ code: "REFUSED" });
  expect(write.iterate().served).toBeNull();
});

test("how fresh a read is may be unknown", async () => {
  for (const node of cluster.nodes) {
    node.script = ({ id, body }, stream) => {
      if (body.kind !== "query") return false;
      const writer = new RowChunkWriter();
      writer.start(["n"]);
      const chunk = writer.finish();
      const lagMs = LAG_NEVER;
      stream.send(id, { kind: "query", chunk, done: true, node: node.id, index: 3, lagMs });
      return true;
    };
  }
  expect(await db.prepare("SELECT n FROM t").query()).toMatchObject({ rows: [], lagMs: null });
});

test("a token of session reads is refused where it would not be heeded", async () => {
  expect(() => db.with({ consistency: "stale", atLeast: 5 })).toThrow(/"atLeast".*"session"/);
  // A linearizable read sees all that was acknowledged.
  await db.with({ atLeast: 5 }).prepare("SELECT 1").get();
});

test("a session read names the highest index the client was told of", async () => {
  const session = db.with({ consistency: "session" });
  const { index } = await db.prepare("INSERT INTO t VALUES (1)").run();
  await session.prepare("SELECT 1").all();
  expect(db.seenIndex).toBe(index);
  cluster.index = 70;
  await db.prepare("SELECT 1").all();
  await session.prepare("SELECT 1").all();
  await session.with({ atLeast: 90 }).prepare("SELECT 1").all();
  const asked = cluster.nodes.flatMap((node) => node.of("query"));
  expect(asked.map((query) => query.atLeast)).toEqual([index, 0, 70, 90]);
});

test("SQLite's own refusals arrive as SqlError", async () => {
  cluster.node(0).script = (request, stream) => {
    if (request.body.kind !== "execute") return false;
    stream.fail(request.id, "SQLITE_CONSTRAINT_UNIQUE", {
      message: "UNIQUE constraint failed: t.n",
    });
    return true;
  };
  const failed = db.prepare("INSERT INTO t VALUES (1)").run();
  await expect(failed).rejects.toMatchObject({
    name: "SqlError",
    code: "SQLITE_CONSTRAINT_UNIQUE",
    message: "UNIQUE constraint failed: t.n",
  });
});

test("values that cannot be bound and requests beyond the limits fail before they are sent", async () => {
  const insert = db.prepare("INSERT INTO t VALUES (:a, :b)");
  // @ts-expect-error undefined is no value
  await expect(insert.run({ a: 1, b: undefined })).rejects.toThrow("parameter b is undefined");
  // @ts-expect-error a Map is no value
  await expect(insert.run(1, new Map())).rejects.toThrow("parameter 2");
  await expect(insert.run(2n ** 64n)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(insert.run(new Uint8Array(7 << 20))).rejects.toMatchObject({
    code: "LIMIT_EXCEEDED",
    facts: { limit: "valueBytes" },
  });
  const long = `SELECT '${"x".repeat(10_000_000)}'`;
  await expect(db.exec(long)).rejects.toMatchObject({ facts: { limit: "statementBytes" } });
  await expect(db.prepare(long).all()).rejects.toMatchObject({ code: "LIMIT_EXCEEDED" });
  // @ts-expect-error a statement is text
  expect(() => db.prepare(17)).toThrow(BalsaError);
  // @ts-expect-error a symbol is no value
  const second = db.batch([{ sql: "SELECT 1" }, { sql: "SELECT ?", args: [Symbol("x")] }]);
  await expect(second).rejects.toMatchObject({ code: "INVALID_ARGUMENT", statementIndex: 1 });
  // @ts-expect-error a statement of a batch is an object
  await expect(db.batch([null])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  // @ts-expect-error a batch is a list
  await expect(db.batch("SELECT 1")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(cluster.nodes.flatMap((node) => node.received)).toEqual([]);
});

test("status lists every endpoint, the unreachable with the reason", async () => {
  cluster.node(2).kill();
  const status = await db.status();
  expect(status.leader).toEqual({ id: 1, address: cluster.node(0).address });
  expect(status.nodes.map((node) => node.status?.role ?? node.error?.code)).toEqual([
    "leader",
    "follower",
    "UNAVAILABLE",
  ]);
  expect(status.nodes[2]?.error?.message).toContain(cluster.node(2).address);
});

test("status shows a node once, though it is known by two addresses", async () => {
  const [one, two] = cluster.endpoints as [string, string];
  const members = cluster.nodes.map(({ id, address }) => ({
    id,
    address,
    role: "voter",
    awaitsVote: false,
    connected: true,
    matchIndex: 0,
    caughtUp: false,
    machineVersion: "",
  }));
  for (const node of cluster.nodes) node.says = { members };
  const other = connect({ endpoints: [one.replace("127.0.0.1", "localhost"), two] });
  cluster.node(2).kill();
  const { nodes, leader } = await other.status();
  expect(leader?.id).toBe(1);
  expect(nodes.map((node) => node.status?.id ?? node.endpoint)).toEqual([
    1,
    2,
    cluster.node(2).address,
  ]);
  await other.close();
});

test("ready resolves when a linearizable read was answered", async () => {
  await db.with({ consistency: "stale" }).ready();
  const queries = cluster.nodes.flatMap((node) => node.of("query"));
  expect(queries).toMatchObject([{ consistency: "linearizable" }]);
});
