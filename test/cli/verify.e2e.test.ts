/** `balsa verify`: nodes that are the same under writes, and one whose file was changed behind its back. */

import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, expect, test } from "vitest";
import { TestCluster } from "../../src/testing/cluster.ts";
import { RICH_ROWS, RICH_SCHEMA } from "../support/rich-database.ts";
import { balsa, killAll, until } from "./command.ts";

let cluster: TestCluster | null = null;

afterEach(async () => {
  killAll();
  await cluster?.stop();
  cluster = null;
});

test("the same while writes go on; then one bit of one node is changed, and its table is named", async () => {
  // On a slow machine range checksums would be first to find it, and the node would serve no more.
  cluster = await TestCluster.start({ args: ["--checksum-interval-ms", "0"] });
  await cluster.ready();
  const db = cluster.connect();
  await db.exec(RICH_SCHEMA);
  await db.exec(RICH_ROWS);
  const many = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
    INSERT INTO journal(what) SELECT 'row ' || i FROM n`;
  await db.exec(many);
  await db.exec("INSERT INTO keyed SELECT what, at, NULL FROM journal");
  // More than fits into one answer.
  await db.exec("CREATE TABLE large (id INTEGER PRIMARY KEY, b)");
  await db.exec("INSERT INTO large(b) SELECT zeroblob(200000) FROM journal LIMIT 100");
  const endpoints = ["--endpoints", cluster.endpoints.join(",")];
  let isOver = false;
  let written = 0;
  const writing = (async () => {
    const insert = db.prepare("INSERT INTO journal(what) VALUES ('meanwhile')");
    for (; !isOver; written += 1) await insert.run();
  })();
  await until(
    () => written > 20,
    () => "no writes",
  );
  const before = written;
  for (let run = 0; run < 2; run += 1) {
    const same = await balsa("verify", ...endpoints);
    expect(same).toMatchObject({ code: 0 });
    expect(same.out).toMatch(/nodes 1, 2, 3 are the same: \d+ tables at log index \d+/);
  }
  expect(written).toBeGreaterThan(before);
  isOver = true;
  await writing;

  const sick = ((await cluster.leader()).id % 3) + 1;
  await cluster.caughtUp();
  // After a kill nobody can know that the file was changed.
  await cluster.node(sick).kill();
  const file = new Database(join(cluster.dir, `node${sick}`, "main.db"));
  file.exec("UPDATE journal SET what = 'row 701' WHERE what = 'row 700'");
  file.close();
  cluster.node(sick).start();
  await cluster.caughtUp();
  const differs = await balsa("verify", "--json", ...endpoints);
  expect(differs.code).toBe(1);
  const { tables } = JSON.parse(differs.out) as {
    tables: { name: string; same: boolean; nodes: { id: number; hash: string }[] }[];
  };
  expect(tables.filter(({ same }) => !same).map(({ name }) => name)).toEqual(["journal"]);
  const hashes = tables.find(({ name }) => name === "journal")?.nodes ?? [];
  const others = hashes.filter(({ id }) => id !== sick).map(({ hash }) => hash);
  expect(new Set(others).size).toBe(1);
  const told = await balsa("verify", ...endpoints);
  expect(told.code).toBe(1);
  expect(told.out).toMatch(/^journal differs on node \d: node 1: \d+ rows/);
  expect(told.out).toContain(`differs on node ${sick}:`);
});
