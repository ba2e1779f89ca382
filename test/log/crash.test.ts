/** Every crash of a scripted run: after each operation, with every choice of what survives. */

import { describe, expect, test } from "vitest";
import { LogCorruptionError } from "../../src/log/errors.ts";
import type { CrashChoices, SimulatedDisk } from "../sim/disk.ts";
import { Bench, contentOf, entry, Model, type Step, script } from "./harness.ts";

/** With so many dirty sectors or fewer, all subsets are tried. */
const ALL_SUBSETS_UP_TO = 7;

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
  while (bench.scheduler.step(Number.MAX_SAFE_INTEGER)) keep();
  expect(told).toBe(steps.length);
  return moments;
}

/** Which sectors survive, for each fate to try. */
function* fates(disk: SimulatedDisk, dice: () => number): Generator<CrashChoices> {
  const dirty = disk.unsynced();
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
      const sector = (path: string, at: number): number => {
        const name = `${path}:${at}`;
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
    for (let count = 0; count < 20; count += 1) yield keepBy(() => dice() < 0.5);
  }
}

/** Opens what is left and checks it; gives how many parts of the script are there. */
function check(bench: Bench, model: Model, moment: Moment): number {
  const log = bench.open();
  const content = contentOf(log);
  const from = model.parts(moment.told);
  const to = model.parts(moment.begun);
  let found = -1;
  for (let parts = from; parts <= to && found < 0; parts += 1) {
    if (model.states[parts] === content) found = parts;
  }
  if (found < 0) {
    const before = model.states.indexOf(content);
    expect.unreachable(`parts ${from} to ${to} of the script, but found ${before}:\n${content}`);
  }
  return found;
}

describe("after a power cut", () => {
  test("at every operation, with every sector lost or kept, nothing told is lost and nothing invented", () => {
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
    expect(tried).toBeGreaterThan(2_000);
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

describe("a flipped bit", () => {
  /** Opens the disk with one bit changed: the same content or a typed error, and never a cut of what was told. */
  function flip(
    disk: SimulatedDisk,
    path: string,
    at: number,
    expected: (content: string) => boolean,
  ) {
    const bench = new Bench(1, disk);
    const bit = (at * 7 + (at >> 3)) % 8;
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

  test("in any byte of any file is refused or changes nothing", () => {
    const steps = script(3, 40, 120);
    const model = new Model();
    for (const step of steps) model.add(step);
    const { disk } = record(steps, 3).at(-1) as Moment;
    disk.crash();
    const counts = { unchanged: 0, refused: 0 };
    for (const path of disk.paths()) {
      const size = disk.content(path).length;
      for (let at = 0; at < size; at += 1) {
        counts[flip(disk, path, at, (content) => content === model.now)] += 1;
      }
    }
    expect(counts.refused).toBeGreaterThan(4_000);
  });

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
        for (let at = tried % 11; at < size; at += 11) {
          flip(fallen, path, at, (content) => allowed.has(content));
          tried += 1;
        }
      }
    }
    expect(tried).toBeGreaterThan(500);
  });
});
