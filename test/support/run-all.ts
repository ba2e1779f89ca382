/**
 * What `make test` runs after the build: every stage in order, each as a process of its own, whatever became of the
 * one before. The last line is the sum over all stages. It tests nothing itself.
 */

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addTallies, formatTally, parseTallies, type Tally } from "./tally.ts";

interface Stage {
  readonly name: string;
  /** An npm script with its arguments. */
  readonly script: readonly string[];
}

const seeds = process.env["SEEDS"] ?? "1000";

const STAGES: readonly Stage[] = [
  { name: "check", script: ["check"] },
  { name: "unit tests", script: ["test", "--", "--project", "unit"] },
  { name: "simulator's tests", script: ["test", "--", "--project", "sim", "--passWithNoTests"] },
  { name: `simulator, ${seeds} seeds`, script: ["sim", "--", "--seeds", seeds] },
  { name: "end-to-end tests", script: ["test", "--", "--project", "e2e", "--passWithNoTests"] },
];

const NOTHING: Tally = { passed: 0, failed: 0, skipped: 0 };

/** A stage without tests of its own counts as one; so does one that fails although no test of it did. */
async function runStage(stage: Stage, file: string): Promise<Tally> {
  process.stdout.write(`\n--- ${stage.name}\n`);
  rmSync(file, { force: true });
  const began = performance.now();
  const status = await npmRun(stage.script, { BALSA_TEST_TALLY: file });
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  const tally = addTallies(readTallies(file));
  const counted = tally.passed + tally.failed + tally.skipped > 0;
  process.stdout.write(
    `--- ${stage.name}: ${status === 0 ? "passed" : "FAILED"} in ${seconds} s\n`,
  );
  if (status === 0) return counted ? tally : { ...NOTHING, passed: 1 };
  return tally.failed > 0 ? tally : addTallies([tally, { ...NOTHING, failed: 1 }]);
}

function npmRun(script: readonly string[], extra: NodeJS.ProcessEnv): Promise<number> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, ...extra };
    const child = spawn("npm", ["run", "--silent", ...script], { stdio: "inherit", env });
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 1));
  });
}

function readTallies(file: string): Tally[] {
  try {
    return parseTallies(readFileSync(file, "utf8"));
  } catch {
    return [];
  }
}

const directory = mkdtempSync(join(tmpdir(), "balsa-test-"));
try {
  const tallies: Tally[] = [];
  for (const stage of STAGES) tallies.push(await runStage(stage, join(directory, "tally")));
  const total = addTallies(tallies);
  process.exitCode = total.failed === 0 ? 0 : 1;
  process.stdout.write(`\n${formatTally(total)}\n`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
