/** Requests by the ids that a client chose: whatever they are, each is found, and nothing else. */

import { expect, test } from "vitest";
import { OpenRequests } from "../../src/rpc/open-requests.ts";
import { randomOf } from "../support/random.ts";

type NextId = (dice: number, step: number) => number;

const IDS: [string, NextId][] = [
  ["in a row", (_dice, step) => step + 1],
  ["with their low bits in common", (dice) => Math.floor(dice * 2_000) * 65_536],
  ["few, used again and again", (dice) => Math.floor(dice * 40)],
  ["anything of 32 bits", (dice) => Math.floor(dice * 2 ** 32)],
];

test.each(IDS)("ids %s: the same as a Map", (_name, idOf) => {
  const random = randomOf(7);
  const open = new OpenRequests<{ readonly id: number }>();
  const model = new Map<number, { readonly id: number }>();
  for (let step = 0; step < 20_000; step += 1) {
    const id = idOf(random(), step);
    expect(open.get(id)).toBe(model.get(id) ?? null);
    if (!model.has(id)) {
      const item = { id };
      open.add(item);
      model.set(id, item);
    }
    // At first more come than go, then more go than come.
    for (let gone = random() < 0.5 ? 2 : 0; gone > 0 && step > 1_000; gone -= 1) {
      const victim = [...model.keys()][Math.floor(random() * Math.min(model.size, 50))] ?? id;
      open.delete(victim);
      model.delete(victim);
      expect(open.has(victim)).toBe(false);
    }
    expect(open.size).toBe(model.size);
  }
  expect(new Set(open.values())).toStrictEqual(new Set(model.values()));
  open.clear();
  expect([open.size, open.values()]).toStrictEqual([0, []]);
});
