import { expect, it } from "vitest";
import { ApplyPace } from "../../src/node/apply-pace.ts";
import { Clock } from "./fakes.ts";

it("a follower rests long, shortly while reads take what is there, and not for long after the last", () => {
  const clock = new Clock();
  let again = 0;
  const pace = new ApplyPace(clock.environment, false, () => {
    again += 1;
  });
  const restMs = (): number => {
    const before = again;
    pace.rest();
    pace.rest();
    let ms = 0;
    for (; pace.isResting; ms += 1) clock.advance(1);
    expect(again).toBe(before + 1);
    return ms;
  };
  expect(restMs()).toBe(25);
  pace.read();
  expect(restMs()).toBe(5);
  clock.advance(1_000);
  expect(restMs()).toBe(25);
});

it("a rest that is cancelled wakes nobody", () => {
  const clock = new Clock();
  const pace = new ApplyPace(clock.environment, false, () => expect.fail("nobody is there"));
  pace.rest();
  pace.cancel();
  clock.advance(100);
});

it("a file that an app reads itself is kept close, as nobody tells of such reads", () => {
  const clock = new Clock();
  const pace = new ApplyPace(clock.environment, true, () => {});
  clock.advance(10_000);
  pace.rest();
  clock.advance(4);
  expect(pace.isResting).toBe(true);
  clock.advance(1);
  expect(pace.isResting).toBe(false);
});
