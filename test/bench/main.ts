/**
 * `npm run bench` (METRIC=write for one): a three-node cluster of real processes on this machine's disk, a client
 * in this process. One JSON line a figure. Shorter with SECONDS_EACH=3, WARM=3, TRIALS=3.
 */

import type { Database } from "../../src/client/index.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { closedLoop, quantile, rounded } from "./measure.ts";

const SECONDS = Number(process.env["SECONDS_EACH"] ?? 10);
const WARM = Number(process.env["WARM"] ?? 15);
const TRIALS = Number(process.env["TRIALS"] ?? 10);
const CALLERS = (process.env["CALLERS"] ?? "1,16,64,256").split(",").map(Number);
const TEXT = "x".repeat(100);

type Metric = (cluster: TestCluster, db: Database) => Promise<void>;

let nextKey = 1;

async function table(db: Database): Promise<void> {
  await db.exec("CREATE TABLE IF NOT EXISTS bench (id INTEGER PRIMARY KEY, value TEXT)");
}

function print(figure: object): void {
  console.log(JSON.stringify(figure));
}

const METRICS: { readonly [name: string]: Metric } = {
  write: async (_cluster, db) => {
    const insert = db.prepare("INSERT INTO bench VALUES (?, ?)");
    const call = () => insert.run(nextKey++, TEXT);
    await closedLoop(64, WARM, call);
    for (const callers of CALLERS) {
      print({ metric: "write", clients: callers, ...(await closedLoop(callers, SECONDS, call)) });
    }
  },

  readLinearizable: (cluster, db) => reads("readLinearizable", "linearizable", cluster, db),
  readStale: (cluster, db) => reads("readStale", "stale", cluster, db),

  failover: async (cluster, db) => {
    for (const how of ["SIGKILL", "SIGSTOP", "stop"] as const) {
      const gaps: number[] = [];
      for (let trial = 0; trial < TRIALS; trial += 1) gaps.push(await gap(cluster, db, how));
      const sorted = [...gaps].sort((a, b) => a - b);
      const medianMs = rounded(quantile(sorted, 0.5));
      const maxMs = rounded(sorted.at(-1) ?? 0);
      print({ metric: "failover", how, trials: TRIALS, medianMs, maxMs, allMs: gaps.map(rounded) });
    }
  },
};

async function reads(
  metric: string,
  consistency: "linearizable" | "stale",
  cluster: TestCluster,
  db: Database,
): Promise<void> {
  await fill(db);
  const routes: [string, Database][] = [
    ["leader", cluster.connectTo((await cluster.leader()).id)],
    ["all", cluster.connect()],
  ];
  for (const [from, client] of routes) {
    const get = client.with({ consistency }).prepare("SELECT value FROM bench WHERE id = ?");
    const call = (caller: number, turn: number) => get.get(((caller * 7919 + turn) % 10_000) + 1);
    await closedLoop(64, Math.min(WARM, 5), call);
    for (const callers of CALLERS) {
      print({ metric, from, clients: callers, ...(await closedLoop(callers, SECONDS, call)) });
    }
  }
}

async function fill(db: Database): Promise<void> {
  const sql = "INSERT OR IGNORE INTO bench VALUES (?, ?)";
  for (let from = 1; from <= 10_000; from += 500) {
    await db.batch(Array.from({ length: 500 }, (_, at) => ({ sql, args: [from + at, TEXT] })));
  }
}

/** The longest time without an acknowledgement under 16 writers, around one fault of the leader. */
async function gap(cluster: TestCluster, db: Database, how: string): Promise<number> {
  const insert = db.prepare("INSERT INTO bench VALUES (?, ?)");
  const leader = await cluster.ready();
  let lastAt = performance.now();
  let longest = 0;
  let running = true;
  const writer = async () => {
    while (running) {
      await insert.run(nextKey++, TEXT).catch(() => {});
      const now = performance.now();
      longest = Math.max(longest, now - lastAt);
      lastAt = now;
    }
  };
  const writers = Array.from({ length: 16 }, writer);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  longest = 0;
  if (how === "stop") await leader.stop();
  else leader.signal(how as NodeJS.Signals);
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  running = false;
  await Promise.all(writers);
  if (how === "SIGKILL") await leader.kill();
  leader.signal("SIGCONT");
  leader.start();
  await cluster.ready();
  await cluster.caughtUp();
  return longest;
}

async function main(): Promise<void> {
  const chosen = process.env["METRIC"];
  const names = chosen === undefined ? Object.keys(METRICS) : [chosen];
  for (const name of names) {
    const metric = METRICS[name];
    if (metric === undefined) {
      console.error(`no metric ${name}; there are ${Object.keys(METRICS).join(", ")}`);
      process.exitCode = 2;
      return;
    }
    const cluster = await TestCluster.start();
    try {
      await cluster.ready();
      const db = cluster.connect();
      await table(db);
      await metric(cluster, db);
    } finally {
      await cluster.stop();
    }
  }
}

await main();
