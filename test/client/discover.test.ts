/** A client that is told to keep to its endpoints uses no other node, for whatever it does. */

import { afterEach, beforeEach, expect, test } from "vitest";
import { connect, type Database } from "../../src/client/index.ts";
import { FakeCluster } from "./fake-cluster.ts";

let cluster: FakeCluster;
let db: Database;

beforeEach(async () => {
  cluster = new FakeCluster();
  await cluster.start(3);
  db = connect({ endpoints: [cluster.node(1).address], discover: false });
});

afterEach(async () => {
  await db.close();
  cluster.stop();
});

test("a write is passed on by the follower, and reads stay with it", async () => {
  await db.prepare("INSERT INTO t VALUES (1)").run();
  expect(cluster.nodes.map((node) => node.of("execute").length)).toEqual([0, 1, 0]);
  for (const consistency of ["linearizable", "session", "stale"] as const) {
    await db.with({ consistency }).prepare("SELECT 1").all();
  }
  expect(cluster.nodes.map((node) => node.of("query").length)).toEqual([0, 3, 0]);
  expect((await db.status()).nodes).toHaveLength(1);
});

test("only true and false are taken", () => {
  const options = { endpoints: ["127.0.0.1:1"], discover: "no" as unknown as boolean };
  expect(() => connect(options)).toThrow(/option "discover" must be true or false/);
});
