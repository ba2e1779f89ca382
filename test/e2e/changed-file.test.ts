/**
 * A main.db that another program changes: while its node is stopped, after a kill, and while it runs; on a follower, a leader
 * and a node that is alone. With real processes, and the sqlite3 shell where there is one.
 */

import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Database as Client, NodeStatus } from "../../src/client/index.ts";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import type { NodeProcess } from "../../src/testing/node-process.ts";
import { balsa } from "../cli/command.ts";

const BUILT = new URL("../../dist/service/index.js", import.meta.url);
// The node's thread is a file of its own.
const { openNode } = (await import(BUILT.href)) as typeof import("../../src/service/index.ts");

const WAIT_MS = 40_000;
const SAYS = "changed from outside";
const TAKEN = "another database has taken the place";
const ACCEPT = "--accept-changed-file";

let cluster: TestCluster;
let db: Client;
/** What each node had logged when the test began. */
let before: string[] = [];

async function begin(nodes: number): Promise<void> {
  cluster = await TestCluster.start({ nodes });
  await cluster.ready();
  db = cluster.connect();
  await db.exec(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER); INSERT INTO t VALUES (1, 10), (2, 10)",
  );
  await cluster.caughtUp();
}

const logOf = (node: NodeProcess): string => node.lastWords(1_000_000);

/** Since the test began. */
function said(node: NodeProcess): string {
  return logOf(node).slice(before[node.id - 1]?.length ?? 0);
}

const fileOf = (node: NodeProcess): string => join(node.dir, "main.db");

/** As another program: opens, writes, closes. */
function change(node: NodeProcess, sql = "UPDATE t SET n = 99 WHERE id = 2"): void {
  const file = new Database(fileOf(node), { timeout: 5_000 });
  file.exec(sql);
  file.close();
}

/** Does nothing if this machine has no sqlite3 shell. */
function shell(node: NodeProcess, ...commands: string[]): void {
  try {
    execFileSync("sqlite3", ["-batch", fileOf(node), ...commands], { stdio: "ignore" });
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT") throw error;
  }
}

async function statusOf(node: NodeProcess): Promise<NodeStatus | null> {
  const { nodes } = await cluster.status();
  return nodes.find(({ endpoint }) => endpoint === node.endpoint)?.status ?? null;
}

function until(condition: () => boolean, failure: string): Promise<true> {
  return cluster.until(failure, WAIT_MS, async () => condition() || null);
}

/** It has taken so many databases since the test began, and serves. */
async function healed(node: NodeProcess, times = 1): Promise<void> {
  const isTaken = () => said(node).split(TAKEN).length > times;
  await until(isTaken, `node ${node.id} took no other database`);
  await cluster.until(`node ${node.id} does not serve`, WAIT_MS, async () => {
    const status = await statusOf(node);
    return (status?.trouble === "" && status.leader > 0) || null;
  });
}

/** It goes on where it was. */
async function minds(node: NodeProcess): Promise<boolean> {
  node.start();
  await cluster.ready();
  await cluster.caughtUp();
  return said(node).includes(SAYS) || (await statusOf(node))?.trouble !== "";
}

/** Stops all nodes. */
async function expectEqualFiles(n: number): Promise<void> {
  await cluster.caughtUp();
  await cluster.stopNodes();
  const contents = cluster.nodes.map((node) => readFileContent(fileOf(node)).digest);
  expect(new Set(contents).size).toBe(1);
  const file = new Database(fileOf(cluster.node(1)), { readonly: true });
  expect(file.prepare("SELECT n FROM t WHERE id = 2").pluck().get()).toBe(n);
  file.close();
}

async function follower(): Promise<NodeProcess> {
  const leader = await cluster.leader();
  return cluster.node((leader.id % cluster.nodes.length) + 1);
}

describe("in a cluster", () => {
  beforeAll(() => begin(3));
  afterAll(() => cluster.stop());

  beforeEach(async () => {
    for (const node of cluster.nodes) node.start();
    await cluster.ready();
    await db.exec("DELETE FROM t; INSERT INTO t VALUES (1, 10), (2, 10)");
    await cluster.caughtUp();
    before = cluster.nodes.map(logOf);
  });

  it("changed while its node was stopped: the node says so, serves nothing, and takes a healthy one's", async () => {
    const node = await follower();
    await node.stop();
    expect(existsSync(`${fileOf(node)}.seal`)).toBe(true);
    change(node);
    node.start();
    await healed(node);
    expect(said(node)).toContain("it was last written at");
    for (const suffix of [".seal", ".changed"]) {
      expect(existsSync(fileOf(node) + suffix)).toBe(false);
    }
    const read = cluster.connectTo(node.id).with({ consistency: "stale" });
    expect(await read.prepare("SELECT n FROM t WHERE id = 2").get()).toEqual({ n: 10 });
    await expectEqualFiles(10);
  });

  it("looked at while its node was stopped, copied with its times, given other rights: no change", async () => {
    const node = await follower();
    await node.stop();
    shell(node, ".tables", ".schema", "SELECT * FROM t", ".dump", "PRAGMA integrity_check");
    shell(node, "BEGIN IMMEDIATE", "ROLLBACK");
    for (const readonly of [true, false]) {
      const file = new Database(fileOf(node), { readonly });
      expect(file.prepare("SELECT count(*) FROM t").pluck().get()).toBe(2);
      file.close();
    }
    const exported = await balsa("export", `${node.dir}.exported`, "--dir", node.dir);
    expect(exported).toMatchObject({ code: 0 });
    const file = fileOf(node);
    execFileSync("cp", ["-p", file, `${file}.copy`]);
    renameSync(`${file}.copy`, file);
    execFileSync("chmod", ["640", file]);
    expect(await minds(node)).toBe(false);
  });

  it("VACUUM after a kill: a changed layout alone is no change", async () => {
    const node = await follower();
    await node.kill();
    change(node, "VACUUM");
    expect(await minds(node)).toBe(false);
    const raised = "UPDATE t SET n = n + 1 WHERE id = 2 RETURNING n";
    expect(await db.prepare(raised).get()).toEqual({ n: 11 });
    await cluster.caughtUp();
    expect(said(node)).not.toContain("differ");
    await expectEqualFiles(11);
  });

  it("another node's file, garbage, none, and one whose time was set back: each is replaced", async () => {
    const node = await follower();
    const other = await cluster.leader();
    const ways = [
      () => copyFileSync(fileOf(other), fileOf(node)),
      () => writeFileSync(fileOf(node), "this was a database"),
      () => rmSync(fileOf(node)),
      () => {
        change(node);
        utimesSync(fileOf(node), new Date(0), new Date(0));
      },
    ];
    for (const [at, way] of ways.entries()) {
      await node.stop();
      way();
      node.start();
      await healed(node, at + 1);
    }
    await expectEqualFiles(10);
  });

  it("killed before another is there: still changed at the next start", async () => {
    const node = await follower();
    const others = cluster.nodes.filter((other) => other !== node);
    await node.stop();
    change(node);
    // Nobody is there to take one from.
    await Promise.all(others.map((other) => other.kill()));
    node.start();
    await until(
      () => said(node).includes("have not answered"),
      "it does not say whom it waits for",
    );
    expect(existsSync(`${fileOf(node)}.changed`)).toBe(true);
    await node.kill();
    node.start();
    for (const other of others) other.start();
    await healed(node);
    await expectEqualFiles(10);
  });

  it("while a follower runs, idle: noticed within seconds, as is another file under its name", async () => {
    const node = await follower();
    change(node);
    await healed(node);
    expect(said(node)).toContain("while the node had it open");
    // By a writer that has the new file open: what takes its place before that is what it opens.
    await db.prepare("INSERT INTO t (n) VALUES (9)").run();
    await cluster.caughtUp();
    copyFileSync(fileOf(node), `${fileOf(node)}.copy`);
    renameSync(`${fileOf(node)}.copy`, fileOf(node));
    await healed(node, 2);
    await expectEqualFiles(10);
  });

  it("while the leader works: it gives way, and no acknowledged write is lost", async () => {
    const node = await cluster.leader();
    let acknowledged = 0;
    let isOver = false;
    const writing = (async () => {
      const insert = db.prepare("INSERT INTO t (n) VALUES (?)");
      for (; !isOver; acknowledged += 1) await insert.run(acknowledged);
    })();
    await until(() => acknowledged > 50, "nothing was written");
    change(node, "UPDATE t SET n = 99 WHERE id = 2; CREATE TABLE foreign_table (x)");
    await healed(node);
    const [sofar, leader] = [acknowledged, await cluster.leader()];
    await until(() => acknowledged > sofar + 50, "writes do not go on");
    isOver = true;
    await writing;
    const found = await db.prepare("SELECT count(*) - 2 AS n FROM t").get();
    expect(found).toEqual({ n: acknowledged });
    expect(leader.id).not.toBe(node.id);
    await expectEqualFiles(10);
  });

  it("two of three: the third leads, and they take its database", async () => {
    await cluster.stopNodes();
    const changed = [cluster.node(1), cluster.node(2)];
    for (const node of changed) change(node);
    for (const node of cluster.nodes) node.start();
    for (const node of changed) await healed(node);
    await expectEqualFiles(10);
  });

  it("all of them at once: every node ends and says what to do; told so, they take what stands", async () => {
    await cluster.stopNodes();
    for (const node of cluster.nodes) change(node);
    for (const node of cluster.nodes) node.start();
    await until(() => cluster.nodes.every(({ pid }) => pid === null), "a node waits on");
    for (const node of cluster.nodes) {
      expect(said(node)).toContain("So was that of every other voter");
      expect(said(node)).toContain(ACCEPT);
      node.start([ACCEPT]);
    }
    await cluster.ready();
    expect(await db.prepare("SELECT n FROM t WHERE id = 2").get()).toEqual({ n: 99 });
    await expectEqualFiles(99);
  });
});

describe("of a node that is alone", () => {
  let node: NodeProcess;

  beforeEach(async () => {
    before = [];
    await begin(1);
    node = cluster.node(1);
  });
  afterEach(() => cluster.stop());

  /** Until it has ended; gives its last words. */
  async function ended(...flags: string[]): Promise<string> {
    node.start(flags);
    await until(() => node.pid === null, "it runs on");
    return node.lastWords(3);
  }

  const stands = () => db.prepare("SELECT n FROM t WHERE id = 2").get();

  it("changed while it was stopped: refuses to start, until it is told to take the file as it stands", async () => {
    await node.stop();
    change(node);
    for (let time = 0; time < 2; time += 1) expect(await ended()).toContain(ACCEPT);
    node.start([ACCEPT]);
    await cluster.ready();
    expect(await stands()).toEqual({ n: 99 });
    await node.stop();
    before = [logOf(node)];
    expect(await minds(node)).toBe(false);
    // Where the seal cannot be written the node says so, and starts as after a kill.
    mkdirSync(`${fileOf(node)}.seal.new`);
    await node.stop();
    expect(said(node)).toContain("main.db has no seal");
    rmdirSync(`${fileOf(node)}.seal.new`);
    expect(await minds(node)).toBe(false);
  });

  it("changed while it runs: it ends, and each start refuses until then", async () => {
    change(node);
    expect(await ended()).toContain(ACCEPT);
    await node.kill();
    expect(await ended()).toContain("while the node had it open");
    node.start([ACCEPT]);
    await cluster.ready();
    expect(await stands()).toEqual({ n: 99 });
  });

  it("inside an app, and for recover: the same", async () => {
    await node.stop();
    change(node);
    const { id, dir, endpoint: listen } = { ...node.options };
    const options = { id, dir, listen, peers: { [id]: listen } };
    await expect(openNode(options)).rejects.toMatchObject({ code: "FILE_CHANGED" });
    const refused = await balsa("recover", "--dir", dir, "--yes");
    expect(refused).toMatchObject({ code: 1, err: expect.stringContaining(ACCEPT) });
    expect(await balsa("recover", "--dir", dir, "--yes", ACCEPT)).toMatchObject({ code: 0 });
    const embedded = await openNode(options);
    expect(await embedded.db.prepare("SELECT n FROM t WHERE id = 2").get()).toEqual({ n: 99 });
    await embedded.close();
    change(node, "UPDATE t SET n = 98 WHERE id = 2");
    const accepting = await openNode({ ...options, acceptChangedFile: true });
    expect(await accepting.db.prepare("SELECT n FROM t WHERE id = 2").get()).toEqual({ n: 98 });
    await accepting.close();
  });

  it("takes an older file of its own, and goes on from its log; nothing that is no whole database of that log's", async () => {
    await node.stop();
    const [file, older] = [fileOf(node), `${fileOf(node)}.older`];
    copyFileSync(file, older);
    node.start();
    await cluster.ready();
    await db.exec("UPDATE t SET n = 11 WHERE id = 2");
    await node.stop();
    const ways: [() => void, string][] = [
      [() => writeFileSync(file, "this was a database"), "not a database"],
      [() => new Database(file).exec("CREATE TABLE t (n)").close(), "no such table"],
      [
        () => {
          copyFileSync(older, file);
          change(node, "UPDATE balsa_meta SET applied_index = 5000");
        },
        "which the log lacks",
      ],
    ];
    for (const [way, words] of ways) {
      rmSync(file, { force: true });
      way();
      expect(await ended(ACCEPT)).toContain(words);
    }
    copyFileSync(older, file);
    expect(await ended()).toContain(ACCEPT);
    node.start([ACCEPT]);
    await cluster.ready();
    expect(await stands()).toEqual({ n: 11 });
  });
});
