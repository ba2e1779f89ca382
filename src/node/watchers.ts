/** Who wants to hear what becomes of a node. */

import type { NodeStatus } from "./service.ts";

export class Watchers {
  readonly #watchers = new Set<(status: NodeStatus) => void>();

  /** Returns a function that stops telling. */
  add(changed: (status: NodeStatus) => void): () => void {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  }

  /** `describe` is not called where nobody listens. */
  tell(describe: () => NodeStatus): void {
    if (this.#watchers.size === 0) return;
    const status = describe();
    for (const watcher of this.#watchers) watcher(status);
  }
}
