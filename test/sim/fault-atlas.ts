/**
 * How much may be broken for good at one time: never more copies than the cluster bears. A disk that was damaged counts
 * until the cluster has taken its node in anew; what would exceed a minority of voters, in any configuration that may be
 * in force, is not injected. It knows what was damaged and injects nothing itself.
 */

import type { Configuration, NodeId } from "../../src/raft/entry.ts";

export class FaultAtlas {
  readonly #damaged = new Set<NodeId>();

  isDamaged(id: NodeId): boolean {
    return this.#damaged.has(id);
  }

  get damaged(): ReadonlySet<NodeId> {
    return this.#damaged;
  }

  /** `configurations`: the one in force, and those that changes under way would make. */
  allows(id: NodeId, configurations: readonly Configuration[]): boolean {
    const broken = new Set([...this.#damaged, id]);
    const bears = (voters: readonly NodeId[]): boolean => {
      const count = voters.filter((voter) => broken.has(voter)).length;
      return count === 0 || count * 2 < voters.length;
    };
    return configurations.every(({ voters, outgoing }) => bears(voters) && bears(outgoing));
  }

  damage(id: NodeId): void {
    this.#damaged.add(id);
  }

  repaired(id: NodeId): void {
    this.#damaged.delete(id);
  }
}
