/** How long a stream rests that was refused something, counted over all streams. */

import { expect, test } from "vitest";
import { RefusalPace } from "../../src/rpc/refusal-pace.ts";
import { DEFAULT_STREAM_BOUNDS } from "../../src/rpc/stream-bounds.ts";

const paceOf = () => {
  return new RefusalPace({ ...DEFAULT_STREAM_BOUNDS, refusalsPerSecond: 1_000, restMs: 100 });
};

test("as long as so many may take, whichever stream they were on", () => {
  const pace = paceOf();
  expect(pace.rest(10, 5_000)).toBe(10);
  expect(pace.rest(20, 5_000)).toBe(30);
  expect(pace.rest(5, 5_030)).toBe(5);
});

test("time in which nobody was refused is not saved up", () => {
  const pace = paceOf();
  pace.rest(10, 5_000);
  expect(pace.rest(10, 60_000)).toBe(10);
});

test("never longer than the bound", () => {
  const pace = paceOf();
  expect(pace.rest(1_000_000, 5_000)).toBe(100);
  expect(pace.rest(50, 5_060)).toBe(90);
  expect(pace.rest(50, 5_060)).toBe(100);
});
