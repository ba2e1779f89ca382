/**
 * `make bench` (METRIC=write for one): measures a cluster of real processes with real disks, with a client in this
 * process, in a closed loop. Every figure is a line of JSON; a table follows at the end. It asserts nothing.
 */

import { Bed } from "./bed.ts";
import { catchUp, failover, restart } from "./fault-metrics.ts";
import { halfLoad } from "./half-load-metric.ts";
import { readLocal } from "./local-metric.ts";
import { overload } from "./overload-metric.ts";
import { printPeers } from "./peers.ts";
import { loadAverage } from "./processes.ts";
import { readers, readLinearizable, readSession, readStale } from "./read-metrics.ts";
import { type Settings, settingsOf, USAGE } from "./settings.ts";
import { growthOfNodes, growthOfRows, load, memory } from "./size-metrics.ts";
import {
  mixed,
  unaryWrite,
  write,
  writeBatch,
  writeInstances,
  writeRandom,
} from "./write-metrics.ts";

type Metric = (bed: Bed) => Promise<void>;
type Print = (figure: object) => void;

/** Each has a cluster of its own; "growth" has several. */
const METRICS: { readonly [name: string]: (settings: Settings, print: Print) => Promise<void> } = {
  write: alone(write),
  writeInstances: alone(writeInstances),
  writeRandom: alone(writeRandom),
  writeBatch: alone(writeBatch),
  unaryWrite: alone(unaryWrite),
  readLinearizable: alone(readLinearizable),
  readSession: alone(readSession),
  readStale: alone(readStale),
  readLocal,
  readers: alone(readers, ["--readers-min", "2"]),
  mixed: alone(mixed),
  halfLoad: alone(halfLoad),
  failover,
  catchUp: alone(catchUp),
  restart: alone(restart),
  load: alone(load),
  memory: alone(memory, ["--readers-min", "2"]),
  growth: async (settings, print) => {
    for (const nodes of [1, 3, 5, 7]) {
      const bed = await Bed.make(settings, print, nodes);
      await growthOfNodes(bed).finally(() => bed.cluster.stop());
    }
    await alone(growthOfRows)(settings, print);
  },
  overload: alone(overload),
};

function alone(metric: Metric, args: readonly string[] = []) {
  return async (settings: Settings, print: Print): Promise<void> => {
    const bed = await Bed.make(settings, print, 3, args);
    await metric(bed).finally(() => bed.cluster.stop());
  };
}

/** The figures once more, for people: one line each, names and values. */
function table(figures: readonly { readonly [name: string]: unknown }[]): string {
  const rows = figures.map((figure) => {
    const { metric, ...rest } = figure;
    const cells = Object.entries(rest).map(([name, value]) => `${name} ${cell(value)}`);
    return `${String(metric).padEnd(26)} ${cells.join("  ")}`;
  });
  return rows.join("\n");
}

function cell(value: unknown): string {
  if (typeof value === "number") return value.toLocaleString("en");
  return typeof value === "string" ? value : JSON.stringify(value);
}

async function main(): Promise<void> {
  let settings: Settings;
  try {
    settings = settingsOf(process.argv.slice(2));
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    process.exitCode = 2;
    return;
  }
  const names = settings.metrics.length === 0 ? Object.keys(METRICS) : settings.metrics;
  const unknown = names.find((name) => METRICS[name] === undefined);
  if (unknown !== undefined) {
    console.error(`no metric "${unknown}"; there are ${Object.keys(METRICS).join(", ")}`);
    process.exitCode = 2;
    return;
  }
  const figures: { readonly [name: string]: unknown }[] = [];
  for (const name of names) {
    const rates = new Map<number, number>();
    const print: Print = (figure) => {
      const facts = figure as { readonly [name: string]: unknown };
      figures.push(facts);
      const { metric, clients, perSecond } = facts;
      // Of reads the last place counts, all nodes: the peers' clients ask all of theirs. The peers' own rates do not.
      if (metric === name && typeof clients === "number" && typeof perSecond === "number")
        rates.set(clients, perSecond);
      console.log(JSON.stringify(figure));
    };
    await METRICS[name]?.(settings, print);
    await printPeers(settings, name, rates, print);
  }
  console.log(`\n${table(figures)}\nload average ${loadAverage()}`);
}

await main();
