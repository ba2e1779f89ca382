/** A log whose disk has no room for another segment: it waits, and goes on by itself. */

import { describe, expect, test } from "vitest";
import type { SegmentedLog } from "../../src/log/segmented-log.ts";
import { Bench, describeEntry, entry, hard } from "./harness.ts";

const SMALL = { segmentBytes: 2048 };

function noSpace(syscall: string, code = "ENOSPC"): Error {
  return Object.assign(new Error(`${code}: no space left on device, ${syscall}`), {
    code,
    syscall,
  });
}

/** While `isFull`, whatever needs new room on the disk fails: the operation named, on an unfinished segment. */
class FullBench extends Bench {
  isFull = false;
  attempts = 0;

  constructor(failing = "write", code = "ENOSPC") {
    super(5);
    this.disk.onOperation = (operation, path) => {
      if (!this.isFull || operation !== failing || !path.endsWith(".new")) return null;
      this.attempts += 1;
      return noSpace(operation, code);
    };
  }

  /** Runs what happens within so much virtual time. */
  advance(ms: number): void {
    const end = this.scheduler.nowMs + ms;
    while (this.scheduler.step(end));
  }
}

interface Watched {
  readonly log: SegmentedLog;
  readonly told: number[];
  readonly space: boolean[];
}

function watched(bench: FullBench): Watched {
  const log = bench.open(SMALL);
  const told: number[] = [];
  const space: boolean[] = [];
  log.onSpace = (isFull) => space.push(isFull);
  log.onFailure = (error) => expect.unreachable(error.message);
  bench.advance(100);
  return { log, told, space };
}

function append({ log, told }: Watched, from: number, to: number): void {
  for (let index = from; index <= to; index += 1) {
    log.append(hard(1, 0, index - 1), [entry(index, 1)], () => told.push(index));
  }
}

const ways: [string, string][] = [
  ["create", "ENOSPC"],
  ["write", "ENOSPC"],
  ["write", "EDQUOT"],
  ["sync", "ENOSPC"],
  ["rename", "ENOSPC"],
];

describe("on a full disk", () => {
  for (const [failing, code] of ways) {
    test(`F6: (${code} of ${failing}) what does not fit waits, and is written when there is room`, () => {
      const bench = new FullBench(failing, code);
      const watch = watched(bench);
      const { log, told, space } = watch;
      append(watch, 1, 3);
      bench.advance(50);
      bench.isFull = true;
      for (let index = 4; index <= 80; index += 1) {
        append(watch, index, index);
        bench.advance(10);
      }
      expect(log.isFull).toBe(true);
      expect(space).toEqual([true]);
      // The active segment and the one prepared before are used to their end.
      expect(told.length).toBeGreaterThan(15);
      expect(told.length).toBeLessThan(80);
      expect(log.entries(1, 81, 1e9)).toHaveLength(80);
      expect(bench.disk.paths().filter((path) => path.endsWith(".new"))).toEqual([]);
      const before = bench.attempts;
      const durable = told.length;
      bench.advance(10_000);
      expect(told).toHaveLength(durable);
      expect(bench.attempts - before).toBeGreaterThanOrEqual(9);
      expect(bench.attempts - before).toBeLessThanOrEqual(11);
      bench.isFull = false;
      bench.advance(2_000);
      expect(space).toEqual([true, false]);
      expect(log.isFull).toBe(false);
      expect(told).toEqual(Array.from({ length: 80 }, (_, at) => at + 1));
      bench.close(log);
      const again = bench.open(SMALL);
      expect(again.entries(1, 81, 1e9).map(describeEntry)).toEqual(
        Array.from({ length: 80 }, (_, at) => describeEntry(entry(at + 1, 1))),
      );
    });
  }

  test("an entry larger than a segment waits too, and another may come to wait behind it", () => {
    const bench = new FullBench();
    const watch = watched(bench);
    bench.isFull = true;
    append(watch, 1, 3);
    bench.advance(100);
    const { log, told } = watch;
    log.append(null, [entry(4, 1, Buffer.alloc(9_000, "x"))], () => told.push(4));
    bench.advance(3_500);
    log.append(null, [entry(5, 1, Buffer.alloc(20_000, "y"))], () => told.push(5));
    bench.advance(3_500);
    expect(told).toEqual([1, 2, 3]);
    bench.isFull = false;
    bench.advance(3_000);
    expect(told).toEqual([1, 2, 3, 4, 5]);
    bench.close(log);
    expect(bench.open(SMALL).lastIndex()).toBe(5);
  });

  test("closing does not wait for space, and loses nothing that was told", () => {
    const bench = new FullBench();
    const watch = watched(bench);
    bench.isFull = true;
    append(watch, 1, 3);
    bench.advance(50);
    append(watch, 4, 90);
    bench.advance(1_500);
    const durable = watch.told.length;
    expect(durable).toBeLessThan(90);
    let closed = false;
    watch.log.close(() => {
      closed = true;
    });
    bench.advance(1_500);
    expect(closed).toBe(true);
    bench.isFull = false;
    bench.advance(60_000);
    expect(watch.told).toHaveLength(durable);
    expect(bench.open(SMALL).lastIndex()).toBeGreaterThanOrEqual(durable);
  });

  test("a power cut loses nothing that was told, and the log opens on the full disk", () => {
    const bench = new FullBench();
    const watch = watched(bench);
    append(watch, 1, 3);
    bench.advance(50);
    bench.isFull = true;
    let cuts = 0;
    for (let at = 0; at < 200; at += 1) {
      const index = watch.log.lastIndex() + 1;
      const payload = Buffer.alloc(600, `payload ${index}`);
      if (at % 3 === 0)
        watch.log.append(null, [entry(index, 1, payload)], () => watch.told.push(index));
      bench.step();
      const durable = watch.told.length;
      const copy = new Bench(at, bench.disk);
      copy.disk.crash();
      copy.disk.onOperation = (operation, path) => {
        const grows = path.endsWith(".new") || path.endsWith(".broken");
        return grows && operation === "write" ? noSpace("write") : null;
      };
      const log = copy.open(SMALL);
      cuts += log.cutBytes > 0 ? 1 : 0;
      expect(log.lastIndex()).toBeGreaterThanOrEqual(durable);
    }
    expect(cuts).toBeGreaterThan(0);
    expect(watch.log.isFull).toBe(true);
  });

  test("what waits may be overwritten, and compaction goes on", () => {
    const bench = new FullBench();
    const watch = watched(bench);
    const { log, told } = watch;
    append(watch, 1, 12);
    bench.advance(100);
    bench.isFull = true;
    append(watch, 13, 24);
    bench.advance(1_000);
    let compacted = false;
    log.compactTo(8, () => {
      compacted = true;
    });
    for (let index = 25; index <= 70; index += 1) {
      append(watch, index, index);
      bench.advance(1);
    }
    bench.advance(1_000);
    expect(compacted).toBe(true);
    expect(told.length).toBeLessThan(70);
    log.append(hard(2), [entry(60, 2)], () => told.push(60));
    expect(log.lastIndex()).toBe(60);
    bench.isFull = false;
    bench.advance(3_000);
    expect(told.at(-1)).toBe(60);
    bench.close(log);
    const again = bench.open(SMALL);
    expect([again.firstIndex(), again.lastIndex(), again.term(60)]).toEqual([9, 60, 2]);
  });
});
