/**
 * Ends a run with one line, `N passed, N failed`, or hands the numbers to `run-all.ts` when that asked for them
 * by naming a file in BALSA_TEST_TALLY. Shows nothing else: the default reporter does that.
 */

import { appendFileSync } from "node:fs";
import type { Reporter, TestModule } from "vitest/node";
import { addTallies, formatTally, type Tally } from "./tally.ts";

export default class TallyReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const tally = addTallies([...modules.map(tallyOf), unhandledTally(unhandled.length)]);
    const file = process.env["BALSA_TEST_TALLY"];
    if (file === undefined) process.stdout.write(`${formatTally(tally)}\n`);
    else appendFileSync(file, `${JSON.stringify(tally)}\n`);
  }
}

function tallyOf(module: TestModule): Tally {
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  for (const test of module.children.allTests()) {
    const { state } = test.result();
    if (state === "passed") passed++;
    else if (state === "failed") failed++;
    else if (state === "skipped") skipped++;
    // Still pending at the end of the run: it never got to say that it passes.
    else failed++;
  }
  // A file that does not load, or a hook that fails outside any test, fails without a failed test.
  if (module.state() === "failed" && failed === 0) failed = 1;
  return { passed, failed, skipped };
}

/** Errors that no test caught make the run fail, so they count. */
function unhandledTally(failed: number): Tally {
  return { passed: 0, failed, skipped: 0 };
}
