/** Mutants of log time: N26, what 'now' and the expiry of sessions go by. */

import { edit, type Mutant, test } from "./mutant.ts";

const CLOCK = "src/node/log-clock.ts";
const clock = (name: string) => test("node/log-clock", name);

export const LOG_TIME: readonly Mutant[] = [
  {
    name: "leaders-clock-unbounded",
    guards: ["N26"],
    removes: "log time leaps as far as the leader's clock does",
    edits: [
      edit(
        CLOCK,
        "return Math.min(Math.max(ownMs, leastMs), majorityMs + CLOCK_TOLERANCE_MS);",
        "return Math.max(ownMs, leastMs);",
      ),
    ],
    killedBy: [clock("does not leap"), clock("is not moved within the moment")],
  },
  {
    name: "log-time-stands-still",
    guards: ["N26"],
    removes: "log time waits for a leader whose clock is hours behind",
    edits: [edit(CLOCK, "Math.max(ownMs, leastMs)", "Math.min(ownMs, ownMs + leastMs)")],
    killedBy: [clock("nor stop when that falls behind")],
  },
  {
    name: "majority-not-asked",
    guards: ["N26"],
    removes: "the leader's clock alone counts",
    edits: [
      edit("src/node/writer-driver.ts", "this.#events.timeMs(nowMs)", "this.#environment.wallMs()"),
    ],
    killedBy: [test("node/transaction", "has the time of the log, which never runs backwards")],
  },
  {
    name: "log-time-runs-back",
    guards: ["N26"],
    removes: "the next leader's log time begins with its own clock",
    edits: [
      edit(
        "src/machine/machine-core.ts",
        "Math.max(job.timeMs, this.#timeMs)",
        "Math.max(job.timeMs, 0)",
      ),
    ],
    killedBy: [test("machine/log-time", "never runs backwards: not within a leadership")],
  },
];
