/** A leader that is to stop hands over first: in which order, to whom, and for how long. */

import { beforeEach, describe, expect, test } from "vitest";
import { Handover } from "../../src/node/handover.ts";
import type { RaftStatus } from "../../src/raft/effect.ts";
import { NOBODY, votersOnly } from "../../src/raft/entry.ts";
import type { ProgressView } from "../../src/raft/progress.ts";
import { Clock } from "./fakes.ts";

function peer(id: number, matchIndex: number, isActive = true): ProgressView {
  return { id, matchIndex, isActive } as ProgressView;
}

describe("handing over", () => {
  let clock: Clock;
  let told: string[];
  let drained: (() => void)[];
  let status: RaftStatus;
  let progress: ProgressView[];
  let full: number[];
  let others: number[];
  let handover: Handover;

  beforeEach(() => {
    clock = new Clock();
    told = [];
    drained = [];
    full = [];
    others = [];
    const configuration = { ...votersOnly([1, 2, 3]), learners: [4] };
    status = { id: 1, role: "leader", leader: 1, configuration } as unknown as RaftStatus;
    progress = [peer(1, 9), peer(2, 7), peer(3, 8), peer(4, 9)];
    handover = new Handover({
      environment: clock.environment,
      status: () => status,
      progress: () => progress,
      drain: (done) => drained.push(done),
      resume: () => told.push("resume"),
      refuse: () => told.push(`refuse: ${status.leader} leads`),
      transfer: (to) => told.push(`transfer to ${to}`),
      hasSpace: (id) => !full.includes(id),
      fits: (id) => !others.includes(id),
    });
    handover.start(() => told.push("done"));
  });

  const follow = (leader: number): void => {
    status = { ...status, role: "follower", leader };
    handover.changed(status);
    clock.advance(1);
  };

  test("D12: drains before it tells the best follower to take over", () => {
    clock.advance(10);
    expect(told).toEqual([]);
    for (const done of drained) done();
    expect(told).toEqual(["transfer to 3"]);
    follow(3);
    expect(told).toEqual(["transfer to 3", "refuse: 3 leads", "done"]);
  });

  test("between two leaders it is undecided, and what waits is refused when one of them is known", () => {
    for (const done of drained) done();
    expect(handover.isUndecided).toBe(false);
    follow(NOBODY);
    expect(handover.isUndecided).toBe(true);
    expect(told).toEqual(["transfer to 3"]);
    follow(2);
    expect(handover.isUndecided).toBe(false);
    expect(told).toEqual(["transfer to 3", "refuse: 2 leads", "done"]);
  });

  test("what waits is refused in time, though nobody is known to lead", () => {
    for (const done of drained) done();
    follow(NOBODY);
    clock.advance(5_000);
    expect(handover.isUndecided).toBe(false);
    expect(told).toEqual(["transfer to 3", `refuse: ${NOBODY} leads`, "done"]);
  });

  test("a leader that nobody followed keeps what waits", () => {
    for (const done of drained) done();
    clock.advance(5_000);
    expect(told).toEqual(["transfer to 3", "done"]);
  });

  test("asks again who is best once all is drained", () => {
    progress = [peer(1, 9), peer(2, 9), peer(3, 8, false), peer(4, 9)];
    for (const done of drained) done();
    expect(told).toEqual(["transfer to 2"]);
  });

  test("prefers one whose disk has room, but a full one is better than none", () => {
    full = [3];
    for (const done of drained) done();
    expect(told).toEqual(["transfer to 2"]);
    told.length = 0;
    full = [2, 3];
    for (const done of drained) done();
    expect(told).toEqual(["transfer to 3"]);
  });

  test("never goes to who could not lead, and ends when there is nobody else", () => {
    others = [3];
    full = [2];
    for (const done of drained) done();
    expect(told).toEqual(["transfer to 2"]);
    told.length = 0;
    others = [2, 3];
    for (const done of drained) done();
    clock.advance(1);
    expect(told).toEqual(["done"]);
  });

  test("ends when nobody could take over by then", () => {
    progress = [peer(1, 9), peer(2, 9, false), peer(3, 8, false), peer(4, 9)];
    for (const done of drained) done();
    clock.advance(1);
    expect(told).toEqual(["done"]);
  });

  test("ends in time when nobody takes over", () => {
    clock.advance(5_000);
    expect(told).toEqual(["done"]);
    follow(3);
    expect(told).toEqual(["done"]);
  });
});

test("who was named takes over, though the core has just begun to count anew who is heard of", () => {
  const clock = new Clock();
  const told: string[] = [];
  const configuration = votersOnly([1, 2, 3]);
  let isHeard = true;
  const handover = new Handover({
    environment: clock.environment,
    status: () => ({ id: 1, role: "leader", leader: 1, configuration }) as unknown as RaftStatus,
    progress: () => [peer(1, 9), peer(2, 9, isHeard), peer(3, 9, isHeard)],
    drain: (done) => {
      isHeard = false;
      done();
    },
    resume: () => told.push("resume"),
    refuse: () => told.push("refuse"),
    transfer: (to) => told.push(`transfer to ${to}`),
    hasSpace: () => true,
    fits: () => true,
  });
  handover.to(2, 500, (end) => told.push(end));
  expect(told).toEqual(["transfer to 2"]);
});

test("a follower has nothing to hand over", () => {
  const clock = new Clock();
  const told: string[] = [];
  const configuration = votersOnly([1, 2, 3]);
  const handover = new Handover({
    environment: clock.environment,
    status: () => ({ id: 1, role: "follower", leader: 2, configuration }) as unknown as RaftStatus,
    progress: () => [],
    drain: () => told.push("drain"),
    resume: () => told.push("resume"),
    refuse: () => {},
    transfer: () => told.push("transfer"),
    hasSpace: () => true,
    fits: () => true,
  });
  handover.start(() => told.push("done"));
  clock.advance(1);
  expect(told).toEqual(["done"]);
});
