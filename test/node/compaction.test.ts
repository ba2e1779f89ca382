import { beforeEach, describe, expect, it } from "vitest";
import { Compaction } from "../../src/node/compaction.ts";
import type { ProgressView } from "../../src/raft/progress.ts";
import { FakeLog, silent } from "./fakes.ts";

/** Entries of one byte each, from base + 1 to last. */
class CountingLog extends FakeLog {
  base = 0;
  last = 0;
  readonly cuts: number[] = [];
  /** Runs when the last cut is durable. */
  durable: () => void = () => {};

  override firstIndex(): number {
    return this.base + 1;
  }

  override lastIndex(): number {
    return this.last;
  }

  override tailFrom(entries: number, bytes: number): number {
    return Math.max(this.base + 1, this.last + 1 - Math.floor(Math.min(entries, bytes)));
  }

  override compactTo(index = 0, done = () => {}): void {
    this.base = index;
    this.cuts.push(index);
    this.durable = done;
  }
}

function peer(changes: Partial<ProgressView>): ProgressView {
  return {
    id: 2,
    state: "replicate",
    matchIndex: 0,
    nextIndex: 1,
    isLearner: false,
    isPaused: false,
    isActive: true,
    isCaughtUp: false,
    pendingSnapshot: 0,
    inflightCount: 0,
    isInflightFull: false,
    ...changes,
  };
}

describe("the log's tail", () => {
  let log: CountingLog;
  let peers: ProgressView[];
  let compaction: Compaction;

  beforeEach(() => {
    log = new CountingLog();
    peers = [];
    compaction = new Compaction({
      log,
      logger: silent,
      limits: { tailEntries: 100, tailBytes: 1_000_000, holdBytes: 400 },
      progress: () => peers,
    });
  });

  it("is all that is kept when the database file holds the rest", () => {
    log.last = 1_000;
    compaction.checkpointed(1_000);
    compaction.run();
    expect(log.cuts).toEqual([900]);
  });

  it("never begins behind the last complete checkpoint", () => {
    log.last = 1_000;
    compaction.run();
    expect(log.cuts).toEqual([]);
    compaction.checkpointed(300);
    compaction.run();
    expect(log.cuts).toEqual([300]);
  });

  it("is cut only when it has grown by an eighth, and not while a cut is under way", () => {
    log.last = 1_000;
    compaction.checkpointed(1_000);
    compaction.run();
    log.last = 1_200;
    compaction.checkpointed(1_200);
    compaction.run();
    expect(log.cuts).toEqual([900]);
    log.durable();
    compaction.run();
    expect(log.cuts).toEqual([900, 1_100]);
    log.durable();
    log.last = 1_212;
    compaction.checkpointed(1_212);
    compaction.run();
    expect(log.cuts).toEqual([900, 1_100]);
  });

  it("is longer on a leader, as far as there is room, while followers need more", () => {
    log.last = 1_000;
    compaction.checkpointed(1_000);
    peers = [peer({ matchIndex: 1_000 }), peer({ matchIndex: 750 })];
    compaction.run();
    expect(log.cuts).toEqual([750]);
    log.durable();
    log.last = 1_300;
    compaction.checkpointed(1_300);
    compaction.run();
    // 400 bytes is the room.
    expect(log.cuts).toEqual([750, 900]);
  });

  it("stays as it is while a follower takes a snapshot, as far as there is room", () => {
    log.last = 300;
    compaction.checkpointed(300);
    peers = [peer({ state: "snapshot", pendingSnapshot: 290 })];
    compaction.run();
    expect(log.cuts).toEqual([]);
    log.last = 500;
    compaction.checkpointed(500);
    compaction.run();
    expect(log.cuts).toEqual([100]);
  });

  it("is not kept for a follower that is not there", () => {
    log.last = 1_000;
    compaction.checkpointed(1_000);
    peers = [peer({ matchIndex: 10, isActive: false })];
    compaction.run();
    expect(log.cuts).toEqual([900]);
  });
});
