/** Settings of the cluster through client and command line, on real nodes, and behind the deaths of leaders. */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Database } from "../../src/client/index.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { balsa } from "../cli/command.ts";

describe("PRAGMA foreign_keys of a cluster", () => {
  let cluster: TestCluster;
  let db: Database;

  beforeAll(async () => {
    cluster = await TestCluster.start();
    await cluster.ready();
    db = cluster.connect();
    await db.exec(
      "CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (p REFERENCES parent(id))",
    );
  });

  afterAll(() => cluster.stop());

  const orphan = () => db.prepare("INSERT INTO child VALUES (99)").run();
  const everywhere = async () => {
    await cluster.caughtUp();
    return Promise.all(
      cluster.nodes.map(async ({ id }) => {
        const one = cluster.connectTo(id).with({ consistency: "stale" });
        return (await one.prepare("PRAGMA foreign_keys").get())?.["foreign_keys"];
      }),
    );
  };

  it("is set for all nodes, outlives the leader, and is set back", async () => {
    await expect(orphan()).rejects.toMatchObject({ code: "SQLITE_CONSTRAINT_FOREIGNKEY" });
    await db.prepare("PRAGMA foreign_keys = OFF").run();
    await orphan();
    expect(await everywhere()).toEqual([0, 0, 0]);
    const old = await cluster.leader();
    await old.kill();
    await orphan();
    old.start();
    await cluster.ready();
    expect(await everywhere()).toEqual([0, 0, 0]);
    await db.exec("PRAGMA foreign_keys = ON");
    await expect(orphan()).rejects.toMatchObject({ code: "SQLITE_CONSTRAINT_FOREIGNKEY" });
    expect(await everywhere()).toEqual([1, 1, 1]);
    expect(await db.prepare("PRAGMA foreign_key_check").all()).toHaveLength(2);
    await db.exec("DELETE FROM child");
  });

  it("takes its turn among writes that do not wait for each other, and an open transaction", async () => {
    await db.exec("CREATE TABLE IF NOT EXISTS n (i INTEGER PRIMARY KEY)");
    const insert = db.prepare("INSERT INTO n VALUES (?)");
    const writes = Array.from({ length: 300 }, (_, i) => insert.run(i));
    const switched = db.exec("PRAGMA foreign_keys = OFF");
    const more = Array.from({ length: 300 }, (_, i) => insert.run(300 + i));
    const held = db.transaction(async (tx) => {
      await tx.prepare("INSERT INTO parent VALUES (1)").run();
      const refused = tx.prepare("PRAGMA foreign_keys = ON").run();
      await expect(refused).rejects.toMatchObject({ code: "REFUSED" });
      // Waits until this transaction is over.
      return { later: cluster.connect().exec("PRAGMA foreign_keys = ON") };
    });
    await Promise.all([...writes, switched, ...more]);
    await (await held).later;
    expect(await db.prepare("SELECT count(*) AS n FROM n").get()).toEqual({ n: 600 });
    expect(await everywhere()).toEqual([1, 1, 1]);
  });

  it("is set by the command line; in a script it says what to do instead", async () => {
    const endpoints = ["--endpoints", cluster.endpoints.join(",")];
    const set = await balsa("sql", "PRAGMA foreign_keys = OFF", ...endpoints);
    expect(set).toMatchObject({ code: 0 });
    const script = await balsa("sql", "PRAGMA foreign_keys = ON; DELETE FROM n", ...endpoints);
    expect(script).toMatchObject({ code: 1, err: expect.stringContaining("send it alone") });
    expect(await everywhere()).toEqual([0, 0, 0]);
  });
});
