/** Metrics of what goes wrong: a leader lost, a follower far behind, a node restarted. */

import { existsSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import type { NodeProcess } from "../../src/testing/node-process.ts";
import { CLIENTS, Network } from "../support/proxy.ts";
import { Bed, INSERT, TEXT } from "./bed.ts";
import { median, rounded } from "./measure.ts";
import type { End, Settings } from "./settings.ts";

const WRITERS = 16;
const BEFORE_MS = 1_000;
/** The end comes at any moment of whatever comes round again: heartbeats, the client's looks at the clock. */
const BEFORE_MS_MORE = 500;
const AFTER_MS = 3_000;

/** Longest time without an acknowledged write, around each of the ends of a leader. */
export async function failover(settings: Settings, print: (figure: object) => void): Promise<void> {
  for (const how of settings.how) {
    const network = how === "cable" ? await Network.open(3) : null;
    const bed = await Bed.make(settings, print, 3, [], network);
    try {
      await trialsOf(bed, how, network);
    } finally {
      await bed.cluster.stop();
      await network?.close();
    }
  }
}

async function trialsOf(bed: Bed, how: End, network: Network | null): Promise<void> {
  const { trials } = bed.settings;
  const gaps: Gap[] = [];
  for (let trial = 0; trial < trials; trial += 1) gaps.push(await gapOf(bed, how, network));
  const all = gaps.map(({ ms }) => rounded(ms));
  const errors = gaps.reduce((sum, gap) => sum + gap.errors, 0);
  const figure = { medianMs: median(all), maxMs: Math.max(...all), errors, allMs: all };
  bed.print({ metric: "failover", how, trials, ...figure });
}

interface Gap {
  readonly ms: number;
  /** Writes that failed for their callers. */
  readonly errors: number;
}

async function gapOf(bed: Bed, how: End, network: Network | null): Promise<Gap> {
  const { cluster } = bed;
  const insert = bed.db.prepare(INSERT);
  const leader = await cluster.ready();
  let lastAt = performance.now();
  let ms = 0;
  let errors = 0;
  let running = true;
  const writer = async () => {
    while (running) {
      try {
        await insert.run(bed.key(), TEXT);
      } catch {
        errors += 1;
        continue;
      }
      const now = performance.now();
      ms = Math.max(ms, now - lastAt);
      lastAt = now;
    }
  };
  const writers = Array.from({ length: WRITERS }, writer);
  await pause(BEFORE_MS + Math.random() * BEFORE_MS_MORE);
  ms = 0;
  if (how === "stop") await leader.stop();
  else if (how !== "cable") leader.signal(how);
  else network?.isolate(leader.id);
  network?.link(CLIENTS, leader.id).cut();
  await pause(AFTER_MS);
  running = false;
  await Promise.all(writers);
  network?.heal();
  if (how === "SIGKILL") await leader.kill();
  leader.signal("SIGCONT");
  leader.start();
  await cluster.ready();
  await cluster.caughtUp();
  return { ms, errors };
}

/** A follower that was away for many entries: until it has applied all, with no load beside. */
export async function catchUp(bed: Bed): Promise<void> {
  const { cluster, settings } = bed;
  const leader = await cluster.leader();
  const follower = cluster.nodes.find(({ id }) => id !== leader.id) ?? leader;
  await follower.stop();
  const insert = bed.db.prepare(INSERT);
  let left = settings.entries;
  const writer = async () => {
    while (left > 0) {
      left -= 1;
      await insert.run(bed.key(), TEXT);
    }
  };
  await Promise.all(Array.from({ length: 256 }, writer));
  const seconds = await started(bed, follower);
  const entriesPerSecond = Math.round(settings.entries / seconds);
  bed.print({ metric: "catchUp", entries: settings.entries, seconds, entriesPerSecond });
}

/** A node with a large database: stopped in order, and killed; until it has applied all that is committed. */
export async function restart(bed: Bed): Promise<void> {
  const { cluster, settings } = bed;
  await bed.db.exec("CREATE TABLE page (id INTEGER PRIMARY KEY, bytes BLOB)");
  const sql = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1024)
    INSERT INTO page(bytes) SELECT randomblob(4000) FROM n`;
  for (let mib = 0; mib < settings.mib; mib += 4) await bed.db.exec(sql, { deadlineMs: 60_000 });
  await cluster.caughtUp(120_000);
  const leader = await cluster.leader();
  const follower = cluster.nodes.find(({ id }) => id !== leader.id) ?? leader;
  for (const how of ["stop", "SIGKILL"] as const) {
    if (how === "stop") await follower.stop();
    else await follower.kill();
    const seconds = await started(bed, follower);
    bed.print({ metric: "restart", how, mib: settings.mib, seconds });
  }
}

/** Seconds from the start of the process until it has applied what the leader has committed. */
async function started(bed: Bed, node: NodeProcess): Promise<number> {
  if (!existsSync(node.dir)) throw new Error(`node ${node.id} has no directory`);
  const beganAt = performance.now();
  node.start();
  await bed.cluster.caughtUp(300_000);
  return rounded((performance.now() - beganAt) / 1_000);
}
