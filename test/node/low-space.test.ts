import { beforeEach, describe, expect, it } from "vitest";
import { LowSpace } from "../../src/node/low-space.ts";
import { SpaceWatch } from "../../src/node/space-watch.ts";
import type { RaftStatus } from "../../src/raft/effect.ts";
import { votersOnly } from "../../src/raft/entry.ts";
import type { ProgressView } from "../../src/raft/progress.ts";
import type { Failure } from "../../src/sql/errors.ts";
import { Clock, FakeLog, silent } from "./fakes.ts";

const MIN = 1_000;

/** A disk whose free space a test sets. */
class FakeSpace {
  free: number | null = 10 * MIN;
  asked = 0;

  freeBytes(_dir: string, done: (bytes: number | null) => void): void {
    this.asked += 1;
    done(this.free);
  }
}

describe("the space watch", () => {
  it("says low below the mark, and not low only when there is an eighth more", () => {
    const clock = new Clock();
    const space = new FakeSpace();
    const seen: boolean[] = [];
    const watch: SpaceWatch = new SpaceWatch({
      environment: clock.environment,
      space,
      dir: "data",
      minFreeBytes: MIN,
      looked: () => seen.push(watch.isLow),
    });
    watch.start();
    for (const free of [1_001, 1_000, 999, 1_000, 1_124, 1_125, 1_001, 999, null]) {
      space.free = free;
      clock.advance(1_000);
    }
    expect(seen).toEqual([false, false, false, true, true, true, false, false, true, false]);
    watch.stop();
    clock.advance(10_000);
    expect(space.asked).toBe(10);
  });
});

describe("a node with little space", () => {
  let clock: Clock;
  let space: FakeSpace;
  let log: FakeLog;
  let role: RaftStatus["role"];
  let progress: Partial<ProgressView>[];
  let transfers: number[];
  let refused: Failure[];
  let low: LowSpace;

  beforeEach(() => {
    clock = new Clock();
    space = new FakeSpace();
    log = new FakeLog();
    role = "leader";
    progress = [
      { id: 1, isActive: true, matchIndex: 9 },
      { id: 2, isActive: true, matchIndex: 8 },
      { id: 3, isActive: true, matchIndex: 9 },
    ];
    transfers = [];
    refused = [];
    low = new LowSpace({
      environment: clock.environment,
      logger: silent,
      log,
      id: 1,
      dir: "data",
      space,
      minFreeBytes: MIN,
      electionMs: 500,
      status: () => ({ id: 1, role, configuration: votersOnly([1, 2, 3]) }) as RaftStatus,
      progress: () => progress as ProgressView[],
      transfer: (to) => transfers.push(to),
      fits: () => true,
      refuse: (why) => refused.push(why),
    });
    low.start();
  });

  function fill(): void {
    space.free = MIN - 1;
    clock.advance(1_000);
  }

  it("welcomes writes while there is space", () => {
    expect(low.isLow).toBe(false);
    expect(low.refusal()).toBeNull();
    expect(low.mayLead(2)).toBe(true);
    expect(transfers).toEqual([]);
  });

  it("refuses writes, those that wait too, until there is space", () => {
    fill();
    expect(refused).toMatchObject([{ code: "NO_SPACE", outcome: "not-applied" }]);
    expect(low.refusal()).toMatchObject({
      code: "NO_SPACE",
      facts: { node: "1", freeBytes: "999", minFreeBytes: "1000" },
    });
    space.free = 2 * MIN;
    clock.advance(1_000);
    expect(low.refusal()).toBeNull();
    expect(refused).toHaveLength(1);
  });

  it("hands the leadership to the best that has space, and tries again, but not all the time", () => {
    low.heard(3, true);
    fill();
    expect(transfers).toEqual([2]);
    clock.advance(10_000);
    expect(transfers.length).toBeGreaterThanOrEqual(8);
    expect(transfers.length).toBeLessThanOrEqual(11);
    role = "follower";
    const before = transfers.length;
    clock.advance(10_000);
    expect(transfers).toHaveLength(before);
  });

  it("keeps the leadership while nobody who has space answers, and gives it up when somebody does", () => {
    low.heard(2, true);
    low.heard(3, true);
    fill();
    clock.advance(5_000);
    expect(transfers).toEqual([]);
    low.heard(2, false);
    progress = [{ id: 2, isActive: false, matchIndex: 9 }];
    clock.advance(5_000);
    expect(transfers).toEqual([]);
    progress = [{ id: 2, isActive: true, matchIndex: 9 }];
    clock.advance(1_000);
    expect(transfers).toEqual([2]);
  });

  it("lets another stand for leader first, unless all that are left are full too", () => {
    role = "follower";
    fill();
    expect(low.mayLead(2)).toBe(false);
    low.heard(3, true);
    expect(low.mayLead(2)).toBe(true);
    expect(low.mayLead(0)).toBe(false);
    low.heard(3, false);
    expect(low.mayLead(2)).toBe(false);
    expect(low.mayLead(3)).toBe(false);
  });

  it("counts what the log and the writer run into, whatever the disk says", () => {
    log.isFull = true;
    log.onSpace(true);
    expect(low.isLow).toBe(true);
    expect(transfers).toEqual([3]);
    log.isFull = false;
    log.onSpace(false);
    expect(low.isLow).toBe(false);
    low.writer(true);
    expect(low.refusal()).toMatchObject({ code: "NO_SPACE" });
    low.writer(false);
    expect(low.refusal()).toBeNull();
    expect(refused).toHaveLength(2);
  });

  it("looks at the disk no more once it was stopped", () => {
    low.stop();
    const { asked } = space;
    clock.advance(10_000);
    expect(space.asked).toBe(asked);
  });
});
