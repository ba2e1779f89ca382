/** The writer's process, seen from its node: order, batching, kill, lock, faults. Real processes. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import {
  freshDirectory,
  hasOpen,
  isGone,
  toyMachine,
  until,
  WatchedWriter,
} from "./support/toy-machine.ts";
import { command, job } from "./support/toy-processes.ts";

const ENDLESS =
  "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) " +
  "SELECT x FROM c WHERE x < 0";

test("the built children are there", () => {
  const loop = fileURLToPath(new URL("../../dist/machine/writer-loop.js", import.meta.url));
  expect(existsSync(loop), "run `npm run build` first").toBe(true);
});

test("a writer executes, commits and applies, and answers in order", async () => {
  const machine = toyMachine();
  const one = new WatchedWriter(machine);
  expect((await one.expect("ready")).state).toMatchObject({
    appliedIndex: 0,
    appliedTerm: 0,
    timeMs: 0,
  });
  one.execute(1, "CREATE TABLE t (x)");
  one.execute(2, "INSERT INTO nowhere VALUES (1)");
  one.writer.commit({ index: 1, term: 3 });
  one.writer.apply([command(2, "INSERT INTO t VALUES (1)"), command(3, "DELETE FROM t", 4)]);
  const [did, failed, committed, applied] = [
    await one.expect("executed"),
    await one.expect("executed"),
    await one.expect("committed"),
    await one.expect("applied"),
  ];
  expect(did.id).toBe(1);
  expect(did.outcome.kind === "proposal" && Buffer.from(did.outcome.payload).toString()).toBe(
    "CREATE TABLE t (x)",
  );
  expect(did.outcome.kind === "proposal" && Buffer.from(did.outcome.result).toString()).toBe(
    "did 1",
  );
  expect(failed.outcome).toMatchObject({ kind: "failure", failure: { code: "SQLITE_ERROR" } });
  expect(committed.last).toEqual({ index: 1, term: 3 });
  expect(applied).toMatchObject({ last: { index: 3, term: 4 }, mismatch: null });
  one.writer.close();
  expect((await one.expect("exited")).reason).toBe("closed");
  expect(machine.readers.databaseBytes()).toBeGreaterThan(4_000);
});

test("every field of a job, an answer and a mismatch arrives", async () => {
  const one = new WatchedWriter(toyMachine());
  await one.expect("ready");
  const facts = {
    session: 2 ** 52 + 1,
    sequence: 3,
    acknowledgedThrough: 2,
    timeMs: 1.7e12,
    seedHigh: 0xffff_ffff,
    seedLow: 0x8000_0001,
  };
  one.writer.execute({ ...job(2 ** 40 + 5, ""), ...facts });
  const { id, outcome } = await one.expect("executed");
  expect(id).toBe(2 ** 40 + 5);
  expect(outcome).toMatchObject({ kind: "answer", index: 7 });
  const result = outcome.kind === "answer" ? Buffer.from(outcome.result).toString() : "";
  expect(JSON.parse(result)).toEqual(facts);
  one.writer.apply([{ index: 1, term: 666, kind: "noop", payload: new Uint8Array(0) }]);
  const { mismatch } = await one.expect("applied");
  expect(mismatch).toEqual({ index: 1, expected: 1, found: 2, detail: "a planted difference" });
});

test("thousands of jobs at once, and one of 8 MB, pass in order", async () => {
  const one = new WatchedWriter(toyMachine());
  await one.expect("ready");
  one.execute(1, "CREATE TABLE t (x)");
  const large = `INSERT INTO t VALUES ('${"x".repeat(8_000_000)}')`;
  for (let id = 2; id <= 3_000; id += 1) {
    one.execute(id, id === 1_500 ? large : `INSERT INTO t VALUES (${id})`);
  }
  for (let id = 1; id <= 3_000; id += 1) {
    const { id: answered, outcome } = await one.expect("executed");
    expect(answered).toBe(id);
    expect(outcome.kind).toBe("proposal");
    if (id !== 1_500 || outcome.kind !== "proposal") continue;
    expect(Buffer.from(outcome.payload).equals(Buffer.from(large))).toBe(true);
  }
});

test("an answer is not held back by an endless statement behind it", async () => {
  const one = new WatchedWriter(toyMachine());
  await one.expect("ready");
  one.execute(1, "CREATE TABLE t (x)");
  for (let id = 2; id <= 40; id += 1) one.execute(id, `INSERT INTO t VALUES (${id})`);
  one.execute(41, ENDLESS);
  for (let id = 1; id <= 40; id += 1) expect((await one.expect("executed")).id).toBe(id);
});

test("a writer killed in an endless INSERT leaves the last commit to the next", async () => {
  const machine = toyMachine();
  const one = new WatchedWriter(machine);
  await one.expect("ready");
  one.execute(1, "CREATE TABLE t (x); INSERT INTO t VALUES (1)");
  one.writer.commit({ index: 1, term: 1 });
  await one.expect("executed");
  await one.expect("committed");
  one.execute(2, "INSERT INTO t VALUES (2)");
  one.execute(3, ENDLESS);
  await one.expect("executed");
  one.writer.kill();
  one.writer.kill();
  expect((await one.expect("exited")).reason).toBe("killed by its node");
  const two = new WatchedWriter(machine);
  expect((await two.expect("ready")).state.appliedIndex).toBe(1);
  two.execute(1, "CREATE TABLE only_one AS SELECT 1 / (count(*) = 1) AS x FROM t");
  two.writer.commit({ index: 2, term: 1 });
  expect((await two.expect("executed")).outcome.kind).toBe("proposal");
});

test("a new writer waits until the old one is gone", async () => {
  const machine = toyMachine();
  const one = new WatchedWriter(machine);
  await one.expect("ready");
  one.execute(1, "CREATE TABLE t (x)");
  const two = new WatchedWriter(machine);
  await until(() => hasOpen(two.writer.pid, "writer.lock"));
  await one.expect("executed");
  // The old one still works, for longer than the new one would take.
  for (let n = 0; n < 300; n += 1) {
    one.execute(2 + n, "");
    await one.expect("executed");
  }
  one.writer.commit({ index: 1, term: 1 });
  await one.expect("committed");
  expect(two.events).toEqual([]);
  one.writer.kill();
  await one.expect("exited");
  expect((await two.expect("ready")).state.appliedIndex).toBe(1);
});

test("a writer that waits for the lock in vain says so", async () => {
  const machine = toyMachine({ lockWaitMs: 30 });
  const one = new WatchedWriter(machine);
  await one.expect("ready");
  const two = new WatchedWriter(machine);
  expect((await two.expect("exited")).reason).toMatch(/another writer still holds .*writer.lock/);
});

test("a fault ends the process and its reason is told", async () => {
  const one = new WatchedWriter(toyMachine());
  await one.expect("ready");
  one.execute(1, "fault");
  one.execute(2, "SELECT 1");
  expect((await one.expect("exited")).reason).toBe("SQLITE_FULL: disk full");
});

test("a crash is told with its signal, and a program that does not exist with its name", async () => {
  const one = new WatchedWriter(toyMachine());
  await one.expect("ready");
  one.execute(1, "crash");
  expect((await one.expect("exited")).reason).toMatch(/SIGABRT/);
  const two = new WatchedWriter(toyMachine({ command: ["/no/such/program"] }));
  expect((await two.expect("exited")).reason).toMatch(/cannot start a writer process.*ENOENT/);
  const command = [process.execPath, "-e", "throw new Error('no luck')"];
  const three = new WatchedWriter(toyMachine({ command }));
  expect((await three.expect("exited")).reason).toMatch(/exit code 1: .*no luck/s);
});

test("the process in reserve takes over, is replaced, and ends with the machine", async () => {
  const machine = toyMachine();
  const one = new WatchedWriter(machine);
  await one.expect("ready");
  // The first one became the first reader.
  await until(() => machine.reservePid !== 0 && !machine.readers.pids.includes(machine.reservePid));
  const reserve = machine.reservePid;
  one.writer.kill();
  const two = new WatchedWriter(machine);
  expect(two.writer.pid).toBe(reserve);
  await two.expect("ready");
  await until(() => machine.reservePid !== 0);
  process.kill(machine.reservePid, "SIGKILL");
  await until(() => machine.reservePid === 0);
  await until(() => machine.reservePid !== 0);
  const last = machine.reservePid;
  two.writer.close();
  await two.expect("exited");
  await new Promise<void>((resolve) => machine.readers.close(resolve));
  expect(isGone(last)).toBe(true);
});

test("a signal to the whole group ends no child", async () => {
  const machine = toyMachine();
  const one = new WatchedWriter(machine);
  await one.expect("ready");
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.kill(one.writer.pid, signal);
    one.execute(1, "");
    expect((await one.expect("executed")).outcome.kind).toBe("answer");
  }
});

test("a node killed while its children run endless queries takes them with it", async () => {
  const parent = spawn(
    process.execPath,
    [
      "--import",
      "tsx",
      fileURLToPath(new URL("./support/doomed-node.ts", import.meta.url)),
      freshDirectory(),
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  onTestFinished(() => void parent.kill("SIGKILL"));
  const [line] = (await once(parent.stdout, "data")) as [Buffer];
  const pids = JSON.parse(line.toString()) as number[];
  // The writer, the reader and the one in reserve.
  expect(pids).toHaveLength(3);
  expect(pids.some(isGone)).toBe(false);
  parent.kill("SIGKILL");
  await until(() => pids.every(isGone));
});
