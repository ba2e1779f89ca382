/** The newest entries in memory are what was put there, whatever was put over them, popped, evicted or cleared. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { Chunk } from "../../src/log/batch.ts";
import { RecentEntries } from "../../src/log/recent-entries.ts";
import type { Entry } from "../../src/raft/entry.ts";

const BYTES_MAX = 400_000;
const RECORD_BYTES = 256;
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
      let memory = new Chunk(Buffer.alloc(10 * RECORD_BYTES));
      const read = (from: number, to: number): Entry[] => {
        const found: Entry[] = [];
        recent.read(from, to, found);
        return found;
      };
      const put = (bytes: number): void => {
        // Ten records side by side, with something between them, then another chunk.
        if (next % 10 === 0) memory = new Chunk(Buffer.alloc(10 * RECORD_BYTES));
        const at = (next % 10) * RECORD_BYTES + 7;
        const payload = new Uint8Array(bytes).fill(next % 251);
        memory.bytes.set(payload, at);
        const entry: Entry = { index: next, term, kind: "command", payload };
        recent.put(entry, memory, at);
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
          if (entry !== undefined) expect(read(entry.index, entry.index + 1)).toEqual([entry]);
        }
      }
      expect(read(recent.first, recent.first + model.length)).toEqual(model);
    }),
    { numRuns: 60 },
  );
});
