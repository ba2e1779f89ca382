/** Checkpoints, copies and installations with real processes. */

import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, onTestFinished, test, vi } from "vitest";
import { openMachine, type ProcessMachine } from "../../src/machine/process-machine.ts";
import { ProcessWriter } from "../../src/machine/process-writer.ts";
import type { IncomingSnapshot, OutgoingSnapshot, SnapshotManifest } from "../../src/node/ports.ts";
import { SNAPSHOT_CHUNK_BYTES } from "../../src/wire/snapshot-codec.ts";
import { encodeBatch, encodeStatement } from "../../src/wire/statement-codec.ts";
import { freshDirectory, WatchedQuery, WatchedWriter } from "./support/toy-machine.ts";
import { SILENT } from "./support/toy-processes.ts";

interface Bench {
  readonly dir: string;
  readonly machine: ProcessMachine;
  readonly writer: WatchedWriter;
}

async function started(dir = freshDirectory()): Promise<Bench> {
  const machine = openMachine({ dir, logger: SILENT });
  onTestFinished(
    () => new Promise<void>((done) => machine.readers.close(() => machine.close(done))),
  );
  await machine.recover({ index: 0, term: 0 }, () => false);
  const writer = new WatchedWriter(machine);
  await writer.expect("ready");
  return { dir, machine, writer };
}

/** Executes one request and commits it as the next entry. */
async function write({ writer }: Bench, index: number, sql: string): Promise<void> {
  writer.writer.execute({
    id: index,
    batch: encodeBatch([{ sql }]),
    openSession: false,
    session: 0,
    sequence: 0,
    acknowledgedThrough: 0,
    timeMs: 1,
    seedHigh: index,
    seedLow: 1,
  });
  const { outcome } = await writer.expect("executed");
  expect(outcome.kind).toBe("proposal");
  writer.writer.commit({ index, term: 2 });
  await writer.expect("committed");
}

const FILL = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
  INSERT INTO t SELECT randomblob(8000) FROM n`;

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries += 1) {
    if (tries > 2_000) throw new Error("never");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function offer(machine: ProcessMachine, atLeast: number, id = ""): Promise<OutgoingSnapshot> {
  return new Promise((resolve, reject) => {
    machine.snapshots.offer(atLeast, id, (error, snapshot) => {
      if (snapshot !== null) resolve(snapshot);
      else reject(error);
    });
  });
}

function read(snapshot: OutgoingSnapshot, chunk: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    snapshot.read(chunk * SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNK_BYTES, (error, bytes) => {
      if (bytes !== null) resolve(bytes);
      else reject(error);
    });
  });
}

async function take(machine: ProcessMachine, from: OutgoingSnapshot): Promise<SnapshotManifest> {
  const { manifest } = from;
  const incoming = await new Promise<IncomingSnapshot | null>((resolve) => {
    machine.snapshots.receive(manifest, (_error, value) => resolve(value));
  });
  if (incoming === null) throw new Error("no file");
  for (let chunk = 0; chunk < manifest.chunks.length; chunk += 1) {
    const bytes = await read(from, chunk);
    await new Promise<void>((resolve) => {
      incoming.write(chunk * SNAPSHOT_CHUNK_BYTES, bytes, () => resolve());
    });
  }
  await new Promise<void>((resolve, reject) => {
    incoming.finish((error) => (error === null ? resolve() : reject(error)));
  });
  return manifest;
}

function install(machine: ProcessMachine, mark: { index: number; term: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    machine.install(mark, (error) => (error === null ? resolve() : reject(error)));
  });
}

function count(machine: ProcessMachine): Promise<WatchedQuery> {
  const query = new WatchedQuery();
  const statement = encodeStatement({ sql: "SELECT count(*) FROM t" });
  machine.readers.query(statement, { deadlineMs: 10_000, window: 1 }, query);
  return query.over();
}

test("a writer tells how far the file is complete: when it is idle, and when its WAL has grown", async () => {
  const bench = await started();
  await write(bench, 1, "CREATE TABLE t (b)");
  await until(() => bench.writer.checkpoints.includes(1));
  await write(bench, 2, FILL);
  await until(() => bench.writer.checkpoints.includes(2));
  // Nothing new, nothing told.
  const told = bench.writer.checkpoints.length;
  // Another writer's idle time, begun later, is over: so is this one's.
  const witness = await started();
  await write(witness, 1, "CREATE TABLE t (b)");
  await until(() => witness.writer.checkpoints.includes(1));
  expect(bench.writer.checkpoints.length).toBe(told);
});

test("a checkpoint that a reader keeps from being complete is not told, and is made up for", async () => {
  const bench = await started();
  await write(bench, 1, "CREATE TABLE t (b)");
  const pinned = new Database(join(bench.dir, "main.db"), { readonly: true });
  pinned.exec("BEGIN");
  pinned.prepare("SELECT count(*) FROM t").get();
  const asked = vi.spyOn(ProcessWriter.prototype, "checkpoint");
  onTestFinished(() => asked.mockRestore());
  await write(bench, 2, FILL);
  // The second is asked for once the first was answered: pinned.
  await until(() => asked.mock.calls.length >= 2);
  expect(bench.writer.checkpoints).not.toContain(2);
  pinned.close();
  await until(() => bench.writer.checkpoints.includes(2));
});

test("a copy is exact as of one entry while writes go on, and is shared", async () => {
  const bench = await started();
  await write(bench, 1, "CREATE TABLE t (b)");
  await write(bench, 2, FILL);
  const offering = offer(bench.machine, 2);
  for (let index = 3; index < 40; index += 1) {
    await write(bench, index, "INSERT INTO t VALUES (randomblob(100))");
  }
  const snapshot = await offering;
  const { index, bytes, chunks } = snapshot.manifest;
  expect(index).toBeGreaterThanOrEqual(2);
  expect(chunks.length).toBe(Math.ceil(bytes / SNAPSHOT_CHUNK_BYTES));
  expect((await offer(bench.machine, 2)).manifest.id).toBe(snapshot.manifest.id);
  const later = await offer(bench.machine, 39);
  expect(later.manifest.index).toBe(39);
});

test("an installed snapshot takes the place of the database under running readers", async () => {
  const source = await started();
  await write(source, 1, "CREATE TABLE t (b)");
  await write(source, 2, FILL);
  const bench = await started();
  await write(bench, 1, "CREATE TABLE t (b)");
  await write(bench, 2, "INSERT INTO t VALUES (1)");
  expect((await count(bench.machine)).failure).toBe(null);
  const pids = bench.machine.readers.pids;
  const manifest = await take(bench.machine, await offer(source.machine, 2));
  bench.writer.writer.kill();
  const asked = install(bench.machine, manifest);
  // It waits for the new file.
  const during = count(bench.machine);
  await asked;
  expect(readdirSync(join(bench.dir, "snapshots"))).toEqual([]);
  const next = new WatchedWriter(bench.machine);
  expect((await next.expect("ready")).state).toMatchObject({ appliedIndex: 2, appliedTerm: 2 });
  expect((await during).failure).toBe(null);
  expect(bench.machine.readers.pids).not.toEqual(pids);
  await until(() => next.checkpoints.includes(2));
});

test("what was damaged on the way is refused, and nothing is left of it", async () => {
  const source = await started();
  await write(source, 1, "CREATE TABLE t (b)");
  await write(source, 2, FILL);
  const offered = await offer(source.machine, 2);
  const bench = await started();
  const damaged: OutgoingSnapshot = {
    ...offered,
    read: (offset, bytes, done) => {
      offered.read(offset, bytes, (error, value) => {
        if (value !== null && offset > 0) value[100] = (value[100] as number) ^ 1;
        done(error, value);
      });
    },
  };
  await expect(take(bench.machine, damaged)).rejects.toThrow(/digest/);
  expect(readdirSync(join(bench.dir, "snapshots"))).toEqual([]);
  const lying = { ...offered, manifest: { ...offered.manifest, index: 7 } };
  await expect(take(bench.machine, lying)).rejects.toThrow(/holds entry 2/);
  expect(existsSync(join(bench.dir, "main.db"))).toBe(true);
  await take(bench.machine, offered);
  const ready = join(bench.dir, "snapshots", "ready-2-2.db");
  expect(statSync(ready).size).toBe(offered.manifest.bytes);
});
