import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { NodeStatus } from "../../src/client/index.ts";
import { TestCluster } from "../../src/testing/cluster.ts";

describe("a node whose database was changed behind its back (D5)", () => {
  let cluster: TestCluster;

  beforeEach(async () => {
    cluster = await TestCluster.start();
    await cluster.ready();
  });

  afterEach(() => cluster.stop());

  async function statusOf(id: number): Promise<NodeStatus | null> {
    const { endpoint } = cluster.node(id);
    const { nodes } = await cluster.status();
    return nodes.find((node) => node.endpoint === endpoint)?.status ?? null;
  }

  it("stops applying and serving, says so, and goes on appending and voting", async () => {
    const db = cluster.connect();
    await db.exec(
      "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER); INSERT INTO t VALUES (1, 10)",
    );
    await cluster.caughtUp();
    const leader = await cluster.leader();
    const [sick, healthy] = cluster.nodes.filter(({ id }) => id !== leader.id);
    if (sick === undefined || healthy === undefined) throw new Error("three nodes");
    await sick.stop();
    const file = new Database(join(sick.dir, "main.db"));
    file.exec("UPDATE t SET n = 20");
    file.close();
    sick.start();
    await cluster.ready();

    const raise = db.prepare<{ n: number }>("UPDATE t SET n = n + 1 WHERE id = 1 RETURNING n");
    expect(await raise.get()).toEqual({ n: 11 });
    const found = await cluster.until("the difference was not found", 20_000, async () => {
      const status = await statusOf(sick.id);
      return status !== null && status.trouble !== "" ? status : null;
    });
    expect(found.trouble).toContain("differ from the leader's");
    const read = cluster.connectTo(sick.id).with({ consistency: "stale", deadlineMs: 2_000 });
    // Asked alone it answers nothing: the client looks elsewhere for as long as it may, and names the reason.
    const refused = read.prepare("SELECT n FROM t").get();
    await expect(refused).rejects.toMatchObject({
      code: "DEADLINE_EXCEEDED",
      facts: { last: expect.stringContaining("NOT_SERVING") },
    });

    // Its acknowledgements count: with the other follower gone, the majority is the leader and it.
    await healthy.kill();
    expect(await raise.get()).toEqual({ n: 12 });
    healthy.start();
    await cluster.until("the other did not catch up", 20_000, async () => {
      const status = await statusOf(healthy.id);
      return status !== null && status.appliedIndex >= found.lastIndex + 1 ? true : null;
    });

    // So does its vote; it does not run for leader itself.
    await leader.kill();
    expect(await raise.get()).toEqual({ n: 13 });
    expect((await cluster.leader()).id).toBe(healthy.id);
    expect((await statusOf(sick.id))?.appliedIndex).toBeLessThan(found.lastIndex);
  });
});
