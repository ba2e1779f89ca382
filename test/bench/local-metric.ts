/** Reads by key of a node's own file in an app (`node.local`), in turns with better-sqlite3 alone on the same file. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { SELECT, TEXT } from "./bed.ts";
import { median } from "./measure.ts";
import type { Settings } from "./settings.ts";

const ROWS = 10_000;
const TURNS = 9;
const READS = 100_000;
/** The built one: its thread runs JavaScript. */
const BUILT = new URL("../../dist/service/index.js", import.meta.url);

export async function readLocal(_: Settings, print: (figure: object) => void): Promise<void> {
  const { openNode } = (await import(BUILT.href)) as typeof import("../../src/service/index.ts");
  const dir = mkdtempSync(join(tmpdir(), "balsa-bench-"));
  const listen = "127.0.0.1:0";
  const address = { listen, advertise: "127.0.0.1:4001", peers: { 1: "127.0.0.1:4001" } };
  const node = await openNode({ id: 1, dir, ...address });
  let bare: Database.Database | null = null;
  try {
    await node.db.exec("CREATE TABLE bench (id INTEGER PRIMARY KEY, value TEXT)");
    for (let id = 1; id <= ROWS; id += 1_000) {
      await node.db.batch(
        Array.from({ length: 1_000 }, (__, at) => {
          return { sql: "INSERT INTO bench VALUES (?, ?)", args: [id + at, TEXT] };
        }),
      );
    }
    await node.barrier();
    bare = new Database(join(dir, "main.db"), { readonly: true, timeout: 1_000 });
    const [local, alone] = [node.local.prepare(SELECT), bare.prepare(SELECT)];
    const rates: [local: number[], alone: number[]] = [[], []];
    for (let turn = 0; turn < TURNS; turn += 1) {
      rates[0].push(perSecond((id) => local.get(id)));
      rates[1].push(perSecond((id) => alone.get(id)));
    }
    const [mine, theirs] = [median(rates[0]), median(rates[1])];
    const ratio = Math.round((100 * mine) / theirs) / 100;
    print({ metric: "readLocal", perSecond: mine, betterSqlite3PerSecond: theirs, ratio });
  } finally {
    bare?.close();
    await node.close();
    rmSync(dir, { recursive: true });
  }
}

function perSecond(read: (id: number) => unknown): number {
  const startedAt = performance.now();
  for (let turn = 0; turn < READS; turn += 1) read(((turn * 7919) % ROWS) + 1);
  return Math.round(READS / ((performance.now() - startedAt) / 1_000));
}
