/** Runs the tests of a mutant in a workshop's copy and says what became of each. Knows nothing of what was changed. */

import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Killer, SeedKiller, TestKiller } from "./mutant.ts";

/**
 * `failed`: an assertion or an invariant did not hold. `hung`: it did not end in time. `broken`: the program could not
 * run at all, which proves nothing. `missing`: there is no such test.
 */
export type Outcome = "passed" | "failed" | "hung" | "broken" | "missing";

export interface Trial {
  readonly outcome: Outcome;
  /** The first failure in its own words. */
  readonly detail: string;
}

/** Of a single test: much, as a busy machine is no reason to call a mutant hung. */
const TEST_MS_MAX = 60_000;

/** What a program says that cannot run, as opposed to one that does the wrong thing: not what an assertion says of its value. */
const BROKEN = /^(\w+: )?(SyntaxError|ReferenceError|TypeError)\b(?!: \.to[A-Z])/m;
const HUNG = /timed out in \d+ms/;

/** In the order of `killers`. All tests run in one go, which may take `limitMs`. */
export async function tryKillers(
  directory: string,
  killers: readonly Killer[],
  limitMs: number,
): Promise<Map<Killer, Trial>> {
  const trials = new Map<Killer, Trial>();
  const tests = killers.filter((killer) => killer.kind === "test");
  if (tests.length > 0) {
    const report = await runTests(directory, tests, limitMs);
    for (const killer of tests) trials.set(killer, judgeTests(report, killer));
  }
  for (const killer of killers) {
    if (killer.kind === "seeds") {
      trials.set(killer, await runSeeds(directory, killer, limitMs));
    }
  }
  return trials;
}

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

async function runTests(
  directory: string,
  tests: readonly TestKiller[],
  limitMs: number,
): Promise<Report | "hung"> {
  const file = join(directory, "report.json");
  rmSync(file, { force: true });
  const names = tests.map(({ name }) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const { hung, output } = await run(directory, limitMs, [
    "node_modules/vitest/vitest.mjs",
    "run",
    "--project=unit",
    "--reporter=json",
    `--testTimeout=${TEST_MS_MAX}`,
    `--hookTimeout=${TEST_MS_MAX}`,
    `--outputFile=${file}`,
    `--testNamePattern=${[...new Set(names)].join("|")}`,
    ...new Set(tests.map((killer) => killer.file)),
  ]);
  if (hung) return "hung";
  if (!existsSync(file)) throw new Error(`the tests gave no report:\n${output}`);
  return JSON.parse(readFileSync(file, "utf8")) as Report;
}

function judgeTests(report: Report | "hung", { file, name }: TestKiller): Trial {
  if (report === "hung") return { outcome: "hung", detail: "the run did not end in time" };
  const module = report.testResults.find((result) => result.name.endsWith(`/${file}`));
  if (module === undefined) return { outcome: "missing", detail: `${file} did not run` };
  const ran = module.assertionResults.filter(
    (result) => result.fullName.includes(name) && /^(passed|failed)$/.test(result.status),
  );
  if (ran.length === 0) {
    // The file itself failed: what its own words say.
    const outcome = module.message === "" ? "missing" : "broken";
    return { outcome, detail: module.message || `no test of ${file} is named: ${name}` };
  }
  const failures = ran.flatMap(({ failureMessages }) => failureMessages);
  return failures.length === 0 ? { outcome: "passed", detail: "" } : judgeFailures(failures);
}

/** One that shows the wrong result is enough, whatever else happened. */
function judgeFailures(failures: readonly string[]): Trial {
  const wrong = failures.find((text) => !BROKEN.test(text) && !HUNG.test(text));
  if (wrong !== undefined) return { outcome: "failed", detail: wrong };
  const broken = failures.find((text) => BROKEN.test(text));
  if (broken !== undefined) return { outcome: "broken", detail: broken };
  return { outcome: "hung", detail: failures[0] ?? "" };
}

async function runSeeds(
  directory: string,
  { from, count }: SeedKiller,
  limitMs: number,
): Promise<Trial> {
  const { hung, failed, output } = await run(directory, limitMs, [
    "--import=tsx",
    "test/sim/main.ts",
    `--from=${from}`,
    `--seeds=${count}`,
  ]);
  if (hung) return { outcome: "hung", detail: "the seeds did not end in time" };
  if (!failed) return { outcome: "passed", detail: "" };
  if (!/^seed \d+ failed/m.test(output)) return { outcome: "broken", detail: output };
  return judgeFailures(
    output
      .split(/^(?=seed \d+ failed)/m)
      .slice(1)
      .map(withoutHead),
  );
}

/** The first line says which seed it was. */
function withoutHead(text: string): string {
  return text.slice(text.indexOf("\n") + 1);
}

interface Ended {
  readonly failed: boolean;
  readonly hung: boolean;
  readonly output: string;
}

function run(directory: string, limitMs: number, args: readonly string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, BALSA_TEST_TALLY: join(directory, "tally"), NO_COLOR: "1" };
    // A group of its own, so that what it started can be ended with it.
    const child = spawn(process.execPath, args, { cwd: directory, env, detached: true });
    let output = "";
    let hung = false;
    const listen = (chunk: Buffer): void => {
      output += chunk.toString();
    };
    child.stdout.on("data", listen);
    child.stderr.on("data", listen);
    const end = (): void => {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    };
    const timer = setTimeout(() => {
      hung = true;
      end();
    }, limitMs);
    process.once("exit", end);
    child.once("error", reject);
    child.once("close", (code) => {
      clearTimeout(timer);
      process.off("exit", end);
      resolve({ failed: code !== 0, hung, output });
    });
  });
}
