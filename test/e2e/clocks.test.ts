/** Real nodes whose clocks are wrong by hours: log time is that of the majority, whoever leads. And their time zones. */

import { afterEach, expect, test } from "vitest";
import { TestCluster } from "../../src/testing/cluster.ts";
import { NodeProcess } from "../../src/testing/node-process.ts";

const HOUR_S = 3_600;
let cluster: TestCluster | null = null;

afterEach(async () => {
  await cluster?.stop();
  cluster = null;
});

/** A node whose wall clock is off. */
function withClock({ options }: NodeProcess, offMs: number): NodeProcess {
  const source = `const now = Date.now; Date.now = () => now() + ${offMs};`;
  const preload = `--import=data:text/javascript,${encodeURIComponent(source)}`;
  return new NodeProcess({ ...options, env: { ...options.env, NODE_OPTIONS: preload } });
}

test.each([
  ["ahead", 2 * HOUR_S],
  ["behind", -2 * HOUR_S],
])(
  "a leader whose clock is two hours %s neither moves log time nor ends a session",
  async (_how, offS) => {
    cluster = await TestCluster.start();
    const first = await cluster.ready();
    const db = cluster.connect();
    await db.exec("CREATE TABLE t (at INTEGER, r)");
    const insert = db.prepare("INSERT INTO t VALUES (unixepoch(), ?) RETURNING at");
    await insert.get("right");
    const at = cluster.nodes.findIndex(({ id }) => id !== first.id);
    const sane = cluster.node(at + 1);
    await sane.stop();
    cluster.nodes[at] = withClock(sane, offS * 1_000);
    cluster.nodes[at]?.start();
    await cluster.ready();
    await cluster.caughtUp();
    await cluster.admin.transferLeadership(sane.id);
    const led = await cluster.until("it does not lead", 30_000, async () => {
      const leader = await cluster?.leader();
      return leader?.id === sane.id ? leader : null;
    });
    const row = await insert.get("wrong");
    const offFromTruth = Math.abs(Number(row?.["at"]) - Date.now() / 1000);
    expect(offFromTruth).toBeLessThan(HOUR_S);
    expect(led.lastWords(200)).toMatch(/clock differs from a majority/);
    const rows = await db.prepare("SELECT at FROM t ORDER BY rowid").all();
    const times = rows.map(({ at: time }) => Number(time));
    expect(times).toEqual([...times].sort((a, b) => a - b));
  },
);

test("the time zone of a node's process is nobody's local time", async () => {
  cluster = await TestCluster.start({ env: { TZ: "Asia/Kolkata" } });
  await cluster.ready();
  const local =
    "datetime('now', 'localtime') = datetime('now') AND time('12:00', 'localtime', 'utc') = '12:00:00'";
  const db = cluster.connect();
  await db.exec("CREATE TABLE t (same, DEFAULTED DEFAULT (time('12:00', 'localtime')))");
  await db.prepare(`INSERT INTO t(same) VALUES (${local})`).run();
  const row = { same: 1, DEFAULTED: "12:00:00" };
  expect(await db.prepare("SELECT * FROM t").get()).toEqual(row);
  for (const { id } of cluster.nodes) {
    const read = "SELECT time('12:00', 'localtime') AS noon";
    expect(await cluster.connectTo(id).prepare(read).get()).toEqual({ noon: "12:00:00" });
  }
});
