/** What the log does while it runs. */

import { describe, expect, test } from "vitest";
import { LogCorruptionError } from "../../src/log/errors.ts";
import { Bench, caught, DIR, describeEntry, entry, hard } from "./harness.ts";

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
      let marks = false;
      bench.disk.onOperation = (operation, path, count) => {
        marks ||= path.endsWith("poisoned.json");
        if (operation !== failing || count < 60 || path.includes("meta") || marks) return null;
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
      expect(failures).toMatchObject([{ code: "LOG_POISONED", reason: "EIO" }]);
      expect(failed).toBe(1);
      expect(toldAtFailure).toBeGreaterThanOrEqual(0);
      expect(told).toBeLessThan(200);
      bench.close(log);
      bench.disk.onOperation = () => null;
      bench.disk.crash();
      expect(bench.open(SMALL).lastIndex()).toBeGreaterThanOrEqual(told);
    });
  }

  test("D2: a stalled write tells nothing and fails nothing", () => {
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

function plain({ payload, ...rest }: ReturnType<typeof entry>): object {
  return { ...rest, payload: new Uint8Array(payload) };
}
