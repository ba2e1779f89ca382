/** Many megabytes through one log: what its small-scale tests cannot reach, such as the edges of its own buffers. */

import { describe, expect, test } from "vitest";
import type { SegmentedLog } from "../../src/log/segmented-log.ts";
import type { Entry } from "../../src/raft/entry.ts";
import { Bench, DIR, entry, hard } from "./harness.ts";

const OPTIONS = { segmentBytes: 1024 * 1024, cacheBytes: 256 * 1024 };

/** What a node might append next: entries of all sizes, a suffix replaced now and then, hard states in between. */
function nextEntries(bench: Bench, last: number, term: number): Entry[] {
  const { dice } = bench;
  const from = dice.chance(0.05) ? Math.max(1, last - dice.below(20)) : last + 1;
  return Array.from({ length: dice.below(5) }, (_, at) => {
    const size = dice.chance(0.1) ? 0 : dice.below(dice.chance(0.01) ? 8_000 : 24);
    const payload = new Uint8Array(size);
    if (dice.chance(0.7)) for (let k = 0; k < size; k += 1) payload[k] = dice.below(256);
    return entry(from + at, term, payload);
  });
}

/** Indexes at which the log does not hold what was given to it. */
function differing(log: SegmentedLog, held: readonly Entry[]): number[] {
  if (log.lastIndex() !== held.length) return [log.lastIndex()];
  const found: number[] = [];
  for (const { index, term, payload } of held) {
    const [stored] = log.entries(index, index + 1, 1);
    const same = stored?.term === term && Buffer.compare(stored.payload, payload) === 0;
    if (!same) found.push(index);
  }
  return found;
}

describe("many megabytes", () => {
  for (const seed of [1, 2, 3]) {
    test(`are read back as they were written (seed ${seed})`, () => {
      const bench = new Bench(seed);
      const held: Entry[] = [];
      let kept = hard(0);
      let term = 1;
      for (let life = 0; life < 3; life += 1) {
        const log = bench.open(OPTIONS);
        expect(log.hardState).toEqual(kept);
        expect(differing(log, held)).toEqual([]);
        for (let turn = 0; turn < 15_000; turn += 1) {
          if (bench.dice.chance(0.02)) term += 1;
          const entries = nextEntries(bench, held.length, term);
          const hardState = bench.dice.chance(0.9) ? hard(term, bench.dice.below(3), 0) : null;
          if (entries.length === 0 && hardState === null) continue;
          log.append(hardState, entries, () => {});
          kept = hardState ?? kept;
          for (const item of entries) {
            held.length = item.index - 1;
            held.push(item);
          }
          if (bench.dice.chance(0.3)) bench.step();
        }
        bench.close(log);
      }
      expect(bench.disk.listNow(DIR).length).toBeGreaterThan(4);
    });
  }

  test("leave entries alone that were read before", () => {
    const bench = new Bench();
    const log = bench.open({ ...OPTIONS, segmentBytes: 8 * 1024 * 1024 });
    const large = (index: number) => entry(index, 1, new Uint8Array(100_000).fill(index));
    bench.append(log, hard(1), [large(1), large(2)]);
    const read = log.entries(1, 3, 1_000_000);
    for (let index = 3; index <= 60; index += 1) bench.append(log, null, [large(index)]);
    expect(read.map(({ payload }) => [payload[0], payload.at(-1)])).toEqual([
      [1, 1],
      [2, 2],
    ]);
  });

  test("are read from memory as they were given", () => {
    const bench = new Bench();
    const log = bench.open({ segmentBytes: 8 * 1024 * 1024, cacheBytes: 5_000_000 });
    for (let index = 1; index <= 60; index += 1) {
      const payload = new Uint8Array(100_000).fill(index);
      bench.append(log, index === 1 ? hard(1) : null, [entry(index, 1, payload)]);
    }
    for (const { index, payload } of log.entries(20, 61, 10_000_000)) {
      expect([payload[0], payload.at(-1)]).toEqual([index, index]);
    }
  });

  test("come to the disk as they were given, though others take their place before it writes", () => {
    const bench = new Bench();
    const log = bench.open({ ...OPTIONS, batchBytesMax: 250_000 });
    // The first of each round is under way while the others come, and is now and then the last in its memory.
    for (let round = 0; round < 20; round += 1) {
      for (let at = 1; at <= 12; at += 1) {
        const term = round * 12 + at;
        const replaced = entry(1, term, new Uint8Array(190_000 + 1_000 * round).fill(term));
        log.append(hard(term), [replaced], () => {});
      }
      bench.run();
    }
    bench.close(log);
    const [last] = bench.open(OPTIONS).entries(1, 2, 1);
    expect([last?.term, last?.payload[0], last?.payload.at(-1)]).toEqual([240, 240, 240]);
  });
});
