/**
 * A disk that fails one write or sync of a node's log: the node ends with a clear word and is not started again on what
 * it may only believe to have stored; the others go on; nothing acknowledged is lost.
 */

import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { HarshCluster } from "../support/cluster.ts";
import { assertLinearizable } from "../support/linearizability.ts";
import { appendList, register } from "../support/linearizability-models.ts";
import { Load } from "../support/load.ts";
import { whyNoPowerCut } from "../support/power-cut.ts";

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const LIMIT_MS = 60_000;
const reason = whyNoPowerCut();
let cluster: HarshCluster;

afterEach((context) => cluster?.finish(context));

function markerOf(id: number): string {
  return join(cluster.dirOf(id), "log", "poisoned.json");
}

/** As if the machine had been started anew since. */
function restartMachine(id: number): void {
  const marker = JSON.parse(readFileSync(markerOf(id), "utf8"));
  writeFileSync(markerOf(id), JSON.stringify({ ...marker, bootId: "an earlier one" }));
}

/** What `balsa serve` says and returns when it is started by hand on this node's directory. */
function startByHand(id: number): { status: number | null; stderr: string } {
  const address = "127.0.0.1:4999";
  const given = ["--id", `${id}`, "--dir", cluster.dirOf(id), "--peers", `${id}=${address}`];
  try {
    execFileSync(process.execPath, [MAIN, "serve", ...given, "--listen", address], {
      stdio: "pipe",
      timeout: LIMIT_MS,
    });
    return { status: 0, stderr: "" };
  } catch (error) {
    const { status, stderr } = error as { status: number | null; stderr: Buffer };
    return { status, stderr: stderr.toString() };
  }
}

/** More than a segment holds. */
async function fillSegments(): Promise<void> {
  const db = cluster.connect({ deadlineMs: LIMIT_MS });
  await db.exec("CREATE TABLE filling (content BLOB NOT NULL)");
  const insert = db.prepare("INSERT INTO filling VALUES (?)");
  for (let count = 0; count < 20; count += 1) await insert.run(Buffer.alloc(1024 * 1024, count));
}

const title = reason === null ? "a failed disk" : `a failed disk (skipped: ${reason})`;

describe.skipIf(reason !== null)(title, { timeout: 300_000 }, () => {
  const ways: readonly [string, string, "machine" | "node"][] = [
    ["write to a segment", "dsync:*node1/log/*.wal@1", "machine"],
    ["sync of a new segment", "fdatasync:*node1/log/*.wal.new@1", "node"],
  ];

  it.for(ways)("ends its node at the first failed %s, for good", async ([, failing, restarted]) => {
    const powerCut = { realSync: false, fail: [failing], failOnDemand: true };
    cluster = await HarshCluster.start({ powerCut });
    const load = new Load(cluster, { paceMs: 5 });
    await load.start();
    await load.progress(100);
    cluster.power?.startFailing();
    await fillSegments();
    await cluster.until("node 1 goes on", LIMIT_MS, async () => {
      return cluster.isRunning(1) ? null : true;
    });
    cluster.power?.stopFailing();
    await load.progress(100);
    await load.stop();
    expect(cluster.logOf(1)).toMatch(/^balsa: node 1 has halted: LOG_POISONED: .*EIO.*OPERATING/m);
    expect(JSON.parse(readFileSync(markerOf(1), "utf8"))).toMatchObject({ kind: "failed" });
    const { status, stderr } = startByHand(1);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^balsa: LOG_POISONED: .*EIO.*OPERATING\.md$/m);
    if (restarted === "machine") restartMachine(1);
    await cluster.restart(1);
    await cluster.recovered();
    await load.readAll();
    load.expectNoSurprise();
    assertLinearizable(register, load.registers.operations());
    assertLinearizable(appendList, load.lists.operations());
    await cluster.caughtUp();
    // In the same boot it has been taken in anew; else it has gone on with its log.
    const kept = readdirSync(cluster.dirOf(1)).filter((name) => name.startsWith("log.damaged"));
    expect(kept).toHaveLength(restarted === "node" ? 1 : 0);
    const [first, ...others] = await cluster.contents();
    for (const other of others) expect(other).toBe(first);
  });
});
