/**
 * Leader completeness (§5.4.3): an entry committed in a term is in the log of every leader of a later term. By log
 * matching the last such entry stands for all before it.
 */

import type { Effects } from "../../../src/raft/effect.ts";
import type { LogIndex, NodeId, Term } from "../../../src/raft/entry.ts";
import type { CommittedLedger } from "./committed-ledger.ts";
import type { Checker, NodeView } from "./view.ts";
import { demand } from "./violation.ts";

export class LeaderCompleteness implements Checker {
  readonly #ledger: CommittedLedger;
  readonly #seen = new Map<NodeId, Term>();

  constructor(ledger: CommittedLedger) {
    this.#ledger = ledger;
  }

  stepped(node: NodeView, { changed }: Effects): void {
    if (changed === null || changed.role !== "leader") return;
    const { currentTerm } = changed;
    if (this.#seen.get(node.id) === currentTerm) return;
    this.#seen.set(node.id, currentTerm);
    const last = this.#lastCommittedBefore(currentTerm);
    const base = node.log.firstIndex() - 1;
    if (last <= base) return;
    const term = this.#ledger.at(last)?.term;
    const holds = node.log.lastIndex() >= last && node.log.term(last) === term;
    demand(holds, "leader completeness", () => {
      const theirs = `with last index ${node.log.lastIndex()}`;
      return `leader ${node.id} of term ${currentTerm} ${theirs} lacks entry ${last} of term ${term}`;
    });
  }

  #lastCommittedBefore(term: Term): LogIndex {
    let index = this.#ledger.length;
    while (index > 0 && (this.#ledger.at(index)?.committedIn ?? 0) >= term) index -= 1;
    return index;
  }
}
