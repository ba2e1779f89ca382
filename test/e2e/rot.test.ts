/** Real rot: bytes of a running node's main.db change on the disk, where no write touches them, and are found. */

import { closeSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { TestCluster } from "../../src/testing/cluster.ts";
import type { NodeProcess } from "../../src/testing/node-process.ts";
import { balsa, killAll, RunningCommand, until } from "../cli/command.ts";

let cluster: TestCluster | null = null;

afterEach(async () => {
  killAll();
  await cluster?.stop();
  cluster = null;
});

/** Rows of 8 KiB: more than the caches of SQLite's connections hold. */
const ROWS = 5_000;
const NEEDLE = "a row that nobody writes to again";
const INDEXED = "a text that is in a table and in its index";

async function start(checksumIntervalMs: number): Promise<TestCluster> {
  const args = ["--checksum-interval-ms", String(checksumIntervalMs)];
  cluster = await TestCluster.start({ args });
  await cluster.ready();
  const db = cluster.connect();
  await db.exec(`
    CREATE TABLE calm (id INTEGER PRIMARY KEY, v TEXT);
    CREATE TABLE other (id INTEGER PRIMARY KEY, v TEXT UNIQUE);
    INSERT INTO calm VALUES (1, '${NEEDLE}')`);
  const fill = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
    INSERT INTO calm(v) SELECT hex(randomblob(4096)) FROM n`;
  for (let rows = 0; rows < ROWS; rows += 500) await db.exec(fill);
  await db.exec(`INSERT INTO other(v) VALUES ('${INDEXED}')`);
  await cluster.caughtUp();
  return cluster;
}

/** Flips one bit of a text in the file, wherever it stands: a page may hold a copy that it uses no more. */
async function rot(node: NodeProcess, text: string, which: "all" | "last" = "all"): Promise<void> {
  const path = join(node.dir, "main.db");
  let places: number[] = [];
  await until(
    () => {
      places = placesOf(text, readFileSync(path));
      return places.length > 0;
    },
    () => "no checkpoint has brought it to the file",
  );
  const file = openSync(path, "r+");
  for (const at of which === "all" ? places : places.slice(-1)) {
    const byte = Buffer.alloc(1);
    readSync(file, byte, 0, 1, at);
    byte[0] = (byte[0] ?? 0) ^ 1;
    writeSync(file, byte, 0, 1, at);
  }
  closeSync(file);
}

function placesOf(text: string, bytes: Buffer): number[] {
  const places: number[] = [];
  for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) places.push(at);
  return places;
}

async function followerOf(running: TestCluster): Promise<NodeProcess> {
  const { id } = await running.leader();
  return running.node((id % running.nodes.length) + 1);
}

function foundBy(node: NodeProcess): boolean {
  const lines = node.lastWords(10_000).split("\n");
  return lines.some((line) =>
    [/differ/, /calm/, /other content/].every((words) => words.test(line)),
  );
}

/** It has a healthy node's database, and all serve. */
async function heals(running: TestCluster, sick: NodeProcess): Promise<void> {
  await running.until("the node did not heal", 60_000, async () => {
    const { nodes } = await running.status();
    const all = nodes.every(({ status }) => status?.trouble === "" && status.leader > 0);
    return (all && sick.lastWords(10_000).includes("another database has taken the place")) || null;
  });
  await running.caughtUp();
}

test("on a follower: the checksum finds it, only that node is wrong, and it heals", {
  timeout: 120_000,
}, async () => {
  const running = await start(10);
  const sick = await followerOf(running);
  await rot(sick, NEEDLE);
  await running.until("the rot was not found", 60_000, async () => foundBy(sick) || null);
  for (const node of running.nodes) expect(foundBy(node)).toBe(node === sick);
  await heals(running, sick);
  for (const node of running.nodes) {
    const look = running.connectTo(node.id).with({ consistency: "stale" });
    expect(await look.prepare("SELECT v FROM calm WHERE id = 1").get()).toEqual({ v: NEEDLE });
  }
});

test("on the leader: both followers find it, and it heals", { timeout: 120_000 }, async () => {
  const running = await start(10);
  const sick = await running.leader();
  await rot(sick, NEEDLE);
  const others = running.nodes.filter((node) => node !== sick);
  await running.until("the rot was not found", 60_000, async () => others.every(foundBy) || null);
  await heals(running, sick);
  expect((await running.leader()).id).not.toBe(sick.id);
});

test("verify names table and node, in tables and, with --deep, in indexes", {
  timeout: 120_000,
}, async () => {
  const running = await start(0);
  const sick = await followerOf(running);
  const endpoints = ["--endpoints", running.endpoints.join(",")];
  const same = await balsa("verify", "--deep", ...endpoints);
  expect(same).toMatchObject({
    code: 0,
    out: expect.stringContaining("are the same, and undamaged"),
  });
  // The table's text and its index's: the index has the later page.
  await rot(sick, INDEXED, "last");
  const deep = await balsa("verify", "--deep", ...endpoints);
  expect(deep).toMatchObject({
    code: 1,
    out: expect.stringContaining(`node ${sick.id} is damaged:`),
  });
  await rot(sick, NEEDLE);
  const told = await balsa("verify", "--json", ...endpoints);
  expect(told.code).toBe(1);
  const { tables } = JSON.parse(told.out) as {
    tables: { name: string; same: boolean; odd: number[] }[];
  };
  expect(tables.filter(({ same: isSame }) => !isSame)).toMatchObject([
    { name: "calm", odd: [sick.id] },
  ]);
});

test("Ctrl-C ends the reading on the nodes too", { timeout: 120_000 }, async () => {
  const running = await start(0);
  // Something to read for a while.
  await running.connect().exec(`
    CREATE VIRTUAL TABLE words USING fts5(x);
    INSERT INTO words WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
      SELECT printf('w%d x%d y%d z%d', i, i * 7, i * 13, i % 9) FROM n`);
  const command = new RunningCommand(["verify", "--endpoints", running.endpoints.join(",")]);
  const readers = () => running.nodes.flatMap((node) => childrenOf(node.pid ?? 0));
  await until(
    () => readers().some((name) => name.includes("snapshot")),
    () => "no reading began",
  );
  command.child.kill("SIGINT");
  const { code } = await command.ended;
  expect(code).toBe(1);
  await until(
    () => !readers().some((name) => name.includes("snapshot")),
    () => "a node reads on",
  );
});

/** Titles of a process's children. */
function childrenOf(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
  return text.split(" ").flatMap((child) => {
    try {
      return child === "" ? [] : [readFileSync(`/proc/${child}/cmdline`, "utf8")];
    } catch {
      return [];
    }
  });
}
