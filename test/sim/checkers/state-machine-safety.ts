/**
 * State-machine safety (Figure 3): after the same entries every node's machine has the same effects behind it. The
 * digest is of everything that was done so far, not of the log.
 */

import type { LogIndex } from "../../../src/raft/entry.ts";
import type { Checker, NodeView } from "./view.ts";
import { demand } from "./violation.ts";

export class StateMachineSafety implements Checker {
  readonly #digests = new Map<LogIndex, number>();

  applied({ id }: NodeView, index: LogIndex, digest: number | null): void {
    if (digest === null) return;
    const known = this.#digests.get(index);
    if (known === undefined) {
      this.#digests.set(index, digest);
      return;
    }
    demand(known === digest, "state-machine safety", () => {
      return `after entry ${index} node ${id} has the digest ${digest}, another had ${known}`;
    });
  }
}
