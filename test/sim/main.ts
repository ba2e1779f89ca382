/** The simulator's command line: `npm run sim -- --help`. Ends with `N passed, N failed`. */

import { Command, InvalidArgumentError } from "commander";
import { OPTIONAL } from "./faults/adversary.ts";
import { parseRange, type Range, runMany } from "./fleet.ts";
import { type SimOptions, type SimReport, simulate } from "./run.ts";
import { commandOf, shrink } from "./shrink.ts";

interface Given {
  readonly seeds: number;
  readonly from: number;
  readonly seed?: number;
  readonly without?: ReadonlySet<string>;
  readonly only?: ReadonlySet<number>;
  readonly machine?: "model" | "sqlite";
  readonly shrink: boolean;
  readonly twiceEvery: number;
  readonly work?: Range;
}

function whole(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new InvalidArgumentError("It takes a whole number.");
}

function kinds(text: string): ReadonlySet<string> {
  const given = text.split(",").filter((kind) => kind !== "");
  const unknown = given.find((kind) => !OPTIONAL.some((known) => known === kind));
  if (unknown === undefined) return new Set(given);
  throw new InvalidArgumentError(
    `There is no fault "${unknown}". There are: ${OPTIONAL.join(", ")}.`,
  );
}

function machine(text: string): "model" | "sqlite" {
  if (text === "model" || text === "sqlite") return text;
  throw new InvalidArgumentError("It takes model or sqlite.");
}

const program = new Command("sim")
  .description(
    "A whole cluster in one process on virtual time, one run a seed. Each run: faults of all kinds for 12 virtual " +
      "seconds, then a healthy majority must make progress, then all nodes must become equal.",
  )
  .option("--seeds <n>", "how many seeds to run, over all cores", whole, 200)
  .option("--from <n>", "the first of them", whole, 1)
  .option("--seed <n>", "run this one alone, twice, and show what its nodes logged", whole)
  .option("--without <kinds>", `leave out these faults: ${OPTIONAL.join(", ")}`, kinds)
  .option(
    "--only <numbers>",
    "only these strikes of the run happen, by number, e.g. 3,7",
    (text) => {
      return new Set(text.split(",").map(whole));
    },
  )
  .option("--machine <kind>", "model or sqlite; default: sqlite in one seed of eight", machine)
  .option("--shrink", "make a failing seed smaller and show the rest of it", false)
  .option(
    "--twice-every <n>",
    "run each nth seed twice and compare the hashes of all events",
    whole,
    50,
  )
  .option("--work <range>", "for workers: FROM:COUNT:STEP", parseRange)
  .addHelpText(
    "after",
    "\nA failing seed is replayed by: make sim SEED=n [WITHOUT=..] [ONLY=..] [SHRINK=1]",
  );

function optionsOf(given: Given, seed: number): SimOptions {
  const { without, only, machine: kind } = given;
  return {
    seed,
    ...(without === undefined ? {} : { without }),
    ...(only === undefined ? {} : { only }),
    ...(kind === undefined ? {} : { machine: kind }),
  };
}

/** Twice: a run that cannot be repeated proves nothing. */
function runTwice(options: SimOptions): SimReport {
  const [first, second] = [simulate(options), simulate(options)];
  if (first.trace === second.trace || !first.ok) return first;
  const error = `not deterministic: two runs of this seed gave ${first.trace} and ${second.trace}`;
  return { ...first, ok: false, error };
}

async function work(given: Given, { from, count, step }: Range): Promise<void> {
  for (let at = 0; at < count; at += 1) {
    const seed = from + at * step;
    const options = optionsOf(given, seed);
    const isRepeated = given.twiceEvery > 0 && seed % given.twiceEvery === 0;
    const report = isRepeated ? runTwice(options) : simulate(options);
    await new Promise((sent) => process.send?.({ ...report, lines: [] }, sent));
  }
  process.disconnect();
}

function show({ seed, error, virtualMs }: SimReport): void {
  console.log(`\nseed ${seed} failed after ${virtualMs.toFixed(0)} virtual ms:`);
  console.log(error);
  console.log(
    `replay with: make sim SEED=${seed}, make it smaller with: make sim SEED=${seed} SHRINK=1\n`,
  );
}

function replay(given: Given, seed: number): number {
  const options = optionsOf(given, seed);
  let report = runTwice(options);
  if (!report.ok && given.shrink) {
    const shrunk = shrink(options, report);
    report = shrunk.report;
    const strikes = report.strikes.map(({ number, kind }) => `${number} ${kind}`).join(", ");
    console.log(`${shrunk.runs} runs later these strikes are left: ${strikes}`);
    console.log(`run it with: ${commandOf(shrunk.options)}`);
  }
  for (const line of report.lines) console.log(line);
  const { lines: _lines, error, ...rest } = report;
  console.log(JSON.stringify(rest));
  if (!report.ok) console.log(error);
  console.log(report.ok ? "1 passed, 0 failed" : "0 passed, 1 failed");
  return report.ok ? 0 : 1;
}

async function main(): Promise<number> {
  const given = program.parse().opts<Given>();
  if (given.work !== undefined) {
    await work(given, given.work);
    return 0;
  }
  if (given.seed !== undefined) return replay(given, given.seed);
  const passOn = process.argv.slice(2).filter((arg) => !arg.startsWith("--work"));
  return runMany(import.meta.url, { from: given.from, count: given.seeds }, passOn, show);
}

process.exitCode = await main();
