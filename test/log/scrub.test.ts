/** The background scrub: it finds rot in sealed segments, slowly, and stays out of the way of everything else. */

import { mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { LogCorruptionError } from "../../src/log/errors.ts";
import { openLog } from "../../src/log/open-log.ts";
import type { SegmentedLog } from "../../src/log/segmented-log.ts";
import type { SimulatedDisk } from "../sim/disk.ts";
import { Bench, entry, hard } from "./harness.ts";

const HOUR_MS = 3_600_000;
const OPTIONS = { segmentBytes: 2048, cacheBytes: 0, scrubIntervalMs: HOUR_MS };

function advance(bench: Bench, ms: number): void {
  const end = bench.scheduler.nowMs + ms;
  while (bench.scheduler.step(end));
}

/** A log of many segments, and what it tells. */
function filled(options = OPTIONS): { bench: Bench; log: SegmentedLog; told: Error[] } {
  const bench = new Bench(11);
  const log = bench.open(options);
  const told: Error[] = [];
  log.onFailure = (error) => told.push(error);
  for (let index = 1; index <= 60; index += 1) {
    log.append(hard(1), [entry(index, 1, Buffer.alloc(index * 3, `entry ${index} `))], () => {});
    advance(bench, 10);
  }
  return { bench, log, told };
}

function segments(disk: SimulatedDisk): string[] {
  return disk.paths().filter((path) => path.endsWith(".wal"));
}

/** The end of what was written: the last byte that is not zero, and one. */
function usedBytes(bytes: Uint8Array): number {
  return Buffer.from(bytes).findLastIndex((byte) => byte !== 0) + 1;
}

describe("the scrub", () => {
  test("reads every sealed segment, once in an interval, a piece at a time, and finds nothing", () => {
    const { bench, log, told } = filled();
    const reads: { path: string; atMs: number }[] = [];
    bench.disk.onOperation = (operation, path) => {
      if (operation === "read") reads.push({ path, atMs: bench.scheduler.nowMs });
      return null;
    };
    advance(bench, HOUR_MS + 60_000);
    const sealed = segments(bench.disk).slice(0, -2);
    expect(sealed.length).toBeGreaterThan(5);
    expect(reads.map(({ path }) => path)).toEqual(sealed);
    for (const [at, read] of reads.entries()) {
      const before = reads[at - 1];
      if (before !== undefined) expect(read.atMs - before.atMs).toBeGreaterThanOrEqual(50);
    }
    expect(log.scrubPasses).toBe(1);
    advance(bench, 2 * HOUR_MS);
    expect(log.scrubPasses).toBe(3);
    expect(reads).toHaveLength(3 * sealed.length);
    expect(told).toEqual([]);
  });

  test("finds a flipped bit in every byte that was written, halts the log and marks it", () => {
    const { bench } = filled();
    const [, second] = segments(bench.disk) as [string, string];
    const used = usedBytes(bench.disk.content(second));
    expect(used).toBeGreaterThan(1_000);
    for (let at = 0; at < used; at += 7) {
      const copy = new Bench(at, bench.disk);
      const log = copy.open(OPTIONS);
      const told: Error[] = [];
      log.onFailure = (error) => told.push(error);
      copy.disk.flipBit(second, at, at % 8);
      advance(copy, HOUR_MS + 60_000);
      expect(told, `byte ${at}`).toHaveLength(1);
      expect(told[0]).toBeInstanceOf(LogCorruptionError);
      expect(log.scrubPasses).toBe(0);
      // Even if the disk gives the right bytes again.
      copy.disk.flipBit(second, at, at % 8);
      copy.disk.crash();
      expect(() => copy.open(OPTIONS)).toThrow(LogCorruptionError);
    }
  });

  test("finds batches that are gone from a segment's end, by the chain into the next", () => {
    const { bench, told } = filled();
    const [, second, third] = segments(bench.disk) as [string, string, string];
    const bytes = Buffer.from(bench.disk.content(second));
    const last = bytes.lastIndexOf("BTCH");
    expect(last).toBeGreaterThan(128);
    for (let at = last; at < bytes.length; at += 1) {
      for (let bit = 0; bit < 8; bit += 1) {
        if (((bytes[at] as number) >> bit) & 1) bench.disk.flipBit(second, at, bit);
      }
    }
    advance(bench, HOUR_MS + 60_000);
    expect(told).toMatchObject([
      { file: third, reason: expect.stringMatching(/before it is missing/) },
    ]);
  });

  test("a sector that cannot be read is damage", () => {
    const { bench, told } = filled();
    const error = Object.assign(new Error("EIO: i/o error, read"), { code: "EIO" });
    bench.disk.onOperation = (operation) => (operation === "read" ? error : null);
    advance(bench, HOUR_MS + 1_000);
    expect(told).toMatchObject([{ code: "LOG_CORRUPTED" }]);
  });

  test("is not in the way of compaction and closing, whenever they come", () => {
    for (let stop = 0; stop < 60; stop += 1) {
      const { bench, log, told } = filled();
      const isOpen = new Set(segments(bench.disk));
      let reading = "";
      bench.disk.onOperation = (operation, path) => {
        if (operation === "remove") {
          expect(reading, path).not.toBe(path);
          isOpen.delete(path);
        }
        if (operation === "read") {
          expect(isOpen.has(path), path).toBe(true);
          reading = path;
          return 20;
        }
        return null;
      };
      bench.disk.onCompleted = (operation) => {
        if (operation === "read") reading = "";
      };
      // To just before the scrub begins.
      advance(bench, HOUR_MS - 1 - bench.scheduler.nowMs);
      for (let step = 0; step < stop; step += 1) bench.step();
      log.compactTo(20 + (stop % 30), () => {});
      for (let step = 0; step < 12; step += 1) bench.step();
      let closed = false;
      log.close(() => {
        closed = true;
        isOpen.clear();
      });
      advance(bench, HOUR_MS);
      expect(closed).toBe(true);
      bench.disk.onOperation = () => null;
      expect(told).toEqual([]);
      expect(bench.open(OPTIONS).lastIndex()).toBe(60);
    }
  });
});

test("on real files, a byte changed beneath a running log is found", async () => {
  const dir = mkdtempSync(join(tmpdir(), "balsa-scrub-"));
  const options = { dir, nodeId: 1, segmentBytes: 4096, cacheBytes: 0, scrubIntervalMs: 20 };
  const log = await openLog(options);
  const halted = new Promise<Error>((resolve) => {
    log.onFailure = resolve;
  });
  for (let index = 1; index <= 40; index += 1) {
    const payload = Buffer.alloc(300, `entry ${index} `);
    await new Promise<void>((done) => log.append(null, [entry(index, 1, payload)], done));
  }
  const path = join(dir, "00000002.wal");
  const at = readFileSync(path).indexOf("entry ");
  writeSync(openSync(path, "r+"), "X", at);
  expect(await halted).toMatchObject({ code: "LOG_CORRUPTED", file: path });
  await new Promise<void>((done) => log.close(done));
  await expect(openLog(options)).rejects.toThrow(LogCorruptionError);
  expect(JSON.parse(readFileSync(join(dir, "poisoned.json"), "utf8"))).toMatchObject({
    kind: "damaged",
    file: path,
  });
  rmSync(dir, { recursive: true });
});
