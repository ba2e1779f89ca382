/** A snapshot takes the log's place: everything goes, and the log begins anew behind it; and what a power cut makes of it. */

import { describe, expect, test } from "vitest";
import { EntryIndex } from "../../src/log/entry-index.ts";
import type { SimulatedDisk } from "../sim/disk.ts";
import { Bench, describeEntry, entry, hard } from "./harness.ts";

const SMALL = { segmentBytes: 1024, cacheBytes: 500 };
type Log = ReturnType<Bench["open"]>;

function filled(count: number, seed = 1): { bench: Bench; log: Log } {
  const bench = new Bench(seed);
  const log = bench.open(SMALL);
  for (let index = 1; index <= count; index += 1) bench.append(log, hard(2), [entry(index, 2)]);
  return { bench, log };
}

function restart(bench: Bench, log: Log, index: number, term: number): void {
  let isDone = false;
  log.restart({ index, term }, () => {
    isDone = true;
  });
  bench.run();
  expect(isDone).toBe(true);
}

/** Base and entries, as text. */
function content(log: Log): string {
  const [first, last] = [log.firstIndex(), log.lastIndex()];
  const entries = first > last ? [] : log.entries(first, last + 1, 1e9);
  return [`${first - 1}/${log.term(first - 1)}`, ...entries.map(describeEntry)].join("\n");
}

function segments(disk: SimulatedDisk): number {
  return disk.paths().filter((path) => path.endsWith(".wal")).length;
}

describe("a restart of the log", () => {
  test.each([
    ["far ahead of its end", 500],
    ["just behind its end", 41],
    ["at its end", 40],
    ["in its middle, where the terms differ", 20],
  ])("%s empties it, goes on behind it, and survives reopening", (_where, at) => {
    const { bench, log } = filled(40);
    restart(bench, log, at, 3);
    expect(segments(bench.disk)).toBeLessThan(4);
    for (const reader of [log, bench.open(SMALL)]) {
      expect(content(reader)).toBe(`${at}/3`);
      expect([reader.firstIndex(), reader.lastIndex()]).toEqual([at + 1, at]);
      expect(() => reader.term(at - 1)).toThrow(/asked for/);
      expect(() => reader.term(at + 1)).toThrow(/asked for/);
    }
    const again = bench.open(SMALL);
    for (let index = at + 1; index <= at + 30; index += 1) {
      bench.append(again, hard(4), [entry(index, 4)]);
    }
    const expected = Array.from({ length: 30 }, (_, k) => describeEntry(entry(at + 1 + k, 4)));
    for (const reader of [again, bench.open(SMALL)]) {
      expect(content(reader)).toBe([`${at}/3`, ...expected].join("\n"));
    }
  });

  test("shares a write with what is appended before and after it", () => {
    const { bench, log } = filled(5);
    log.append(hard(3), [entry(6, 3), entry(7, 3)], () => {});
    log.restart({ index: 6, term: 4 }, () => {});
    log.append(hard(5), [entry(7, 5), entry(8, 5)], () => {});
    expect(content(log)).toBe(
      ["6/4", ...[7, 8].map((at) => describeEntry(entry(at, 5)))].join("\n"),
    );
    const before = content(log);
    bench.run();
    expect(content(log)).toBe(before);
    const opened = bench.open(SMALL);
    expect(content(opened)).toBe(before);
    expect(opened.hardState).toEqual(hard(5));
  });

  test("never goes back behind what was dropped", () => {
    const { bench, log } = filled(40);
    log.compactTo(30, () => {});
    bench.run();
    expect(() => log.restart({ index: 29, term: 9 }, () => {})).toThrow(/goes forward/);
  });

  test("at any power cut leaves the log before or the log after, and nothing told is lost", () => {
    const bench = new Bench(8);
    const log = bench.open(SMALL);
    const states: string[] = [content(log)];
    const moments: { disk: SimulatedDisk; told: number; begun: number }[] = [];
    let told = 0;
    const drain = (): void => {
      do moments.push({ disk: bench.disk.clone(), told, begun: states.length - 1 });
      while (bench.step());
    };
    const begin = (act: (done: () => void) => void): void => {
      const at = states.length;
      act(() => {
        told = at;
      });
      states.push(content(log));
    };
    let term = 1;
    for (let round = 0; round < 6; round += 1) {
      for (let count = 0; count < 8; count += 1) {
        const next = entry(log.lastIndex() + 1, term);
        begin((done) => log.append(null, [next], done));
        if (count % 3 !== 0) drain();
      }
      term += 1;
      // Behind the end, at it, and before it, with appends on both sides in the same write.
      const at = { index: log.lastIndex() + ([90, 0, -3][round % 3] as number), term };
      begin((done) => log.restart(at, done));
      begin((done) => log.append(hard(term), [entry(at.index + 1, term)], done));
      drain();
    }
    expect(told).toBe(states.length - 1);
    let seed = 0;
    let old = 0;
    for (const moment of moments) {
      for (let fate = 0; fate < 4; fate += 1) {
        seed += 1;
        const after = new Bench(seed, moment.disk);
        after.disk.crash();
        const found = states.lastIndexOf(content(after.open(SMALL)), moment.begun);
        expect(found, `told ${moment.told}, begun ${moment.begun}`).toBeGreaterThanOrEqual(
          moment.told,
        );
        old += found < moment.begun ? 1 : 0;
      }
    }
    expect(old).toBeGreaterThan(20);
    // Segments that could not go while an append was under way go with the next compaction.
    log.compactTo(log.lastIndex(), () => {});
    bench.run();
    expect(segments(bench.disk)).toBeLessThan(6);
  });
});

describe("the tail of a log", () => {
  test("of many entries is what counting one by one gives", () => {
    const dice = new Bench(9).dice;
    const sizes = [0];
    const index = new EntryIndex({ index: 0, term: 0 });
    for (let at = 1; at <= 20_000; at += 1) {
      sizes.push(Math.floor(dice.next() * 50));
      index.put(at, 1, sizes[at] as number);
    }
    index.rebase({ index: 4_321, term: 1 });
    for (let round = 0; round < 200; round += 1) {
      const [entries, bytes] = [dice.next() * 20_000, dice.next() * 500_000];
      let from = 20_001;
      let left = bytes;
      while (from > 4_322 && 20_001 - from + 1 <= entries) {
        left -= sizes[from - 1] as number;
        if (left < 0) break;
        from -= 1;
      }
      expect(index.tailFrom(entries, bytes)).toBe(from);
    }
  });

  test("is bounded in entries and in bytes, whichever is less", () => {
    const { log } = filled(40);
    const size = entry(40, 2).payload.length;
    expect(log.tailFrom(10, 1e9)).toBe(31);
    expect(log.tailFrom(1e9, 1e9)).toBe(1);
    expect(log.tailFrom(1e9, 3 * size)).toBe(38);
    expect(log.tailFrom(1e9, 3 * size - 1)).toBe(39);
    expect(log.tailFrom(0, 1e9)).toBe(41);
    expect(log.tailFrom(5, 0)).toBe(41);
  });
});
