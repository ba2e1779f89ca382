/** Dropping the oldest entries, and what a power cut makes of it. */

import { describe, expect, test } from "vitest";
import type { SimulatedDisk } from "../sim/disk.ts";
import { Bench, DIR, describeEntry, entry, hard } from "./harness.ts";

const SMALL = { segmentBytes: 1024, cacheBytes: 500 };

function segments(disk: SimulatedDisk): number {
  return disk.paths().filter((path) => path.endsWith(".wal")).length;
}

function filled(count: number): { bench: Bench; log: ReturnType<Bench["open"]> } {
  const bench = new Bench();
  const log = bench.open(SMALL);
  for (let index = 1; index <= count; index += 1) bench.append(log, hard(2), [entry(index, 2)]);
  return { bench, log };
}

function compact(bench: Bench, log: ReturnType<Bench["open"]>, index: number): void {
  let isDone = false;
  log.compactTo(index, () => {
    isDone = true;
  });
  bench.run();
  expect(isDone).toBe(true);
}

describe("compaction", () => {
  test("keeps the rest and the base's term, deletes segments, and survives reopening", () => {
    const { bench, log } = filled(100);
    const before = segments(bench.disk);
    compact(bench, log, 70);
    expect(segments(bench.disk)).toBeLessThan(before / 2);
    bench.append(log, hard(3, 1), [entry(101, 3)]);
    for (const reader of [log, bench.open(SMALL)]) {
      expect([reader.firstIndex(), reader.lastIndex()]).toEqual([71, 101]);
      expect([reader.term(70), reader.term(71), reader.term(101)]).toEqual([2, 2, 3]);
      expect(reader.entries(71, 102, 1e9).map(describeEntry)).toEqual(
        Array.from({ length: 31 }, (_, at) => describeEntry(entry(71 + at, at === 30 ? 3 : 2))),
      );
      expect(() => reader.term(69)).toThrow(/69/);
      expect(() => reader.entries(70, 72, 1)).toThrow(/dropped/);
    }
  });

  test("of everything leaves an empty log that goes on behind its base", () => {
    const { bench, log } = filled(40);
    compact(bench, log, 40);
    const again = bench.open(SMALL);
    expect([again.firstIndex(), again.lastIndex(), again.term(40)]).toEqual([41, 40, 2]);
    bench.append(again, hard(4), [entry(41, 4)]);
    const third = bench.open(SMALL);
    expect(third.entries(41, 42, 1e9).map(describeEntry)).toEqual([describeEntry(entry(41, 4))]);
    expect(third.hardState).toEqual(hard(4));
  });

  test("without the record of it, missing segments are damage", () => {
    const { bench } = filled(40);
    bench.disk.removeNow(`${DIR}/00000001.wal`);
    expect(() => bench.open(SMALL)).toThrow(/missing/);
  });

  test("at any power cut loses nothing above what was begun to be dropped", () => {
    const bench = new Bench(5);
    const log = bench.open(SMALL);
    const moments: { disk: SimulatedDisk; told: number; base: number; begunBase: number }[] = [];
    let told = 0;
    let base = 0;
    let begunBase = 0;
    let term = 1;
    const drain = (): void => {
      do moments.push({ disk: bench.disk.clone(), told, base, begunBase });
      while (bench.step());
    };
    for (let index = 1; index <= 80; index += 1) {
      log.append(null, [entry(index, term)], () => {
        told = index;
      });
      drain();
      if (index % 9 !== 0) continue;
      // Entries 2 before the end are replaced by a later term's, and all before them are dropped.
      begunBase = index - 3;
      term += 1;
      log.append(hard(term), [entry(index - 1, term), entry(index, term)], () => {});
      log.compactTo(begunBase, () => {
        base = begunBase;
      });
      drain();
    }
    let dropped = 0;
    for (const [seed, moment] of moments.entries()) {
      for (let fate = 0; fate < 2; fate += 1) {
        const after = new Bench(seed * 2 + fate, moment.disk);
        after.disk.crash();
        const found = after.open(SMALL);
        expect(found.firstIndex()).toBeGreaterThan(moment.base);
        expect(found.firstIndex() - 1).toBeLessThanOrEqual(moment.begunBase);
        expect(found.lastIndex()).toBeGreaterThanOrEqual(moment.told);
        const entries = found.entries(found.firstIndex(), found.lastIndex() + 1, 1e9);
        for (const item of entries) {
          expect(describeEntry(item)).toBe(describeEntry(entry(item.index, item.term)));
        }
        dropped = Math.max(dropped, found.firstIndex() - 1);
      }
    }
    expect(dropped).toBe(69);
    expect(segments(bench.disk)).toBeLessThan(8);
  });
});
