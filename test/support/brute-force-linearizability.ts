/** The definition of linearizability, tried literally: for histories of a few operations, to check the checker. */

import type { Operation } from "./history.ts";
import type { Sequential, State } from "./linearizability-search.ts";

/** Tries every order of every choice of the unknown operations. For one key. */
export function isLinearizable<Op extends Operation>(
  sequential: Sequential<Op>,
  operations: readonly Op[],
): boolean {
  return canContinue(sequential, sequential.initial, operations);
}

function canContinue<Op extends Operation>(
  sequential: Sequential<Op>,
  state: State,
  rest: readonly Op[],
): boolean {
  if (rest.every((each) => each.returnedAt === null)) return true;
  return rest.some((candidate) => {
    const mustWait = rest.some((other) => (other.returnedAt ?? Infinity) < candidate.invokedAt);
    if (mustWait) return false;
    const next = sequential.step(state, candidate);
    if (next === undefined) return false;
    return canContinue(
      sequential,
      next,
      rest.filter((each) => each !== candidate),
    );
  });
}
