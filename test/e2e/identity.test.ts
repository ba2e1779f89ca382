import { cpSync, rmSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { BalsaError, NodeStatus } from "../../src/client/index.ts";
import { TestCluster } from "../../src/testing/cluster.ts";

/** Waits until node `id` says something that `wanted` accepts. */
function says(
  cluster: TestCluster,
  id: number,
  wanted: (status: NodeStatus) => boolean,
): Promise<NodeStatus> {
  return cluster.until(`node ${id} did not say so`, 20_000, async () => {
    const found = (await cluster.status()).nodes.find(
      ({ endpoint }) => endpoint === cluster.node(id).endpoint,
    );
    const status = found?.status ?? null;
    return status !== null && wanted(status) ? status : null;
  });
}

describe("a directory that is not what it was", () => {
  let cluster: TestCluster;

  beforeEach(async () => {
    cluster = await TestCluster.start();
    await cluster.ready();
    const db = cluster.connect();
    await db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    await db.prepare("INSERT INTO t VALUES (1)").run();
  });

  afterEach(() => cluster.stop());

  it("D7: emptied, the node does not vote under its old id", async () => {
    const leader = await cluster.leader();
    const [wiped, other] = cluster.nodes.filter(({ id }) => id !== leader.id);
    if (wiped === undefined || other === undefined) throw new Error("three nodes");
    await wiped.kill();
    rmSync(wiped.dir, { recursive: true });
    wiped.start();
    const status = await says(cluster, wiped.id, ({ trouble }) => trouble !== "");
    expect(status.role).toBe("blank");
    expect(status.trouble).toContain("empty");
    // Two of three are left: a majority. Without the other there is none, whatever the blank node may think.
    const db = cluster.connect({ deadlineMs: 3_000 });
    await db.prepare("INSERT INTO t VALUES (2)").run();
    await other.kill();
    const write = db.prepare("INSERT INTO t VALUES (3)").run();
    const error: BalsaError = await write.then(
      () => Promise.reject(new Error("a write without a majority was acknowledged")),
      (reason) => reason,
    );
    expect(["DEADLINE_EXCEEDED", "NO_LEADER", "UNAVAILABLE"]).toContain(error.code);
    other.start();
    await cluster.leader();
    const rows = await cluster.connect().prepare("SELECT id FROM t WHERE id < 3 ORDER BY id").all();
    expect(rows).toEqual([{ id: 1 }, { id: 2 }]);
  });

  it("of another node, it refuses to start and says whose it is", async () => {
    const [first, second] = cluster.nodes;
    if (first === undefined || second === undefined) throw new Error("three nodes");
    await first.stop();
    await second.stop();
    rmSync(second.dir, { recursive: true });
    cpSync(first.dir, second.dir, { recursive: true });
    second.start();
    await cluster.until("it did not end", 20_000, async () => second.pid === null || null);
    expect(second.lastWords()).toMatch(/belongs to node 1/);
  });

  it("of another cluster, the node takes no part and says so", async () => {
    const foreign = await TestCluster.start();
    try {
      await foreign.ready();
      await foreign.stopNodes();
      const mine = cluster.node(2);
      const before = (await cluster.status()).nodes.map(({ status }) => status?.clusterId)[0];
      await mine.kill();
      rmSync(mine.dir, { recursive: true });
      cpSync(foreign.node(2).dir, mine.dir, { recursive: true });
      mine.start();
      const status = await says(cluster, 2, ({ trouble }) => trouble.includes("WRONG_CLUSTER"));
      expect(status.trouble).toContain(before);
      expect(status.leader).toBe(0);
      const db = cluster.connect();
      await db.prepare("INSERT INTO t VALUES (2)").run();
      expect(await db.prepare("SELECT count(*) AS n FROM t").get()).toEqual({ n: 2 });
    } finally {
      await foreign.stop();
    }
  });
});
