/** What is repeated, what is not, and what the caller is told: every write takes effect once or says that it is not known. */

import { getEventListeners } from "node:events";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { connect, type Database } from "../../src/client/index.ts";
import type { BalsaCode } from "../../src/sql/errors.ts";
import { FakeCluster, type FakeNode, type Script, until } from "./fake-cluster.ts";

/** Pauses between attempts are the client's own, but for one that a test asks for. */
const pauses = vi.hoisted(() => ({ next: 0 }));
vi.mock(import("../../src/client/retry.ts"), async (original) => {
  const real = await original();
  const pauseMs: typeof real.pauseMs = (...given) => pauses.next || real.pauseMs(...given);
  return { ...real, pauseMs };
});

let cluster: FakeCluster;
let db: Database;
let leader: FakeNode;

beforeEach(async () => {
  pauses.next = 0;
  cluster = new FakeCluster();
  await cluster.start(3);
  leader = cluster.node(0);
  db = connect({ endpoints: cluster.endpoints });
});

afterEach(async () => {
  await db.close();
  cluster.stop();
});

function insert(n: number, target: Database = db): Promise<unknown> {
  return target.prepare("INSERT INTO t VALUES (?)").run(n);
}

function insertsSeen(): { session: number; sequence: number }[] {
  const executes = cluster.nodes.flatMap((node) => node.of("execute"));
  return executes.map(({ session, sequence }) => ({ session, sequence }));
}

/** Runs the script for the first `times` writes and leaves the others alone. */
function first(times: number, script: Script): Script {
  let left = times;
  return (request, stream) => {
    if (request.body.kind !== "execute" || left === 0) return false;
    left -= 1;
    return script(request, stream);
  };
}

test("a write whose answer is lost is sent again under its number and applied once", async () => {
  await insert(0);
  leader.script = first(1, (request, stream) => {
    if (request.body.kind === "execute") cluster.apply(request.body);
    stream.drop();
    return true;
  });
  expect(await insert(1)).toEqual({ changes: 1, lastInsertRowid: 2, index: 3 });
  expect(cluster.executed).toHaveLength(2);
  const [, sent, again] = insertsSeen();
  expect(again).toEqual(sent);
});

test("many writes under way when the connection breaks are each applied once", async () => {
  await insert(0);
  let seen = 0;
  leader.script = (request, stream) => {
    if (request.body.kind !== "execute") return false;
    seen += 1;
    if (seen > 60) return false;
    if (seen % 2 === 0) cluster.apply(request.body);
    if (seen === 60) stream.drop();
    return true;
  };
  await Promise.all(Array.from({ length: 100 }, (_, n) => insert(n + 1)));
  const values = cluster.args.map((args) => String(args.kind === "positional" && args.values[0]));
  expect(new Set(values).size).toBe(101);
  expect(values).toHaveLength(101);
});

test("the acknowledged floor is the highest sequence with nothing open below it", async () => {
  await insert(1);
  let held: (() => void) | null = null;
  leader.script = first(1, (request, stream) => {
    held = () => cluster.serve(request, stream);
    return true;
  });
  const slow = insert(2);
  await until(() => held !== null);
  await insert(3);
  await insert(4);
  (held as (() => void) | null)?.();
  await slow;
  await insert(5);
  const floors = leader.of("execute").map((body) => [body.sequence, body.acknowledgedThrough]);
  expect(floors).toEqual([
    [1, 0],
    [2, 1],
    [3, 1],
    [4, 1],
    [5, 4],
  ]);
});

test("no more writes are numbered than the window holds, and the rest follow in order", async () => {
  await insert(0);
  let held: (() => void) | null = null;
  leader.script = first(1, (request, stream) => {
    held = () => cluster.serve(request, stream);
    return true;
  });
  const writes = Array.from({ length: 4200 }, (_, n) => insert(n + 1));
  await until(() => cluster.executed.length === 4096);
  expect(leader.of("execute").at(-1)?.sequence).toBe(4097);
  (held as (() => void) | null)?.();
  await Promise.all(writes);
  const sequences = leader.of("execute").map((body) => body.sequence);
  expect(sequences).toEqual(Array.from({ length: 4201 }, (_, n) => n + 1));
});

test("an expired session is replaced, and a write that was never open in it moves on", async () => {
  await insert(1);
  cluster.sessions.clear();
  await Promise.all([insert(2), insert(3)]);
  expect(cluster.executed).toHaveLength(3);
  expect(cluster.sessions.size).toBe(1);
  const [one, two, three, again, last] = insertsSeen();
  expect([one, two, three].map((write) => write?.sequence)).toEqual([1, 2, 3]);
  expect([again, last].map((write) => write?.sequence)).toEqual([1, 2]);
});

test("a write that may have been applied in a session that expired is not executed again", async () => {
  await insert(1);
  leader.script = first(1, (request, stream) => {
    if (request.body.kind === "execute") cluster.apply(request.body);
    cluster.sessions.clear();
    stream.drop();
    return true;
  });
  await expect(insert(2)).rejects.toMatchObject({ code: "SESSION_EXPIRED", outcome: "unknown" });
  expect(cluster.executed).toHaveLength(2);
  await insert(3);
  expect(cluster.executed).toHaveLength(3);
});

test("so is one that a deposed leader could not answer for", async () => {
  await insert(1);
  leader.script = first(1, (request, stream) => {
    if (request.body.kind === "execute") cluster.apply(request.body);
    cluster.sessions.clear();
    stream.fail(request.id, "LEADERSHIP_LOST", { outcome: "unknown" });
    return true;
  });
  await expect(insert(2)).rejects.toMatchObject({ code: "SESSION_EXPIRED", outcome: "unknown" });
  expect(cluster.executed).toHaveLength(2);
});

test("opening a session is repeated until it succeeds", async () => {
  let refusals = 0;
  leader.script = (request, stream) => {
    if (request.body.kind !== "openSession" || refusals === 3) return false;
    refusals += 1;
    if (refusals === 2) stream.drop();
    else stream.fail(request.id, "OVERLOADED");
    return true;
  };
  await Promise.all([insert(1), insert(2)]);
  expect(refusals).toBe(3);
  expect(cluster.sessions.size).toBe(1);
});

const AGAIN: BalsaCode[] = [
  "LEADERSHIP_LOST",
  "UNAVAILABLE",
  "OVERLOADED",
  "NO_SPACE",
  "NO_LEADER",
  "CLOSED",
];

test.each(AGAIN)("a write refused with %s is repeated under its number", async (code) => {
  leader.script = first(2, (request, stream) => {
    stream.fail(request.id, code, { outcome: "unknown" });
    return true;
  });
  await insert(1);
  expect(cluster.executed).toHaveLength(1);
  expect(insertsSeen().map(({ sequence }) => sequence)).toEqual([1, 1, 1]);
});

const FINAL: BalsaCode[] = ["INVALID_ARGUMENT", "REFUSED", "DEADLINE_EXCEEDED", "INTERNAL"];

test.each(FINAL)("a write refused with %s is not repeated", async (code) => {
  leader.script = first(1, (request, stream) => {
    stream.fail(request.id, code, { outcome: "not-applied" });
    return true;
  });
  await expect(insert(1)).rejects.toMatchObject({ code, outcome: "not-applied" });
  expect(insertsSeen()).toHaveLength(1);
});

test("SQLite's refusal of a repeated write says that no earlier attempt was applied", async () => {
  await insert(0);
  leader.script = first(2, (request, stream) => {
    if (insertsSeen().length === 2) stream.drop();
    else stream.fail(request.id, "SQLITE_FULL");
    return true;
  });
  await expect(insert(1)).rejects.toMatchObject({ name: "SqlError", code: "SQLITE_FULL" });
});

test("a read is repeated when its connection breaks", async () => {
  let asked = 0;
  leader.script = (request, stream) => {
    if (request.body.kind !== "query") return false;
    asked += 1;
    if (asked === 1) stream.drop();
    return asked === 1;
  };
  expect(await db.prepare("SELECT 1").all()).toEqual([{ n: 1 }]);
});

test("a deadline that passes while the write may be under way leaves its outcome unknown", async () => {
  await insert(0);
  leader.script = first(1, () => true);
  const started = performance.now();
  const late = insert(1, db.with({ deadlineMs: 400 }));
  await expect(late).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED", outcome: "unknown" });
  expect(performance.now() - started).toBeLessThan(3_000);
  await until(() => leader.of("cancel").length === 1);
  // The floor passes it: a late duplicate will be refused.
  await insert(2);
  await insert(3);
  expect(leader.of("execute").at(-1)?.acknowledgedThrough).toBe(3);
});

test("the node is told a little less time than there is", async () => {
  await insert(1, db.with({ deadlineMs: 1_000 }));
  const timeoutMs = leader.of("execute")[0]?.timeoutMs ?? 0;
  expect(timeoutMs).toBeGreaterThan(500);
  expect(timeoutMs).toBeLessThanOrEqual(900);
});

test("a deadline that passes between attempts, each refused, leaves the write not applied", async () => {
  await insert(0);
  leader.script = first(1_000, (request, stream) => {
    // The deadline must not meet an attempt under way: what became of that would not be known.
    if (insertsSeen().length === 1 + 5) pauses.next = 60_000;
    stream.fail(request.id, "OVERLOADED", { facts: { limit: "pendingWrites" } });
    return true;
  });
  const late = insert(1, db.with({ deadlineMs: 400 }));
  await expect(late).rejects.toMatchObject({
    code: "DEADLINE_EXCEEDED",
    outcome: "not-applied",
    facts: { last: "OVERLOADED" },
  });
  expect(insertsSeen()).toHaveLength(1 + 5);
});

test("a leader that refuses everything is not asked without a pause", async () => {
  await insert(0);
  leader.script = first(1_000, (request, stream) => {
    stream.fail(request.id, "OVERLOADED");
    return true;
  });
  await expect(insert(1, db.with({ deadlineMs: 400 }))).rejects.toThrow("OVERLOADED");
  expect(insertsSeen().length).toBeGreaterThan(2);
  expect(insertsSeen().length).toBeLessThan(40);
});

test("a leader that can do nothing is not asked without a pause", async () => {
  leader.script = first(1_000, (request, stream) => {
    stream.fail(request.id, "UNAVAILABLE");
    return true;
  });
  await expect(insert(1, db.with({ deadlineMs: 400 }))).rejects.toThrow("UNAVAILABLE");
  expect(insertsSeen().length).toBeGreaterThan(3);
  expect(insertsSeen().length).toBeLessThan(40);
});

test("a deadline that passes before there is a leader says so, and nothing was sent", async () => {
  cluster.lead(null);
  const late = insert(1, db.with({ deadlineMs: 150 }));
  await expect(late).rejects.toMatchObject({ outcome: "not-applied" });
  expect(insertsSeen()).toEqual([]);
});

test("an abort ends the call, and tells the node", async () => {
  await insert(0);
  leader.script = first(1, () => true);
  const controller = new AbortController();
  const write = insert(1, db.with({ signal: controller.signal }));
  const read = db.with({ signal: controller.signal }).prepare("SELECT 1");
  await until(() => leader.of("execute").length === 2);
  controller.abort(new Error("enough"));
  await expect(write).rejects.toMatchObject({
    code: "CANCELLED",
    outcome: "unknown",
    cause: { message: "enough" },
  });
  await until(() => leader.of("cancel").length === 1);
  await expect(read.all()).rejects.toMatchObject({ code: "CANCELLED" });
  await expect(read.iterate().next()).rejects.toMatchObject({ code: "CANCELLED" });
  await expect(db.status({ signal: controller.signal })).rejects.toMatchObject({
    code: "CANCELLED",
  });
  await insert(2);
});

test("one signal may serve thousands of calls without a warning", async () => {
  const warnings: Error[] = [];
  const listen = (warning: Error): number => warnings.push(warning);
  process.on("warning", listen);
  const { signal } = new AbortController();
  const signalled = db.with({ signal });
  await Promise.all(Array.from({ length: 200 }, (_, n) => insert(n, signalled)));
  await new Promise((resolve) => setImmediate(resolve));
  process.off("warning", listen);
  expect(warnings).toEqual([]);
  expect(getEventListeners(signal, "abort")).toEqual([]);
});

test("what is beyond the bounds of pending requests is refused at once", async () => {
  leader.script = () => true;
  const small = connect({
    endpoints: cluster.endpoints,
    limits: { pendingRequests: 3, pendingBytes: 10_000 },
  });
  const held = [1, 2].map((n) => insert(n, small));
  const settled = Promise.allSettled(held);
  const large = small.prepare("SELECT ?").all(new Uint8Array(20_000));
  await expect(large).rejects.toMatchObject({
    code: "OVERLOADED",
    facts: { limit: "pendingBytes" },
  });
  held.push(insert(3, small));
  held[2]?.catch(() => {});
  await expect(insert(4, small)).rejects.toMatchObject({
    code: "OVERLOADED",
    outcome: "not-applied",
    facts: { limit: "pendingRequests" },
  });
  await small.close();
  await settled;
});

test("closing rejects what is pending, and everything after it", async () => {
  await insert(0);
  leader.script = (request) => request.body.kind !== "openSession";
  const write = insert(1);
  const read = db.prepare("SELECT 1").all();
  const rows = db.prepare("SELECT 1").iterate();
  const row = rows.next();
  const pending = Promise.allSettled([write, read, row]);
  await until(() => leader.of("execute").length === 2);
  await db.close();
  const reasons = (await pending).map((result) => result.status === "rejected" && result.reason);
  expect(reasons).toMatchObject([
    { code: "CLOSED", outcome: "unknown" },
    { code: "CLOSED", outcome: "not-applied" },
    { code: "CLOSED", outcome: "not-applied" },
  ]);
  await expect(insert(2)).rejects.toMatchObject({ code: "CLOSED", outcome: "not-applied" });
  await expect(db.prepare("SELECT 1").get()).rejects.toMatchObject({ code: "CLOSED" });
  await expect(db.status()).rejects.toMatchObject({ code: "CLOSED" });
  await db.close();
});
