/** Rows one by one: in order, no faster than they are consumed, and no longer than they are wanted. */

import { afterEach, beforeEach, expect, test } from "vitest";
import { connect, type Database } from "../../src/client/index.ts";
import { FakeCluster, type FakeNode, until } from "./fake-cluster.ts";

let cluster: FakeCluster;
let node: FakeNode;
let db: Database;

beforeEach(async () => {
  cluster = new FakeCluster();
  await cluster.start(1);
  node = cluster.node(0);
  cluster.rows = Array.from({ length: 1_001 }, (_, n) => [BigInt(n)]);
  db = connect({ endpoints: cluster.endpoints });
});

afterEach(async () => {
  await db.close();
  cluster.stop();
});

function rows(target: Database = db): AsyncIterableIterator<{ n: number }> {
  return target.prepare<{ n: number }>("SELECT n FROM t").iterate();
}

test("every row arrives once, in order", async () => {
  const seen: number[] = [];
  for await (const { n } of rows()) seen.push(n);
  expect(seen).toEqual(Array.from({ length: 1_001 }, (_, n) => n));
  expect(cluster.queries.size).toBe(0);
});

test("all collects a result of many chunks", async () => {
  const all = await db.prepare("SELECT n FROM t").all();
  expect(all).toHaveLength(1_001);
  expect(node.of("fetch").length).toBeGreaterThan(100);
});

test("a consumer that pauses stops the node after a window of chunks", async () => {
  const iterator = rows();
  await iterator.next();
  const [query] = cluster.queries.values();
  const sentRows = (): number => query?.at ?? Number.NaN;
  for (let n = 1; n < 50; n += 1) await iterator.next();
  const window = node.of("query")[0]?.window ?? 0;
  expect(window).toBeGreaterThan(0);
  await db.prepare("SELECT 1").get();
  const ahead = sentRows();
  expect(ahead).toBeLessThanOrEqual(50 + (window + 1) * cluster.rowsInChunk);
  // Much later the node has still not sent more.
  for (let n = 0; n < 20; n += 1) await db.prepare("SELECT 1").get();
  expect(sentRows()).toBe(ahead);
  let rest = 0;
  for await (const row of iterator) rest += row.n === rest + 50 ? 1 : 0;
  expect(rest).toBe(951);
});

test("leaving the loop stops the node", async () => {
  for await (const { n } of rows()) if (n === 3) break;
  await until(() => cluster.queries.size === 0);
  expect(node.of("cancel")).toHaveLength(1);
});

test("an error in the loop's body stops the node", async () => {
  const loop = async (): Promise<void> => {
    for await (const { n } of rows()) if (n === 3) throw new Error("mine");
  };
  await expect(loop()).rejects.toThrow("mine");
  await until(() => cluster.queries.size === 0);
});

test("an iterator that was never asked for a row sends nothing", async () => {
  const iterator = rows();
  expect(await iterator.return?.()).toEqual({ value: undefined, done: true });
  expect(await iterator.next()).toEqual({ value: undefined, done: true });
  await db.prepare("SELECT 1").get();
  expect(node.of("query")).toHaveLength(1);
});

test("rows asked for all at once come in order, and then the end", async () => {
  cluster.rows = [[1n], [2n], [3n]];
  const iterator = rows();
  const results = await Promise.all([1, 2, 3, 4, 5].map(() => iterator.next()));
  expect(results.map((result) => result.value?.n)).toEqual([1, 2, 3, undefined, undefined]);
});

test("an empty result ends at once", async () => {
  cluster.rows = [];
  expect(await rows().next()).toEqual({ value: undefined, done: true });
});

test("the deadline counts the time without rows, not the consumer's", async () => {
  const iterator = rows(db.with({ deadlineMs: 300 }));
  await iterator.next();
  const later = performance.now() + 400;
  await until(() => performance.now() > later);
  expect((await iterator.next()).value).toEqual({ n: 1 });
  node.isFrozen = true;
  const drain = async (): Promise<void> => {
    for await (const _ of iterator);
  };
  await expect(drain()).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
});

test("a connection that breaks before the first row is not noticed", async () => {
  let queries = 0;
  node.script = (request, stream) => {
    if (request.body.kind !== "query") return false;
    queries += 1;
    if (queries > 1) return false;
    stream.drop();
    return true;
  };
  expect((await rows().next()).value).toEqual({ n: 0 });
  expect(queries).toBe(2);
});

test("a connection that breaks later is an error, never a gap or a repetition", async () => {
  const seen: number[] = [];
  const loop = async (): Promise<void> => {
    for await (const { n } of rows()) {
      seen.push(n);
      if (n === 10) for (const stream of node.streams) stream.drop();
    }
  };
  await expect(loop()).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(seen).toEqual(Array.from({ length: seen.length }, (_, n) => n));
});

test("a failure in the middle ends the rows with it, once", async () => {
  const iterator = rows();
  await iterator.next();
  node.script = (request, stream) => {
    if (request.body.kind !== "fetch") return false;
    stream.fail(request.id, "SNAPSHOT_TOO_OLD");
    return true;
  };
  const drain = async (): Promise<void> => {
    for await (const _ of iterator);
  };
  await expect(drain()).rejects.toMatchObject({ code: "SNAPSHOT_TOO_OLD" });
  expect(await iterator.next()).toEqual({ value: undefined, done: true });
});

test("an abort ends the rows", async () => {
  const controller = new AbortController();
  const iterator = rows(db.with({ signal: controller.signal }));
  await iterator.next();
  controller.abort();
  await until(() => cluster.queries.size === 0);
  await expect(iterator.next()).rejects.toMatchObject({ code: "CANCELLED" });
});

test("all refuses more bytes than the limit and stops the node", async () => {
  const small = connect({ endpoints: cluster.endpoints, limits: { resultBytes: 200 } });
  const all = small.prepare("SELECT n FROM t").all();
  await expect(all).rejects.toMatchObject({ code: "LIMIT_EXCEEDED" });
  await expect(all).rejects.toThrow("iterate()");
  await until(() => cluster.queries.size === 0);
  await small.close();
});
