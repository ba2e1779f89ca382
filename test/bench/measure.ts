/** Closed loops of callers, in windows, and what they measured. Computes figures; judges none. */

import type { Settings } from "./settings.ts";

export interface Figure {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly failures: number;
}

export type CallOf = (caller: number, turn: number) => Promise<unknown>;

/** Runs `callers` loops for `seconds`; each awaits its call before the next. */
export async function closedLoop(callers: number, seconds: number, call: CallOf): Promise<Figure> {
  const latencies: number[] = [];
  const startedAt = performance.now();
  const end = startedAt + seconds * 1_000;
  let failures = 0;
  const loop = async (caller: number) => {
    for (let turn = 0; performance.now() < end; turn += 1) {
      const began = performance.now();
      try {
        await call(caller, turn);
        latencies.push(performance.now() - began);
      } catch {
        failures += 1;
      }
    }
  };
  await Promise.all(Array.from({ length: callers }, (_, caller) => loop(caller)));
  const took = (performance.now() - startedAt) / 1_000;
  latencies.sort((a, b) => a - b);
  return {
    perSecond: Math.round(latencies.length / took),
    p50Ms: rounded(quantile(latencies, 0.5)),
    p99Ms: rounded(quantile(latencies, 0.99)),
    failures,
  };
}

export function quantile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
}

export function median(values: readonly number[]): number {
  return quantile(
    [...values].sort((a, b) => a - b),
    0.5,
  );
}

export function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}

/** What is watched while a window runs, for example the processors. */
export interface Meter {
  start(): void;
  /** @param operations that the window completed. */
  stop(operations: number): object;
}

/** Several windows; the one of median rate, with the lowest and the highest rate beside it. */
export async function windows(
  settings: Settings,
  callers: number,
  call: CallOf,
  meter?: Meter,
): Promise<object> {
  const figures: (Figure & { readonly watched: object })[] = [];
  for (let window = 0; window < settings.windows; window += 1) {
    meter?.start();
    const figure = await closedLoop(callers, settings.window, call);
    const watched = meter?.stop(figure.perSecond * settings.window) ?? {};
    figures.push({ ...figure, watched });
  }
  figures.sort((a, b) => a.perSecond - b.perSecond);
  const { watched, ...middle } = figures[Math.floor(figures.length / 2)] ?? figures[0] ?? NOTHING;
  const rates = { perSecondMin: figures[0]?.perSecond, perSecondMax: figures.at(-1)?.perSecond };
  return { ...middle, ...rates, ...watched };
}

const NOTHING = { perSecond: 0, p50Ms: 0, p99Ms: 0, failures: 0, watched: {} };
