/** Requests of a stream are begun in order and in slices, so that a flood leaves time for other things. */

import { expect, test } from "vitest";
import { RequestInbox, TurnBudget } from "../../src/rpc/request-inbox.ts";
import { type ClientRequest, encodeClientFrame } from "../../src/wire/sql-codec.ts";

function frameOf(from: number, count: number): Buffer {
  const requests = Array.from({ length: count }, (_, at): ClientRequest => {
    return { id: from + at, body: { kind: "fetch", chunks: 1 } };
  });
  return encodeClientFrame(requests);
}

function inboxOf(budget: { hasTime(): boolean }, room = { most: Number.POSITIVE_INFINITY }) {
  const begun: number[] = [];
  let emptied = 0;
  const failures: unknown[] = [];
  const inbox = new RequestInbox(
    {
      begin: ({ id }) => begun.push(id),
      mayBegin: () => begun.length < room.most,
      emptied: () => {
        emptied += 1;
      },
      failed: (error) => failures.push(error),
    },
    budget as TurnBudget,
  );
  return { inbox, begun, failures, emptied: () => emptied };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("a few requests are begun at once", () => {
  const { inbox, begun, emptied } = inboxOf(new TurnBudget());
  inbox.add(frameOf(1, 3));
  expect(begun).toEqual([1, 2, 3]);
  expect(emptied()).toBe(1);
  expect(inbox.isEmpty).toBe(true);
});

test("without time left each turn begins some, in order, over all frames", async () => {
  const { inbox, begun, emptied } = inboxOf({ hasTime: () => false });
  inbox.add(frameOf(1, 100));
  inbox.add(frameOf(101, 50));
  const first = begun.length;
  expect(first).toBeGreaterThan(0);
  expect(first).toBeLessThan(100);
  expect(inbox.isEmpty).toBe(false);
  await turn();
  expect(begun.length).toBeGreaterThan(first);
  expect(begun.length).toBeLessThan(150);
  for (let turns = 0; turns < 20 && emptied() === 0; turns += 1) await turn();
  expect(begun).toEqual(Array.from({ length: 150 }, (_, at) => at + 1));
});

test("when its owner may begin no more it waits, also with frames that come then, until it is told to go on", async () => {
  const room = { most: 50 };
  const { inbox, begun, emptied } = inboxOf(new TurnBudget(), room);
  inbox.add(frameOf(1, 100));
  const first = begun.length;
  // It asks between slices.
  expect(first).toBeGreaterThanOrEqual(50);
  expect(first).toBeLessThan(100);
  inbox.add(frameOf(101, 20));
  for (let turns = 0; turns < 5; turns += 1) await turn();
  expect([begun.length, inbox.isEmpty, emptied()]).toEqual([first, false, 0]);
  room.most = Number.POSITIVE_INFINITY;
  inbox.goOn();
  inbox.goOn();
  for (let turns = 0; turns < 20 && emptied() === 0; turns += 1) await turn();
  expect(begun).toEqual(Array.from({ length: 120 }, (_, at) => at + 1));
  expect(emptied()).toBe(1);
  inbox.goOn();
  await turn();
  expect(emptied()).toBe(1);
});

test("a budget is of one turn, for all who ask", async () => {
  const budget = new TurnBudget();
  while (budget.hasTime()) {
    // The whole of this turn's time.
  }
  expect(budget.hasTime()).toBe(false);
  await turn();
  expect(budget.hasTime()).toBe(true);
});

test("what is no request is told, and nothing that waited behind it is begun", async () => {
  const { inbox, begun, failures } = inboxOf({ hasTime: () => false });
  inbox.add(Buffer.concat([frameOf(1, 40), Buffer.from([0x0a, 0x7f, 0x00])]));
  inbox.add(frameOf(41, 1));
  while (failures.length === 0) await turn();
  await turn();
  expect(failures).toMatchObject([{ code: "PROTOCOL" }]);
  expect(begun).toEqual(Array.from({ length: 40 }, (_, at) => at + 1));
});

test("cleared, it begins no more", async () => {
  const { inbox, begun } = inboxOf({ hasTime: () => false });
  inbox.add(frameOf(1, 100));
  const before = begun.length;
  inbox.clear();
  await turn();
  await turn();
  expect(begun.length).toBe(before);
});
