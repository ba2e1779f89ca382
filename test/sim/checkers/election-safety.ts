/** Election safety (Figure 3): at most one leader in a term. */

import type { Effects } from "../../../src/raft/effect.ts";
import type { NodeId, Term } from "../../../src/raft/entry.ts";
import type { Checker, NodeView } from "./view.ts";
import { demand } from "./violation.ts";

export class ElectionSafety implements Checker {
  readonly #leaders = new Map<Term, NodeId>();

  get elections(): number {
    return this.#leaders.size;
  }

  stepped({ id }: NodeView, { changed }: Effects): void {
    if (changed === null || changed.role !== "leader") return;
    const { currentTerm } = changed;
    const known = this.#leaders.get(currentTerm) ?? id;
    demand(
      known === id,
      "election safety",
      () => `${known} and ${id} both lead term ${currentTerm}`,
    );
    this.#leaders.set(currentTerm, id);
  }
}
