/** Every crash of a scripted run: after each operation, with every choice of what survives. */

import { describe, expect, test } from "vitest";
import { LogCorruptionError } from "../../src/log/errors.ts";
import type { CrashChoices, SimulatedDisk } from "../sim/disk.ts";
import { Bench, contentOf, entry, Model, type Step, script } from "./harness.ts";

/** With so many dirty sectors or fewer, all subsets are tried. */
const ALL_SUBSETS_UP_TO = 6;

interface Moment {
  readonly disk: SimulatedDisk;
  /** Steps that were told to be durable, and steps that were begun. */
  readonly told: number;
  readonly begun: number;
}

/** Runs the steps, some of them at once so that they share a sync, and keeps the disk after each operation. */
function record(steps: readonly Step[], seed: number): Moment[] {
  const bench = new Bench(seed);
  const moments: Moment[] = [];
  let told = 0;
  let begun = 0;
  let seen = -1;
  const keep = (): void => {
    if (seen === bench.disk.operations) return;
    seen = bench.disk.operations;
    moments.push({ disk: bench.disk.clone(), told, begun });
  };
  const log = bench.open();
  const next = (): void => {
    for (let burst = 1 + Math.floor(bench.dice.next() * 3); burst > 0; burst -= 1) {
      const step = steps[begun];
      if (step === undefined) return;
      begun += 1;
      log.append(step.hardState, step.entries, () => {
        told += 1;
        if (told === begun) next();
      });
    }
  };
  next();
  keep();
  while (bench.step()) keep();
  expect(told).toBe(steps.length);
  return moments;
}

/** Which sectors survive, for each fate to try. Those of a segment being prepared are zeros anyway: random ones. */
function* fates(disk: SimulatedDisk, dice: () => number): Generator<CrashChoices> {
  const dirty = disk.unsynced().filter(({ path }) => !path.endsWith(".new"));
  const changes = disk.unsyncedDirectoryChanges;
  for (let kept = 0; kept <= changes; kept += 1) {
    const directoryChanges = (): number => kept;
    const latest = new Map(
      dirty.map(({ path, sector, states }) => [`${path}:${sector}`, states - 1]),
    );
    const keepBy = (keeps: (at: number) => boolean): CrashChoices => {
      const kept = new Set(
        dirty.flatMap(({ path, sector }, at) => (keeps(at) ? [`${path}:${sector}`] : [])),
      );
      const sector = (path: string, at: number, states: number): number => {
        const name = `${path}:${at}`;
        if (path.endsWith(".new")) return Math.floor(dice() * states);
        return kept.has(name) ? (latest.get(name) as number) : 0;
      };
      return { directoryChanges, sector };
    };
    if (dirty.length <= ALL_SUBSETS_UP_TO) {
      for (let subset = 0; subset < 2 ** dirty.length; subset += 1) {
        yield keepBy((at) => ((subset >> at) & 1) === 1);
      }
      continue;
    }
    yield keepBy(() => true);
    yield keepBy(() => false);
    for (let one = 0; one < dirty.length; one += 1) {
      yield keepBy((at) => at === one);
      yield keepBy((at) => at !== one);
    }
    for (let count = 0; count < 8; count += 1) yield keepBy(() => dice() < 0.5);
  }
}

/** Opens what is left and checks that it holds all that was told and nothing that was not begun. */
function check(bench: Bench, model: Model, moment: Moment): void {
  const log = bench.open();
  const content = contentOf(log);
  const from = model.parts(moment.told);
  const to = model.parts(moment.begun);
  for (let parts = from; parts <= to; parts += 1) if (model.states[parts] === content) return;
  const found = model.states.indexOf(content);
  expect.unreachable(`parts ${from} to ${to} of the script, but found ${found}:\n${content}`);
}

describe("after a power cut", () => {
  test("F1: at every operation, with every sector lost or kept, nothing told is lost and nothing invented", () => {
    const steps = script(4, 200);
    const model = new Model();
    for (const step of steps) model.add(step);
    let tried = 0;
    for (const moment of record(steps, 1)) {
      const dice = new Bench(tried).dice;
      for (const fate of fates(moment.disk, () => dice.next())) {
        const bench = new Bench(tried, moment.disk);
        bench.disk.crash(fate);
        check(bench, model, moment);
        tried += 1;
      }
    }
    expect(tried).toBeGreaterThan(1_000);
  });

  test("a log goes on where it stood, and a second power cut while it is being opened costs nothing", () => {
    const steps = script(9, 60, 400);
    const model = new Model();
    for (const step of steps) model.add(step);
    let seed = 0;
    let cuts = 0;
    for (const moment of record(steps, 2)) {
      for (let attempt = 0; attempt < 3; attempt += 1) {
        seed += 1;
        const bench = new Bench(seed, moment.disk);
        bench.disk.crash();
        const opened = bench.disk.operations;
        const copy = new Bench(seed, bench.disk);
        const log = copy.open();
        cuts += log.cutBytes > 0 ? 1 : 0;
        const last = log.lastIndex();
        const term = log.hardState.currentTerm + 1;
        copy.append(log, { ...log.hardState, currentTerm: term }, [entry(last + 1, term)]);
        copy.close(log);
        const again = copy.open();
        expect(again.lastIndex()).toBe(last + 1);
        expect(again.hardState.currentTerm).toBe(term);
        // The power goes again, at a random operation of the opening.
        const limit = 1 + Math.floor(bench.dice.next() * (copy.disk.operations - opened));
        bench.disk.onOperation = (_operation, _path, count) =>
          count - opened > limit ? new Error("power cut") : null;
        try {
          bench.open();
        } catch (error) {
          expect(error).toHaveProperty("message", "power cut");
        }
        bench.disk.onOperation = () => null;
        bench.disk.crash();
        check(bench, model, moment);
      }
    }
    expect(cuts).toBeGreaterThan(30);
  });
});

describe("after the process was killed", () => {
  test("what a log holds when it is opened survives a power cut right after it", () => {
    const steps = script(6, 40);
    let seed = 0;
    for (const moment of record(steps, 5)) {
      seed += 1;
      const bench = new Bench(seed, moment.disk);
      bench.disk.kill();
      const content = contentOf(bench.open());
      bench.disk.crash({ sector: () => 0, directoryChanges: () => 0 });
      expect(contentOf(bench.open())).toBe(content);
    }
    expect(seed).toBeGreaterThan(50);
  });
});

describe("a payload of zeros, or nearly", () => {
  const options = { segmentBytes: 4096 };
  const sparse = Buffer.alloc(2_500);
  sparse[700] = 4;
  sparse[1_666] = 128;

  function written(): { bench: Bench; model: Model; before: Moment } {
    const bench = new Bench(7);
    const model = new Model();
    const log = bench.open(options);
    const first = {
      hardState: { currentTerm: 1, votedFor: 1, commitIndex: 0 },
      entries: [entry(1, 1)],
    };
    model.add(first);
    bench.append(log, first.hardState, first.entries);
    const second = {
      hardState: null,
      entries: [entry(2, 1, sparse), entry(3, 1, Buffer.alloc(600))],
    };
    model.add(second);
    log.append(null, second.entries, () => {});
    const before = { disk: bench.disk.clone(), told: 1, begun: 2 };
    bench.run();
    return { bench, model, before };
  }

  test("is read back as it was, from memory and from the disk", () => {
    const { bench, model } = written();
    expect(contentOf(bench.open(options))).toBe(model.now);
  });

  test("does not let a flipped bit pass for a torn write", () => {
    const { bench } = written();
    const path = "log/00000001.wal";
    const length = bench.disk.content(path).findLastIndex((byte) => byte !== 0) + 1;
    expect(length).toBeGreaterThan(3_000);
    for (let at = 0; at < length; at += 1) {
      for (let bit = at % 3; bit < 8; bit += 3) {
        const copy = new Bench(1, bench.disk);
        copy.disk.flipBit(path, at, bit);
        expect(() => copy.open(options), `byte ${at} bit ${bit}`).toThrow(LogCorruptionError);
      }
    }
  });

  test("does not let a torn write pass for damage", () => {
    const { model, before } = written();
    const dice = new Bench(8).dice;
    const kept = new Set<number>();
    for (const fate of fates(before.disk, () => dice.next())) {
      const bench = new Bench(1, before.disk);
      bench.disk.crash(fate);
      const log = bench.open(options);
      const parts = model.states.indexOf(contentOf(log));
      expect([2, 4]).toContain(parts);
      kept.add(parts);
    }
    expect([...kept].sort()).toEqual([2, 4]);
  });
});

/** All bits of all bytes of a long log instead of one bit each of a short one: minutes instead of seconds. */
const IS_LONG = process.env["BALSA_LOG"] === "long";
const LONG_MS = 3_600_000;

describe("a flipped bit", () => {
  /** Opens the disk with one bit changed: the same content or a typed error, and never a cut of what was told. */
  function flip(
    disk: SimulatedDisk,
    path: string,
    at: number,
    expected: (content: string) => boolean,
    bit = (at * 7 + (at >> 3)) % 8,
  ) {
    const bench = new Bench(1, disk);
    bench.disk.flipBit(path, at, bit);
    try {
      const content = contentOf(bench.open());
      expect(expected(content), `${path} byte ${at} bit ${bit}: other content`).toBe(true);
      return "unchanged";
    } catch (error) {
      if (!(error instanceof LogCorruptionError)) throw error;
      return "refused";
    }
  }

  function flipAll(steps: readonly Step[], bitsOf: (at: number) => readonly number[]) {
    const model = new Model();
    for (const step of steps) model.add(step);
    const { disk } = record(steps, 3).at(-1) as Moment;
    disk.crash();
    const counts = { unchanged: 0, refused: 0 };
    for (const path of disk.paths()) {
      const size = disk.content(path).length;
      for (let at = 0; at < size; at += 1) {
        for (const bit of bitsOf(at)) {
          counts[flip(disk, path, at, (content) => content === model.now, bit)] += 1;
        }
      }
    }
    return counts;
  }

  test("in any byte of any file is refused or changes nothing", () => {
    const { refused } = flipAll(script(3, 30, 120), (at) => [(at * 7 + (at >> 3)) % 8]);
    expect(refused).toBeGreaterThan(3_000);
  });

  test.runIf(IS_LONG)(
    "any bit of any file of 200 entries is refused or changes nothing",
    () => {
      const { refused, unchanged } = flipAll(script(4, 200), () => [0, 1, 2, 3, 4, 5, 6, 7]);
      console.log(`${refused} flips were refused, ${unchanged} changed nothing`);
      expect(refused).toBeGreaterThan(100_000);
    },
    LONG_MS,
  );

  test("in what was told is never cut together with a torn write behind it", () => {
    const steps = script(5, 30, 200);
    const model = new Model();
    for (const step of steps) model.add(step);
    const moments = record(steps, 4).filter(({ told, begun }) => told > 10 && told < begun);
    let tried = 0;
    for (const moment of moments) {
      const fallen = new Bench(tried, moment.disk).disk;
      fallen.crash();
      const from = model.parts(moment.told);
      const allowed = new Set(model.states.slice(from, model.parts(moment.begun) + 1));
      for (const path of fallen.paths()) {
        const size = fallen.content(path).length;
        for (let at = tried % 41; at < size; at += 41) {
          flip(fallen, path, at, (content) => allowed.has(content));
          tried += 1;
        }
      }
    }
    expect(tried).toBeGreaterThan(300);
  });
});
