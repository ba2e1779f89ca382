/** A short run of the generated proof, with one seed; `npm run determinism` makes long ones. */

import { expect, test } from "vitest";
import { makePlan } from "./make-plan.ts";
import { Coverage, REQUIRED } from "./plan.ts";
import { play, run, shorten } from "./run.ts";

const RUNS = 20;

test("leaders and followers hold the same, and most of what must be tried was", () => {
  const coverage = new Coverage();
  for (let seed = 1; seed <= RUNS; seed++) {
    const report = run(seed);
    expect(report.failure, `npm run determinism -- --replay ${seed}`).toBeNull();
    coverage.merge(report.coverage);
  }
  // A long run must have tried all.
  expect(coverage.missing().length).toBeLessThan(REQUIRED.length / 20);
}, 180_000);

test("a plan is the same for the same seed", () => {
  expect(makePlan(5)).toStrictEqual(makePlan(5));
  expect(makePlan(5)).not.toStrictEqual(makePlan(6));
});

test("a failing plan is shortened to what makes it fail", () => {
  const plan = makePlan(3);
  const odd = {
    kind: "request",
    // Bound without its value: the generator must never write such.
    statements: [{ sql: "INSERT INTO sink(a) VALUES (?)", args: [] }],
    session: false,
    goOn: false,
    dtMs: 0,
    covers: [],
  } as const;
  const broken = { ...plan, steps: [...plan.steps.slice(0, 20), odd, ...plan.steps.slice(20)] };
  expect(play(broken).failure).toMatch(/the generator wrote/);
  const short = shorten(broken, 60, (failure) => failure.includes("the generator wrote"));
  // The table it speaks of, and itself.
  expect(short.steps).toHaveLength(2);
  expect(short.steps[1]).toStrictEqual(odd);
}, 60_000);
