/** The pool of readers: batches, streams, deadlines, cancels, crashes, growth. Real processes. */

import { expect, test } from "vitest";
import type { ProcessMachine } from "../../src/machine/process-machine.ts";
import {
  ask,
  cpuTicks,
  isGone,
  toyMachine,
  until,
  WatchedQuery,
  WatchedWriter,
} from "./support/toy-machine.ts";
import { command, SILENT, TOY } from "./support/toy-processes.ts";

const COUNTING = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)";
const ENDLESS = `${COUNTING} SELECT x FROM c WHERE x < 0`;
/** Endless too, but with rows to show for it. */
const STREAM = `${COUNTING} SELECT x FROM c`;

type Options = Parameters<typeof toyMachine>[0];

async function readyMachine(options: Options = {}): Promise<ProcessMachine> {
  const machine = toyMachine(options);
  const one = new WatchedWriter(machine);
  await one.expect("ready");
  one.writer.apply([command(1, "CREATE TABLE t (x); INSERT INTO t VALUES (1), (2), (3)")]);
  await one.expect("applied");
  return machine;
}

async function pidOfReader(machine: ProcessMachine): Promise<number> {
  return Number((await ask(machine, "pid").over()).chunks[0]);
}

test("reads before the first writer is ready fail clearly", async () => {
  const machine = toyMachine();
  const query = ask(machine, "SELECT 1");
  expect(query.isOver).toBe(false);
  await query.over();
  expect(query.failure).toMatchObject({ code: "UNAVAILABLE" });
  expect(machine.readers.databaseBytes()).toBe(0);
});

test("a thousand reads at once are all answered, and an error is the query's own", async () => {
  const machine = await readyMachine();
  const queries = Array.from({ length: 1_000 }, (_, n) =>
    ask(machine, `SELECT ${n}, count(*) FROM t`),
  );
  const wrong = ask(machine, "SELECT nowhere FROM t");
  for (const [n, query] of queries.entries()) expect((await query.over()).rows).toEqual([[n, 3]]);
  await wrong.over();
  expect(wrong.failure?.message).toMatch(/no such column: nowhere/);
});

test("a stream sends what its window allows, and goes on when fetched", async () => {
  const machine = await readyMachine();
  const query = ask(machine, `${COUNTING} SELECT x FROM c LIMIT 8500`, { window: 2 });
  await query.until(() => query.chunks.length === 2);
  // The reader is held, so this is served by another one; by then a third chunk would have come.
  await ask(machine, "SELECT 1").over();
  expect(query.chunks).toHaveLength(2);
  query.running.fetch(1);
  await query.until(() => query.chunks.length === 3);
  query.running.fetch(Number.POSITIVE_INFINITY);
  await query.over();
  expect(query.rows).toEqual(Array.from({ length: 8_500 }, (_, n) => [n + 1]));
});

test("a stream has its reader to itself: others are served by new snapshots elsewhere", async () => {
  const machine = toyMachine();
  const one = new WatchedWriter(machine);
  await one.expect("ready");
  one.writer.apply([command(1, `CREATE TABLE t AS ${COUNTING} SELECT x FROM c LIMIT 5000`)]);
  await one.expect("applied");
  const before = await pidOfReader(machine);
  const stream = ask(machine, "SELECT x FROM t", { window: 1 });
  const beside = [ask(machine, "pid"), ask(machine, "pid")];
  await stream.until(() => stream.chunks.length === 1);
  for (const query of beside) expect(Number((await query.over()).chunks[0])).not.toBe(before);
  one.writer.apply([command(2, "DELETE FROM t")]);
  await one.expect("applied");
  expect((await ask(machine, "SELECT count(*) FROM t").over()).rows).toEqual([[0]]);
  stream.running.fetch(100);
  expect((await stream.over()).rows).toHaveLength(5_000);
});

test("a cancelled stream is silent at once and its reader serves others", async () => {
  const machine = await readyMachine({ readersMax: 1 });
  const before = await pidOfReader(machine);
  const query = ask(machine, STREAM, { window: 3 });
  await query.until(() => query.chunks.length === 3);
  query.running.cancel();
  query.running.fetch(5);
  expect(await pidOfReader(machine)).toBe(before);
  expect(query.chunks).toHaveLength(3);
  const unlimited = ask(machine, STREAM);
  // Several may come at once.
  await unlimited.until(() => unlimited.chunks.length >= 20);
  unlimited.running.cancel();
  const { length } = unlimited.chunks;
  expect(await pidOfReader(machine)).toBe(before);
  expect(unlimited.chunks).toHaveLength(length);
});

test("a query past its deadline is killed, and the others beside it are sent again", async () => {
  const machine = await readyMachine({ readersMax: 1 });
  const before = await pidOfReader(machine);
  const first = ask(machine, "SELECT 'before'");
  const endless = ask(machine, ENDLESS, { deadlineMs: 150 });
  const others = Array.from({ length: 50 }, (_, n) => ask(machine, `SELECT ${n}`));
  expect((await first.over()).rows).toEqual([["before"]]);
  expect(endless.isOver).toBe(false);
  await endless.over();
  expect(endless.failure).toMatchObject({
    code: "DEADLINE_EXCEEDED",
    message: expect.stringMatching(/had run for \d+ ms; its deadline is 150 ms.*readDeadlineMs/),
  });
  for (const [n, query] of others.entries()) expect((await query.over()).rows).toEqual([[n]]);
  expect(await pidOfReader(machine)).not.toBe(before);
  await until(() => isGone(before));
});

test("waiting for the caller does not count towards the deadline", async () => {
  const machine = await readyMachine();
  const query = ask(machine, `${COUNTING} SELECT x FROM c LIMIT 3500`, {
    deadlineMs: 1_000,
    window: 1,
  });
  await query.until(() => query.chunks.length === 1);
  const endless = ask(machine, ENDLESS, { deadlineMs: 1_300 });
  await endless.over();
  expect(query.isOver).toBe(false);
  query.running.fetch(9);
  expect((await query.over()).rows).toHaveLength(3_500);
});

test("streams that nobody reads do not shut other reads out", async () => {
  const machine = await readyMachine({ readersMax: 2 });
  const streams = [ask(machine, STREAM, { window: 1 }), ask(machine, STREAM, { window: 1 })];
  for (const stream of streams) await stream.until(() => stream.chunks.length === 1);
  expect((await ask(machine, "SELECT 1").over()).rows).toEqual([[1]]);
  const ended = streams.filter((stream) => stream.isOver);
  expect(ended.map(({ failure }) => failure?.code)).toEqual(["SNAPSHOT_TOO_OLD"]);
});

test("a query whose caller takes nothing is not begun until it does, and others pass it by", async () => {
  const machine = await readyMachine({ readersMax: 1 });
  const before = await pidOfReader(machine);
  const limits = { deadlineMs: 60_000, window: 1, isHeld: true };
  const held = new WatchedQuery();
  const running = machine.readers.query(Buffer.from("pid"), limits, held);
  for (let turn = 0; turn < 5; turn += 1) expect(await pidOfReader(machine)).toBe(before);
  expect([held.chunks.length, held.isOver]).toEqual([0, false]);
  running.hold?.(false);
  expect(Number((await held.over()).chunks[0])).toBe(before);
});

test("a stream whose connection is full for a second gives its reader to others; one that is only slow does not", async () => {
  const machine = await readyMachine({ readersMax: 3 });
  for (const isHeld of [false, true]) {
    const [before] = machine.readers.pids;
    const stream = ask(machine, STREAM, { window: 1 });
    await stream.until(() => stream.chunks.length === 1);
    stream.running.hold?.(isHeld);
    // A clock: its process is started for it and killed with it.
    await ask(machine, ENDLESS, { deadlineMs: 1_200 }).over();
    expect(machine.readers.pids).toEqual([before]);
    const served = await pidOfReader(machine);
    expect([served === before, stream.isOver]).toEqual([isHeld, isHeld]);
    if (isHeld) expect(stream.failure?.code).toBe("SNAPSHOT_TOO_OLD");
    stream.running.cancel();
    if (isHeld) continue;
    process.kill(served, "SIGKILL");
    await until(() => !machine.readers.pids.includes(served));
  }
});

test("a stream that is held for too long loses its snapshot, and its reader is free", async () => {
  const machine = await readyMachine({ readersMax: 1, snapshotMsMax: 120 });
  const before = await pidOfReader(machine);
  const query = ask(machine, STREAM, { window: 1 });
  await query.over();
  expect(query.chunks).toHaveLength(1);
  expect(query.failure).toMatchObject({ code: "SNAPSHOT_TOO_OLD" });
  expect(await pidOfReader(machine)).toBe(before);
});

test("a stream that holds back too much of the WAL loses its snapshot, however young", async () => {
  const machine = toyMachine({ snapshotBytesMax: 32 * 1024 });
  const one = new WatchedWriter(machine);
  await one.expect("ready");
  one.writer.apply([command(1, "CREATE TABLE t (x); INSERT INTO t VALUES (1)")]);
  await one.expect("applied");
  const stream = ask(machine, `${COUNTING} SELECT c.x FROM t, c`, { window: 1 });
  await stream.until(() => stream.chunks.length === 1);
  one.writer.apply([command(2, "INSERT INTO t VALUES (zeroblob(200000))")]);
  await stream.over();
  expect(stream.failure).toMatchObject({ code: "SNAPSHOT_TOO_OLD" });
  expect(stream.failure?.message).toContain("write-ahead log");
});

test("an abandoned endless query does not burn a core", async () => {
  const machine = await readyMachine({ readersMax: 1 });
  const before = await pidOfReader(machine);
  const idleTicks = cpuTicks(before);
  const query = ask(machine, ENDLESS, { deadlineMs: 3_600_000 });
  await until(() => cpuTicks(before) > idleTicks + 3);
  const waiting = ask(machine, "SELECT 1");
  const dropped = ask(machine, "SELECT 2");
  query.running.cancel();
  dropped.running.cancel();
  await until(() => isGone(before));
  expect((await waiting.over()).rows).toEqual([[1]]);
  await ask(machine, "SELECT 3").over();
  expect([query.isOver, dropped.isOver]).toEqual([false, false]);
});

test("the pool grows when queries take long, up to its bound, and goes on serving", async () => {
  const machine = await readyMachine({ readersMax: 3 });
  const endless = [1, 2, 3].map(() => ask(machine, ENDLESS, { deadlineMs: 3_600_000 }));
  await until(() => machine.readers.pids.length === 3);
  const last = ask(machine, "SELECT 1");
  endless[0]?.running.cancel();
  expect((await last.over()).rows).toEqual([[1]]);
  expect(machine.readers.pids).toHaveLength(3);
});

test("kept readers are used evenly, and one that was started on demand only while they are busy", async () => {
  const machine = await readyMachine({ readersMin: 2, readersMax: 3 });
  const used = new Map<number, number>();
  const count = (pid: number) => used.set(pid, (used.get(pid) ?? 0) + 1);
  while (used.size < 2) count(await pidOfReader(machine));
  used.clear();
  for (let turn = 0; turn < 40; turn += 1) count(await pidOfReader(machine));
  expect([...used.values()]).toEqual([20, 20]);
  for (let round = 0; round < 5; round += 1) {
    const queries = Array.from({ length: 64 }, () => ask(machine, "pid"));
    for (const query of queries) count(Number((await query.over()).chunks[0]));
  }
  expect([...used.values()]).toEqual([180, 180]);
  const streams = [1, 2].map(() => ask(machine, STREAM, { window: 1 }));
  for (const stream of streams) await stream.until(() => stream.chunks.length === 1);
  const third = await pidOfReader(machine);
  expect(used.has(third)).toBe(false);
  for (const stream of streams) stream.running.cancel();
  while ((await pidOfReader(machine)) === third);
  for (let turn = 0; turn < 10; turn += 1) expect(await pidOfReader(machine)).not.toBe(third);
});

test("a crash fails the query that caused it and no other", async () => {
  const deaths: string[] = [];
  const warn = (_facts: object, message: string): void => void deaths.push(message);
  const machine = await readyMachine({ readersMax: 1, logger: { ...SILENT, warn } });
  const before = await pidOfReader(machine);
  const some = Array.from({ length: 20 }, (_, n) => ask(machine, `SELECT ${n}`));
  const guilty = ask(machine, "crash");
  const more = Array.from({ length: 20 }, (_, n) => ask(machine, `SELECT ${n}`));
  await guilty.over();
  expect(guilty.failure).toMatchObject({
    code: "UNAVAILABLE",
    message: expect.stringMatching(/died while it ran this query.*SIGABRT/),
  });
  for (const [n, query] of some.entries()) expect((await query.over()).rows).toEqual([[n]]);
  for (const [n, query] of more.entries()) expect((await query.over()).rows).toEqual([[n]]);
  expect(isGone(before)).toBe(true);
  // Once among the others, once alone.
  const died = deaths.filter((message) => message === "a reader process died");
  expect(died.length).toBeLessThanOrEqual(2);
});

test("a reader killed from outside is replaced", async () => {
  const machine = await readyMachine();
  const before = await pidOfReader(machine);
  process.kill(before, "SIGKILL");
  expect(await pidOfReader(machine)).not.toBe(before);
});

test("readers that cannot start fail what waits, with the reason", async () => {
  const machine = await readyMachine({ command: [...TOY, "--no-readers"] });
  const query = ask(machine, "SELECT 1");
  await query.over();
  expect(query.failure).toMatchObject({
    code: "UNAVAILABLE",
    message: expect.stringMatching(/no luck/),
  });
});

test("more waiting reads than the bound are refused", async () => {
  const limits = { ...(await import("../../src/sql/limits.ts")).DEFAULT_LIMITS, pendingReads: 3 };
  const machine = await readyMachine({ readersMax: 1, limits });
  await pidOfReader(machine);
  const endless = ask(machine, ENDLESS, { deadlineMs: 3_600_000 });
  const filler = Array.from({ length: 63 + 3 }, () => ask(machine, "SELECT 1"));
  const refused = ask(machine, "SELECT 1");
  await refused.over();
  expect(refused.failure).toMatchObject({ code: "OVERLOADED" });
  endless.running.cancel();
  for (const query of filler) expect((await query.over()).failure).toBe(null);
});

test("close answers what waits and ends every process", async () => {
  const machine = await readyMachine();
  const before = await pidOfReader(machine);
  const endless = ask(machine, ENDLESS);
  const waiting = ask(machine, "SELECT 1");
  await new Promise<void>((resolve) => machine.readers.close(resolve));
  expect(endless.failure).toMatchObject({ code: "CLOSED" });
  expect(waiting.failure).toMatchObject({ code: "CLOSED" });
  expect(isGone(before)).toBe(true);
  const late = new WatchedQuery();
  machine.readers.query(Buffer.from("SELECT 1"), { deadlineMs: 1, window: 1 }, late);
  expect((await late.over()).failure).toMatchObject({ code: "CLOSED" });
});
