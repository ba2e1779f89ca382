/** What the log does while it runs. */

import { crc32 } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LogCorruptionError, LogOpenError } from "../../src/log/errors.ts";
import { Bench, contentOf, DIR, describeEntry, entry, hard, Model } from "./harness.ts";

const SMALL = { segmentBytes: 1024, cacheBytes: 0 };

describe("appending", () => {
  test("is seen by the reader at once, and told later, in order", () => {
    const bench = new Bench();
    const log = bench.open();
    const told: number[] = [];
    log.append(hard(1, 1), [entry(1, 1)], () => told.push(1));
    log.append(null, [entry(2, 1)], () => told.push(2));
    log.append(null, [], () => told.push(3));
    expect(log.lastIndex()).toBe(2);
    expect(log.term(2)).toBe(1);
    expect(log.entries(1, 3, 1_000)).toEqual([entry(1, 1), entry(2, 1)].map(plain));
    expect(told).toEqual([]);
    bench.run();
    expect(told).toEqual([1, 2, 3]);
  });

  test("nothing is told later too, and after all that came before it", () => {
    const bench = new Bench();
    const log = bench.open();
    const told: string[] = [];
    // However late an idle turn comes.
    bench.disk.soon = (run) => void bench.scheduler.after(100, run);
    log.append(null, [], () => told.push("nothing"));
    log.append(null, [entry(1, 1)], () => told.push("entry"));
    log.append(null, [entry(2, 1)], () => told.push("entry"));
    expect(told).toEqual([]);
    bench.run();
    expect(told).toEqual(["nothing", "entry", "entry"]);
  });

  test("takes one write for all that waits while another is under way", () => {
    const bench = new Bench();
    const log = bench.open({ segmentBytes: 64 * 1024 });
    bench.run();
    let writes = 0;
    bench.disk.onOperation = (operation) => {
      if (operation === "writeDurably") writes += 1;
      return null;
    };
    let told = 0;
    for (let index = 1; index <= 100; index += 1) {
      log.append(null, [entry(index, 1)], () => {
        told += 1;
      });
    }
    bench.run();
    expect(told).toBe(100);
    expect(writes).toBe(2);
  });

  test("copies the payload", () => {
    const bench = new Bench();
    const log = bench.open();
    const payload = Buffer.from("mine");
    log.append(null, [{ index: 1, term: 1, kind: "command", payload }], () => {});
    payload.fill("x");
    expect(log.entries(1, 2, 100)).toEqual([plain(entry(1, 1, "mine"))]);
    bench.run();
    expect(bench.open().entries(1, 2, 100)).toEqual([plain(entry(1, 1, "mine"))]);
  });

  test("goes on from segment to segment without a pause, each prepared before it is needed", () => {
    const bench = new Bench();
    const log = bench.open({ segmentBytes: 4096 });
    bench.run();
    // Preparing is slow, yet faster than filling a segment.
    bench.disk.onOperation = (operation) => (operation === "write" ? 1 : null);
    let index = 0;
    let longestMs = 0;
    const next = (): void => {
      if (index === 300) return;
      index += 1;
      const since = bench.scheduler.nowMs;
      log.append(null, [entry(index, 1, Buffer.alloc(100, "p"))], () => {
        longestMs = Math.max(longestMs, bench.scheduler.nowMs - since);
        next();
      });
    };
    next();
    bench.run();
    expect(index).toBe(300);
    expect(bench.disk.paths().filter((path) => path.endsWith(".wal")).length).toBeGreaterThan(15);
    expect(longestMs).toBeLessThanOrEqual(0.5);
    expect(bench.open().lastIndex()).toBe(300);
  });

  test("waits for the next segment when it is not ready, and loses nothing", () => {
    const bench = new Bench();
    const log = bench.open({ segmentBytes: 1024 });
    bench.disk.onOperation = (operation) => (operation === "sync" ? 50 : null);
    const told: number[] = [];
    for (let index = 1; index <= 50; index += 1) {
      log.append(null, [entry(index, 1, Buffer.alloc(300, "p"))], () => told.push(index));
    }
    bench.run();
    expect(told).toEqual(Array.from({ length: 50 }, (_, at) => at + 1));
    expect(bench.open(SMALL).lastIndex()).toBe(50);
  });

  test("takes an entry larger than a segment", () => {
    const bench = new Bench();
    const log = bench.open(SMALL);
    const large = entry(2, 1, Buffer.alloc(10_000, "L"));
    bench.append(log, hard(1), [entry(1, 1), large, entry(3, 1)]);
    bench.append(log, null, [entry(4, 1)]);
    for (const reader of [log, bench.open(SMALL)]) {
      expect(reader.entries(2, 3, 0)).toEqual([plain(large)]);
      expect(reader.lastIndex()).toBe(4);
    }
  });

  test("a hole, or after closing, is a bug", () => {
    const bench = new Bench();
    const log = bench.open();
    expect(() => log.append(null, [entry(2, 1)], () => {})).toThrow(/beyond the end/);
    bench.close(log);
    expect(() => log.append(null, [entry(1, 1)], () => {})).toThrow(/closed/);
  });

  test("closing waits for what was appended", () => {
    const bench = new Bench();
    const log = bench.open(SMALL);
    const told: number[] = [];
    for (let index = 1; index <= 20; index += 1) {
      log.append(null, [entry(index, 1)], () => told.push(index));
    }
    bench.close(log);
    expect(told).toHaveLength(20);
    bench.disk.crash({ sector: () => 0, directoryChanges: () => 0 });
    expect(bench.open(SMALL).lastIndex()).toBe(20);
  });
});

describe("reading", () => {
  test("gives at least one entry, then as many as fit in maxBytes of payload", () => {
    const bench = new Bench();
    const log = bench.open(SMALL);
    const entries = [10, 20, 30, 0, 5].map((size, at) => entry(at + 1, 1, Buffer.alloc(size, "z")));
    bench.append(log, null, entries);
    const indexes = (from: number, to: number, bytes: number): number[] =>
      log.entries(from, to, bytes).map(({ index }) => index);
    expect(indexes(1, 6, 0)).toEqual([1]);
    expect(indexes(1, 6, 29)).toEqual([1]);
    expect(indexes(1, 6, 30)).toEqual([1, 2]);
    expect(indexes(3, 6, 30)).toEqual([3, 4]);
    expect(indexes(1, 4, 1_000)).toEqual([1, 2, 3]);
    expect(indexes(4, 4, 1_000)).toEqual([]);
    expect(() => log.entries(1, 7, 10)).toThrow(/beyond/);
    expect(() => log.term(6)).toThrow(/6/);
    expect(log.term(0)).toBe(0);
  });

  test("takes recent entries from memory, within its bound, and older ones from the disk", () => {
    const bench = new Bench();
    const log = bench.open({ cacheBytes: 10 * 300 });
    for (let index = 1; index <= 100; index += 1) bench.append(log, null, [entry(index, 1)]);
    let reads = 0;
    bench.disk.onOperation = (operation) => {
      if (operation === "read") reads += 1;
      return null;
    };
    expect(log.entries(95, 101, 10_000)).toHaveLength(6);
    expect(reads).toBe(0);
    expect(log.entries(1, 101, 10_000).map(describeEntry)).toEqual(
      Array.from({ length: 100 }, (_, at) => describeEntry(entry(at + 1, 1))),
    );
    expect(reads).toBeGreaterThan(0);
    expect(reads).toBeLessThan(20);
  });

  test("serves entries from memory until they are durable, whatever the bound", () => {
    const bench = new Bench();
    const log = bench.open(SMALL);
    const entries = Array.from({ length: 30 }, (_, at) => entry(at + 1, 1));
    log.append(null, entries, () => {});
    expect(log.entries(1, 31, 100_000)).toEqual(entries.map(plain));
    log.append(null, [entry(5, 2)], () => {});
    const terms = (): number[] => log.entries(1, 6, 100_000).map(({ term }) => term);
    expect(terms()).toEqual([1, 1, 1, 1, 2]);
    while (bench.step()) expect(terms()).toEqual([1, 1, 1, 1, 2]);
    expect(log.entries(1, 6, 100_000).map(({ term }) => term)).toEqual([1, 1, 1, 1, 2]);
  });

  test("a damaged entry is an error that names the place", () => {
    const bench = new Bench();
    const log = bench.open(SMALL);
    bench.append(log, hard(1), [entry(1, 1), entry(2, 1)]);
    const path = `${DIR}/00000001.wal`;
    const at = Buffer.from(bench.disk.content(path)).indexOf("entry 2");
    bench.disk.flipBit(path, at, 0);
    expect(log.entries(1, 2, 100)).toHaveLength(1);
    const fault = caught(() => log.entries(1, 3, 1_000));
    expect(fault).toBeInstanceOf(LogCorruptionError);
    expect(fault).toMatchObject({ file: path, offset: at, code: "LOG_CORRUPTED" });
  });
});

describe("a failed disk", () => {
  for (const failing of ["writeDurably", "write", "sync", "create", "rename", "syncDirectory"]) {
    test(`a failed ${failing} is told once, and nothing is told durable after it`, () => {
      const bench = new Bench(3);
      const log = bench.open(SMALL);
      const failures: Error[] = [];
      log.onFailure = (error) => failures.push(error);
      let told = 0;
      let toldAtFailure = -1;
      let failed = 0;
      bench.disk.onOperation = (operation, path, count) => {
        if (operation !== failing || count < 60 || path.includes("meta")) return null;
        failed += 1;
        if (failed === 1) toldAtFailure = told;
        return new Error("EIO");
      };
      for (let index = 1; index <= 200; index += 1) {
        log.append(hard(1, 0, index), [entry(index, 1)], () => {
          expect(failures).toHaveLength(0);
          told += 1;
        });
        if (index % 3 === 0) bench.step();
      }
      bench.run();
      log.append(null, [], () => {
        told = Number.NaN;
      });
      log.setIdentity(log.identity, () => {
        told = Number.NaN;
      });
      bench.run();
      expect(failures.map(({ message }) => message)).toEqual(["EIO"]);
      expect(failed).toBe(1);
      expect(toldAtFailure).toBeGreaterThanOrEqual(0);
      expect(told).toBeLessThan(200);
      bench.close(log);
      bench.disk.onOperation = () => null;
      bench.disk.crash();
      expect(bench.open(SMALL).lastIndex()).toBeGreaterThanOrEqual(told);
    });
  }

  test("a stalled write tells nothing and fails nothing", () => {
    const bench = new Bench();
    const log = bench.open();
    bench.run();
    bench.disk.onOperation = (operation) =>
      operation === "writeDurably" ? Number.POSITIVE_INFINITY : null;
    log.append(null, [entry(1, 1)], () => expect.unreachable());
    log.append(null, [entry(2, 1)], () => expect.unreachable());
    bench.run();
    expect(log.lastIndex()).toBe(2);
  });
});

describe("the identity", () => {
  const formed = { clusterId: "c".repeat(32), phase: "formed", members: [1, 2, 3] } as const;

  test("is made with the directory, kept, and changed durably", () => {
    const bench = new Bench();
    const log = bench.open();
    const { identity } = log;
    expect(identity).toMatchObject({ nodeId: 1, clusterId: "", phase: "blank", members: [] });
    expect(identity.incarnation).toMatch(/^[0-9a-f]{32}$/);
    expect(bench.open().identity).toEqual(identity);
    let isDone = false;
    log.setIdentity({ ...identity, ...formed }, () => {
      isDone = true;
    });
    expect(isDone).toBe(false);
    bench.run();
    expect(isDone).toBe(true);
    expect(log.identity).toEqual({ ...identity, ...formed });
    bench.disk.crash({ sector: () => 0, directoryChanges: () => 0 });
    expect(bench.open().identity).toEqual({ ...identity, ...formed });
  });

  test("another directory has another incarnation", () => {
    expect(new Bench(1).open().identity.incarnation).not.toBe(
      new Bench(2).open().identity.incarnation,
    );
  });

  test("after a power cut at any operation it is the old or the new one, and the new one once told", () => {
    for (let stop = 1; stop < 12; stop += 1) {
      for (let seed = 0; seed < 8; seed += 1) {
        const bench = new Bench(seed);
        const log = bench.open();
        const { identity } = log;
        bench.run();
        let told = false;
        log.setIdentity({ ...identity, ...formed }, () => {
          told = true;
        });
        for (let step = 0; step < stop; step += 1) bench.step();
        bench.disk.crash();
        const { phase } = bench.open().identity;
        if (told) expect(phase).toBe("formed");
        else expect(["blank", "formed"]).toContain(phase);
      }
    }
  });

  test("survives the loss of either file; of both with a log there, it is an error", () => {
    for (const lost of ["meta.a", "meta.b"]) {
      const bench = new Bench();
      const log = bench.open();
      bench.append(log, hard(1), [entry(1, 1)]);
      log.setIdentity({ ...log.identity, ...formed }, () => {});
      bench.run();
      bench.disk.removeNow(`${DIR}/${lost}`);
      expect(bench.open().identity).toEqual(log.identity);
      bench.disk.removeNow(`${DIR}/meta.a`);
      bench.disk.removeNow(`${DIR}/meta.b`);
      expect(() => bench.open()).toThrow(LogCorruptionError);
    }
  });

  test("damaged in both files is an error; segments gone too", () => {
    const bench = new Bench();
    const log = bench.open();
    bench.run();
    const without = new Bench(1, bench.disk);
    for (const path of without.disk.paths().filter((name) => name.endsWith(".wal"))) {
      without.disk.removeNow(path);
    }
    expect(() => without.open()).toThrow(/all segments are missing/);
    bench.disk.flipBit(`${DIR}/meta.a`, 20, 1);
    expect(bench.open().identity).toEqual(log.identity);
    bench.disk.flipBit(`${DIR}/meta.a`, 20, 1);
    bench.disk.flipBit(`${DIR}/meta.b`, 20, 1);
    expect(() => bench.open()).toThrow(/identity is damaged in both/);
  });
});

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
function plain({ payload, ...rest }: ReturnType<typeof entry>): object {
  return { ...rest, payload: new Uint8Array(payload) };
}

function caught(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return expect.unreachable("nothing was thrown");
}
