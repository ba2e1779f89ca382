/**
 * Far more writes than the cluster can serve. Prints the rate served at its peak and under overload, how quickly the
 * rest was refused, what memory grew by, whether anybody stood for leader, and how soon it was well again.
 */

import { setTimeout as pause } from "node:timers/promises";
import { BalsaError } from "../../src/client/index.ts";
import { type Bed, INSERT, TEXT } from "./bed.ts";
import { closedLoop, median, quantile, rounded } from "./measure.ts";
import { processesOf, pssMib } from "./processes.ts";

/** Callers at the peak of the rate, and far more than a node admits. */
const CALLERS_PEAK = 256;
const CALLERS_OVER = 40_000;
/** Streams: a node reads 4,096 writes of each at a time, and admits 20,000. */
const INSTANCES = 12;
/** A refused caller comes back after this long, as an impatient user would. */
const AGAIN_MS = 50;

export async function overload(bed: Bed): Promise<void> {
  const { cluster, settings } = bed;
  const insert = bed.db.prepare(INSERT);
  await closedLoop(64, settings.warmup, () => insert.run(bed.key(), TEXT));
  const termBefore = await term(bed);
  const idleMib = nodesMib(bed);
  const peak = await closedLoop(CALLERS_PEAK, settings.window, () => insert.run(bed.key(), TEXT));
  const flood = await floodFor(bed, settings.window);
  const after = await closedLoop(CALLERS_PEAK, 1, () => insert.run(bed.key(), TEXT));
  const figure = {
    peakPerSecond: peak.perSecond,
    servedPerSecond: flood.servedPerSecond,
    refusedPerSecond: flood.refusedPerSecond,
    refusedP50Ms: flood.refusedP50Ms,
    refusedP99Ms: flood.refusedP99Ms,
    otherErrors: flood.others,
    grownMiB: Math.round(Math.max(...flood.mib.map((mib, at) => mib - (idleMib[at] ?? 0)))),
    terms: (await term(bed)) - termBefore,
    afterPerSecond: after.perSecond,
  };
  bed.print({ metric: "overload", callers: CALLERS_OVER, ...figure });
  await cluster.caughtUp();
}

interface Flood {
  readonly servedPerSecond: number;
  readonly refusedPerSecond: number;
  readonly refusedP50Ms: number;
  readonly refusedP99Ms: number;
  readonly others: { readonly [code: string]: number };
  /** Highest seen, by node. */
  readonly mib: readonly number[];
}

async function floodFor(bed: Bed, seconds: number): Promise<Flood> {
  const limits = { pendingRequests: 1_000_000 };
  const clients = Array.from({ length: INSTANCES }, () => {
    return bed.cluster.connect({ limits, deadlineMs: 30_000 }).prepare(INSERT);
  });
  const end = performance.now() + seconds * 1_000;
  const refusedMs: number[] = [];
  const others: { [code: string]: number } = {};
  let served = 0;
  const caller = async (at: number) => {
    while (performance.now() < end) {
      const began = performance.now();
      try {
        await clients[at % INSTANCES]?.run(bed.key(), TEXT);
        if (performance.now() < end) served += 1;
      } catch (error) {
        const code = error instanceof BalsaError ? error.code : String(error);
        if (code === "OVERLOADED") refusedMs.push(performance.now() - began);
        else others[code] = (others[code] ?? 0) + 1;
        await pause(AGAIN_MS);
      }
    }
  };
  let mib = nodesMib(bed);
  const watch = setInterval(() => {
    const now = nodesMib(bed);
    mib = mib.map((most, at) => Math.max(most, now[at] ?? 0));
  }, 500);
  await Promise.all(Array.from({ length: CALLERS_OVER }, (_, at) => caller(at)));
  clearInterval(watch);
  refusedMs.sort((a, b) => a - b);
  return {
    servedPerSecond: Math.round(served / seconds),
    refusedPerSecond: Math.round(refusedMs.length / seconds),
    refusedP50Ms: rounded(median(refusedMs)),
    refusedP99Ms: rounded(quantile(refusedMs, 0.99)),
    others,
    mib,
  };
}

function nodesMib(bed: Bed): number[] {
  return bed.cluster.nodes.map(({ pid }) => {
    if (pid === null) return 0;
    return processesOf(pid).reduce((sum, child) => sum + pssMib(child.pid), 0);
  });
}

async function term(bed: Bed): Promise<number> {
  const status = await bed.cluster.status();
  return Math.max(...status.nodes.map(({ status: node }) => node?.term ?? 0));
}
