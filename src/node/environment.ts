/** The real clock, dice and timers. The simulator has its own. */

import { performance } from "node:perf_hooks";
import type { Environment } from "./ports.ts";

export const realEnvironment: Environment = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  random: () => Math.random(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
  soon(run) {
    setImmediate(run);
  },
};
