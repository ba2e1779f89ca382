/** The pace of range checksums: one at a time, rests, passes apart, and nothing from a node that does not lead. */

import { expect, test } from "vitest";
import { ChecksumPass } from "../../src/node/checksum-pass.ts";
import type { ExecuteSink } from "../../src/node/service.ts";
import { failure } from "../../src/node/write-request.ts";
import { Clock } from "./fakes.ts";

const INTERVAL_MS = 10;

/** Passes of `ranges` checksums each; a checksum takes `tookMs`. */
class Bench {
  readonly clock = new Clock();
  readonly startedMs: number[] = [];
  isLeading = true;
  applied = 0;
  ranges = 3;
  tookMs = 0;
  fails = false;
  underWay = 0;
  #inPass = 0;

  constructor() {
    const { environment } = this.clock;
    const pass = new ChecksumPass({
      environment,
      intervalMs: INTERVAL_MS,
      isLeading: () => this.isLeading,
      applied: () => this.applied,
      submit: (sink) => this.#take(sink),
    });
    const again = () => {
      pass.sweep();
      environment.after(INTERVAL_MS, again);
    };
    environment.after(INTERVAL_MS, again);
  }

  #take(sink: ExecuteSink): void {
    this.startedMs.push(this.clock.environment.monotonicMs());
    this.underWay += 1;
    expect(this.underWay).toBe(1);
    this.clock.environment.after(this.tookMs, () => {
      this.underWay -= 1;
      if (this.fails) return sink.failed(failure("UNAVAILABLE", "no"));
      this.applied += 1;
      this.#inPass = (this.#inPass + 1) % this.ranges;
      sink.done(Uint8Array.of(this.#inPass === 0 ? 1 : 0), this.applied);
    });
  }

  /** How many begin within so many intervals from now. */
  begunIn(intervals: number): number {
    const before = this.startedMs.length;
    this.clock.advance(intervals * INTERVAL_MS);
    return this.startedMs.length - before;
  }
}

test("none at first, then a pass, one an interval; then none for a while", () => {
  const bench = new Bench();
  expect(bench.begunIn(100)).toBe(0);
  expect(bench.begunIn(10)).toBe(3);
  expect(bench.begunIn(80)).toBe(0);
});

test("another pass when something was written, and seldom when nothing was", () => {
  const bench = new Bench();
  bench.applied = 5;
  bench.begunIn(250);
  expect(bench.startedMs).toHaveLength(6);
  // Nothing but checksums came into the log since the second began.
  expect(bench.begunIn(1_000)).toBe(0);
  bench.applied += 1;
  expect(bench.begunIn(20)).toBe(3);
  bench.begunIn(200);
  expect(bench.begunIn(2_000)).toBe(0);
  expect(bench.begunIn(500)).toBe(3);
});

test("what took long is followed by a longer rest", () => {
  const bench = new Bench();
  bench.ranges = 1_000;
  bench.tookMs = 40;
  bench.begunIn(1_000);
  const gaps = bench.startedMs.slice(1).map((at, i) => at - (bench.startedMs[i] ?? 0));
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(11 * 40);
});

test("a failed one is followed by a pause, not by another one at once", () => {
  const bench = new Bench();
  bench.fails = true;
  expect(bench.begunIn(1_000)).toBeLessThanOrEqual(10);
  expect(bench.startedMs.length).toBeGreaterThan(5);
});

test("a node that does not lead asks for none; one that leads anew waits at first", () => {
  const bench = new Bench();
  bench.isLeading = false;
  expect(bench.begunIn(500)).toBe(0);
  bench.isLeading = true;
  expect(bench.begunIn(99)).toBe(0);
  expect(bench.begunIn(20)).toBe(3);
});
