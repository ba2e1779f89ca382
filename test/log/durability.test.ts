/** Rare cases that decide between a torn write and damage, and what a start found in the page cache. */

import { describe, expect, test } from "vitest";
import { LogCorruptionError } from "../../src/log/errors.ts";
import { batchHeaderFault } from "../../src/log/format.ts";
import { Bench, DIR, entry, hard } from "./harness.ts";

const formed = { clusterId: "c".repeat(32), phase: "formed", members: [1, 2, 3] } as const;

test("an identity that a start found survives a power cut right after it", () => {
  for (let stop = 0; stop < 12; stop += 1) {
    const bench = new Bench(stop);
    const log = bench.open();
    bench.run();
    log.setIdentity({ ...log.identity, ...formed }, () => {});
    for (let step = 0; step < stop; step += 1) bench.step();
    // Killed: what was written and not synced is still in the page cache.
    bench.disk.kill();
    const { identity } = bench.open();
    expect(identity.phase).toBe("formed");
    bench.disk.crash({ sector: () => 0, directoryChanges: () => 0 });
    expect(bench.open().identity, `after ${stop} steps`).toEqual(identity);
  }
});

test("F4: one bit in a sector is not enough to know it by", () => {
  const options = { segmentBytes: 8192 };
  const sparse = Buffer.alloc(3_000);
  for (let at = 0; at < sparse.length; at += 300) sparse[at] = 1;
  const bench = new Bench(3);
  const log = bench.open(options);
  bench.append(log, hard(1), [entry(1, 1, sparse)]);
  const path = `${DIR}/00000001.wal`;
  const bytes = Buffer.from(bench.disk.content(path));
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] as number;
    // A byte of one bit becomes zero.
    if (byte === 0 || (byte & (byte - 1)) !== 0) continue;
    const copy = new Bench(1, bench.disk);
    copy.disk.flipBit(path, at, Math.log2(byte));
    expect(() => copy.open(options), `byte ${at}`).toThrow(LogCorruptionError);
  }
});

test("F3: what a segment's end lacks is missed by the segment behind it", () => {
  const bench = new Bench(5);
  const options = { segmentBytes: 1024 };
  const log = bench.open(options);
  bench.append(log, hard(1), [entry(1, 1, Buffer.alloc(400, "x"))]);
  // A vote alone: the indexes that follow tell nothing of it.
  bench.append(log, hard(2, 3), []);
  bench.append(log, null, [entry(2, 2, Buffer.alloc(600, "y"))]);
  expect(bench.open(options).hardState).toEqual(hard(2, 3));
  const path = `${DIR}/00000001.wal`;
  const bytes = Buffer.from(bench.disk.content(path));
  const vote = bytes.lastIndexOf("BTCH");
  expect(vote).toBeGreaterThan(512);
  bench.disk.put(path, Buffer.from(bytes).fill(0, vote));
  expect(() => bench.open(options)).toThrow(LogCorruptionError);
});

describe("F5: a payload that looks like a batch of another segment", () => {
  const options = { segmentBytes: 8192 };

  /** A whole batch header of some log's segment, of a batch that was written late in its life. */
  function header(): Buffer {
    const bench = new Bench(77);
    const log = bench.open();
    for (let index = 1; index <= 40; index += 1) bench.append(log, hard(1), [entry(index, 1)]);
    const path = bench.disk.paths().findLast((name) => {
      return name.endsWith(".wal") && Buffer.from(bench.disk.content(name)).includes("BTCH");
    });
    const bytes = Buffer.from(bench.disk.content(path as string));
    const at = bytes.lastIndexOf("BTCH");
    const found = bytes.subarray(at, at + 64);
    expect(batchHeaderFault(found, 0)).toBeNull();
    return found;
  }

  test("F5: a payload that looks like a batch of another segment proves nothing", () => {
    const forged = header();
    let aligned = 0;
    for (let shift = 0; shift < 64; shift += 1) {
      const bench = new Bench(1);
      const log = bench.open(options);
      bench.append(log, hard(1), [entry(1, 1)]);
      const payload = Buffer.concat([Buffer.alloc(shift, "x"), ...Array(40).fill(forged)]);
      log.append(null, [entry(2, 1, payload)], () => {});
      // The sector with the batch's header is lost: the write was torn, whatever its payload holds.
      bench.disk.crash({ sector: (_path, sector, states) => (sector === 0 ? 0 : states - 1) });
      const bytes = bench.disk.content(`${DIR}/00000001.wal`);
      for (let at = 1024; at < bytes.length; at += 64) {
        if (Buffer.from(bytes.subarray(at, at + 64)).equals(forged)) aligned += 1;
      }
      const again = bench.open(options);
      expect(again.lastIndex(), `shifted by ${shift}`).toBe(1);
      expect(again.cutBytes).toBeGreaterThan(0);
    }
    expect(aligned).toBeGreaterThan(0);
  });
});
