/** Election safety (Figure 3): at most one leader in a term; and at most one vote of a node in a term, ever. */

import type { NodeId, Term } from "../../../src/raft/entry.ts";
import type { Message } from "../../../src/raft/message.ts";
import { demand } from "./violation.ts";

export class ElectionSafety {
  readonly #leaders = new Map<Term, NodeId>();
  /** "voter/term" → for whom. */
  readonly #votes = new Map<string, NodeId>();

  get elections(): number {
    return this.#leaders.size;
  }

  leads(node: NodeId, term: Term): void {
    const known = this.#leaders.get(term) ?? node;
    demand(known === node, "election safety", () => `${known} and ${node} both lead term ${term}`);
    this.#leaders.set(term, node);
  }

  sent(message: Message): void {
    if (message.kind !== "RequestVoteResult" || message.preVote || message.rejected) return;
    const key = `${message.from}/${message.term}`;
    const known = this.#votes.get(key) ?? message.to;
    demand(known === message.to, "one vote a term", () => {
      return `node ${message.from} voted for ${known} and ${message.to} in term ${message.term}`;
    });
    this.#votes.set(key, message.to);
  }
}
