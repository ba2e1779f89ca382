/** When a writer checkpoints, with a copier beside it and without, over an engine and a copier that do as they are told. */

import { describe, expect, test } from "vitest";
import { Checkpoints } from "../../src/machine/checkpoints.ts";
import { MachineFault } from "../../src/machine/machine-fault.ts";
import { decodeEntryId, decodeJson, FROM_WRITER } from "../../src/machine/process-messages.ts";
import type { Copier } from "../../src/machine/wal-copier.ts";
import { NO_WAL, WAL_FRAME_BYTES } from "../../src/machine/wal-state.ts";

const MIB = 1024 * 1024;
const WAL_BYTES_MAX = 64 * MIB;
const ASKED = 1;
const EMPTY = new Uint8Array(0);

class FakeCopier implements Copier {
  state: Copier["state"] = "resting";
  reason = "";
  heldPages = 0;
  begun = 0;
  waited = 0;
  /** Of a pass that is waited for. */
  onWait: () => boolean = () => false;

  begin(): void {
    this.begun += 1;
    this.state = "copying";
  }

  wait(): boolean {
    this.waited += 1;
    return this.onWait();
  }

  stop(): boolean {
    return true;
  }
}

class Bench {
  nowMs = 0;
  all = 0;
  uncopied = 0;
  /** Bytes that a reader keeps every checkpoint from copying. */
  held = 0;
  attempts = 0;
  readonly told: string[] = [];
  readonly copier: FakeCopier | null;
  readonly checkpoints: Checkpoints;

  constructor(copier: FakeCopier | null) {
    this.copier = copier;
    this.checkpoints = new Checkpoints({
      copier,
      walBytesMax: WAL_BYTES_MAX,
      nowMs: () => this.nowMs,
      engine: {
        state: {
          appliedIndex: 7,
          appliedTerm: 3,
          timeMs: 0,
          originIndex: 0,
          configuration: null,
          settings: { foreignKeys: true, recursiveTriggers: true, machineVersion: "" },
          settled: null,
        } as never,
        walSize: () => ({ ...NO_WAL, all: this.all, uncopied: this.uncopied }),
        checkpoint: () => {
          this.attempts += 1;
          this.uncopied = this.held;
          return { complete: this.held === 0 };
        },
      },
      channel: { send: (type, id, ...parts) => this.#sent(type, id, parts[0]), flush() {} },
    });
  }

  #sent(type: number, id: number, payload: Uint8Array = EMPTY): void {
    const how = id === ASKED ? "asked" : "by itself";
    if (type === FROM_WRITER.checkpointed) {
      expect(decodeEntryId(payload)).toEqual({ index: 7, term: 3 });
      this.told.push(`checkpointed ${how}`);
    } else if (type === FROM_WRITER.pinned) {
      const { bytes } = decodeJson(payload) as { bytes: number };
      this.told.push(`pinned ${bytes / MIB} ${how}`);
    } else if (type === FROM_WRITER.copying) this.told.push(`copying ${how}`);
    else this.told.push(`failed: ${Buffer.from(payload).toString()}`);
  }

  /** A commit that adds so much. */
  write(mib: number): void {
    this.all += mib * MIB;
    this.uncopied += mib * MIB;
    this.checkpoints.ifDue();
  }

  /** The pass ends, and has left so much of what came meanwhile. */
  passEnds(leftMib: number): void {
    if (this.copier === null) throw new Error("no copier");
    this.uncopied = leftMib * MIB;
    this.copier.state = "resting";
  }

  /** The WAL is begun anew. */
  restart(): void {
    [this.all, this.uncopied] = [0, 0];
  }
}

describe("a writer that copies for itself", () => {
  test("checkpoints at the bound, and early if it has not done so for two seconds", () => {
    const bench = new Bench(null);
    bench.nowMs = 1_900;
    bench.write(63);
    expect(bench.attempts).toBe(0);
    bench.write(1);
    expect(bench.told).toEqual(["checkpointed by itself"]);
    bench.restart();
    bench.nowMs += 1_999;
    bench.write(8);
    expect(bench.attempts).toBe(1);
    bench.nowMs += 1;
    bench.write(0);
    expect(bench.attempts).toBe(2);
    bench.restart();
    bench.nowMs += 60_000;
    bench.write(7.9);
    expect(bench.attempts).toBe(2);
    bench.write(0.1);
    expect(bench.attempts).toBe(3);
  });

  test("tries again when a reader holds the WAL, but not behind every commit", () => {
    const bench = new Bench(null);
    bench.held = 64 * MIB;
    bench.write(64);
    expect(bench.told).toEqual(["pinned 64 by itself"]);
    // Two more attempts a moment later: a short query is waited for.
    expect(bench.attempts).toBe(3);
    bench.write(31);
    expect(bench.attempts).toBe(3);
    bench.held = 0;
    bench.write(1);
    expect(bench.told.at(-1)).toBe("checkpointed by itself");
  });
});

describe("a writer with a copier", () => {
  const make = () => {
    const copier = new FakeCopier();
    return { copier, bench: new Bench(copier) };
  };

  test("has the WAL copied beside it, and goes on", () => {
    const { bench, copier } = make();
    bench.write(3.9);
    expect(copier.begun).toBe(0);
    bench.write(0.1);
    expect(copier.begun).toBe(1);
    for (let time = 0; time < 20; time += 1) bench.write(1);
    expect([copier.begun, copier.waited, bench.attempts]).toEqual([1, 0, 0]);
    bench.passEnds(3);
    bench.write(0.9);
    expect(copier.begun).toBe(1);
    bench.write(0.1);
    expect(copier.begun).toBe(2);
    // Whatever the copier has copied: nothing is told of it.
    bench.passEnds(0);
    bench.write(0);
    expect([bench.told, bench.attempts]).toEqual([[], 0]);
  });

  test("checkpoints itself when that is due and short", () => {
    const { bench, copier } = make();
    bench.write(8);
    bench.nowMs = 2_000;
    bench.write(0);
    expect([copier.begun, bench.attempts]).toEqual([1, 0]);
    bench.passEnds(2);
    bench.write(0);
    expect([copier.begun, bench.attempts]).toEqual([2, 0]);
    bench.passEnds(1);
    bench.write(0);
    expect(bench.told).toEqual(["checkpointed by itself"]);
    bench.restart();
    bench.write(2);
    bench.nowMs += 60_000;
    bench.write(0);
    expect([copier.begun, bench.attempts]).toEqual([2, 1]);
    // Passes from before it was due do not make it so.
    bench.nowMs -= 60_000;
    for (let time = 0; time < 5; time += 1) {
      bench.write(4);
      bench.passEnds(0);
    }
    bench.write(3);
    bench.nowMs += 2_000;
    bench.write(0);
    expect([copier.begun, bench.attempts]).toEqual([8, 1]);
  });

  test("checkpoints itself when it writes as fast as the copier copies", () => {
    const { bench, copier } = make();
    let passes = 0;
    while (bench.attempts === 0) {
      bench.write(4);
      if (copier.begun > passes) bench.passEnds(4);
      passes = copier.begun;
      expect(bench.all).toBeLessThan(80 * MIB);
    }
    expect(bench.told).toEqual(["checkpointed by itself"]);
  });

  test("counts from where the WAL was begun anew, also if a reader kept it from that for a while", () => {
    const { bench, copier } = make();
    bench.nowMs = 2_000;
    bench.write(8);
    bench.passEnds(0);
    bench.write(0);
    expect(bench.attempts).toBe(1);
    bench.nowMs += 2_000;
    // Not begun anew: all of the old is still there.
    bench.write(1);
    expect(bench.attempts).toBe(1);
    bench.restart();
    bench.write(7);
    bench.passEnds(0);
    bench.write(0);
    expect(bench.attempts).toBe(1);
    bench.write(1);
    expect(bench.attempts).toBe(2);
    expect(copier.begun).toBe(2);
  });

  test("waits for it only where the WAL would pass its bound, and then checkpoints", () => {
    const { bench, copier } = make();
    bench.write(4);
    bench.write(59.9);
    expect(copier.waited).toBe(0);
    copier.onWait = () => {
      bench.passEnds(60);
      return true;
    };
    bench.write(0.1);
    expect([copier.waited, bench.told]).toEqual([1, ["checkpointed by itself"]]);
  });

  test("ends when the copier does not end", () => {
    const { bench } = make();
    bench.write(4);
    expect(() => bench.write(60)).toThrow(MachineFault);
  });

  test("copies for itself when the copier fails, says so once, and tries it again after a minute", () => {
    const { bench, copier } = make();
    const fail = (): void => {
      Object.assign(copier, { state: "failed", reason: "disk I/O error" });
    };
    bench.write(4);
    fail();
    bench.nowMs = 2_000;
    bench.write(4);
    expect(bench.told).toEqual(["failed: disk I/O error", "checkpointed by itself"]);
    bench.restart();
    bench.write(63);
    expect(copier.begun).toBe(1);
    bench.write(1);
    expect(bench.told.length).toBe(3);
    bench.restart();
    bench.nowMs += 60_000;
    bench.write(4);
    expect(copier.begun).toBe(2);
    fail();
    bench.checkpoints.asked(ASKED);
    expect(bench.told.slice(3)).toEqual(["checkpointed asked"]);
    expect(copier.begun).toBe(2);
  });

  test("when it is idle has the long part copied first, and answers that it may be asked again", () => {
    const { bench, copier } = make();
    bench.write(3);
    bench.checkpoints.asked(ASKED);
    expect(copier.begun).toBe(1);
    bench.checkpoints.asked(ASKED);
    expect(bench.told).toEqual(["copying asked", "copying asked"]);
    bench.passEnds(0);
    bench.checkpoints.asked(ASKED);
    expect(bench.told.at(-1)).toBe("checkpointed asked");
    expect(copier.begun).toBe(1);
  });

  test("tells what readers hold back, instead of having it copied for ever", () => {
    const { bench, copier } = make();
    bench.held = 5 * WAL_FRAME_BYTES * 256;
    bench.write(bench.held / MIB);
    copier.heldPages = 5 * 256;
    bench.passEnds(bench.held / MIB);
    for (let time = 0; time < 9; time += 1) bench.write(0.1);
    expect(copier.begun).toBe(1);
    bench.checkpoints.asked(ASKED);
    expect(bench.told).toEqual([`pinned ${bench.held / MIB} asked`]);
  });
});
