/** The core under random schedules: safety after every event, then progress once faults stop. One seed replays one run. */

import { expect, test } from "vitest";
import { RandomCluster } from "./random-cluster.ts";

const SEEDS = 100;
const STEPS = 8_000;
const STEPS_TO_SETTLE = 200_000;

test(`${SEEDS} random schedules keep every promise and settle`, { timeout: 60_000 }, () => {
  const totals = {
    ...{ committed: 0, reads: 0, elections: 0 },
    ...{ crashes: 0, snapshots: 0, changes: 0, joint: 0 },
  };
  for (let seed = 1; seed <= SEEDS; seed++) {
    const cluster = new RandomCluster(seed, seed % 2 === 0 ? 3 : 5, 2);
    try {
      for (let at = 0; at < STEPS; at++) cluster.step();
      cluster.settle(STEPS_TO_SETTLE);
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
    for (const key of Object.keys(totals) as (keyof typeof totals)[]) {
      totals[key] += cluster.counts[key];
    }
  }
  // The schedules reach what they are for.
  for (const count of Object.values(totals)) expect(count).toBeGreaterThan(SEEDS);
});
