/**
 * Log matching (Figure 3): two entries of one index and term are the same, and so is everything before them. By
 * induction it is enough that they agree in content and in the term of the entry before; so each is looked at once, when
 * it is appended, wherever and whenever.
 */

import { crc32 } from "node:zlib";
import type { Effects } from "../../../src/raft/effect.ts";
import type { Entry, NodeId, Term } from "../../../src/raft/entry.ts";
import type { Checker, NodeView } from "./view.ts";
import { demand } from "./violation.ts";

interface Known {
  readonly hash: number;
  readonly previousTerm: Term;
}

/** Terms and indexes of a run are far below this. */
const INDEXES_MAX = 2 ** 26;

export class LogMatching implements Checker {
  readonly #known = new Map<number, Known>();

  stepped(node: NodeView, { persist }: Effects): void {
    if (persist === null || persist.entries.length === 0) return;
    let previousTerm = node.log.term((persist.entries[0] as Entry).index - 1);
    for (const entry of persist.entries) {
      this.#appended(node.id, entry, previousTerm);
      previousTerm = entry.term;
    }
  }

  #appended(node: NodeId, { index, term, payload, kind }: Entry, previousTerm: Term): void {
    demand(term >= previousTerm, "terms in a log never fall", () => {
      return `node ${node} appends term ${term} at ${index} behind term ${previousTerm}`;
    });
    const key = term * INDEXES_MAX + index;
    const hash = crc32(payload, kind.length);
    const known = this.#known.get(key);
    if (known === undefined) {
      this.#known.set(key, { hash, previousTerm });
      return;
    }
    const same = known.hash === hash && known.previousTerm === previousTerm;
    demand(same, "log matching", () => {
      const before = `${known.previousTerm} and ${previousTerm}`;
      return `node ${node} has another entry ${index} of term ${term}; before it terms ${before}`;
    });
  }
}
