/** What a log that failed leaves behind, and what the next start makes of it. */

import { describe, expect, test } from "vitest";
import { LogCorruptionError, LogPoisonedError, LogUntrustedError } from "../../src/log/errors.ts";
import type { Operation } from "../sim/disk.ts";
import { Bench, caught, DIR, entry, hard } from "./harness.ts";

const SMALL = { segmentBytes: 1024, cacheBytes: 0 };
const MARKER = `${DIR}/poisoned.json`;

function eio(syscall: string): Error {
  return Object.assign(new Error(`EIO: i/o error, ${syscall}`), { code: "EIO", syscall });
}

/** A log whose next write or sync fails, and what it told of that. */
function failed(failing: Operation, error = eio("write")): { bench: Bench; told: Error[] } {
  const bench = new Bench();
  const log = bench.open(SMALL);
  for (let index = 1; index <= 9; index += 1) bench.append(log, hard(1), [entry(index, 1)]);
  const told: Error[] = [];
  log.onFailure = (reason) => told.push(reason);
  let left = 1;
  bench.disk.onOperation = (operation) => {
    if (operation !== failing || left === 0) return null;
    left -= 1;
    return error;
  };
  for (let index = 10; index <= 40; index += 1) log.append(null, [entry(index, 1)], () => {});
  bench.run();
  bench.disk.onOperation = () => null;
  return { bench, told };
}

function marker(bench: Bench): unknown {
  return JSON.parse(Buffer.from(bench.disk.content(MARKER)).toString());
}

describe("after a failed write or sync", () => {
  for (const failing of ["writeDurably", "sync", "write"] as const) {
    test(`(${failing}) the log is not trusted before the machine was restarted`, () => {
      const { bench, told } = failed(failing);
      expect(told).toHaveLength(1);
      expect(told[0]).toBeInstanceOf(LogPoisonedError);
      expect(told[0]?.message).toContain("EIO: i/o error");
      expect(marker(bench)).toMatchObject({ version: 1, kind: "failed", bootId: "boot 1" });
      bench.disk.kill();
      for (let start = 0; start < 2; start += 1) {
        const fault = caught(() => bench.open(SMALL));
        expect(fault).toBeInstanceOf(LogPoisonedError);
        expect(fault).toMatchObject({ code: "LOG_POISONED", directory: DIR });
      }
      bench.disk.crash();
      expect(bench.open(SMALL).lastIndex()).toBeGreaterThanOrEqual(9);
      expect(bench.disk.paths()).not.toContain(MARKER);
      bench.disk.crash();
      expect(bench.open(SMALL).lastIndex()).toBeGreaterThanOrEqual(9);
    });
  }

  test("without a boot id there is no telling: the log is not trusted", () => {
    const { bench } = failed("writeDurably");
    bench.disk.crash();
    bench.disk.bootIdNow = () => null;
    expect(() => bench.open(SMALL)).toThrow(LogPoisonedError);
  });

  test("a marker that was not written to its end counts", () => {
    const { bench } = failed("writeDurably");
    const bytes = bench.disk.content(MARKER);
    bench.disk.put(MARKER, bytes.subarray(0, bytes.length >> 1));
    bench.disk.crash();
    expect(() => bench.open(SMALL)).toThrow(/marker .* cannot be read/);
  });

  test("closing waits for the marker", () => {
    const bench = new Bench();
    const log = bench.open(SMALL);
    bench.run();
    log.onFailure = () => {};
    bench.disk.onOperation = (operation) =>
      operation === "writeDurably" ? eio("write") : operation === "sync" ? 500 : null;
    log.append(null, [entry(1, 1)], () => expect.unreachable());
    let closed = false;
    log.close(() => {
      closed = true;
      expect(bench.disk.unsynced().filter(({ path }) => path === MARKER)).toEqual([]);
    });
    bench.run();
    expect(closed).toBe(true);
  });

  test("a marker that cannot be written keeps nobody from learning of the failure", () => {
    const bench = new Bench();
    const log = bench.open(SMALL);
    const told: Error[] = [];
    log.onFailure = (reason) => told.push(reason);
    bench.disk.onOperation = (operation) => (operation === "remove" ? null : eio("open"));
    log.append(null, [entry(1, 1)], () => expect.unreachable());
    bench.run();
    expect(told).toHaveLength(1);
    bench.close(log);
  });

  test("an open that fails for want of descriptors is no reason for distrust", () => {
    const error = Object.assign(new Error("EMFILE"), { code: "EMFILE", syscall: "open" });
    const { bench, told } = failed("create", error);
    expect(told).toEqual([error]);
    bench.disk.kill();
    expect(bench.open(SMALL).lastIndex()).toBeGreaterThanOrEqual(9);
  });
});

test("whenever the power goes after a failed write, nothing told is lost, and a torn marker is heard", () => {
  const outcomes = new Set<string>();
  for (let steps = 0; steps < 12; steps += 1) {
    for (let seed = 0; seed < 12; seed += 1) {
      const bench = new Bench(seed);
      const log = bench.open(SMALL);
      for (let index = 1; index <= 9; index += 1) bench.append(log, hard(1), [entry(index, 1)]);
      log.onFailure = () => {};
      bench.disk.onOperation = (operation) => (operation === "writeDurably" ? eio("write") : null);
      log.append(null, [entry(10, 1)], () => expect.unreachable());
      for (let step = 0; step < steps; step += 1) bench.step();
      bench.disk.onOperation = () => null;
      bench.disk.crash();
      const wasMarked = bench.disk.paths().includes(MARKER);
      const isWhole = wasMarked && bench.disk.content(MARKER).at(-1) === 0x0a;
      try {
        expect(bench.open(SMALL).lastIndex()).toBeGreaterThanOrEqual(9);
        outcomes.add(wasMarked ? "marker removed" : "no marker");
        expect(wasMarked).toBe(isWhole);
      } catch (error) {
        if (!(error instanceof LogPoisonedError)) throw error;
        outcomes.add("torn marker");
        expect([wasMarked, isWhole]).toEqual([true, false]);
      }
    }
  }
  expect([...outcomes].sort()).toEqual(["marker removed", "no marker", "torn marker"]);
});

test("F2: a sync that fails while the log is opened poisons it", () => {
  const bench = new Bench();
  bench.append(bench.open(SMALL), hard(1), [entry(1, 1)]);
  bench.disk.kill();
  bench.disk.onOperation = (operation, path) =>
    operation === "sync" && path.endsWith(".wal") ? eio("fdatasync") : null;
  expect(() => bench.open(SMALL)).toThrow(LogPoisonedError);
  bench.disk.onOperation = () => null;
  expect(() => bench.open(SMALL)).toThrow(LogPoisonedError);
  bench.disk.crash();
  expect(bench.open(SMALL).lastIndex()).toBe(1);
});

describe("damage that a running log finds", () => {
  test("ends it, and every later start knows, whatever the disk gives then", () => {
    const bench = new Bench();
    const log = bench.open(SMALL);
    const told: Error[] = [];
    log.onFailure = (reason) => told.push(reason);
    bench.append(log, hard(1), [entry(1, 1), entry(2, 1)]);
    const path = `${DIR}/00000001.wal`;
    const at = Buffer.from(bench.disk.content(path)).indexOf("entry 2");
    bench.disk.flipBit(path, at, 0);
    const fault = caught(() => log.entries(1, 3, 1_000));
    bench.disk.flipBit(path, at, 0);
    bench.run();
    expect(told).toEqual([fault]);
    log.append(null, [entry(3, 1)], () => expect.unreachable());
    bench.run();
    expect(marker(bench)).toMatchObject({ kind: "damaged", file: path, offset: at });
    bench.disk.crash();
    const again = caught(() => bench.open(SMALL));
    expect(again).toBeInstanceOf(LogCorruptionError);
    expect(again).toMatchObject({ file: path, offset: at });
  });

  test("a sector that the disk cannot read is damage", () => {
    const bench = new Bench();
    const log = bench.open(SMALL);
    const told: Error[] = [];
    log.onFailure = (reason) => told.push(reason);
    bench.append(log, hard(1), [entry(1, 1)]);
    bench.disk.onOperation = (operation) => (operation === "read" ? eio("read") : null);
    expect(() => log.entries(1, 2, 1_000)).toThrow(LogUntrustedError);
    expect(told).toHaveLength(0);
    bench.run();
    expect(told).toMatchObject([{ code: "LOG_CORRUPTED" }]);
    bench.disk.kill();
    const fresh = new Bench(1, bench.disk);
    fresh.disk.removeNow(MARKER);
    fresh.disk.onOperation = (operation, path) =>
      operation === "read" && path.endsWith("1.wal") ? eio("read") : null;
    expect(() => fresh.open(SMALL)).toThrow(LogCorruptionError);
  });
});
