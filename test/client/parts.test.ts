/** The parts that need no cluster: routes, options, sessions, pauses; and that a closed client leaves nothing behind. */

import { expect, test } from "vitest";
import { type ConnectOptions, connect } from "../../src/client/index.ts";
import { pauseMs } from "../../src/client/retry.ts";
import { Session, WINDOW } from "../../src/client/session.ts";
import { type Route, routeOf } from "../../src/client/sql-text.ts";
import { FakeCluster, until } from "./fake-cluster.ts";

const ROUTES: [string, Route][] = [
  ["SELECT 1", "read"],
  ["", "read"],
  ["  -- INSERT\n select 1", "read"],
  ["/* DELETE */ values (1)", "read"],
  ["insert into t values (1)", "write"],
  ["Replace INTO t VALUES (1)", "write"],
  [";;UPDATE t SET n = 1", "write"],
  ["DELETE FROM t", "write"],
  ["DELETE FROM t returning *", "returning"],
  ["INSERT INTO t VALUES ('RETURNING')", "write"],
  ["INSERT INTO t VALUES ('it''s RETURNING')", "write"],
  ['INSERT INTO "a""RETURNING" VALUES (1)', "write"],
  ["INSERT INTO t VALUES (1) -- RETURNING", "write"],
  ["INSERT INTO t SELECT (SELECT n FROM u /* ) */ WHERE returning = 1)", "write"],
  ["INSERT INTO t(a) VALUES ($returning) RETURNING a", "returning"],
  ["INSERT INTO t VALUES (1); SELECT 1 RETURNING", "write"],
  ["WITH a AS (SELECT 1) SELECT * FROM a", "read"],
  ["WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "write"],
  [
    "WITH RECURSIVE a(x, y) AS NOT MATERIALIZED (SELECT 1), b AS (VALUES (1)) DELETE FROM t",
    "write",
  ],
  ["WITH [insert] AS MATERIALIZED (SELECT 1) UPDATE t SET n = 1 RETURNING n", "returning"],
  ["WITH replace AS (SELECT 1) SELECT * FROM replace", "read"],
  ["EXPLAIN INSERT INTO t VALUES (1)", "read"],
  ["'unterminated INSERT", "read"],
  ["WITH", "read"],
  ["WITH a AS", "read"],
];

test.each(ROUTES)("%s is a %s", (sql, route) => {
  expect(routeOf(sql)).toBe(route);
});

test("a look at a long text takes linear time", () => {
  const text = `INSERT INTO t VALUES ('${"''".repeat(400_000)}')`;
  expect(routeOf(text)).toBe("write");
  expect(routeOf("(".repeat(800_000))).toBe("read");
});

const endpoints = ["127.0.0.1:4001"];
const BAD: [string, unknown][] = [
  ["an object of options", undefined],
  ["an object of options", endpoints],
  ['"endpoints"', {}],
  ['"endpoints"', { endpoints: [] }],
  ['"endpoints"', { endpoints: "127.0.0.1:4001" }],
  ["127.0.0.1", { endpoints: ["127.0.0.1"] }],
  ["70000", { endpoints: ["127.0.0.1:70000"] }],
  ["http://a:1", { endpoints: ["http://a:1"] }],
  ['did you mean "deadlineMs"', { endpoints, deadline: 5 }],
  ['did you mean "endpoints"', { endpoint: endpoints }],
  ['did you mean "consistency"', { endpoints, consistancy: "stale" }],
  ['did you mean "maxStalenessMs"', { endpoints, maxStaleness: 5 }],
  ["the options are endpoints", { endpoints, retries: 5 }],
  ['"deadlineMs"', { endpoints, deadlineMs: 0 }],
  ['"deadlineMs"', { endpoints, deadlineMs: 1.5 }],
  ['"deadlineMs"', { endpoints, deadlineMs: "10" }],
  ['"integers"', { endpoints, integers: "string" }],
  ['"consistency"', { endpoints, consistency: "strong" }],
  ['"maxStalenessMs"', { endpoints, maxStalenessMs: 10 }],
  ['"signal"', { endpoints, signal: {} }],
  ['"limits.valueBytes"', { endpoints, limits: { valueBytes: -1 } }],
  ['"limits.requestBytes"', { endpoints, limits: { requestBytes: 20_000_000 } }],
  ['did you mean "valueBytes"', { endpoints, limits: { valueByte: 1 } }],
];

test.each(BAD)("bad options are named: %s", (words, options) => {
  expect(() => connect(options as ConnectOptions)).toThrow(words);
  expect(() => connect(options as ConnectOptions)).toThrow(
    expect.objectContaining({ code: "INVALID_ARGUMENT" }),
  );
});

test("options of a call are checked as those of a client", async () => {
  const db = connect({ endpoints: ["[::1]:4001", "node-1.example:4001"] });
  expect(() => db.with({ deadlineMs: -1 })).toThrow("deadlineMs");
  // @ts-expect-error endpoints belong to the client
  expect(() => db.with({ endpoints })).toThrow("endpoints");
  await expect(db.exec("SELECT 1", { deadlineMs: Number.NaN })).rejects.toThrow("deadlineMs");
  expect(() => db.prepare("SELECT 1").with({ atLeast: -1 })).toThrow("atLeast");
  await db.close();
});

test("a session's floor follows the oldest open write, in any order of answers", () => {
  const session = new Session(7);
  const taken = Array.from({ length: WINDOW }, () => session.take());
  expect(taken[0]).toBe(1);
  expect(session.take()).toBe(0);
  for (const sequence of taken.slice(1).reverse()) session.settle(sequence);
  expect(session.acknowledgedThrough).toBe(0);
  expect(session.hasRoom).toBe(false);
  session.settle(1);
  expect(session.acknowledgedThrough).toBe(WINDOW);
  expect(session.take()).toBe(WINDOW + 1);
  for (let n = WINDOW + 1; n < 4 * WINDOW; n += 1) {
    session.settle(n);
    expect(session.take()).toBe(n + 1);
  }
  expect(session.acknowledgedThrough).toBe(4 * WINDOW - 1);
});

test("pauses grow with the time spent, within their bounds, and spread", () => {
  expect(pauseMs(0, 0.5)).toBe(20);
  expect(pauseMs(600, 0.5)).toBe(100);
  expect(pauseMs(60_000, 0.5)).toBe(500);
  expect(pauseMs(600, 0)).toBe(75);
  expect(pauseMs(600, 1)).toBe(125);
});

test("a closed client leaves no socket and no timer", async () => {
  const cluster = new FakeCluster();
  await cluster.start(2);
  const before = count(process.getActiveResourcesInfo());
  {
    await using db = connect({ endpoints: [...cluster.endpoints, "127.0.0.1:9"] });
    await db.prepare("INSERT INTO t VALUES (1)").run();
    await db.with({ consistency: "stale" }).prepare("SELECT 1").all();
    db.prepare("SELECT 1")
      .all()
      .catch(() => {});
  }
  await until(() => count(process.getActiveResourcesInfo()) <= before);
  cluster.stop();
});

function count(resources: readonly string[]): number {
  return resources.filter((kind) => /TCP(Socket|)Wrap|Timeout|Immediate/.test(kind)).length;
}
