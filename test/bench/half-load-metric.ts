/**
 * Writes at half of the rate that a closed loop of so many callers reaches, and how long they take. They come by the
 * clock, at random distances, whether or not earlier ones were answered, and a write's time begins when it was due: a
 * stall counts for all that it kept waiting.
 */

import { setTimeout as pause } from "node:timers/promises";
import { type Bed, INSERT, TEXT } from "./bed.ts";
import { closedLoop, quantile, rounded } from "./measure.ts";

/** What one window of an open loop showed. */
interface OpenFigure {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  readonly failures: number;
}

/** Of several windows the one of median p99 is printed. */
export async function halfLoad(bed: Bed): Promise<void> {
  const { settings } = bed;
  const insert = bed.db.prepare(INSERT);
  const call = () => insert.run(bed.key(), TEXT);
  await closedLoop(64, settings.warmup, call);
  for (const callers of settings.callers.filter((count) => count >= 16)) {
    const peak = await closedLoop(callers, settings.window, call);
    const rate = peak.perSecond / 2;
    const figures: OpenFigure[] = [];
    for (let window = 0; window < settings.windows; window += 1) {
      figures.push(await openLoop(rate, settings.window, call));
    }
    figures.sort((a, b) => a.p99Ms - b.p99Ms);
    const middle = figures[Math.floor(figures.length / 2)];
    const times = rounded((middle?.p99Ms ?? 0) / (middle?.p50Ms ?? 1));
    const all = figures.map(({ p99Ms }) => p99Ms);
    bed.print({
      metric: "halfLoad",
      clients: callers,
      peakPerSecond: peak.perSecond,
      peakP50Ms: peak.p50Ms,
      peakP99Ms: peak.p99Ms,
      ...middle,
      p99TimesP50: times,
      allP99Ms: all,
    });
  }
}

/** Exponential distances, so that writes come as from many callers who know nothing of each other. */
async function openLoop(
  perSecond: number,
  seconds: number,
  call: () => Promise<unknown>,
): Promise<OpenFigure> {
  const latencies: number[] = [];
  let failures = 0;
  const pending = new Set<Promise<void>>();
  const one = async (due: number) => {
    try {
      await call();
      latencies.push(performance.now() - due);
    } catch {
      failures += 1;
    }
  };
  const startedAt = performance.now();
  const end = startedAt + seconds * 1_000;
  let due = startedAt;
  while (due < end) {
    const now = performance.now();
    while (due <= now && due < end) {
      const call = one(due).finally(() => pending.delete(call));
      pending.add(call);
      due += (-Math.log(1 - Math.random()) * 1_000) / perSecond;
    }
    await pause(0);
  }
  await Promise.all(pending);
  latencies.sort((a, b) => a - b);
  return {
    perSecond: Math.round(latencies.length / seconds),
    p50Ms: rounded(quantile(latencies, 0.5)),
    p99Ms: rounded(quantile(latencies, 0.99)),
    p999Ms: rounded(quantile(latencies, 0.999)),
    maxMs: rounded(latencies.at(-1) ?? 0),
    failures,
  };
}
