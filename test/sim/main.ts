/**
 * `npm run sim -- --seeds 200` runs seeds 1 to 200 (or from `--from`); `--seed 123` replays one and shows what its nodes
 * logged. Seeds are spread over the machine's cores. Ends with `N passed, N failed`.
 */

import { fork } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type SimReport, simulate } from "./run.ts";

interface Totals {
  passed: number;
  failed: number;
  virtualMs: number;
  elections: number;
  acknowledged: number;
  reads: number;
  crashes: number;
}

async function work(seeds: readonly number[]): Promise<void> {
  for (const seed of seeds) {
    const report = simulate({ seed });
    await new Promise((sent) => process.send?.(report, sent));
  }
  process.disconnect();
}

function show(report: SimReport): void {
  if (report.ok) return;
  console.log(`\nseed ${report.seed} failed after ${report.virtualMs.toFixed(0)} virtual ms:`);
  console.log(report.error);
  console.log(`replay with: make sim SEED=${report.seed}\n`);
}

function replay(seed: number): number {
  const [first, second] = [simulate({ seed }), simulate({ seed })];
  for (const line of first.lines) console.log(line);
  show(first);
  console.log(JSON.stringify({ ...first, lines: undefined, error: undefined }));
  if (first.trace !== second.trace) {
    console.log(`two runs of seed ${seed} differ: ${first.trace} and ${second.trace}`);
  }
  const passed = first.ok && first.trace === second.trace;
  console.log(passed ? "1 passed, 0 failed" : "0 passed, 1 failed");
  return passed ? 0 : 1;
}

/** Deals the seeds out to one worker a core. */
async function many(from: number, count: number): Promise<number> {
  const startedAt = Date.now();
  const cores = Math.min(availableParallelism(), count);
  const totals: Totals = {
    passed: 0,
    failed: 0,
    virtualMs: 0,
    elections: 0,
    acknowledged: 0,
    reads: 0,
    crashes: 0,
  };
  const hands = Array.from({ length: cores }, (_, core) => {
    const seeds: number[] = [];
    for (let seed = from + core; seed < from + count; seed += cores) seeds.push(seed);
    return deal(seeds, totals, count);
  });
  await Promise.all(hands);
  const seconds = (Date.now() - startedAt) / 1_000;
  const missing = count - totals.passed - totals.failed;
  const hours = totals.virtualMs / 3_600_000;
  console.log(
    `${count} seeds in ${seconds.toFixed(1)} s (${(count / seconds).toFixed(1)} a second, ` +
      `${((hours * 60) / seconds).toFixed(1)} simulated hours a minute): ` +
      `${totals.elections} elections, ${totals.crashes} crashes, ` +
      `${totals.acknowledged} writes acknowledged, ${totals.reads} reads`,
  );
  console.log(`${totals.passed} passed, ${totals.failed + missing} failed`);
  return totals.failed + missing === 0 ? 0 : 1;
}

function deal(seeds: readonly number[], totals: Totals, count: number): Promise<void> {
  return new Promise((resolve) => {
    const worker = fork(fileURLToPath(import.meta.url), [`--work=${seeds.join(",")}`]);
    worker.on("message", (message) => {
      const report = message as SimReport;
      totals[report.ok ? "passed" : "failed"] += 1;
      totals.virtualMs += report.virtualMs;
      totals.elections += report.elections;
      totals.acknowledged += report.acknowledged;
      totals.reads += report.reads;
      totals.crashes += report.faults.crashes;
      show(report);
      const done = totals.passed + totals.failed;
      if (done % 50 === 0) console.log(`${done} of ${count} seeds, ${totals.failed} failed`);
    });
    worker.on("error", (error) => console.log(error));
    worker.on("exit", () => resolve());
  });
}

function whole(text: string | undefined, name: string): number {
  const value = Number(text);
  if (text !== undefined && Number.isSafeInteger(value) && value >= 0) return value;
  console.error(`--${name} takes a whole number`);
  process.exit(2);
}

async function main(): Promise<number> {
  const { values: given } = parseArgs({
    options: {
      seeds: { type: "string" },
      seed: { type: "string" },
      from: { type: "string" },
      work: { type: "string" },
    },
  });
  if (given.work !== undefined) {
    await work(given.work.split(",").map(Number));
    return 0;
  }
  if (given.seed !== undefined) return replay(whole(given.seed, "seed"));
  return many(whole(given.from ?? "1", "from"), whole(given.seeds ?? "200", "seeds"));
}

process.exitCode = await main();
