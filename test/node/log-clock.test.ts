/** Log time: a leader's clock, held to what a majority's clocks say, however wrong or jumpy one of them is. */

import { describe, expect, test } from "vitest";
import { CLOCK_TOLERANCE_MS, LogClock } from "../../src/node/log-clock.ts";
import type { Environment, Logger } from "../../src/node/ports.ts";
import type { RaftStatus } from "../../src/raft/effect.ts";
import { type Configuration, votersOnly } from "../../src/raft/entry.ts";
import { silent } from "./fakes.ts";

const HOUR_MS = 3_600_000;
const START_MS = Date.UTC(2026, 0, 1);

/** Node 1 leads; `jump` moves its own clock, `peer` tells another's. All that is right goes with `pass`. */
class Bench {
  nowMs = 5_000;
  ownOffMs = 0;
  readonly warnings: unknown[] = [];
  readonly clock: LogClock;
  configuration: Configuration;

  constructor(configuration: Configuration) {
    this.configuration = configuration;
    const logger: Logger = { ...silent, warn: (facts) => this.warnings.push(facts) };
    const environment = { wallMs: () => this.trueMs + this.ownOffMs } as Environment;
    const status = () => ({ configuration: this.configuration }) as RaftStatus;
    this.clock = new LogClock({ id: 1, environment, logger, status });
  }

  get trueMs(): number {
    return START_MS + this.nowMs;
  }

  /** They are heard from now. */
  peers(...offMs: readonly number[]): this {
    for (const [at, off] of offMs.entries()) {
      this.clock.heard(at + 2, this.trueMs + off, this.nowMs);
    }
    return this;
  }

  pass(ms: number): this {
    this.nowMs += ms;
    return this;
  }

  /** Log time less the true one, after the clocks were compared. */
  off(): number {
    this.pass(100);
    return this.clock.timeMs(this.nowMs) - this.trueMs;
  }
}

const three = () => new Bench(votersOnly([1, 2, 3]));

describe("log time", () => {
  test("is the leader's own clock where that is near the majority's", () => {
    const bench = three().peers(-40, 15);
    for (const ownOffMs of [0, 300, -300, CLOCK_TOLERANCE_MS - 50]) {
      bench.ownOffMs = ownOffMs;
      expect(bench.off()).toBe(ownOffMs);
    }
    expect(bench.warnings).toEqual([]);
  });

  test("does not leap with the leader's clock, nor stop when that falls behind", () => {
    const bench = three().peers(-40, 15);
    expect(bench.off()).toBe(0);
    bench.ownOffMs = HOUR_MS;
    expect(bench.off()).toBe(15 + CLOCK_TOLERANCE_MS);
    bench.ownOffMs = -HOUR_MS;
    expect(bench.off()).toBe(-40 - CLOCK_TOLERANCE_MS);
    expect(bench.warnings).toEqual([{ offMs: HOUR_MS - 15 }]);
    bench.ownOffMs = 0;
    expect(bench.off()).toBe(0);
  });

  test("is not moved within the moment between two comparisons", () => {
    const bench = three().peers(0, 0);
    expect(bench.off()).toBe(0);
    bench.ownOffMs = HOUR_MS;
    bench.pass(1);
    expect(bench.clock.timeMs(bench.nowMs) - bench.trueMs).toBe(CLOCK_TOLERANCE_MS);
  });

  test("is not moved by one peer's clock, whichever way it goes", () => {
    for (const wrong of [HOUR_MS, -HOUR_MS]) expect(three().peers(wrong, 0).off()).toBe(0);
  });

  test("goes on by a peer's last word when that is gone", () => {
    const bench = three()
      .peers(0, 0)
      .pass(2 * HOUR_MS);
    bench.peers(-HOUR_MS);
    bench.ownOffMs = HOUR_MS;
    expect(bench.off()).toBe(CLOCK_TOLERANCE_MS);
  });

  test("follows a majority that was set right", () => {
    const bench = three().peers(-HOUR_MS, -HOUR_MS);
    expect(bench.off()).toBe(-HOUR_MS + CLOCK_TOLERANCE_MS);
    expect(bench.peers(0, 0).off()).toBe(0);
  });

  test("of two voters is the clock that is behind, of one its own", () => {
    const two = new Bench(votersOnly([1, 2])).peers(0);
    two.ownOffMs = HOUR_MS;
    expect(two.off()).toBe(CLOCK_TOLERANCE_MS);
    const one = new Bench(votersOnly([1]));
    one.ownOffMs = HOUR_MS;
    expect(one.off()).toBe(HOUR_MS);
  });

  test("counts voters only, and of a joint configuration both majorities", () => {
    const learners = new Bench({ ...votersOnly([1, 2, 3]), learners: [4, 5] });
    expect(learners.peers(0, 0, HOUR_MS, HOUR_MS).off()).toBe(0);
    const joint = new Bench({ ...votersOnly([1, 4, 5]), outgoing: [1, 2, 3] });
    joint.ownOffMs = HOUR_MS;
    expect(joint.peers(0, 0, HOUR_MS, HOUR_MS).off()).toBe(CLOCK_TOLERANCE_MS);
    // A leader that is no voter any more is told the time by those that are.
    const gone = new Bench(votersOnly([2, 3, 4])).peers(0, 0, HOUR_MS);
    gone.ownOffMs = HOUR_MS;
    expect(gone.off()).toBe(CLOCK_TOLERANCE_MS);
  });

  test("is the leader's own where no majority's clocks are known, or none are told", () => {
    const bench = new Bench(votersOnly([1, 2, 3, 4, 5])).peers(0);
    bench.ownOffMs = HOUR_MS;
    expect(bench.off()).toBe(HOUR_MS);
    bench.clock.heard(3, 0, bench.nowMs);
    expect(bench.off()).toBe(HOUR_MS);
    expect(bench.peers(0, 0).off()).toBe(CLOCK_TOLERANCE_MS);
  });

  test("is a whole number", () => {
    const bench = three().peers(0.4, 0.4);
    bench.ownOffMs = HOUR_MS;
    bench.pass(0.3);
    expect(Number.isInteger(bench.clock.timeMs(bench.nowMs))).toBe(true);
  });
});
