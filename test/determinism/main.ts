/**
 * `npm run determinism -- --runs 500 --seed N` plays runs N to N + 499, spread over the machine's cores, and prints what
 * they covered. Fails if a node differs from its leader, or if something was never tried. `--replay N` plays one run
 * and, if it fails, prints a shorter script that still does.
 */

import { fork } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { makePlan } from "./make-plan.ts";
import { Coverage } from "./plan.ts";
import { describe, play, type RunReport, run, shorten } from "./run.ts";

interface Totals {
  readonly coverage: Coverage;
  passed: number;
  failed: number;
  requests: number;
  entries: number;
}

async function work(seeds: readonly number[]): Promise<void> {
  for (const seed of seeds) process.send?.(run(seed));
  process.disconnect();
}

function replay(seed: number): number {
  const plan = makePlan(seed);
  const report = play(plan);
  if (report.failure === null) {
    console.log(
      `run ${seed}: ${report.requests} requests, ${report.entries} entries, no difference`,
    );
    return 0;
  }
  console.log(`run ${seed} failed: ${report.failure}\nshortening …`);
  const kind = report.failure.slice(0, 30);
  const short = shorten(plan, 1_000, (failure) => failure.startsWith(kind));
  for (const step of short.steps) console.log(describe(step));
  console.log(play(short).failure);
  return 1;
}

function take(report: RunReport, totals: Totals, count: number): void {
  totals[report.failure === null ? "passed" : "failed"] += 1;
  totals.requests += report.requests;
  totals.entries += report.entries;
  totals.coverage.merge(report.coverage);
  if (report.failure !== null) {
    console.log(`\nrun ${report.seed} failed: ${report.failure}`);
    console.log(`replay with: npm run determinism -- --replay ${report.seed}\n`);
  }
  const done = totals.passed + totals.failed;
  if (done % 100 === 0) console.log(`${done} of ${count} runs, ${totals.failed} failed`);
}

function deal(seeds: readonly number[], totals: Totals, count: number): Promise<void> {
  return new Promise((resolve) => {
    const worker = fork(fileURLToPath(import.meta.url), [`--work=${seeds.join(",")}`]);
    worker.on("message", (message) => take(message as RunReport, totals, count));
    worker.on("error", (error) => console.log(error));
    worker.on("exit", () => resolve());
  });
}

async function many(from: number, count: number): Promise<number> {
  const startedAt = performance.now();
  const totals: Totals = {
    coverage: new Coverage(),
    passed: 0,
    failed: 0,
    requests: 0,
    entries: 0,
  };
  const cores = Math.min(availableParallelism(), count);
  await Promise.all(
    Array.from({ length: cores }, (_, core) => {
      const seeds: number[] = [];
      for (let seed = from + core; seed < from + count; seed += cores) seeds.push(seed);
      return deal(seeds, totals, count);
    }),
  );
  for (const line of totals.coverage.lines()) console.log(line);
  const missing = totals.coverage.missing();
  if (missing.length > 0) console.log(`never tried: ${missing.join(", ")}`);
  const lost = count - totals.passed - totals.failed;
  const seconds = (performance.now() - startedAt) / 1_000;
  console.log(
    `${count} runs from seed ${from} in ${seconds.toFixed(1)} s: ` +
      `${totals.requests} requests, ${totals.entries} entries, each applied by 4 followers`,
  );
  console.log(`${totals.passed} passed, ${totals.failed + lost} failed`);
  return totals.failed + lost + missing.length === 0 ? 0 : 1;
}

function whole(text: string, name: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  console.error(`--${name} takes a whole number`);
  process.exit(2);
}

async function main(): Promise<number> {
  const { values: given } = parseArgs({
    options: {
      runs: { type: "string", default: "500" },
      seed: { type: "string", default: "1" },
      replay: { type: "string" },
      work: { type: "string" },
    },
  });
  if (given.work !== undefined) {
    await work(given.work.split(",").map(Number));
    return 0;
  }
  if (given.replay !== undefined) return replay(whole(given.replay, "replay"));
  return many(whole(given.seed, "seed"), whole(given.runs, "runs"));
}

process.exitCode = await main();
