/** Two things that only a power cut at the wrong moment shows: what a start has found, and what a payload may look like. */

import { describe, expect, test } from "vitest";
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
      // The write's second sector is lost: it was torn, whatever its payload holds.
      bench.disk.crash({ sector: (_path, sector, states) => (sector === 1 ? 0 : states - 1) });
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
