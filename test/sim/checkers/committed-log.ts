/**
 * State-machine safety, leader completeness and log matching in one ledger: what one node knows to be committed at an
 * index, every node that ever commits that index must hold, and every leader elected later must hold. Nothing leaves it.
 */

import { crc32 } from "node:zlib";
import type { Entry, EntryId, LogIndex, NodeId, Term } from "../../../src/raft/entry.ts";
import { demand } from "./violation.ts";

interface Committed {
  readonly term: Term;
  readonly kind: string;
  readonly hash: number;
}

/** What the checker reads of a node's stored log. */
export interface LogView {
  firstIndex(): LogIndex;
  lastIndex(): LogIndex;
  term(index: LogIndex): Term;
  entries(from: LogIndex, to: LogIndex, maxBytes: number): readonly Entry[];
}

export class CommittedLog {
  /** By index, from 1. */
  readonly #ledger: (Committed | undefined)[] = [undefined];
  /** Up to where each life of each node was compared. */
  readonly #checked = new Map<NodeId, LogIndex>();

  get length(): LogIndex {
    return this.#ledger.length - 1;
  }

  /** A restarted node is compared from the beginning. */
  restarted(node: NodeId): void {
    this.#checked.delete(node);
  }

  /** `node` may apply everything up to `index`. */
  committed(node: NodeId, index: LogIndex, log: LogView): void {
    let at = Math.max((this.#checked.get(node) ?? 0) + 1, log.firstIndex());
    while (at <= index) {
      const entries = log.entries(at, index + 1, 1 << 20);
      demand(entries.length > 0, "committed entries can be read", () => `node ${node} at ${at}`);
      for (const entry of entries) this.#compare(node, entry);
      at += entries.length;
    }
    this.#checked.set(node, Math.max(index, this.#checked.get(node) ?? 0));
  }

  /** `node` takes a snapshot in the place of its log: of what was committed, and of nothing that it knew already. */
  installed(node: NodeId, base: EntryId): void {
    const known = this.#ledger[base.index];
    demand(known?.term === base.term, "a snapshot holds what is committed", () => {
      return `node ${node} takes ${base.index}/${base.term}, committed is term ${known?.term}`;
    });
    this.#checked.set(node, Math.max(base.index, this.#checked.get(node) ?? 0));
  }

  #compare(node: NodeId, entry: Entry): void {
    const found = { term: entry.term, kind: entry.kind, hash: crc32(entry.payload) };
    const known = this.#ledger[entry.index];
    if (known === undefined) {
      demand(
        entry.index === this.#ledger.length,
        "the ledger has no holes",
        () => `${entry.index}`,
      );
      this.#ledger.push(found);
      return;
    }
    const same =
      known.term === found.term && known.hash === found.hash && known.kind === found.kind;
    demand(same, "state-machine safety", () => {
      const texts = [JSON.stringify(known), JSON.stringify(found)];
      return `index ${entry.index} was committed as ${texts[0]}, node ${node} has ${texts[1]}`;
    });
  }

  /** Leader completeness (§5.4.3). By log matching the last committed entry stands for all before it. */
  elected(leader: NodeId, log: LogView): void {
    const last = this.length;
    if (last === 0) return;
    const holds = log.lastIndex() >= last && log.term(last) === this.#ledger[last]?.term;
    demand(holds, "leader completeness", () => {
      const theirs = `${log.lastIndex()}`;
      return `leader ${leader} with last index ${theirs} lacks the committed entry ${last}`;
    });
  }
}
