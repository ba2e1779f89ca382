/** What `balsa log` reads: it must agree with the log itself, show what is damaged, and change nothing. */

import { describe, expect, test } from "vitest";
import { inspectLog, readEntries } from "../../src/log/inspect.ts";
import { Bench, DIR, describeEntry, entry, hard, script } from "./harness.ts";

const ALL = Number.MAX_SAFE_INTEGER;

/** Any change of the disk fails the test. */
function frozen(bench: Bench): Bench {
  bench.disk.onOperation = (operation, path) => {
    if (operation === "read" || operation === "open") return null;
    return expect.unreachable(`${operation} of ${path}`);
  };
  return bench;
}

function filled(): Bench {
  const bench = new Bench(4);
  const log = bench.open({ segmentBytes: 1024 });
  for (let index = 1; index <= 30; index += 1) bench.append(log, hard(1), [entry(index, 1)]);
  return bench;
}

describe("a log as it is read from outside", () => {
  test("holds the entries that the log holds, overwritten and masked ones too", () => {
    for (const seed of [1, 2, 3, 4, 5]) {
      const bench = new Bench(seed);
      const log = bench.open();
      for (const step of script(seed, 150)) {
        bench.append(log, step.hardState, step.entries);
      }
      const { disk } = frozen(bench);
      const lines = [...readEntries(DIR, 1, ALL, disk)].map(describeEntry);
      const held = log.entries(1, log.lastIndex() + 1, ALL).map(describeEntry);
      expect(lines.join("\n") === held.join("\n")).toBe(true);
      const few = [...readEntries(DIR, 7, 9, disk)].map(({ index }) => index);
      expect(few).toEqual([7, 8, 9].filter((index) => index <= log.lastIndex()));
    }
  });

  test("does not hold what was compacted, or was there before a restart", () => {
    const bench = filled();
    const log = bench.open({ segmentBytes: 1024 });
    log.compactTo(20, () => {});
    bench.run();
    const indexes = (): number[] =>
      [...readEntries(DIR, 1, ALL, bench.disk)].map((one) => one.index);
    expect(indexes()).toEqual([21, 22, 23, 24, 25, 26, 27, 28, 29, 30]);
    log.restart({ index: 40, term: 2 }, () => {});
    bench.append(log, hard(2), [entry(41, 2)]);
    expect(indexes()).toEqual([41]);
  });

  test("is described as a start would find it", () => {
    const bench = filled();
    const { segments, damages, start, identity } = inspectLog(DIR, frozen(bench).disk);
    expect(damages).toEqual([]);
    expect(identity?.nodeId).toBe(1);
    expect(start).toMatchObject({ kind: "opens", firstIndex: 1, lastIndex: 30, cutBytes: 0 });
    const states = segments.map(({ state }) => state);
    expect(states.slice(-2)).toEqual(["active", "prepared"]);
    expect(new Set(states.slice(0, -2))).toEqual(new Set(["sealed"]));
    expect(segments[0]).toMatchObject({ number: 1, firstIndex: 1, firstTerm: 1, bytes: 1024 });
    const batches = segments.reduce((sum, each) => sum + each.batches, 0);
    expect(batches).toBe(30);
    const last = segments.findLast(({ lastIndex }) => lastIndex > 0);
    expect(last?.lastIndex).toBe(30);
  });

  test("a torn end is no damage: it tells how much would be cut", () => {
    const bench = new Bench();
    const log = bench.open({ segmentBytes: 8192 });
    bench.append(log, hard(1), [entry(1, 1)]);
    log.append(null, [entry(2, 1, Buffer.alloc(1_500, "torn"))], () => expect.unreachable());
    bench.disk.crash({ sector: (_path, sector, states) => (sector === 1 ? 0 : states - 1) });
    const { segments, damages, start } = inspectLog(DIR, frozen(bench).disk);
    expect(segments[0]?.state).toBe("torn");
    expect(damages).toEqual([]);
    if (start.kind !== "opens") throw new Error(start.reason);
    expect(start.lastIndex).toBe(1);
    bench.disk.onOperation = () => null;
    expect(bench.open({ segmentBytes: 8192 }).cutBytes).toBe(start.cutBytes);
  });

  test("damage is told for each file, and what is whole is still shown", () => {
    const bench = filled();
    const paths = bench.disk.paths().filter((path) => path.endsWith(".wal"));
    const hurt = [paths[1], paths[3]] as [string, string];
    for (const path of hurt) bench.disk.flipBit(path, 300, 2);
    bench.disk.flipBit(`${DIR}/meta.b`, 20, 1);
    const { segments, damages, start } = inspectLog(DIR, frozen(bench).disk);
    expect(damages.map(({ file }) => file).sort()).toEqual([...hurt, `${DIR}/meta.b`].sort());
    const damaged = segments.filter(({ state }) => state === "damaged");
    expect(damaged.map(({ number }) => number)).toEqual([2, 4]);
    expect(start.kind).toBe("refuses");
    const shown = [...readEntries(DIR, 1, ALL, bench.disk)].map(({ index }) => index);
    expect(shown).toContain(1);
    expect(shown).toContain(30);
    expect(shown.length).toBeLessThan(30);
  });

  test("every flipped bit in a segment in use is damage", () => {
    const whole = filled();
    const path = `${DIR}/00000002.wal`;
    const { usedBytes } = inspectLog(DIR, whole.disk).segments[1] ?? { usedBytes: 0 };
    expect(usedBytes).toBeGreaterThan(500);
    for (let at = 0; at < usedBytes; at += 1) {
      const bench = new Bench(1, whole.disk);
      bench.disk.flipBit(path, at, at % 8);
      const { damages, start } = inspectLog(DIR, bench.disk);
      expect(
        damages.map(({ file }) => file),
        `byte ${at}`,
      ).toContain(path);
      expect(start.kind).toBe("refuses");
    }
  });

  test("a marker of a failed write is heard", () => {
    const bench = filled();
    const log = bench.open({ segmentBytes: 1024 });
    bench.run();
    log.onFailure = () => {};
    bench.disk.onOperation = (operation) =>
      operation === "writeDurably" ? new Error("EIO") : null;
    log.append(null, [entry(31, 1)], () => expect.unreachable());
    bench.run();
    bench.disk.onOperation = () => null;
    expect(inspectLog(DIR, bench.disk).start).toMatchObject({
      kind: "refuses",
      reason: expect.stringMatching(/LOG_POISONED/),
    });
    bench.disk.crash();
    expect(inspectLog(DIR, frozen(bench).disk).start).toMatchObject({ removesMarker: true });
  });
});
