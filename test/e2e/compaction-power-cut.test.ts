/**
 * The power goes while logs are cut and snapshots installed: what a log has dropped must be in the database file, and a
 * snapshot that has taken the place of log and database must be there.
 */

import { setTimeout as pause } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { HarshCluster } from "../support/cluster.ts";
import { assertLinearizable } from "../support/linearizability.ts";
import { appendList, register } from "../support/linearizability-models.ts";
import { Load } from "../support/load.ts";
import { whyNoPowerCut } from "../support/power-cut.ts";

const seed = Number(process.env["BALSA_E2E_SEED"] ?? Math.floor(Math.random() * 1e6));
const reason = whyNoPowerCut();
const TAIL = 40;

let cluster: HarshCluster;

afterEach((context) => cluster?.finish(context));

function start(): Promise<HarshCluster> {
  const args = ["--log-tail-entries", `${TAIL}`, "--log-level", "debug"];
  return HarshCluster.start({ powerCut: { realSync: false }, args });
}

function has(id: number, message: string): boolean {
  return cluster.logOf(id).includes(`"msg":"${message}"`);
}

async function until(what: string, condition: () => boolean): Promise<void> {
  const end = performance.now() + 60_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`${what}: not within 60 s`);
    await pause(2);
  }
}

const title = reason === null ? "a power cut" : `a power cut (skipped: ${reason})`;

describe.skipIf(reason !== null)(title, { timeout: 600_000 }, () => {
  it("of all nodes whose logs were cut loses nothing that was acknowledged", async () => {
    cluster = await start();
    const load = new Load(cluster, { seed, paceMs: 5 });
    for (let round = 0; round < 3; round += 1) {
      await load.start();
      await load.progress(400);
      await cluster.cutPower({ seed: seed + round, ...(round === 1 ? { keep: 0.5 } : {}) });
      await load.stop();
      await cluster.restart(...cluster.ids);
      await cluster.recovered();
    }
    expect(cluster.ids.every((id) => has(id, "dropped the oldest log entries"))).toBe(true);
    await load.readAll();
    load.expectNoSurprise();
    assertLinearizable(register, load.registers.operations());
    assertLinearizable(appendList, load.lists.operations());
    await cluster.caughtUp();
    expect(new Set(await cluster.contents()).size).toBe(1);
  });

  it.each([
    ["just before a snapshot takes the log's place", "a snapshot is here", {}],
    ["when it has", "the snapshot has taken the database's place", {}],
    [
      "when it has, and names survive in part",
      "the snapshot has taken the database's place",
      {
        keep: 0.5,
        names: "all" as const,
      },
    ],
  ])("%s leaves the node before or after", async (_when, message, cut) => {
    cluster = await start();
    const db = cluster.connect({ deadlineMs: 60_000 });
    await db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, blob BLOB)");
    const insert = db.prepare("INSERT INTO t(blob) VALUES (randomblob(5000))");
    const [away] = await cluster.followers();
    if (away === undefined) throw new Error("no follower");
    await cluster.kill(away);
    for (let at = 0; at < 500; at += 50)
      await Promise.all(Array.from({ length: 50 }, () => insert.run()));
    await until("a shorter log", () => {
      return cluster.ids.every((id) => id === away || has(id, "dropped the oldest log entries"));
    });
    await cluster.restart(away);
    await until(message, () => has(away, message));
    // A later checkpoint would make up for a sync that is missing here.
    const synced = cluster.power
      ?.trace()
      .filter(({ fate, blocks }) => fate === "synced" && blocks > 0);
    const sizes = synced?.filter(({ path }) => path === `node${away}/snapshots/incoming.db`);
    expect(sizes?.reduce((sum, { blocks }) => sum + blocks * 512, 0)).toBeGreaterThan(2_500_000);
    await cluster.cutPower({ seed, ...cut });
    await cluster.restart(...cluster.ids);
    await cluster.recovered();
    await insert.run();
    expect(await db.prepare("SELECT count(*) AS n FROM t").get()).toEqual({ n: 501 });
    await cluster.caughtUp();
    expect(new Set(await cluster.contents()).size).toBe(1);
  });
});
