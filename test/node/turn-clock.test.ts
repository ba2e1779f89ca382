/** The clock of a turn is looked at once a turn, and again in the next. */

import { expect, test } from "vitest";
import type { Environment } from "../../src/node/ports.ts";
import { TurnClock } from "../../src/node/turn-clock.ts";

test("it stands still within a turn, and goes on with the next", () => {
  let nowMs = 10;
  const turns: (() => void)[] = [];
  const environment = { monotonicMs: () => nowMs, soon: (run: () => void) => turns.push(run) };
  const clock = new TurnClock(environment as unknown as Environment);
  expect(clock.nowMs()).toBe(10);
  nowMs = 20;
  expect(clock.nowMs()).toBe(10);
  for (const turn of turns.splice(0)) turn();
  expect(clock.nowMs()).toBe(20);
  expect(turns).toHaveLength(1);
});
