/**
 * How much may be broken for good at one time: never more copies than the cluster bears. A disk that lost something, or
 * may have, counts until the cluster has taken its node in anew, or until the node has looked and found it whole; what
 * would exceed a minority of voters, in any configuration that may be in force, is not injected. It injects nothing.
 */

import type { Configuration, NodeId } from "../../src/raft/entry.ts";

export class FaultAtlas {
  readonly #lost = new Set<NodeId>();
  readonly #suspect = new Set<NodeId>();
  /** Its database holds what no entry made. */
  readonly #planted = new Set<NodeId>();

  /** Its log is gone, and the cluster does not know yet. */
  isLost(id: NodeId): boolean {
    return this.#lost.has(id);
  }

  /** Something was done to its disk; the node may find out, or never notice. */
  isSuspect(id: NodeId): boolean {
    return this.#suspect.has(id);
  }

  isPlanted(id: NodeId): boolean {
    return this.#planted.has(id);
  }

  isWhole(id: NodeId): boolean {
    return !this.#lost.has(id) && !this.#suspect.has(id) && !this.#planted.has(id);
  }

  /** `configurations`: the one in force, and those that changes under way would make. */
  allows(id: NodeId, configurations: readonly Configuration[]): boolean {
    return this.#bears([...this.#broken, id], configurations);
  }

  /** Whether what is broken now would be too much for one of these. */
  bears(configurations: readonly Configuration[]): boolean {
    return this.#bears(this.#broken, configurations);
  }

  get #broken(): NodeId[] {
    return [...this.#lost, ...this.#suspect, ...this.#planted];
  }

  #bears(ids: readonly NodeId[], configurations: readonly Configuration[]): boolean {
    const broken = new Set(ids);
    const bears = (voters: readonly NodeId[]): boolean => {
      const count = voters.filter((voter) => broken.has(voter)).length;
      return count === 0 || count * 2 < voters.length;
    };
    return configurations.every(({ voters, outgoing }) => bears(voters) && bears(outgoing));
  }

  planted(id: NodeId): void {
    this.#planted.add(id);
  }

  /** Another database is in its place, or what was planted was lost. */
  healed(id: NodeId): void {
    this.#planted.delete(id);
  }

  suspect(id: NodeId): void {
    this.#suspect.add(id);
  }

  /** It started on the log that it had. */
  foundWhole(id: NodeId): void {
    this.#suspect.delete(id);
  }

  lost(id: NodeId): void {
    this.#suspect.delete(id);
    this.#lost.add(id);
  }

  /** The configuration names the incarnation that it has now, or does not count it any more. */
  takenIn(id: NodeId): void {
    this.#lost.delete(id);
  }
}
