/**
 * Reads on a real cluster as their worst callers make them: rows without end that are read slowly, held, left, or whose reader is
 * killed; moments that are too old; and what every result says of itself.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Database } from "../../src/client/index.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { childrenOf, peakOf } from "../support/process-tree.ts";

const CLIENT = join(import.meta.dirname, "../../dist/client/index.js");
/** About 100 bytes a row, for ever. */
const ENDLESS =
  "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n, hex(zeroblob(50)) AS z FROM c";

let cluster: TestCluster;
let db: Database;

beforeAll(async () => {
  cluster = await TestCluster.start({
    args: ["--readers-max", "2", "--read-deadline-ms", "2000", "--snapshot-ms-max", "4000"],
  });
  await cluster.ready();
  db = cluster.connect();
  await db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'one')");
});
afterAll(() => cluster.stop());

const pids = () => cluster.nodes.flatMap(({ pid }) => (pid === null ? [] : [pid]));
const small = (client: Database) => client.prepare("SELECT v FROM t WHERE id = 1").get();

describe("rows without end", () => {
  it("are read slowly for longer than a deadline, and neither node nor client grows", async () => {
    const before = peakOf(pids());
    const heap = process.memoryUsage().arrayBuffers;
    const { node } = await db.prepare("SELECT 1").query();
    const held = db.prepare(ENDLESS).iterate();
    const started = performance.now();
    let rows = 0;
    // The deadline of a read is 2 s: it counts what a reader works, not what its caller does.
    while (performance.now() - started < 2_500) {
      expect((await held.next()).value).toMatchObject({ n: rows + 1 });
      rows += 1;
      await small(db);
    }
    expect(process.memoryUsage().arrayBuffers - heap).toBeLessThan(20 * 1024 * 1024);
    expect(peakOf(pids())).toBeLessThan(before + 60);
    await held.return?.();
    expect(node).toBeGreaterThan(0);
  });

  it("end with SNAPSHOT_TOO_OLD when they are held for longer than that", async () => {
    const held = db.prepare(ENDLESS).iterate();
    const reading = (async () => {
      for await (const _ of held) await small(db);
    })();
    await expect(reading).rejects.toMatchObject({
      code: "SNAPSHOT_TOO_OLD",
      facts: { snapshotMsMax: "4000" },
    });
    expect(await small(db)).toEqual({ v: "one" });
  });

  it("are given up by the nodes when their caller is killed", async () => {
    const script = `
      import { connect } from ${JSON.stringify(CLIENT)};
      const db = connect({ endpoints: ${JSON.stringify(cluster.endpoints)} });
      const all = Array.from({ length: 8 }, () => db.prepare(${JSON.stringify(ENDLESS)}).iterate());
      for (const rows of all) rows.next().catch(() => {});
      await all[0].next();
      console.log("reading");
      for await (const row of all[0]);`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script]);
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    // All at once: more than there are readers.
    const all = await Promise.all(Array.from({ length: 20 }, () => small(db)));
    expect(all).toEqual(all.map(() => ({ v: "one" })));
    const readers = pids().map((pid) => childrenOf(pid).length);
    for (const count of readers) expect(count).toBeLessThanOrEqual(2 + 3);
  });
});

describe("a client that stands still", () => {
  it("costs the nodes neither memory nor readers, and learns when it goes on that its moment is gone", async () => {
    const before = peakOf(pids());
    const script = `
      import { connect } from ${JSON.stringify(CLIENT)};
      const db = connect({ endpoints: ${JSON.stringify(cluster.endpoints)} });
      const all = Array.from({ length: 4 }, () => db.prepare(${JSON.stringify(ENDLESS)}).iterate());
      await all[0].next();
      for (const rows of all.slice(1)) rows.next().catch(() => {});
      console.log("reading");
      try { for await (const row of all[0]); } catch (error) { console.log(error.code); }
      await db.close();`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script]);
    let said = "";
    child.stdout.on("data", (chunk) => {
      said += String(chunk);
    });
    await once(child.stdout, "data");
    child.kill("SIGSTOP");
    const all = await Promise.all(Array.from({ length: 20 }, () => small(db)));
    expect(all).toEqual(all.map(() => ({ v: "one" })));
    // Until its moment is too old: others are served all the while.
    const stopped = performance.now();
    while (performance.now() - stopped < 4_500) expect(await small(db)).toEqual({ v: "one" });
    expect(peakOf(pids())).toBeLessThan(before + 60);
    child.kill("SIGCONT");
    await once(child, "exit");
    // The connection may have been given up meanwhile: rows of another moment would not fit.
    expect(said).toMatch(/SNAPSHOT_TOO_OLD|UNAVAILABLE/);
  });
});

describe("a result says", () => {
  it("which node served it and how fresh it is; its index is a token for another client", async () => {
    const { index } = await db.prepare("UPDATE t SET v = 'two'").run();
    for (const { id } of cluster.nodes) {
      const one = cluster.connectTo(id);
      const session = one.with({ consistency: "session", atLeast: index });
      const result = await session.prepare("SELECT v FROM t").query();
      expect(result).toMatchObject({ node: id, columns: ["v"], rows: [{ v: "two" }] });
      expect(result.index).toBeGreaterThanOrEqual(index);
      const proven = await one.prepare("SELECT v FROM t").query();
      expect(proven).toMatchObject({ node: id, lagMs: expect.any(Number) });
      const stale = one.with({ consistency: "stale", maxStalenessMs: 60_000 });
      const rows = stale.prepare("SELECT v FROM t").iterate();
      expect(await rows.next()).toEqual({ done: false, value: { v: "two" } });
      expect(rows.served).toMatchObject({ node: id, lagMs: expect.any(Number) });
      const served = await one.transaction(async (tx) => tx.served, { readOnly: true });
      expect(served).toMatchObject({ node: id, lagMs: expect.any(Number) });
    }
    const leader = await cluster.leader();
    expect(await db.transaction(async (tx) => tx.served)).toMatchObject({ node: leader.id });
  });

  it("that a token which the node does not reach in time is not reached", async () => {
    const far = db.with({ consistency: "session", atLeast: 1e9, deadlineMs: 300 });
    const reading = far.prepare("SELECT v FROM t").get();
    await expect(reading).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
  });
});
