/**
 * `make mutants` takes one guard after the other out of a copy of the program and shows that its tests fail then.
 * `--only A3,D9` tries those of some guards or names, `--list` only lists, `--workers` says how many at a time (2).
 * `--seeds 30` lets the simulator alone look for each, in seeds 1 to 30, and so tells what it sees (and takes long).
 * Before that the same tests must pass on the copy as it is. Ends with `N passed, N failed`; exit code 0 if all were
 * killed, 1 if not, 2 for wrong options.
 */

import { parseArgs } from "node:util";
import { describeKiller, type Killer, type Mutant, seeds } from "./mutant.ts";
import { MUTANTS } from "./mutants.ts";
import { type Trial, tryKillers } from "./trial.ts";
import { Workshop } from "./workshop.ts";

/** One mutant's tests. */
const MUTANT_MS_MAX = 180_000;
/** All tests as they are, in one go. */
const UNCHANGED_MS_MAX = 900_000;

const ROOT = new URL("../..", import.meta.url).pathname;

/** A killer of its own for every mention of the same tests: they are tried once. */
function keyOf(killer: Killer): string {
  return JSON.stringify(killer);
}

function select(only: string | undefined): readonly Mutant[] {
  if (only === undefined) return MUTANTS;
  const wanted = only.split(",").map((each) => each.trim());
  for (const each of wanted) {
    if (MUTANTS.some(({ name, guards }) => name === each || guards.includes(each))) continue;
    console.error(`no mutant has the name or guards ${each}; --list shows them`);
    process.exit(2);
  }
  return MUTANTS.filter(({ name, guards }) =>
    [name, ...guards].some((each) => wanted.includes(each)),
  );
}

/** With the simulator as the only test, if so many seeds are asked for. */
function bySeeds(mutants: readonly Mutant[], count: string | undefined): readonly Mutant[] {
  if (count === undefined) return mutants;
  const killer = seeds(1, Number(count));
  if (!Number.isSafeInteger(killer.count) || killer.count < 1) {
    console.error("--seeds takes a number from 1");
    process.exit(2);
  }
  return mutants.map((mutant) => ({ ...mutant, killedBy: [killer] }));
}

function list(mutants: readonly Mutant[]): void {
  for (const { name, guards, removes, edits } of mutants) {
    console.log(`${guards.join(" ").padEnd(12)} ${name}: ${removes}`);
    console.log(`${"".padEnd(12)} in ${[...new Set(edits.map(({ file }) => file))].join(", ")}`);
  }
}

/** The tests as they are must pass, else their failing says nothing. Those that do not, by key. */
async function tryUnchanged(
  workshop: Workshop,
  mutants: readonly Mutant[],
): Promise<Map<string, Trial>> {
  const killers = new Map(mutants.flatMap(({ killedBy }) => killedBy.map((k) => [keyOf(k), k])));
  const trials = await tryKillers(workshop.directory, [...killers.values()], UNCHANGED_MS_MAX);
  const unfit = new Map<string, Trial>();
  for (const [killer, trial] of trials) {
    if (trial.outcome !== "passed") unfit.set(keyOf(killer), trial);
  }
  return unfit;
}

interface Verdict {
  readonly killed: boolean;
  readonly words: string;
}

async function tryMutant(
  workshop: Workshop,
  mutant: Mutant,
  unfit: ReadonlyMap<string, Trial>,
): Promise<Verdict> {
  for (const killer of mutant.killedBy) {
    const trial = unfit.get(keyOf(killer));
    if (trial === undefined) continue;
    const words = `${describeKiller(killer)} does not pass without it: ${firstLines(trial.detail)}`;
    return { killed: false, words: `NOT TRIED: ${words}` };
  }
  const undo = workshop.apply(mutant);
  try {
    const trials = await tryKillers(workshop.directory, mutant.killedBy, MUTANT_MS_MAX);
    return judge(mutant, trials);
  } finally {
    undo();
  }
}

function judge(mutant: Mutant, trials: ReadonlyMap<Killer, Trial>): Verdict {
  for (const [killer, { outcome, detail }] of trials) {
    if (outcome === "failed" || (outcome === "hung" && mutant.hangs === true)) continue;
    const by = `${describeKiller(killer)}${killer.kind === "test" ? ` (${killer.name})` : ""}`;
    if (outcome === "passed") return { killed: false, words: `SURVIVED ${by}` };
    return { killed: false, words: `${outcome.toUpperCase()} in ${by}: ${firstLines(detail)}` };
  }
  const by = [...new Set(mutant.killedBy.map(describeKiller))].join(", ");
  return { killed: true, words: `killed by ${by}` };
}

function secondsSince(startMs: number): string {
  return ((performance.now() - startMs) / 1_000).toFixed(1);
}

function firstLines(text: string): string {
  return text.trim().split("\n").slice(0, 5).join("\n    ");
}

async function main(): Promise<number> {
  const { values: given } = parseArgs({
    options: {
      only: { type: "string" },
      list: { type: "boolean" },
      workers: { type: "string" },
      seeds: { type: "string" },
    },
  });
  const mutants = bySeeds(select(given.only), given.seeds);
  if (given.list === true) {
    list(mutants);
    return 0;
  }
  const count = Number(given.workers ?? "2");
  if (!Number.isSafeInteger(count) || count < 1 || count > 64) {
    console.error("--workers takes a number from 1 to 64");
    return 2;
  }
  const workshops = Array.from({ length: count }, () => new Workshop(ROOT));
  process.once("exit", () => {
    for (const workshop of workshops) workshop.close();
  });
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
  const [first] = workshops;
  if (first === undefined) return 2;
  const began = performance.now();
  const unfit = await tryUnchanged(first, mutants);
  console.log(`the tests as they are: ${unfit.size} do not pass (${secondsSince(began)} s)`);
  let killed = 0;
  const waiting = [...mutants];
  const work = async (workshop: Workshop): Promise<void> => {
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      const startedAt = performance.now();
      const verdict = await tryMutant(workshop, mutant, unfit).catch((error: Error) => {
        return { killed: false, words: `NOT TRIED: ${error.message}` };
      });
      const said = `${mutant.guards.join(" ")} ${mutant.name}: ${verdict.words}`;
      console.log(`${said} (${secondsSince(startedAt)} s)`);
      if (verdict.killed) killed += 1;
    }
  };
  await Promise.all(workshops.map(work));
  console.log(`${mutants.length} mutants in ${secondsSince(began)} s`);
  console.log(`${killed} passed, ${mutants.length - killed} failed`);
  return killed === mutants.length ? 0 : 1;
}

process.exitCode = await main();
