/**
 * Majorities against their definition, for every configuration of up to five nodes, simple and joint: what they have
 * acknowledged, and how they have voted. The definition counts subsets and knows nothing of sorting.
 */

import { expect, test } from "vitest";
import { type Configuration, votersOnly } from "../../src/raft/entry.ts";
import { quorumTally, quorumValue, type Tally } from "../../src/raft/quorum.ts";

const IDS = [1, 2, 3, 4, 5];

/** All subsets of the ids. */
const SETS = Array.from({ length: 2 ** IDS.length }, (_, bits) =>
  IDS.filter((_id, at) => ((bits >> at) & 1) === 1),
);

/** All ways to give each id one of `choices`. */
function* assignments<T>(choices: readonly T[]): Generator<Map<number, T>> {
  const count = choices.length ** IDS.length;
  for (let number = 0; number < count; number += 1) {
    let rest = number;
    const chosen = new Map<number, T>();
    for (const id of IDS) {
      chosen.set(id, choices[rest % choices.length] as T);
      rest = Math.floor(rest / choices.length);
    }
    yield chosen;
  }
}

function hasMajority(voters: readonly number[], passes: (id: number) => boolean): boolean {
  // Of nobody everybody is a majority.
  return voters.length === 0 || voters.filter(passes).length * 2 > voters.length;
}

function configurations(): Configuration[] {
  return SETS.flatMap((voters) => SETS.map((outgoing) => ({ ...votersOnly(voters), outgoing })));
}

test("what is committed is the highest index that a majority of each half has acknowledged", () => {
  const acknowledged = [...assignments([0, 3, 7])];
  let tried = 0;
  for (const configuration of configurations()) {
    const { voters, outgoing } = configuration;
    for (const reached of acknowledged) {
      const by = (id: number) => reached.get(id) ?? 0;
      const holds = (index: number) =>
        [voters, outgoing].every((half) => hasMajority(half, (id) => by(id) >= index));
      const expected = [Number.POSITIVE_INFINITY, 7, 3, 0].find(holds);
      const found = quorumValue(configuration, by);
      if (found !== expected) expect({ configuration, reached, found }).toBe(expected);
      tried += 1;
    }
  }
  expect(tried).toBe(SETS.length ** 2 * 3 ** IDS.length);
});

test("an election is won by a majority of each half, and lost when one half cannot reach it any more", () => {
  const elections = [...assignments<boolean | undefined>([true, false, undefined])];
  for (const configuration of configurations()) {
    const { voters, outgoing } = configuration;
    for (const each of elections) {
      const votes = new Map<number, boolean>();
      for (const [id, vote] of each) if (vote !== undefined) votes.set(id, vote);
      const halves = [voters, outgoing];
      const isWon = halves.every((half) => hasMajority(half, (id) => votes.get(id) === true));
      const canWin = halves.every((half) => hasMajority(half, (id) => votes.get(id) !== false));
      const expected: Tally = isWon ? "won" : canWin ? "pending" : "lost";
      const found = quorumTally(configuration, votes);
      if (found !== expected) expect({ configuration, votes, found }).toBe(expected);
    }
  }
});

test("two quorums of one configuration always meet, and those of a joint one meet the old and the new ones", () => {
  const isQuorum = (configuration: Configuration, ids: readonly number[]) =>
    quorumTally(configuration, new Map(ids.map((id) => [id, true]))) === "won";
  for (const configuration of configurations()) {
    if (configuration.voters.length === 0) continue;
    const quorums = SETS.filter((ids) => isQuorum(configuration, ids));
    const old = votersOnly(configuration.outgoing);
    const fresh = votersOnly(configuration.voters);
    for (const quorum of quorums) {
      const rest = IDS.filter((id) => !quorum.includes(id));
      expect(isQuorum(configuration, rest)).toBe(false);
      expect(isQuorum(fresh, rest)).toBe(false);
      if (old.voters.length > 0) expect(isQuorum(old, rest)).toBe(false);
    }
  }
});
