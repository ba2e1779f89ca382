/**
 * Three projects: `unit` is quick and needs nothing, `sim` runs the simulator's own tests, `e2e` starts real
 * processes from dist/ and therefore runs one file at a time. `make test` runs all of them in order.
 */

import { defineConfig } from "vitest/config";

const SIMULATOR = "test/sim/**/*.test.ts";
/** Tests that start processes: they need `npm run build` first. */
const PROCESSES = [
  "test/e2e/**/*.test.ts",
  "test/cli/**/*.e2e.test.ts",
  "test/machine/process-*.test.ts",
];

export default defineConfig({
  test: {
    reporters: ["default", "./test/support/reporter.ts"],
    pool: "forks",
    // Leaves the machine room to breathe: some unit tests start SQLite processes of their own.
    maxWorkers: 2,
    projects: [
      {
        test: {
          name: "unit",
          setupFiles: ["./test/support/property-seed.ts"],
          include: ["test/**/*.test.ts"],
          exclude: [SIMULATOR, ...PROCESSES, "test/bench/**"],
          testTimeout: 15_000,
          hookTimeout: 15_000,
        },
      },
      {
        test: {
          name: "sim",
          include: [SIMULATOR],
          testTimeout: 120_000,
          hookTimeout: 30_000,
        },
      },
      {
        test: {
          name: "e2e",
          include: PROCESSES,
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
