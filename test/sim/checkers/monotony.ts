/** Terms and commit indexes of a node never fall, terms not even across a restart; a commit never passes the log. */

import type { NodeStatus } from "../../../src/node/service.ts";
import type { NodeId } from "../../../src/raft/entry.ts";
import { demand } from "./violation.ts";

export class Monotony {
  readonly #terms = new Map<NodeId, number>();
  readonly #commits = new Map<NodeId, number>();

  /** The commit index is only a hint on disk: it may fall at a restart, but not below what was applied. */
  restarted(node: NodeId): void {
    this.#commits.delete(node);
  }

  saw(status: NodeStatus): void {
    const { id, term, commitIndex, lastIndex } = status;
    const knownTerm = this.#terms.get(id) ?? 0;
    // Before the core is started a node knows no term.
    if (status.role === "forming" || status.role === "blank") return;
    demand(term >= knownTerm, "terms never fall", () => `node ${id}: ${knownTerm} then ${term}`);
    const known = this.#commits.get(id) ?? 0;
    demand(
      commitIndex >= known,
      "commit never falls",
      () => `node ${id}: ${known}, ${commitIndex}`,
    );
    demand(commitIndex <= lastIndex, "commit within log", () => `node ${id}: ${commitIndex}`);
    this.#terms.set(id, term);
    this.#commits.set(id, commitIndex);
  }
}
