/**
 * A main.db that another program changes: while its node is stopped, after a kill, and while it runs; on a follower, a leader
 * and a node that is alone. With real processes, and the sqlite3 shell where there is one.
 */

import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Database as Client, NodeStatus } from "../../src/client/index.ts";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import type { NodeProcess } from "../../src/testing/node-process.ts";

const WAIT_MS = 40_000;
const SAYS = "changed from outside";
const TAKEN = "another database has taken the place";

let cluster: TestCluster;
let db: Client;

async function begin(nodes: number, ...args: string[]): Promise<void> {
  cluster = await TestCluster.start({ nodes, args });
  await cluster.ready();
  db = cluster.connect();
  await db.exec(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER); INSERT INTO t VALUES (1, 10), (2, 10)",
  );
  await cluster.caughtUp();
}

afterEach(() => cluster.stop());

function fileOf(node: NodeProcess): string {
  return join(node.dir, "main.db");
}

/** As another program: opens, writes, closes. */
function change(node: NodeProcess, sql = "UPDATE t SET n = 99 WHERE id = 2"): void {
  const file = new Database(fileOf(node), { timeout: 5_000 });
  file.exec(sql);
  file.close();
}

/** False: this machine has no sqlite3 shell. */
function shell(node: NodeProcess, ...commands: string[]): boolean {
  try {
    execFileSync("sqlite3", ["-batch", fileOf(node), ...commands], { stdio: "ignore" });
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return false;
    throw error;
  }
}

async function statusOf(node: NodeProcess): Promise<NodeStatus | null> {
  const { nodes } = await cluster.status();
  return nodes.find(({ endpoint }) => endpoint === node.endpoint)?.status ?? null;
}

function says(node: NodeProcess, words: string): Promise<true> {
  return cluster.until(`node ${node.id} did not say "${words}"`, WAIT_MS, async () => {
    return node.lastWords(10_000).includes(words) || null;
  });
}

/** It has a healthy node's database and serves. */
async function healed(node: NodeProcess): Promise<void> {
  await says(node, TAKEN);
  await cluster.until(`node ${node.id} does not serve`, WAIT_MS, async () => {
    const status = await statusOf(node);
    return (status?.trouble === "" && status.leader > 0) || null;
  });
}

async function expectEqualFiles(n: number): Promise<void> {
  await cluster.caughtUp();
  await cluster.stopNodes();
  const contents = cluster.nodes.map((node) => readFileContent(fileOf(node)).digest);
  expect(new Set(contents).size).toBe(1);
  const [first] = cluster.nodes as [NodeProcess];
  const file = new Database(fileOf(first), { readonly: true });
  expect(file.prepare("SELECT n FROM t WHERE id = 2").pluck().get()).toBe(n);
  file.close();
}

async function follower(): Promise<NodeProcess> {
  const leader = await cluster.leader();
  const found = cluster.nodes.find(({ id }) => id !== leader.id);
  if (found === undefined) throw new Error("no follower");
  return found;
}

async function until(condition: () => boolean, failure: string): Promise<void> {
  await cluster.until(failure, WAIT_MS, async () => condition() || null);
}

describe("in a cluster", () => {
  beforeEach(() => begin(3));

  it("changed while its node was stopped: the node says so, serves nothing, and takes a healthy one's", async () => {
    const node = await follower();
    await node.stop();
    expect(existsSync(`${fileOf(node)}.seal`)).toBe(true);
    change(node);
    node.start();
    await healed(node);
    expect(node.lastWords(10_000)).toContain("it was last written at");
    for (const suffix of [".seal", ".changed"])
      expect(existsSync(fileOf(node) + suffix)).toBe(false);
    const read = cluster.connectTo(node.id).with({ consistency: "stale" });
    expect(await read.prepare("SELECT n FROM t WHERE id = 2").get()).toEqual({ n: 10 });
    await expectEqualFiles(10);
  });

  it("looked at while its node was stopped: no change, whoever looks", async () => {
    const node = await follower();
    await node.stop();
    shell(node, ".tables", ".schema", "SELECT * FROM t", ".dump", "PRAGMA integrity_check");
    shell(node, "BEGIN IMMEDIATE", "ROLLBACK");
    for (const readonly of [true, false]) {
      const file = new Database(fileOf(node), { readonly });
      expect(file.prepare("SELECT count(*) FROM t").pluck().get()).toBe(2);
      file.close();
    }
    node.start();
    await cluster.ready();
    await cluster.caughtUp();
    expect(node.lastWords(10_000)).not.toContain(SAYS);
    expect((await statusOf(node))?.trouble).toBe("");
  });

  it("copied with its times, or given other rights: no change", async () => {
    const node = await follower();
    await node.stop();
    const file = fileOf(node);
    execFileSync("cp", ["-p", file, `${file}.copy`]);
    renameSync(`${file}.copy`, file);
    execFileSync("chmod", ["640", file]);
    node.start();
    await cluster.ready();
    await cluster.caughtUp();
    expect(node.lastWords(10_000)).not.toContain(SAYS);
  });

  it("replaced by another node's, by garbage, by nothing: taken anew, its times notwithstanding", async () => {
    const node = await follower();
    const other = cluster.nodes.find(({ id }) => id !== node.id) as NodeProcess;
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
      await until(
        () => node.lastWords(100_000).split(TAKEN).length === at + 2,
        `it was not replaced the ${at + 1}th time`,
      );
      await cluster.ready();
      await cluster.caughtUp();
    }
    await expectEqualFiles(10);
  });

  it("killed before another is there: still changed at the next start", async () => {
    const node = await follower();
    const others = cluster.nodes.filter(({ id }) => id !== node.id);
    await node.stop();
    change(node);
    // Nobody is there to take one from.
    await Promise.all(others.map((other) => other.kill()));
    node.start();
    await until(() => existsSync(`${fileOf(node)}.changed`), "it was not noted");
    await says(node, "have not answered");
    await node.kill();
    node.start();
    for (const other of others) other.start();
    await healed(node);
    await expectEqualFiles(10);
  });

  it("VACUUM after a kill: a changed layout alone is no change", async () => {
    const node = await follower();
    await node.kill();
    change(node, "VACUUM");
    node.start();
    await cluster.ready();
    const raised = "UPDATE t SET n = n + 1 WHERE id = 2 RETURNING n";
    expect(await db.prepare(raised).get()).toEqual({ n: 11 });
    await cluster.caughtUp();
    expect(node.lastWords(10_000)).not.toMatch(/differ|changed from outside/);
    await expectEqualFiles(11);
  });

  it("while a follower runs, idle: noticed within seconds", async () => {
    const node = await follower();
    change(node);
    await healed(node);
    expect(node.lastWords(10_000)).toContain("while the node had it open");
    await expectEqualFiles(10);
  });

  it("while the leader works: it gives way, and no acknowledged write is lost", async () => {
    const node = await cluster.leader();
    let acknowledged = 0;
    let stopped = false;
    const writer = (async () => {
      const insert = db.prepare("INSERT INTO t (n) VALUES (?)");
      while (!stopped) {
        await insert.run(acknowledged);
        acknowledged += 1;
      }
    })();
    await until(() => acknowledged > 50, "nothing was written");
    change(node, "UPDATE t SET n = 99 WHERE id = 2; CREATE TABLE foreign_table (x)");
    await healed(node);
    const before = acknowledged;
    await until(() => acknowledged > before + 50, "writes do not go on");
    stopped = true;
    await writer;
    const found = await db.prepare("SELECT count(*) - 2 AS n FROM t").get();
    expect(found).toEqual({ n: acknowledged });
    expect((await cluster.leader()).id).not.toBe(node.id);
    await expectEqualFiles(10);
  });

  it("another file under its name while it runs: noticed as well", async () => {
    const node = await follower();
    copyFileSync(fileOf(node), `${fileOf(node)}.copy`);
    renameSync(`${fileOf(node)}.copy`, fileOf(node));
    await healed(node);
    await expectEqualFiles(10);
  });

  it("all of them at once: every node ends and says what to do; told so, they take what stands", async () => {
    await cluster.caughtUp();
    await cluster.stopNodes();
    for (const node of cluster.nodes) change(node);
    for (const node of cluster.nodes) node.start();
    await until(() => cluster.nodes.every(({ pid }) => pid === null), "a node waits on");
    for (const node of cluster.nodes) {
      expect(node.lastWords(20)).toContain("So was that of every other voter");
      expect(node.lastWords(20)).toContain("--accept-changed-file");
      node.start(["--accept-changed-file"]);
    }
    await cluster.ready();
    expect(await db.prepare("SELECT n FROM t WHERE id = 2").get()).toEqual({ n: 99 });
    await expectEqualFiles(99);
  });

  it("two of three: the third leads, and they take its database", async () => {
    await cluster.stopNodes();
    const [one, two] = cluster.nodes as [NodeProcess, NodeProcess];
    for (const node of [one, two]) change(node);
    for (const node of cluster.nodes) node.start();
    await healed(one);
    await healed(two);
    await expectEqualFiles(10);
  });
});

describe("of a node that is alone", () => {
  beforeEach(() => begin(1));

  const ended = (node: NodeProcess) => until(() => node.pid === null, "it runs on");

  it("changed while it was stopped: refuses to start, until it is told to take the file as it stands", async () => {
    const [node] = cluster.nodes as [NodeProcess];
    await node.stop();
    change(node);
    for (let time = 0; time < 2; time += 1) {
      node.start();
      await ended(node);
      expect(node.lastWords(3)).toContain("--accept-changed-file");
    }
    node.start(["--accept-changed-file"]);
    await cluster.ready();
    expect(await db.prepare("SELECT n FROM t WHERE id = 2").get()).toEqual({ n: 99 });
    await node.stop();
    node.start();
    await cluster.ready();
  });

  it("takes nothing that is no whole database of its log's", async () => {
    const [node] = cluster.nodes as [NodeProcess];
    await node.stop();
    renameSync(fileOf(node), `${fileOf(node)}.kept`);
    const ways: [() => void, string][] = [
      [() => writeFileSync(fileOf(node), "this was a database"), "not a database"],
      [() => new Database(fileOf(node)).exec("CREATE TABLE t (n)").close(), "no such table"],
      [
        () => {
          copyFileSync(`${fileOf(node)}.kept`, fileOf(node));
          change(node, "UPDATE balsa_meta SET applied_index = 5000");
        },
        "which the log lacks",
      ],
    ];
    for (const [way, words] of ways) {
      rmSync(fileOf(node), { force: true });
      way();
      node.start(["--accept-changed-file"]);
      await ended(node);
      expect(node.lastWords(3)).toContain(words);
    }
  });

  it("changed while it runs: it ends, and the next start refuses", async () => {
    const [node] = cluster.nodes as [NodeProcess];
    change(node);
    await ended(node);
    expect(node.lastWords(3)).toContain("--accept-changed-file");
    node.start();
    await ended(node);
    expect(node.lastWords(3)).toContain("while the node had it open");
    node.start(["--accept-changed-file"]);
    await cluster.ready();
    expect(await db.prepare("SELECT n FROM t WHERE id = 2").get()).toEqual({ n: 99 });
  });
});
