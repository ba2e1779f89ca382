/** The whole machine of a node: real processes with the real state machine, seen through the port. */

import { statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { ProcessMachine } from "../../src/machine/process-machine.ts";
import type { Value } from "../../src/sql/value.ts";
import { decodeRowChunk } from "../../src/wire/result-codec.ts";
import { encodeBatch, encodeScript, encodeStatement } from "../../src/wire/statement-codec.ts";
import {
  freshDirectory,
  realMachine,
  until,
  WatchedQuery,
  WatchedWriter,
} from "./support/toy-machine.ts";
import { job } from "./support/toy-processes.ts";

const ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)";

class RowSink extends WatchedQuery {
  readonly rows_: Value[][] = [];

  override chunk(bytes: Uint8Array, done: boolean): void {
    this.rows_.push(...(decodeRowChunk(bytes, "auto").rows as Value[][]));
    super.chunk(bytes, done);
  }
}

async function read(machine: ProcessMachine, sql: string, window = 3): Promise<Value[][]> {
  const sink = new RowSink();
  const limits = { deadlineMs: 10_000, window };
  const running = machine.readers.query(encodeStatement({ sql }), limits, sink);
  const seen = { chunks: 0 };
  while (!sink.isOver) {
    await sink.until(() => sink.isOver || sink.chunks.length > seen.chunks);
    seen.chunks = sink.chunks.length;
    if (!sink.isOver) running.fetch(1);
  }
  expect(sink.failure).toBe(null);
  return sink.rows_;
}

/** Executes scripts in leader mode and commits them as log[from..]. Returns their payloads. */
async function write(one: WatchedWriter, from: number, scripts: string[]): Promise<Uint8Array[]> {
  const payloads: Uint8Array[] = [];
  for (const [n, sql] of scripts.entries()) {
    one.writer.execute({ ...job(n, ""), batch: encodeScript(sql), timeMs: 1_000, seedLow: n });
  }
  for (const _ of scripts) {
    const { outcome } = await one.expect("executed");
    if (outcome.kind !== "proposal") throw new Error(JSON.stringify(outcome));
    payloads.push(Uint8Array.from(outcome.payload));
  }
  one.writer.commit({ index: from + scripts.length - 1, term: 1 });
  await one.expect("committed");
  return payloads;
}

test("what one machine executed another applies, and both show it to their readers", async () => {
  const [leader, follower] = [realMachine(), realMachine()];
  const [one, two] = [new WatchedWriter(leader), new WatchedWriter(follower)];
  await one.expect("ready");
  await two.expect("ready");
  const payloads = await write(one, 1, [
    "CREATE TABLE t (x INTEGER PRIMARY KEY, y DEFAULT (random()), at DEFAULT CURRENT_TIMESTAMP)",
    "INSERT INTO t (x) VALUES (1), (2); INSERT INTO t (x) SELECT x + 2 FROM t",
  ]);
  two.writer.apply(
    payloads.map((payload, n) => ({ index: n + 1, term: 1, kind: "command" as const, payload })),
  );
  expect(await two.expect("applied")).toMatchObject({ last: { index: 2 }, mismatch: null });
  const rows = await read(leader, "SELECT * FROM t ORDER BY x");
  expect(rows).toHaveLength(4);
  expect(await read(follower, "SELECT * FROM t ORDER BY x")).toEqual(rows);
});

test("a writer killed in an endless INSERT leaves the last commit", async () => {
  const machine = realMachine();
  const one = new WatchedWriter(machine);
  await one.expect("ready");
  await write(one, 1, ["CREATE TABLE t (x)", "INSERT INTO t VALUES (1)"]);
  const jobs = ["INSERT INTO t VALUES (2)", `INSERT INTO t ${ENDLESS} SELECT x FROM c`];
  for (const [n, sql] of jobs.entries()) {
    one.writer.execute({ ...job(n, ""), batch: encodeBatch([{ sql }]) });
  }
  // The first is answered although the second holds the process.
  expect((await one.expect("executed")).outcome.kind).toBe("proposal");
  const two = new WatchedWriter(machine);
  one.writer.kill();
  await one.expect("exited");
  expect((await two.expect("ready")).state).toMatchObject({ appliedIndex: 2, appliedTerm: 1 });
  expect(await read(machine, "SELECT x FROM t")).toEqual([[1]]);
  await write(two, 3, ["INSERT INTO t VALUES (3)"]);
  expect(await read(machine, "SELECT x FROM t")).toEqual([[1], [3]]);
});

test("a stream of many chunks arrives whole, at its reader's pace", async () => {
  const machine = realMachine();
  await new WatchedWriter(machine).expect("ready");
  const rows = await read(machine, `${ENDLESS} SELECT x, 'some text' FROM c LIMIT 50000`, 1);
  expect(rows).toHaveLength(50_000);
  expect(rows.every((row, n) => row[0] === n + 1)).toBe(true);
});

test("a busy writer keeps its WAL within its bound", async () => {
  const dir = freshDirectory();
  const one = new WatchedWriter(realMachine({ dir, walBytesMax: 400_000 }));
  await one.expect("ready");
  await write(one, 1, ["CREATE TABLE t (x INTEGER PRIMARY KEY, y)"]);
  for (let index = 2; index < 100; index += 1) {
    await write(one, index, [`REPLACE INTO t VALUES (1, zeroblob(${60_000 + index}))`]);
  }
  // Nearly 6 MB were written; without checkpoints all of it would be there.
  expect(statSync(join(dir, "main.db-wal")).size).toBeLessThan(1_200_000);
});

test("an idle writer copies its WAL into the file", async () => {
  const dir = freshDirectory();
  const one = new WatchedWriter(realMachine({ dir }));
  await one.expect("ready");
  await write(one, 1, ["CREATE TABLE t (x)", "INSERT INTO t VALUES (zeroblob(1000000))"]);
  await until(() => statSync(join(dir, "main.db")).size > 1_000_000);
});
