/** The newest entries in memory are what was put there, whatever was put over them, popped, evicted or cleared. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { RecentEntries } from "../../src/log/recent-entries.ts";
import type { Entry } from "../../src/raft/entry.ts";

const BYTES_MAX = 400_000;
/** Entries of several blocks at once, few of which fit into what may be kept. */
const step = fc.oneof(
  fc.record({ kind: fc.constant("put" as const), count: fc.nat(1_500), bytes: fc.nat(200) }),
  fc.record({ kind: fc.constant("over" as const), back: fc.nat(3_000) }),
  fc.record({ kind: fc.constant("evict" as const), pinned: fc.nat(2_000) }),
  fc.record({ kind: fc.constant("clear" as const), ahead: fc.nat(10) }),
);

test("they read as a model of them", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const recent = new RecentEntries(BYTES_MAX, 1);
      let model: Entry[] = [];
      let next = 1;
      let term = 1;
      const put = (bytes: number): void => {
        const chunk = new Uint8Array(bytes + 7).fill(next % 251);
        const payload = chunk.subarray(7);
        const entry: Entry = { index: next, term, kind: "command", payload };
        recent.put(entry, chunk.buffer, 7);
        model.push(entry);
        next += 1;
      };
      const cost = (): number => model.reduce((sum, { payload }) => sum + payload.length + 96, 0);
      for (const one of steps) {
        if (one.kind === "put") for (let n = 0; n < one.count; n += 1) put(one.bytes);
        if (one.kind === "over") {
          // A new leader's entry takes the place of this one, and of all behind it; perhaps of all that are held.
          next = Math.max(1, next - one.back);
          term += 1;
          model = model.filter(({ index }) => index < next);
          put(one.back % 50);
        }
        if (one.kind === "evict") {
          const pinnedFrom = Math.max(1, next - one.pinned);
          recent.evict(pinnedFrom);
          while (cost() > BYTES_MAX && (model[0]?.index ?? pinnedFrom) < pinnedFrom) model.shift();
        }
        if (one.kind === "clear") {
          next += one.ahead;
          recent.clear(next);
          model = [];
        }
        expect(recent.first).toBe(model[0]?.index ?? next);
        expect(recent.bytes).toBe(cost());
        for (const at of [0, 1, Math.floor(model.length / 2), model.length - 1]) {
          const entry = model[at];
          if (entry !== undefined) expect(recent.get(entry.index)).toEqual(entry);
        }
      }
      expect(model.map(({ index }) => recent.get(index))).toEqual(model);
    }),
    { numRuns: 60 },
  );
});
