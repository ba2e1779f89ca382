/** What a log refuses to open, and what it finds again. */

import { crc32 } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LogCorruptionError, LogOpenError } from "../../src/log/errors.ts";
import { Bench, caught, contentOf, DIR, describeEntry, entry, hard, Model } from "./harness.ts";

const SMALL = { segmentBytes: 1024, cacheBytes: 0 };

describe("opening refuses", () => {
  function filled(): Bench {
    const bench = new Bench();
    const log = bench.open(SMALL);
    for (let index = 1; index <= 30; index += 1) bench.append(log, hard(1), [entry(index, 1)]);
    return bench;
  }

  test("the directory of another node", () => {
    const fault = caught(() => filled().open({ nodeId: 2 }));
    expect(fault).toBeInstanceOf(LogOpenError);
    expect(fault).toMatchObject({ code: "OTHER_NODE" });
  });

  test("a segment of another version", () => {
    const bench = filled();
    const path = `${DIR}/00000001.wal`;
    const bytes = Buffer.from(bench.disk.content(path));
    bytes[8] = 9;
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
    bench.disk.put(path, bytes);
    const fault = caught(() => bench.open());
    expect(fault).toMatchObject({ code: "UNKNOWN_VERSION" });
  });

  test("a missing segment: first, middle or last", () => {
    const numbers = filled()
      .disk.paths()
      .filter((path) => path.endsWith(".wal"));
    expect(numbers.length).toBeGreaterThan(4);
    for (const at of [0, 2, numbers.length - 2]) {
      const bench = filled();
      bench.disk.removeNow(numbers[at] as string);
      expect(() => bench.open(), `without ${numbers[at]}`).toThrow(LogCorruptionError);
    }
  });

  test("a segment of another log, and one that is cut short", () => {
    const bench = filled();
    const other = new Bench(2);
    const log = other.open(SMALL);
    for (let index = 1; index <= 30; index += 1) other.append(log, hard(1), [entry(index, 1)]);
    const path = `${DIR}/00000003.wal`;
    const ours = bench.disk.content(path);
    bench.disk.put(path, other.disk.content(path));
    expect(() => bench.open()).toThrow(/belongs to node 1, incarnation/);
    bench.disk.put(path, ours.subarray(0, 512));
    expect(() => bench.open()).toThrow(LogCorruptionError);
  });

  test("an acknowledged batch whose sectors became zero, when anything later is there", () => {
    const bench = filled();
    const path = `${DIR}/00000002.wal`;
    const bytes = Buffer.from(bench.disk.content(path));
    for (const [from, to] of [
      [0, 512],
      [512, 1024],
      [0, 1024],
    ] as const) {
      const zeroed = Buffer.from(bytes);
      zeroed.fill(0, from, to);
      bench.disk.put(path, zeroed);
      expect(() => bench.open()).toThrow(LogCorruptionError);
    }
  });
});

test("an acknowledged batch that looks torn is refused when a later one of its segment is whole", () => {
  const bench = new Bench();
  const options = { segmentBytes: 16 * 1024 };
  const log = bench.open(options);
  for (let index = 1; index <= 4; index += 1) {
    bench.append(log, hard(1), [entry(index, 1, Buffer.alloc(1_500, "x"))]);
  }
  const path = `${DIR}/00000001.wal`;
  const bytes = Buffer.from(bench.disk.content(path));
  const last = bytes.lastIndexOf("BTCH");
  for (let sector = 0; sector * 512 < bytes.length; sector += 1) {
    const zeroed = Buffer.from(bytes).fill(0, sector * 512, (sector + 1) * 512);
    bench.disk.put(path, zeroed);
    if ((sector + 1) * 512 <= last) {
      expect(() => bench.open(options), `sector ${sector}`).toThrow(LogCorruptionError);
    } else {
      // Of the last batch it cannot be told; beyond it nothing is lost.
      expect(bench.open(options).lastIndex()).toBeGreaterThanOrEqual(3);
    }
  }
});

test("what is cut is kept in a .broken file", () => {
  const bench = new Bench();
  const log = bench.open({ segmentBytes: 8192 });
  bench.append(log, hard(1), [entry(1, 1)]);
  log.append(null, [entry(2, 1, Buffer.alloc(1_500, "torn"))], () => expect.unreachable());
  bench.disk.crash({ sector: (_path, sector, states) => (sector === 1 ? 0 : states - 1) });
  const again = bench.open({ segmentBytes: 8192 });
  expect(again.lastIndex()).toBe(1);
  expect(again.cutBytes).toBeGreaterThan(1_000);
  const broken = bench.disk.paths().filter((path) => path.endsWith(".broken"));
  expect(broken).toHaveLength(1);
  expect(bench.disk.content(broken[0] as string)).toHaveLength(again.cutBytes);
  bench.append(again, null, [entry(2, 2)]);
  expect(bench.open({ segmentBytes: 8192 }).term(2)).toBe(2);
});

test("any sequence of appends, overwrites and reopenings reads as a model of it", () => {
  const command = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        kind: fc.constant("append" as const),
        back: fc.oneof(
          { weight: 4, arbitrary: fc.constant(0) },
          { weight: 1, arbitrary: fc.nat(20) },
        ),
        sizes: fc.array(fc.oneof(fc.nat(200), fc.nat(3_000)), { maxLength: 4 }),
        vote: fc.option(fc.nat(5)),
        wait: fc.boolean(),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen" as const) }) },
  );
  const settings = fc.record({
    segmentBytes: fc.constantFrom(1024, 2048, 8192),
    cacheBytes: fc.constantFrom(0, 1_000, 100_000),
    batchBytesMax: fc.constantFrom(256, 1_000, 100_000),
  });
  fc.assert(
    fc.property(
      settings,
      fc.array(command, { maxLength: 40 }),
      fc.nat(),
      (options, commands, seed) => {
        const bench = new Bench(seed);
        const model = new Model();
        let log = bench.open(options);
        let term = 1;
        for (const step of commands) {
          if (step.kind === "reopen") {
            bench.close(log);
            log = bench.open(options);
            expect(contentOf(log)).toBe(model.now);
            continue;
          }
          let last = Math.max(0, log.lastIndex() - step.back);
          if (step.back > 0) term += 1;
          const entries = step.sizes.map((size) => {
            last += 1;
            return entry(last, term, Buffer.alloc(size, size));
          });
          const hardState = step.vote === null ? null : hard(term, step.vote);
          model.add({ hardState, entries });
          log.append(hardState, entries, () => {});
          if (step.wait) bench.run();
          const { lines } = { lines: model.now.split("\n").slice(1) };
          const read = log.lastIndex() === 0 ? [] : log.entries(1, log.lastIndex() + 1, 1e9);
          expect(read.map(describeEntry).join("\n")).toBe(lines.join("\n"));
        }
        bench.close(log);
        expect(contentOf(bench.open(options))).toBe(model.now);
      },
    ),
    { numRuns: 150 },
  );
});

/** As the log gives it: the payload is a Uint8Array, not a Buffer. */
