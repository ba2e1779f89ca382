/** The votes of one election, or of one pre-vote: a tally never outlives its term and phase (trap A3, A7). */

import type { Configuration, NodeId } from "./entry.ts";
import { quorumTally, type Tally } from "./quorum.ts";

export class Votes {
  readonly #votes = new Map<NodeId, boolean>();

  /** A voter's first answer counts; later ones are repetitions. */
  record(from: NodeId, granted: boolean): void {
    if (!this.#votes.has(from)) this.#votes.set(from, granted);
  }

  hasGranted(id: NodeId): boolean {
    return this.#votes.get(id) === true;
  }

  tally(configuration: Configuration): Tally {
    return quorumTally(configuration, this.#votes);
  }
}
