/** The line of queries that wait for a reader: in order, without those that ended, past those whose callers take nothing. */

import { expect, test } from "vitest";
import { PooledQuery } from "../../src/machine/pooled-query.ts";
import { WaitingQueries } from "../../src/machine/waiting-queries.ts";
import { randomOf } from "../support/random.ts";

function line() {
  const waiting = new WaitingQueries();
  const owner = {
    fetched: () => {},
    stepped: () => {},
    cancelled: (query: PooledQuery) => waiting.withdraw(query),
    released: (query: PooledQuery) => waiting.rejoin(query),
  };
  const sink = { chunk: () => {}, failed: () => {} };
  const make = (isHeld = false) => {
    const limits = { deadlineMs: 1_000, window: 1, isHeld };
    return new PooledQuery(new Uint8Array(1), limits, { sink, owner });
  };
  const add = (isHeld = false) => {
    const query = make(isHeld);
    waiting.add(query);
    return query;
  };
  return { waiting, add };
}

function takeAll(waiting: WaitingQueries): PooledQuery[] {
  const taken: PooledQuery[] = [];
  for (let query = waiting.first(); query !== null; query = waiting.first()) {
    waiting.shift();
    taken.push(query);
  }
  return taken;
}

test("queries come in order, those put back before them", () => {
  const { waiting, add } = line();
  const [one, two, three] = [add(), add(), add()];
  expect(waiting.first()).toBe(one);
  waiting.shift();
  expect(waiting.first()).toBe(two);
  waiting.shift();
  waiting.putBack([one, two]);
  expect(waiting.size).toBe(3);
  expect(takeAll(waiting)).toEqual([one, two, three]);
  expect([waiting.size, waiting.first()]).toEqual([0, null]);
});

test("a query whose caller takes nothing is passed by, counts, and comes last when it does again", () => {
  const { waiting, add } = line();
  const [held, late, next] = [add(true), add(), add()];
  late.hold(true);
  expect(waiting.first()).toBe(next);
  expect(waiting.size).toBe(3);
  const after = add();
  held.hold(false);
  expect(takeAll(waiting)).toEqual([next, after, held]);
  expect(waiting.size).toBe(1);
  late.cancel();
  expect([waiting.size, waiting.drain()]).toEqual([0, []]);
});

test("one that takes rows again before it was passed by keeps its place", () => {
  const { waiting, add } = line();
  const [one, two] = [add(true), add()];
  one.hold(false);
  expect(takeAll(waiting)).toEqual([one, two]);
});

test("all are taken out at once, without those that ended", () => {
  const { waiting, add } = line();
  const [held, gone, here] = [add(true), add(), add()];
  expect(waiting.first()).toBe(gone);
  gone.cancel();
  expect(new Set(waiting.drain())).toEqual(new Set([held, here]));
  expect([waiting.size, waiting.first()]).toEqual([0, null]);
  held.cancel();
  here.hold(true);
  here.hold(false);
  expect([waiting.size, waiting.first()]).toEqual([0, null]);
});

test("added, withdrawn, taken and put back in any order: as a plain list does it", () => {
  const random = randomOf(5);
  const { waiting, add } = line();
  let model: PooledQuery[] = [];
  for (let step = 0; step < 20_000; step += 1) {
    model.push(add());
    const dice = random();
    const victim = model[Math.floor(random() * model.length)];
    if (dice < 0.6 && victim !== undefined) {
      victim.cancel();
      model = model.filter((query) => query !== victim);
    } else if (dice > 0.9) {
      const taken: PooledQuery[] = [];
      for (let query = waiting.first(); query !== null && taken.length < 7; ) {
        waiting.shift();
        taken.push(query);
        query = waiting.first();
      }
      expect(taken).toEqual(model.slice(0, 7));
      model = model.slice(7);
      if (dice > 0.95) {
        waiting.putBack(taken);
        model = [...taken, ...model];
      }
    }
    if (step % 50 === 0) expect(waiting.size).toBe(model.length);
  }
  expect(takeAll(waiting)).toEqual(model);
});
