import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Database as Client, NodeStatus } from "../../src/client/index.ts";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import type { NodeProcess } from "../../src/testing/node-process.ts";

const WAIT_MS = 40_000;

describe("a node whose database was changed behind its back (D5)", () => {
  let cluster: TestCluster;
  let db: Client;

  beforeEach(async () => {
    cluster = await TestCluster.start();
    await cluster.ready();
    db = cluster.connect();
    await db.exec(
      "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER); INSERT INTO t VALUES (1, 10), (2, 10)",
    );
    await cluster.caughtUp();
  });

  afterEach(() => cluster.stop());

  async function statusOf(id: number): Promise<NodeStatus | null> {
    const { endpoint } = cluster.node(id);
    const { nodes } = await cluster.status();
    return nodes.find((node) => node.endpoint === endpoint)?.status ?? null;
  }

  /** Until this node has applied all that is committed, and serves. */
  async function healed(...ids: number[]): Promise<void> {
    for (const id of ids) {
      await cluster.until(`node ${id} did not heal`, WAIT_MS, async () => {
        const status = await statusOf(id);
        const isUp = status !== null && status.appliedIndex === status.commitIndex;
        return (isUp && status.trouble === "" && status.leader > 0) || null;
      });
    }
  }

  /** The file as a crash leaves it: not looked at when it is opened. Its node does not run. */
  function change(node: NodeProcess, sql: string): void {
    const file = new Database(join(node.dir, "main.db"));
    file.exec(sql);
    file.close();
  }

  async function expectEqualFiles(): Promise<void> {
    await cluster.caughtUp();
    await cluster.stopNodes();
    const contents = cluster.nodes.map(({ dir }) => readFileContent(join(dir, "main.db")).digest);
    expect(new Set(contents).size).toBe(1);
  }

  const raise = () => {
    return db.prepare<{ n: number }>("UPDATE t SET n = n + 1 WHERE id = 1 RETURNING n").get();
  };

  it("a follower takes a healthy node's database by itself, and serves again", async () => {
    const leader = await cluster.leader();
    const [sick] = cluster.nodes.filter(({ id }) => id !== leader.id);
    if (sick === undefined) throw new Error("three nodes");
    await sick.kill();
    change(sick, "UPDATE t SET n = 20");
    sick.start();
    await cluster.ready();
    expect(await raise()).toEqual({ n: 11 });
    await cluster.until("the difference was not found", WAIT_MS, async () => {
      return sick.lastWords(200).includes("another database has taken the place") || null;
    });
    await healed(sick.id);
    const read = cluster.connectTo(sick.id).with({ consistency: "stale" });
    expect(await read.prepare("SELECT n FROM t").all()).toEqual([{ n: 11 }, { n: 10 }]);
    expect(await raise()).toEqual({ n: 12 });
    await expectEqualFiles();
  });

  it("a leader gives way, the others log what they found, and it takes their database", async () => {
    const first = await cluster.leader();
    await first.kill();
    change(first, "UPDATE t SET n = 20");
    first.start();
    await cluster.ready();
    await cluster.admin.transferLeadership(first.id);
    await cluster.ready();
    // What it answers is wrong, and nobody knows yet.
    expect(await raise()).toEqual({ n: 21 });
    await cluster.until("nobody went by a verdict", WAIT_MS, async () => {
      const others = cluster.nodes.filter(({ id }) => id !== first.id);
      return others.every((node) => node.lastWords(200).includes("going on by it")) || null;
    });
    await healed(1, 2, 3);
    expect(await raise()).toEqual({ n: 12 });
    // A restart replays the same entries, and comes to the same without asking.
    await cluster.stopNodes();
    for (const node of cluster.nodes) node.start();
    await cluster.ready();
    expect(await raise()).toEqual({ n: 13 });
    await expectEqualFiles();
  });
});
