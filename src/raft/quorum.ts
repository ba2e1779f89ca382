/**
 * Majorities, also of two configurations at once (thesis §4.3). Pure arithmetic over ids; keeps no state and knows
 * nothing of messages or logs.
 */

import type { Configuration, NodeId } from "./entry.ts";

/** What is known of an election. */
export type Tally = "won" | "lost" | "pending";

/**
 * The largest value that a majority of `voters` has reached. Infinity for no voters at all, so that an empty half of
 * a joint configuration never holds the other back.
 */
export function majorityValue(
  voters: readonly NodeId[],
  reachedBy: (id: NodeId) => number,
): number {
  if (voters.length === 0) return Number.POSITIVE_INFINITY;
  const values: number[] = [];
  for (const id of voters) insertDescending(values, reachedBy(id));
  return values[Math.floor(voters.length / 2)] ?? 0;
}

function insertDescending(values: number[], value: number): void {
  let at = values.length;
  while (at > 0 && (values[at - 1] ?? 0) < value) at--;
  values.splice(at, 0, value);
}

/** As majorityValue, of both halves: what the whole configuration has reached. */
export function quorumValue(
  configuration: Configuration,
  reachedBy: (id: NodeId) => number,
): number {
  return Math.min(
    majorityValue(configuration.voters, reachedBy),
    majorityValue(configuration.outgoing, reachedBy),
  );
}

/** An empty half has won: it does not count. */
export function majorityTally(
  voters: readonly NodeId[],
  votes: ReadonlyMap<NodeId, boolean>,
): Tally {
  let granted = 0;
  let missing = 0;
  for (const id of voters) {
    const vote = votes.get(id);
    if (vote === undefined) missing++;
    else if (vote) granted++;
  }
  const needed = voters.length === 0 ? 0 : Math.floor(voters.length / 2) + 1;
  if (granted >= needed) return "won";
  return granted + missing >= needed ? "pending" : "lost";
}

/** An election is won in both halves or not at all, and lost as soon as one half has lost it. */
export function quorumTally(
  configuration: Configuration,
  votes: ReadonlyMap<NodeId, boolean>,
): Tally {
  const incoming = majorityTally(configuration.voters, votes);
  const outgoing = majorityTally(configuration.outgoing, votes);
  if (incoming === outgoing) return incoming;
  return incoming === "lost" || outgoing === "lost" ? "lost" : "pending";
}

export function isVoter(configuration: Configuration, id: NodeId): boolean {
  return configuration.voters.includes(id) || configuration.outgoing.includes(id);
}

export function isLearner(configuration: Configuration, id: NodeId): boolean {
  return configuration.learners.includes(id);
}

/** True when `id` alone decides everything. */
export function isSingleton(configuration: Configuration, id: NodeId): boolean {
  const { voters, outgoing } = configuration;
  return voters.length === 1 && voters[0] === id && outgoing.length === 0;
}

/** Takes part, in whatever role. */
export function isMember({ voters, outgoing, learners }: Configuration, id: NodeId): boolean {
  return voters.includes(id) || outgoing.includes(id) || learners.includes(id);
}

/** Everyone who takes part, ascending. */
export function memberIds(configuration: Configuration): NodeId[] {
  const { voters, outgoing, learners } = configuration;
  return [...new Set([...voters, ...outgoing, ...learners])].sort((a, b) => a - b);
}

/** Everyone who votes, in either half, ascending. */
export function voterIds(configuration: Configuration): NodeId[] {
  return [...new Set([...configuration.voters, ...configuration.outgoing])].sort((a, b) => a - b);
}
