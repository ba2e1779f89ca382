/** A node that was away for longer than the log reaches back catches up by a snapshot, whatever happens meanwhile. */

import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Database } from "../../src/client/index.ts";
import { HarshCluster } from "../support/cluster.ts";

const TAIL = 100;
const MIB = 1024 * 1024;

/** About one MiB in one entry of a few hundred bytes. */
const MEBIBYTE = `
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 128)
  INSERT INTO t(blob) SELECT randomblob(8000) FROM n`;

let cluster: HarshCluster;
let db: Database;

beforeEach(async () => {
  cluster = await HarshCluster.start({ args: ["--log-tail-entries", `${TAIL}`] });
  db = cluster.connect();
  await db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, blob BLOB)");
});

afterEach((context) => cluster.finish(context));

/** More entries than the log keeps, and `mebibytes` of data; then until the log has been cut. */
async function writeBeyondTheTail(mebibytes: number): Promise<void> {
  for (let at = 0; at < mebibytes; at += 1) await db.prepare(MEBIBYTE).run();
  const small = db.prepare("INSERT INTO t(blob) VALUES (randomblob(20))");
  for (let at = 0; at < TAIL * 2; at += 50) {
    await Promise.all(Array.from({ length: 50 }, () => small.run()));
  }
  // A checkpoint comes when the writers have been idle for a moment, and a look at the log soon after it.
  await pause(1_500);
}

interface Line {
  readonly msg: string;
  readonly [name: string]: unknown;
}

function linesOf(id: number, message: string): Line[] {
  const lines = cluster
    .logOf(id)
    .split("\n")
    .filter((line) => line.startsWith("{"));
  return lines.map((line) => JSON.parse(line) as Line).filter(({ msg }) => msg === message);
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const end = performance.now() + 30_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`${what}: not within 30 s\n${cluster.logs()}`);
    await pause(5);
  }
}

function incomingBytes(id: number): number {
  const path = join(cluster.dirOf(id), "snapshots", "incoming.db");
  return existsSync(path) ? statSync(path).size : 0;
}

/** Rows written one after the other; tells the longest time between two acknowledgements. */
function keepWriting(): { stop(): Promise<{ written: number; gapMs: number }> } {
  let isOver = false;
  let written = 0;
  let gapMs = 0;
  const run = async () => {
    const insert = db.prepare("INSERT INTO t(blob) VALUES (randomblob(20))");
    let last = performance.now();
    while (!isOver) {
      await insert.run();
      written += 1;
      const now = performance.now();
      gapMs = Math.max(gapMs, now - last);
      last = now;
    }
  };
  const running = run();
  return {
    async stop() {
      isOver = true;
      await running;
      return { written, gapMs };
    },
  };
}

async function expectEqualContents(): Promise<void> {
  await cluster.caughtUp();
  const contents = await cluster.contents();
  expect(new Set(contents).size).toBe(1);
}

describe("a node that was away for longer than the log reaches back", () => {
  it("catches up by a snapshot while writes go on", async () => {
    const [away] = await cluster.followers();
    if (away === undefined) throw new Error("no follower");
    await cluster.kill(away);
    await writeBeyondTheTail(30);
    const writer = keepWriting();
    await cluster.restart(away);
    await until("a snapshot", () => linesOf(away, "fetched a snapshot").length > 0);
    await until("its place", () => {
      return linesOf(away, "the snapshot has taken the database's place").length > 0;
    });
    await pause(300);
    const { written, gapMs } = await writer.stop();
    expect(written).toBeGreaterThan(50);
    // An election would take longer than this.
    expect(gapMs).toBeLessThan(500);
    await expectEqualContents();
    expect(readdirSync(join(cluster.dirOf(away), "snapshots"))).toEqual([]);
  });

  it("killed in the middle of the transfer, goes on where it was", async () => {
    const [away] = await cluster.followers();
    if (away === undefined) throw new Error("no follower");
    await cluster.kill(away);
    await writeBeyondTheTail(40);
    // Four chunks for each round trip.
    cluster.network.delayAll(40);
    await cluster.restart(away);
    await until("a part of the snapshot", () => incomingBytes(away) > 8 * MIB);
    await cluster.kill(away);
    const before = incomingBytes(away);
    expect(before).toBeLessThan(39 * MIB);
    await db.prepare("INSERT INTO t(blob) VALUES (randomblob(20))").run();
    await cluster.restart(away);
    await until("a snapshot", () => linesOf(away, "fetched a snapshot").length > 0);
    const [fetched] = linesOf(away, "fetched a snapshot");
    expect(fetched?.["kept"]).toBeGreaterThanOrEqual(7);
    expect(fetched?.["bytes"]).toBeLessThan(36 * MIB);
    cluster.network.heal();
    await expectEqualContents();
  });

  it("goes on with another source when its source is killed", async () => {
    const [away] = await cluster.followers();
    if (away === undefined) throw new Error("no follower");
    await cluster.kill(away);
    await writeBeyondTheTail(40);
    cluster.network.delayAll(40);
    await cluster.restart(away);
    await until("a part of the snapshot", () => incomingBytes(away) > 8 * MIB);
    const asked = linesOf(away, "this node needs entries that are gone: fetching a snapshot");
    const source = Number(asked.at(-1)?.["source"]);
    expect(source).not.toBe(await cluster.leader());
    await cluster.kill(source);
    await until("a snapshot", () => linesOf(away, "fetched a snapshot").length > 0);
    const [fetched] = linesOf(away, "fetched a snapshot");
    expect(fetched?.["from"]).not.toBe(source);
    cluster.network.heal();
    await db.prepare("INSERT INTO t(blob) VALUES (randomblob(20))").run();
    await cluster.restart(source);
    await expectEqualContents();
  });

  it("takes only the pages that differ from its own", async () => {
    await writeBeyondTheTail(20);
    const [away] = await cluster.followers();
    if (away === undefined) throw new Error("no follower");
    await cluster.caughtUp();
    await cluster.kill(away);
    const change = db.prepare("UPDATE t SET blob = randomblob(8000) WHERE id = ?");
    for (let at = 0; at < 20; at += 1) await change.run([1 + at * 100]);
    await writeBeyondTheTail(0);
    await cluster.restart(away);
    await until("a snapshot", () => linesOf(away, "fetched a snapshot").length > 0);
    const [fetched] = linesOf(away, "fetched a snapshot");
    expect(fetched?.["of"]).toBeGreaterThan(20 * MIB);
    expect(fetched?.["bytes"]).toBeLessThan(MIB);
    await expectEqualContents();
  });
});
