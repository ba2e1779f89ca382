/** What waits to be sent to the leader: in order, in frames, without what was withdrawn, and without room for it either. */

import { expect, test } from "vitest";
import { ForwardOutbox, type Outgoing } from "../../src/rpc/forward-outbox.ts";
import { requestSize } from "../../src/wire/sql-codec.ts";
import { randomOf } from "../support/random.ts";

function write(id: number, bytes = 100): Outgoing {
  const numbers = { session: 0, sequence: 0, acknowledgedThrough: 0, timeoutMs: 1_000 };
  const batch = new Uint8Array(bytes);
  return { id, body: { kind: "execute", batch, ...numbers, noForward: true } };
}

const SIZE = requestSize(write(1).body);
const idsOf = (requests: readonly Outgoing[]) => requests.map(({ id }) => id);

test("a frame takes what fits, in order, and a single request that is larger", () => {
  const outbox = new ForwardOutbox();
  for (const request of [write(1), write(2), write(3), write(4, 10 * SIZE), write(5)]) {
    outbox.add(request);
  }
  expect(idsOf(outbox.take(2 * SIZE))).toEqual([1, 2]);
  expect(idsOf(outbox.take(2 * SIZE))).toEqual([3]);
  expect(idsOf(outbox.take(2 * SIZE))).toEqual([4]);
  expect(idsOf(outbox.take(2 * SIZE))).toEqual([5]);
  expect(outbox.take(2 * SIZE)).toEqual([]);
});

test("what is added, withdrawn and taken in any order: what remains comes out once, in order", () => {
  const random = randomOf(11);
  const outbox = new ForwardOutbox();
  let model: Outgoing[] = [];
  for (let id = 1; id <= 20_000; id += 1) {
    const request = write(id);
    outbox.add(request);
    model.push(request);
    const victim = model[Math.floor(random() * model.length)];
    if (victim !== undefined && random() < 0.7) {
      outbox.withdraw(victim);
      model = model.filter((one) => one !== victim);
    }
    if (random() < 0.02) {
      const taken = outbox.take(10 * SIZE);
      expect(idsOf(taken)).toEqual(idsOf(model.slice(0, 10)));
      model = model.slice(10);
    }
    if (id % 100 === 0) expect(outbox.length).toBe(model.length);
  }
  expect(idsOf(outbox.take(Number.MAX_SAFE_INTEGER))).toEqual(idsOf(model));
});

test("a stream that takes nothing does not keep what was withdrawn", () => {
  const outbox = new ForwardOutbox();
  const kept = Array.from({ length: 100 }, (_, at) => write(at + 1));
  for (const request of kept) outbox.add(request);
  let most = 0;
  for (let id = 101; id <= 50_000; id += 1) {
    const request = write(id);
    outbox.add(request);
    outbox.withdraw(request);
    most = Math.max(most, outbox.room);
  }
  expect(most).toBeLessThanOrEqual(2 * kept.length + 1);
  expect(idsOf(outbox.take(Number.MAX_SAFE_INTEGER))).toEqual(idsOf(kept));
});
