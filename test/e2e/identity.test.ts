import { cpSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { BalsaError, NodeStatus } from "../../src/client/index.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { damageLog } from "../support/damage.ts";

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

  it("A12: emptied, the node does not vote under its old id", async () => {
    const leader = await cluster.leader();
    const [wiped, other] = cluster.nodes.filter(({ id }) => id !== leader.id);
    if (wiped === undefined || other === undefined) throw new Error("three nodes");
    await wiped.kill();
    await cluster.connect().prepare("INSERT INTO t VALUES (2)").run();
    // Of three, two are left with what is committed; without one of them there is no majority, whoever answers.
    await leader.kill();
    rmSync(wiped.dir, { recursive: true });
    wiped.start();
    const status = await says(cluster, wiped.id, ({ trouble }) => trouble !== "");
    expect(status.role).toBe("blank");
    expect(status.trouble).toContain("empty");
    const db = cluster.connect({ deadlineMs: 3_000 });
    const write = db.prepare("INSERT INTO t VALUES (3)").run();
    const error: BalsaError = await write.then(
      () => Promise.reject(new Error("a write without a majority was acknowledged")),
      (reason) => reason,
    );
    expect(["DEADLINE_EXCEEDED", "NO_LEADER", "UNAVAILABLE"]).toContain(error.code);
    leader.start();
    await cluster.voter(wiped.id, 60_000);
    const rows = await cluster.connect().prepare("SELECT id FROM t WHERE id < 3 ORDER BY id").all();
    expect(rows).toEqual([{ id: 1 }, { id: 2 }]);
  });

  it.each([
    ["its disk", "leader"],
    ["its disk", "other"],
    ["its log's bytes", "leader"],
  ] as const)(
    "D7: a node that lost %s is taken in anew, and then the %s may die",
    async (what, next) => {
      const leader = await cluster.leader();
      const [lost, other] = cluster.nodes.filter(({ id }) => id !== leader.id);
      if (lost === undefined || other === undefined) throw new Error("three nodes");
      await lost.kill();
      const db = cluster.connect({ deadlineMs: 20_000 });
      const insert = db.prepare("INSERT INTO t VALUES (?)");
      for (let id = 2; id <= 20; id += 1) await insert.run([id]);
      if (what === "its disk") rmSync(lost.dir, { recursive: true });
      else damageLog(join(lost.dir, "log"), () => 0.5);
      lost.start();
      await says(cluster, lost.id, ({ role }) => role === "follower");
      await cluster.voter(lost.id, 60_000);
      const kept = readdirSync(lost.dir).filter((name) => name.startsWith("log.damaged-"));
      expect(kept).toEqual(what === "its disk" ? [] : ["log.damaged-1"]);
      await (next === "leader" ? leader : other).kill();
      await insert.run([21]);
      const rows = await db.prepare<{ n: number }>("SELECT count(*) AS n FROM t").get();
      expect(rows?.n).toBe(21);
      // The one that was taken in has a vote and all data: with it alone beside another, everything goes on.
      const all = await cluster.connectTo(lost.id).prepare("SELECT count(*) AS n FROM t").get();
      expect(all).toEqual({ n: 21 });
    },
  );

  it("A12: an old directory does not come back beside its successor", async () => {
    const leader = await cluster.leader();
    const node = cluster.nodes.find(({ id }) => id !== leader.id);
    if (node === undefined) throw new Error("three nodes");
    await node.kill();
    renameSync(node.dir, `${node.dir}.old`);
    node.start();
    await cluster.voter(node.id, 60_000);
    await node.kill();
    rmSync(node.dir, { recursive: true });
    renameSync(`${node.dir}.old`, node.dir);
    node.start();
    const said = await says(cluster, node.id, ({ trouble }) => trouble !== "");
    expect(said.trouble).toMatch(/replaced by another one/);
    const db = cluster.connect();
    await db.prepare("INSERT INTO t VALUES (2)").run();
    const { members } = await cluster.admin.leader();
    expect(members.find(({ id }) => id === node.id)).toMatchObject({ connected: false });
  });

  it("alone, a node with a damaged log refuses to start and touches nothing", async () => {
    const single = await TestCluster.start({ nodes: 1 });
    try {
      const node = await single.ready();
      await node.stop();
      damageLog(join(node.dir, "log"), () => 0.5);
      node.start();
      await single.until("it did not end", 20_000, async () => node.pid === null || null);
      expect(node.lastWords()).toMatch(/LOG_CORRUPTED/);
      expect(readdirSync(node.dir).some((name) => name.startsWith("log.damaged"))).toBe(false);
    } finally {
      await single.stop();
    }
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
