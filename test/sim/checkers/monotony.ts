/**
 * A node's term, its vote in a term, its commit index and what its machine has applied only go forward while it runs. A
 * restart may forget a term that was only in memory, but none in which the node gave a vote or acknowledged an entry.
 */

import type { Effects } from "../../../src/raft/effect.ts";
import { type LogIndex, NOBODY, type NodeId, type Term } from "../../../src/raft/entry.ts";
import type { Message } from "../../../src/raft/message.ts";
import type { Checker, NodeView } from "./view.ts";
import { demand } from "./violation.ts";

interface Seen {
  term: Term;
  vote: NodeId;
  commit: LogIndex;
  applied: LogIndex;
}

export class Monotony implements Checker {
  readonly #seen = new Map<NodeId, Seen>();
  readonly #attested = new Map<NodeId, Term>();

  sent({ id }: NodeView, { kind, term, ...rest }: Message): void {
    const isVote = kind === "RequestVoteResult" && "preVote" in rest && !rest.preVote;
    if (kind !== "AppendEntriesResult" && !isVote) return;
    this.#attested.set(id, Math.max(term, this.#attested.get(id) ?? 0));
  }

  started({ id }: NodeView, storedTerm: Term): void {
    const attested = this.#attested.get(id) ?? 0;
    demand(storedTerm >= attested, "attested terms are durable", () => {
      return `node ${id} answered in term ${attested} and came back with ${storedTerm}`;
    });
    this.#seen.delete(id);
  }

  damaged(id: NodeId): void {
    this.#attested.delete(id);
  }

  stepped({ id }: NodeView, { changed }: Effects): void {
    if (changed === null) return;
    const seen = this.#of(id);
    const { currentTerm, votedFor, commitIndex } = changed;
    demand(
      currentTerm >= seen.term,
      "terms never fall",
      () => `${id}: ${seen.term}, ${currentTerm}`,
    );
    const isFree = currentTerm > seen.term || seen.vote === NOBODY || seen.vote === votedFor;
    demand(isFree, "a vote is not taken back", () => `${id}: ${seen.vote}, then ${votedFor}`);
    demand(commitIndex >= seen.commit, "commit never falls", () => {
      return `node ${id}: ${seen.commit}, then ${commitIndex}`;
    });
    seen.term = currentTerm;
    seen.vote = votedFor;
    seen.commit = commitIndex;
  }

  applied({ id }: NodeView, index: LogIndex): void {
    const seen = this.#of(id);
    demand(index >= seen.applied, "applied never falls", () => `${id}: ${seen.applied}, ${index}`);
    seen.applied = index;
  }

  /** Another database took the place of a sick one, which may have been further. */
  exchanged({ id }: NodeView, index: LogIndex): void {
    this.#of(id).applied = index;
  }

  #of(id: NodeId): Seen {
    let found = this.#seen.get(id);
    if (found === undefined) {
      found = { term: 0, vote: NOBODY, commit: 0, applied: 0 };
      this.#seen.set(id, found);
    }
    return found;
  }
}
