/** On every node at every moment: snapshot ≤ applied ≤ commit ≤ last. */

import type { Effects } from "../../../src/raft/effect.ts";
import type { LogIndex, NodeId } from "../../../src/raft/entry.ts";
import type { Checker, NodeView } from "./view.ts";
import { demand } from "./violation.ts";

export class IndexOrder implements Checker {
  readonly #checkpointOf: (id: NodeId) => LogIndex;
  /** Between the log's new beginning and the database's, the log is ahead on purpose. */
  readonly #installing = new Map<NodeId, LogIndex>();

  /** `checkpointOf`: what the database file alone holds, durably. */
  constructor(checkpointOf: (id: NodeId) => LogIndex) {
    this.#checkpointOf = checkpointOf;
  }

  started({ id }: NodeView): void {
    this.#installing.delete(id);
  }

  damaged(id: NodeId): void {
    this.#installing.delete(id);
  }

  stepped(node: NodeView, { changed, persist }: Effects): void {
    const snapshot = persist?.snapshot ?? null;
    if (snapshot !== null) this.#installing.set(node.id, snapshot.index);
    if (changed !== null) this.#check(node);
  }

  applied(node: NodeView, index: LogIndex): void {
    if (index >= (this.#installing.get(node.id) ?? 0)) this.#installing.delete(node.id);
    this.#check(node);
  }

  compacting({ id }: NodeView, index: LogIndex): void {
    const checkpoint = this.#checkpointOf(id);
    demand(index <= checkpoint, "what is dropped is in the database file", () => {
      return `node ${id} drops entries up to ${index}, its checkpoint stands at ${checkpoint}`;
    });
  }

  #check({ id, status, log, appliedIndex }: NodeView): void {
    const base = log.firstIndex() - 1;
    const { commitIndex, lastIndex } = status;
    const applied = this.#installing.has(id) ? Math.max(base, appliedIndex) : appliedIndex;
    const inOrder = base <= applied && applied <= commitIndex && commitIndex <= lastIndex;
    demand(inOrder, "snapshot ≤ applied ≤ commit ≤ last", () => {
      return `node ${id}: ${base}, ${applied}, ${commitIndex}, ${lastIndex}`;
    });
  }
}
