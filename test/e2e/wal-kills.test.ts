/**
 * The WAL is copied beside the writer, in a thread of its process: random keys, writers and nodes killed at random moments and
 * a reader that pins the WAL. Nothing acknowledged is lost, the nodes hold the same, no file is taken for changed.
 */

import { statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import Sqlite from "better-sqlite3";
import { afterEach, expect, it } from "vitest";
import { BalsaError, type Database } from "../../src/client/index.ts";
import { HarshCluster } from "../support/cluster.ts";
import { childrenOf } from "../support/process-tree.ts";
import { randomOf } from "../support/random.ts";

const seed = Number(process.env["BALSA_E2E_SEED"] ?? Math.floor(Math.random() * 1e6));
const ROUNDS = process.env["BALSA_E2E"] === "long" ? 30 : 6;
const MIB = 1024 * 1024;
const WRITERS = 32;
const KEYS = 20_000;

let cluster: HarshCluster;

afterEach((context) => cluster?.finish(context));

/** Each row belongs to one loop, so that what it must hold is known. */
class RandomKeys {
  readonly acknowledged = new Map<number, number>();
  /** Written at least, and perhaps never answered. */
  readonly tried = new Map<number, number>();
  answered = 0;
  readonly surprises: string[] = [];
  #isOver = false;
  #loops: Promise<void>[] = [];

  start(db: Database): void {
    this.#isOver = false;
    const dice = randomOf(seed);
    const write = db.prepare("INSERT OR REPLACE INTO t(k, n, v) VALUES (?, ?, randomblob(700))");
    const work = async (own: number): Promise<void> => {
      while (!this.#isOver) {
        const k = Math.floor(dice() * KEYS) * WRITERS + own;
        const n = (this.tried.get(k) ?? 0) + 1;
        this.tried.set(k, n);
        try {
          await write.run(k, n);
          this.acknowledged.set(k, n);
          this.answered += 1;
        } catch (error) {
          if (!(error instanceof BalsaError)) this.surprises.push(`${error}`);
        }
      }
    };
    this.#loops = Array.from({ length: WRITERS }, (_, own) => work(own));
  }

  async more(count: number): Promise<void> {
    const [from, end] = [this.answered, performance.now() + 60_000];
    while (this.answered < from + count) {
      if (performance.now() > end) throw new Error(`${this.answered - from} of ${count} in 60 s`);
      await pause(5);
    }
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#loops);
  }
}

function walOf(id: number): number {
  return statSync(join(cluster.dirOf(id), "main.db-wal"), { throwIfNoEntry: false })?.size ?? 0;
}

function expectIntegrity(id: number): void {
  const file = new Sqlite(join(cluster.dirOf(id), "main.db"), { readonly: true });
  expect(file.pragma("integrity_check", { simple: true })).toBe("ok");
  file.close();
}

it("random keys, killed at random", { timeout: 900_000 }, async () => {
  cluster = await HarshCluster.start();
  const dice = randomOf(seed);
  const db = cluster.connect({ deadlineMs: 20_000 });
  await db.exec("CREATE TABLE t (k INTEGER PRIMARY KEY, n INTEGER NOT NULL, v BLOB)");
  const load = new RandomKeys();
  load.start(db);
  const done: string[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    await load.more(1_000 + Math.floor(dice() * 5_000));
    const id = 1 + Math.floor(dice() * 3);
    const kind = ["node", "all", "child", "child"][Math.floor(dice() * 4)];
    const sizes = cluster.ids.map((node) => Math.round(walOf(node) / MIB));
    done.push(`${kind} ${id} at ${sizes.join(", ")} MiB`);
    if (kind === "node") {
      await cluster.kill(id);
      await cluster.restart(id);
    } else if (kind === "all") {
      await cluster.kill(...cluster.ids);
      await cluster.restart(...cluster.ids);
    } else {
      // The writer among them, and its readers.
      for (const child of childrenOf(cluster.pidOf(id) ?? -1)) {
        try {
          process.kill(child, "SIGKILL");
        } catch {
          // Gone already.
        }
      }
    }
    await cluster.recovered();
  }
  await load.more(500);
  // Reads that hold a snapshot: the WAL grows meanwhile, and is begun anew when they have ended.
  const reads = db.prepare<{ k: number }>("SELECT k FROM t").iterate();
  await reads.next();
  await load.more(8_000);
  const pinned = cluster.ids.map((id) => Math.round(walOf(id) / MIB));
  await reads.return?.();
  await load.more(8_000);
  done.push(`with a reader ${pinned.join(", ")} MiB`);
  done.push(`then ${cluster.ids.map((id) => Math.round(walOf(id) / MIB)).join(", ")} MiB`);
  await load.stop();
  process.stdout.write(`seed ${seed}, ${load.answered} writes\n${done.join("\n")}\n`);
  expect(load.surprises).toEqual([]);
  const rows = await db.prepare<{ k: number; n: number }>("SELECT k, n FROM t").all();
  const found = new Map(rows.map(({ k, n }) => [k, n]));
  const lost = [...load.acknowledged].filter(([k, n]) => (found.get(k) ?? 0) < n);
  expect(lost).toEqual([]);
  await cluster.caughtUp();
  expect(new Set(await cluster.contents()).size).toBe(1);
  for (const id of cluster.ids) {
    expect(cluster.logOf(id)).not.toMatch(/from outside|mismatch|copies its WAL by itself/);
    expect(walOf(id)).toBe(0);
    expectIntegrity(id);
  }
});
