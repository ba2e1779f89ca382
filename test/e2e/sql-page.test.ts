/**
 * docs/SQL.md on three real nodes in three time zones, through the client: what works, behind the death of a leader and
 * with other commits on each node; what is read, on every node; what is refused. In the end the files hold the same.
 */

import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Database } from "../../src/client/index.ts";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { ALONE, ANYWHERE, examplesOf, REFUSED, WORKS } from "../support/sql-page.ts";

const ZONES = ["America/New_York", "Asia/Kolkata", "Pacific/Chatham"];

describe("what docs/SQL.md says", () => {
  let cluster: TestCluster;
  let db: Database;
  const zone = process.env["TZ"];

  /** A node that is started again has the zone of the moment. */
  const restart = async (id: number) => {
    await cluster.node(id).kill();
    process.env["TZ"] = ZONES[id - 1];
    cluster.node(id).start();
    await cluster.ready();
  };

  beforeAll(async () => {
    cluster = await TestCluster.start();
    await cluster.ready();
    db = cluster.connect();
  });

  afterAll(async () => {
    if (zone === undefined) delete process.env["TZ"];
    else process.env["TZ"] = zone;
    await cluster.stop();
  });

  it("works, also while leaders die, and is the same everywhere", async () => {
    const examples = examplesOf(WORKS);
    const third = Math.ceil(examples.length / 3);
    for (const [at, sql] of examples.entries()) {
      await db.exec(sql).catch((error: Error) => {
        throw new Error(`${sql}: ${error.message}`);
      });
      // The first, the second and the third node, the leader among them.
      if (at % third === third - 1) await restart(Math.floor(at / third) + 1);
    }
    await restart(3);
    await db.prepare("PRAGMA foreign_keys = ON").run();
    await db.exec("INSERT INTO seq(v) SELECT datetime('now', 'localtime') || random() FROM a");
    await cluster.caughtUp();
  });

  it("local time is UTC in writes and in reads of every node", async () => {
    const shifted = "datetime('2024-07-01', 'localtime') || datetime('2024-01-01', 'utc')";
    const { at } = (await db
      .prepare(`INSERT INTO seq(v) VALUES (${shifted}) RETURNING v AS at`)
      .get()) as { at: string };
    expect(at).toBe("2024-07-01 00:00:002024-01-01 00:00:00");
    for (const { id } of cluster.nodes) {
      const one = cluster.connectTo(id).with({ consistency: "stale" });
      expect(await one.prepare(`SELECT ${shifted} AS at`).get(), `node ${id}`).toEqual({ at });
    }
  });

  it("is read on every node", async () => {
    for (const { id } of cluster.nodes) {
      const one = cluster.connectTo(id);
      for (const sql of [...examplesOf(ANYWHERE), ...examplesOf(ALONE)]) {
        await one
          .prepare(sql)
          .all()
          .catch((error: Error) => {
            throw new Error(`node ${id}: ${sql}: ${error.message}`);
          });
      }
    }
  });

  it("is refused, with a reason, alone and inside a transaction", async () => {
    for (const sql of examplesOf(REFUSED)) {
      const error = await db.exec(sql).then(
        () => null,
        (thrown: Error & { code?: string }) => thrown,
      );
      const dated = /\bdate\(/.test(sql);
      expect({ sql, code: error?.code }).toEqual({ sql, code: dated ? "SQLITE_ERROR" : "REFUSED" });
      if (dated) continue;
      const inside = db.transaction(async (tx) => {
        await tx.exec(sql);
      });
      await expect(inside, sql).rejects.toMatchObject({ code: "REFUSED" });
    }
  });

  it("and left the same in every file", async () => {
    await db.exec("INSERT INTO seq(v) VALUES ('the end')");
    await cluster.caughtUp();
    await cluster.stopNodes();
    const [first, ...others] = cluster.nodes.map(({ id }) =>
      readFileContent(join(cluster.dir, `node${id}`, "main.db")),
    );
    for (const other of others) expect(other).toEqual(first);
  });
});
