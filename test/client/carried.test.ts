/** Requests by id: each found under its own and no other, however many come and go, and wherever the ids are. */

import { expect, test } from "vitest";
import { Carried } from "../../src/client/carried.ts";

const item = () => ({ id: 0 });

test("a late answer finds nobody: an id that was given up is not given again soon", () => {
  const carried = new Carried<{ id: number }>();
  const first = item();
  carried.add(first);
  const { id } = first;
  carried.delete(id);
  expect(carried.get(id)).toBeNull();
  for (let count = 0; count < 5_000; count += 1) {
    const other = item();
    carried.add(other);
    expect(other.id).not.toBe(id);
    expect(carried.get(id)).toBeNull();
    carried.delete(other.id);
  }
  expect(carried.size).toBe(0);
});

test("those that stay are found while thousands come and go; all together come out in order", () => {
  const carried = new Carried<{ id: number }>();
  const kept = Array.from({ length: 3_000 }, item);
  for (const one of kept) {
    carried.add(one);
    const passing = item();
    carried.add(passing);
    carried.delete(passing.id);
    carried.delete(passing.id);
  }
  expect(carried.size).toBe(kept.length);
  expect(new Set(kept.map(({ id }) => id)).size).toBe(kept.length);
  for (const one of kept) expect(carried.get(one.id)).toBe(one);
  expect(carried.takeAll()).toStrictEqual(kept);
  expect(carried.size).toBe(0);
  for (const one of kept) expect(carried.get(one.id)).toBeNull();
});
