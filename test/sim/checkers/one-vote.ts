/** §5.2: a node votes at most once in a term, over all its processes. A node that lost its disk is another node. */

import type { Effects } from "../../../src/raft/effect.ts";
import type { NodeId } from "../../../src/raft/entry.ts";
import type { Message } from "../../../src/raft/message.ts";
import type { Checker, NodeView } from "./view.ts";
import { demand } from "./violation.ts";

export class OneVote implements Checker {
  /** "voter/incarnation/term" → for whom. */
  readonly #votes = new Map<string, NodeId>();

  /** Who asks for votes may forget its own before it is stored; who leads has counted it. */
  stepped({ id, incarnation }: NodeView, { changed }: Effects): void {
    if (changed === null || changed.role !== "leader") return;
    this.#vote(`${id}/${incarnation}/${changed.currentTerm}`, id);
  }

  sent({ id, incarnation }: NodeView, message: Message): void {
    if (message.kind !== "RequestVoteResult" || message.preVote || message.rejected) return;
    this.#vote(`${id}/${incarnation}/${message.term}`, message.to);
  }

  #vote(key: string, candidate: NodeId): void {
    const known = this.#votes.get(key) ?? candidate;
    demand(known === candidate, "one vote a term", () => `${key} voted for ${known}, ${candidate}`);
    this.#votes.set(key, candidate);
  }
}
