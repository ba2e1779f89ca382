/**
 * Full disks, on real processes: a leader without room gives way, a follower without room is in nobody's way, a cluster
 * without room says so; and when there is room again all go on by themselves. Nothing acknowledged is lost.
 */

import { afterEach, describe, expect, it } from "vitest";
import { BalsaError, type Database } from "../../src/client/index.ts";
import { HarshCluster } from "../support/cluster.ts";
import { SmallDisk, whyNoSmallDisk } from "../support/small-disk.ts";

const MIB = 1024 * 1024;
/** Room for a few log segments of 16 MiB and the database. */
const DISK_BYTES = 224 * MIB;
const MIN_FREE_BYTES = 8 * MIB;
const LIMIT_MS = 60_000;

const reason = whyNoSmallDisk();
let cluster: HarshCluster;
const disks = new Map<number, SmallDisk>();

async function start(): Promise<Database> {
  disks.clear();
  cluster = await HarshCluster.start({
    args: ["--min-free-bytes", `${MIN_FREE_BYTES}`],
    onDirectory: (id, dir) => disks.set(id, new SmallDisk(dir, DISK_BYTES)),
    onStopped: () => {
      for (const disk of disks.values()) disk.unmount();
    },
  });
  const db = cluster.connect({ deadlineMs: 30_000 });
  await db.exec("CREATE TABLE item (id INTEGER PRIMARY KEY, content BLOB NOT NULL)");
  return db;
}

afterEach((context) => cluster?.finish(context));

function disk(id: number): SmallDisk {
  const found = disks.get(id);
  if (found === undefined) throw new Error(`node ${id} has no disk`);
  return found;
}

/** Rows that were acknowledged. */
class Items {
  readonly #db: Database;
  readonly acknowledged: number[] = [];
  #last = 0;

  constructor(db: Database) {
    this.#db = db;
  }

  async write(count: number, bytes = 1_000): Promise<void> {
    for (let at = 0; at < count; at += 1) {
      this.#last += 1;
      const content = Buffer.alloc(bytes, this.#last);
      await this.#db.prepare("INSERT INTO item VALUES (?, ?)").run(this.#last, content);
      this.acknowledged.push(this.#last);
    }
  }

  async expectAll(): Promise<void> {
    const rows = await this.#db.prepare("SELECT id FROM item ORDER BY id").all();
    const found = new Set(rows.map(({ id }) => Number(id)));
    expect(this.acknowledged.filter((id) => !found.has(id))).toEqual([]);
  }
}

/** All nodes run, in the same processes as before, and hold the same. */
async function expectRecovered(pids: readonly (number | null)[], items: Items): Promise<void> {
  await cluster.recovered(LIMIT_MS);
  await items.write(20);
  await cluster.caughtUp(LIMIT_MS);
  expect(cluster.ids.map((id) => cluster.pidOf(id))).toEqual(pids);
  await items.expectAll();
  const [first, ...others] = await cluster.contents();
  for (const other of others) expect(other).toBe(first);
}

const title = reason === null ? "a full disk" : `a full disk (skipped: ${reason})`;

describe.skipIf(reason !== null)(title, { timeout: 300_000 }, () => {
  it("of the leader moves the leadership to a node with space, and writes go on", async () => {
    const items = new Items(await start());
    await items.write(20);
    const pids = cluster.ids.map((id) => cluster.pidOf(id));
    const full = await cluster.leader();
    disk(full).fill();
    await cluster.until("the leadership did not move", LIMIT_MS, async () => {
      return (await cluster.leader()) !== full ? true : null;
    });
    await items.write(50);
    disk(full).empty();
    await expectRecovered(pids, items);
  });

  it("of a follower is in nobody's way, whatever it cannot store, and it catches up", async () => {
    const items = new Items(await start());
    await items.write(20);
    const pids = cluster.ids.map((id) => cluster.pidOf(id));
    const [full] = (await cluster.followers()) as [number, number];
    disk(full).fill();
    // More than what is left of its log's segments.
    await items.write(36, MIB);
    await cluster.until("the node's disk did not fill", LIMIT_MS, async () => {
      const log = cluster.logOf(full);
      const isFull = log.includes("the log finds no space") && log.includes("the writer found no");
      return isFull ? true : null;
    });
    await items.write(20);
    expect(cluster.isRunning(full)).toBe(true);
    disk(full).empty();
    await expectRecovered(pids, items);
  });

  it("does not keep a node from starting that was killed in the middle of its work", async () => {
    const items = new Items(await start());
    await items.write(20);
    const [full] = (await cluster.followers()) as [number, number];
    const writing = items.write(100, 20_000);
    await cluster.until("nothing was written", LIMIT_MS, async () => {
      return items.acknowledged.length > 60 ? true : null;
    });
    await cluster.kill(full);
    disk(full).fill();
    await cluster.restart(full);
    await writing;
    await cluster.recovered(LIMIT_MS);
    expect(disk(full).freeBytes).toBeLessThan(MIN_FREE_BYTES);
    const pids = cluster.ids.map((id) => cluster.pidOf(id));
    await items.write(20);
    disk(full).empty();
    await expectRecovered(pids, items);
  });

  it("of all nodes is told to writers, while reads are served; space on them brings all back", async () => {
    const db = await start();
    const items = new Items(db);
    await items.write(20);
    const pids = cluster.ids.map((id) => cluster.pidOf(id));
    for (const each of disks.values()) each.fill();
    const impatient = db.with({ deadlineMs: 1_000 });
    const insert = impatient.prepare("INSERT INTO item VALUES (?, randomblob(1000))");
    let id = 1_000_000;
    await cluster.until("writes were not refused", LIMIT_MS, async () => {
      id += 1;
      const error = await insert.run(id).then(
        () => null,
        (thrown: unknown) => thrown,
      );
      if (error === null) items.acknowledged.push(id);
      const isRefused = error instanceof BalsaError && error.facts["last"] === "NO_SPACE";
      if (isRefused) expect(error.outcome).toBe("not-applied");
      return isRefused ? true : null;
    });
    const count = "SELECT count(*) AS n FROM item";
    expect(await impatient.with({ consistency: "stale" }).prepare(count).get()).toBeDefined();
    // The newest may be nobody's to apply: then the disks are what is told.
    const read = await impatient
      .prepare(count)
      .get()
      .catch((thrown: unknown) => thrown);
    if (read instanceof Error) expect(read.message).toMatch(/disk of this node is full/);
    const [one, ...others] = cluster.ids as [number, ...number[]];
    for (const other of others) disk(other).empty();
    await items.write(30);
    disk(one).empty();
    await expectRecovered(pids, items);
  });
});
