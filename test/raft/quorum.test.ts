/** Majorities against their definition: every small configuration is compared with a count by hand. */

import { describe, expect, test } from "vitest";
import type { Configuration } from "../../src/raft/entry.ts";
import { votersOnly } from "../../src/raft/entry.ts";
import {
  isSingleton,
  majorityTally,
  majorityValue,
  memberIds,
  quorumTally,
  quorumValue,
  voterIds,
} from "../../src/raft/quorum.ts";

function joint(voters: readonly number[], outgoing: readonly number[]): Configuration {
  return { ...votersOnly(voters), outgoing };
}

/** The largest value that more than half have reached, the slow way. */
function reachedByMost(voters: readonly number[], values: readonly number[]): number {
  if (voters.length === 0) return Number.POSITIVE_INFINITY;
  const candidates = [0, ...values].filter((value) => {
    const count = voters.filter((id) => (values[id] ?? 0) >= value).length;
    return count * 2 > voters.length;
  });
  return Math.max(...candidates);
}

const SETS = [[], [1], [1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5, 6], [1, 2, 3, 4, 5]];
const VALUES = [
  [0, 0, 0, 0, 0, 0, 0],
  [0, 5, 4, 3, 2, 1, 0],
  [0, 7, 7, 0, 9, 9, 9],
  [0, 1, 100, 2, 50, 3, 4],
];

describe("what a majority has reached", () => {
  test.each(SETS.map((set) => [set]))("of %j", (voters) => {
    for (const values of VALUES) {
      expect(majorityValue(voters, (id) => values[id] ?? 0)).toBe(reachedByMost(voters, values));
    }
  });

  test("in a joint configuration is what both halves have reached", () => {
    for (const voters of SETS) {
      for (const outgoing of SETS) {
        for (const values of VALUES) {
          const both = Math.min(reachedByMost(voters, values), reachedByMost(outgoing, values));
          expect(quorumValue(joint(voters, outgoing), (id) => values[id] ?? 0)).toBe(both);
        }
      }
    }
  });
});

describe("an election", () => {
  const votes = (granted: readonly number[], refused: readonly number[]) =>
    new Map<number, boolean>([
      ...granted.map((id): [number, boolean] => [id, true]),
      ...refused.map((id): [number, boolean] => [id, false]),
    ]);

  test.each([
    [[1, 2, 3], [1], [], "pending"],
    [[1, 2, 3], [1, 2], [], "won"],
    [[1, 2, 3], [1, 2], [3], "won"],
    [[1, 2, 3], [1], [2], "pending"],
    [[1, 2, 3], [1], [2, 3], "lost"],
    [[1, 2, 3, 4], [1, 2], [], "pending"],
    [[1, 2, 3, 4], [1, 2], [3], "pending"],
    [[1, 2, 3, 4], [1, 2], [3, 4], "lost"],
    [[1, 2, 3, 4], [1, 2, 3], [4], "won"],
    [[1], [], [1], "lost"],
    [[], [], [], "won"],
    [[1, 2, 3], [4, 5, 6], [], "pending"],
  ])("of %j with %j for and %j against is %s", (voters, granted, refused, tally) => {
    expect(majorityTally(voters, votes(granted, refused))).toBe(tally);
  });

  test.each([
    [[1, 2, 3], [3, 4, 5], [1, 2], [], "pending"],
    [[1, 2, 3], [3, 4, 5], [1, 2, 4, 5], [], "won"],
    [[1, 2, 3], [3, 4, 5], [2, 3, 4], [], "won"],
    [[1, 2, 3], [3, 4, 5], [1, 2], [3, 4], "lost"],
    [[1, 2, 3], [3, 4, 5], [1], [2, 3], "lost"],
    [[1, 2, 3], [], [1, 2], [], "won"],
  ])(
    "of %j and %j with %j for and %j against is %s",
    (incoming, outgoing, granted, refused, tally) => {
      expect(quorumTally(joint(incoming, outgoing), votes(granted, refused))).toBe(tally);
    },
  );
});

test("everyone who takes part is listed once, in order", () => {
  const configuration = { ...joint([3, 1], [2, 3]), learners: [9], learnersNext: [2] };
  expect(memberIds(configuration)).toEqual([1, 2, 3, 9]);
  expect(voterIds(configuration)).toEqual([1, 2, 3]);
});

test("one voter alone decides; not while it leaves others behind", () => {
  expect(isSingleton(votersOnly([4]), 4)).toBe(true);
  expect(isSingleton(votersOnly([4]), 5)).toBe(false);
  expect(isSingleton(joint([4], [4, 5]), 4)).toBe(false);
});
