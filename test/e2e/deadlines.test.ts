import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BalsaError, Database } from "../../src/client/index.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { childrenOf, parentOf } from "../support/process-tree.ts";

const ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) ";

function caught(call: Promise<unknown>): Promise<BalsaError> {
  return call.then(
    () => Promise.reject(new Error("it should have failed")),
    (error: BalsaError) => error,
  );
}

describe("what never ends", () => {
  let cluster: TestCluster;
  let db: Database;
  const options = ["--write-deadline-ms", "1500", "--read-deadline-ms", "1000"];

  beforeAll(async () => {
    cluster = await TestCluster.start({ args: options });
    await cluster.ready();
    db = cluster.connect();
    await db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)");
  });

  afterAll(() => cluster.stop());

  it("an endless INSERT is stopped, the other writes wait and are served, nobody is deposed", async () => {
    const before = (await cluster.status()).nodes.map(({ status }) => status?.term);
    const insert = db.prepare("INSERT INTO t(n) VALUES (?)");
    const endless = caught(db.prepare(`INSERT INTO t(n) ${ENDLESS} SELECT n FROM c`).run());
    const others = Array.from({ length: 20 }, (_, n) => insert.run(n));
    const read = await db.with({ consistency: "stale" }).prepare("SELECT 1 AS one").get();
    expect(read).toEqual({ one: 1 });
    const error = await endless;
    expect(error).toMatchObject({ code: "DEADLINE_EXCEEDED", outcome: "not-applied" });
    expect(error.message).toContain("writeDeadlineMs");
    await Promise.all(others);
    expect(await db.prepare("SELECT count(*) AS n FROM t").get()).toEqual({ n: 20 });
    expect((await cluster.status()).nodes.map(({ status }) => status?.term)).toEqual(before);
  });

  it("an endless SELECT is stopped on every node, the other reads go on", async () => {
    for (const { id } of cluster.nodes) {
      const one = cluster.connectTo(id).with({ consistency: "stale" });
      const endless = caught(one.prepare(`${ENDLESS} SELECT max(n) FROM c`).get());
      const others = Array.from({ length: 20 }, () => one.prepare("SELECT 2 AS two").get());
      expect(await Promise.all(others)).toEqual(Array(20).fill({ two: 2 }));
      expect(await endless).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    }
  });

  it("a caller's own deadline stops its write, though the node would allow more", async () => {
    const hasty = db.with({ deadlineMs: 400 });
    const error = await caught(hasty.prepare(`INSERT INTO t(n) ${ENDLESS} SELECT n FROM c`).run());
    expect(error.code).toBe("DEADLINE_EXCEEDED");
    await db.prepare("INSERT INTO t(n) VALUES (99)").run();
    expect(await db.prepare("SELECT count(*) AS n FROM t WHERE n = 99").get()).toEqual({ n: 1 });
  });

  it("an abandoned endless iteration is stopped with its caller", async () => {
    let seen = 0;
    for await (const _ of db.prepare(`${ENDLESS} SELECT n FROM c`).iterate()) {
      seen += 1;
      if (seen === 10_000) break;
    }
    expect(await db.prepare("SELECT 3 AS three").get()).toEqual({ three: 3 });
  });

  it("the node is killed in the middle of it: its children die with it (D3)", async () => {
    const leader = await cluster.leader();
    const pid = leader.pid ?? 0;
    const one = cluster.connectTo(leader.id).with({ consistency: "stale", deadlineMs: 900 });
    const read = caught(one.prepare(`${ENDLESS} SELECT max(n) FROM c`).get());
    const write = caught(db.prepare(`INSERT INTO t(n) ${ENDLESS} SELECT n FROM c`).run());
    await cluster.until("no children", 5_000, async () => childrenOf(pid).length >= 2 || null);
    const children = childrenOf(pid);
    await leader.kill();
    await cluster.until("children outlive their node", 5_000, async () => {
      return children.every((child) => parentOf(child) === null) || null;
    });
    leader.start();
    await cluster.ready();
    await Promise.all([read, write]);
    expect((await db.prepare("INSERT INTO t(n) VALUES (1)").run()).changes).toBe(1);
  });
});
