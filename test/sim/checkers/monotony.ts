/**
 * A running node's term and commit index never fall, and a commit never passes the log. A restart may forget a term that
 * was only in memory, but none in which the node gave a vote or acknowledged an entry.
 */

import type { NodeStatus } from "../../../src/node/service.ts";
import type { NodeId, Term } from "../../../src/raft/entry.ts";
import type { Message } from "../../../src/raft/message.ts";
import { demand } from "./violation.ts";

export class Monotony {
  readonly #terms = new Map<NodeId, number>();
  readonly #commits = new Map<NodeId, number>();
  readonly #attested = new Map<NodeId, Term>();

  sent(message: Message): void {
    const { kind, from, term } = message;
    const attests =
      kind === "AppendEntriesResult" || (kind === "RequestVoteResult" && !message.preVote);
    if (attests) this.#attested.set(from, Math.max(term, this.#attested.get(from) ?? 0));
  }

  /** The stored commit index is only a hint: it may fall at a restart, though never below what was applied. */
  restarted(node: NodeId, storedTerm: Term): void {
    const attested = this.#attested.get(node) ?? 0;
    demand(storedTerm >= attested, "attested terms are durable", () => {
      return `node ${node} answered in term ${attested} and came back with ${storedTerm}`;
    });
    this.#commits.delete(node);
    this.#terms.delete(node);
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
