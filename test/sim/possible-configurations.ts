/** Who may come to count, by what is asked for or has been promised. */

import type { MemberStep } from "../../src/node/service.ts";
import type { Configuration } from "../../src/raft/entry.ts";

/** Who is added is a learner at first, while who is removed has gone already. */
export function intended(before: Configuration, steps: readonly MemberStep[]): Configuration[] {
  const named = steps.map(({ id }) => id);
  const added = steps.filter(({ kind }) => kind !== "remove").map(({ id }) => id);
  const rest = before.voters.filter((id) => !named.includes(id));
  return [rest, [...rest, ...added]].map((voters) => ({ ...before, voters }));
}

/** Learners that get a vote as soon as they have caught up: each may, or may not yet. */
export function withVotesToCome(configuration: Configuration): Configuration[] {
  let all = [configuration];
  for (const { id, awaitsVote } of configuration.records) {
    if (!awaitsVote || configuration.voters.includes(id)) continue;
    all = all.flatMap((one) => [one, { ...one, voters: [...one.voters, id] }]);
  }
  return all;
}
