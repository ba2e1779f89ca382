/** Many seeds, dealt out to one worker process a core. It adds up what they report and judges nothing but the sum. */

import { fork } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { COVERED, Coverage } from "./coverage.ts";
import type { SimReport } from "./run.ts";

/** So many seeds must show everything that is counted. */
const COVERING_SEEDS = 500;

export interface Range {
  readonly from: number;
  readonly count: number;
  readonly step: number;
}

export function parseRange(text: string): Range {
  const [from = 1, count = 0, step = 1] = text.split(":").map(Number);
  return { from, count, step };
}

class Totals {
  passed = 0;
  failed = 0;
  virtualMs = 0;
  acknowledged = 0;
  reads = 0;
  readonly coverage = new Coverage();

  add(report: SimReport): void {
    if (report.ok) this.passed += 1;
    else this.failed += 1;
    this.virtualMs += report.virtualMs;
    this.acknowledged += report.acknowledged;
    this.reads += report.reads;
    this.coverage.merge(report.coverage);
  }
}

/** `show` is called for each seed that failed. Gives the process's exit code. */
export async function runMany(
  main: string,
  { from, count }: { readonly from: number; readonly count: number },
  passOn: readonly string[],
  show: (report: SimReport) => void,
): Promise<number> {
  const startedAt = Date.now();
  const totals = new Totals();
  const cores = Math.min(availableParallelism(), count);
  const hands = Array.from({ length: cores }, (_, core) => {
    const mine = Math.ceil((count - core) / cores);
    const range = `--work=${from + core}:${mine}:${cores}`;
    return deal(main, [range, ...passOn], (report) => {
      totals.add(report);
      if (!report.ok) show(report);
      const done = totals.passed + totals.failed;
      if (done % 100 === 0) console.log(`${done} of ${count} seeds, ${totals.failed} failed`);
    });
  });
  await Promise.all(hands);
  const missing = count - totals.passed - totals.failed;
  if (missing > 0) console.log(`${missing} seeds gave no report: a worker died`);
  const demanded = count < COVERING_SEEDS ? [] : COVERED;
  const unseen = demanded.filter((name) => totals.coverage.of(name) === 0);
  describe(totals, count, (Date.now() - startedAt) / 1_000);
  if (unseen.length > 0) console.log(`never happened: ${unseen.join(", ")}`);
  console.log(`${totals.passed} passed, ${totals.failed + missing + unseen.length} failed`);
  return totals.failed + missing + unseen.length === 0 ? 0 : 1;
}

function deal(
  main: string,
  args: readonly string[],
  done: (report: SimReport) => void,
): Promise<void> {
  return new Promise((resolve) => {
    const worker = fork(fileURLToPath(main), args);
    worker.on("message", (message) => done(message as SimReport));
    worker.on("error", (error) => console.log(error));
    worker.on("exit", () => resolve());
  });
}

function describe(totals: Totals, count: number, seconds: number): void {
  const hours = totals.virtualMs / 3_600_000;
  const counts = COVERED.map((name) => `${name} ${totals.coverage.of(name)}`);
  console.log(
    `${count} seeds in ${seconds.toFixed(1)} s (${(count / seconds).toFixed(1)} a second, ` +
      `${((hours * 60) / seconds).toFixed(1)} simulated hours a minute): ` +
      `${totals.acknowledged} writes acknowledged, ${totals.reads} reads`,
  );
  console.log(counts.join(" · "));
}
