/**
 * What is committed never changes and is never lost: one ledger of all that any node ever knew to be committed, which
 * every node that commits an index must match. Nothing leaves it. Other checkers ask it what is committed.
 */

import { crc32 } from "node:zlib";
import type { Effects } from "../../../src/raft/effect.ts";
import type { Entry, EntryId, EntryKind, LogIndex, NodeId, Term } from "../../../src/raft/entry.ts";
import type { Checker, NodeView } from "./view.ts";
import { demand } from "./violation.ts";

export interface CommittedEntry {
  readonly term: Term;
  readonly kind: EntryKind;
  readonly hash: number;
  /** Of a configuration change; null otherwise. */
  readonly change: Uint8Array | null;
  /** The term in which it was committed: of the leader that first knew. */
  readonly committedIn: Term;
}

export class CommittedLedger implements Checker {
  /** By index, from 1. */
  readonly #entries: (CommittedEntry | undefined)[] = [undefined];
  /** Up to where each node was compared. */
  readonly #checked = new Map<NodeId, LogIndex>();
  /** Told of each entry, once, in order. */
  onCommitted: (index: LogIndex, committed: CommittedEntry, entry: Entry) => void = () => {};

  get length(): LogIndex {
    return this.#entries.length - 1;
  }

  at(index: LogIndex): CommittedEntry | undefined {
    return this.#entries[index];
  }

  /** A restarted node is compared from the beginning. */
  started({ id }: NodeView): void {
    this.#checked.delete(id);
  }

  damaged(id: NodeId): void {
    this.#checked.delete(id);
  }

  stepped(node: NodeView, { changed }: Effects): void {
    if (changed !== null) this.#compareTo(node, changed.commitIndex, changed.currentTerm);
  }

  /** What is about to be dropped must be what everybody knows it to be: later nobody can look. */
  compacting(node: NodeView, index: LogIndex): void {
    this.#compareTo(node, index, node.status.currentTerm);
  }

  installing({ id }: NodeView, base: EntryId): void {
    const known = this.#entries[base.index];
    demand(known?.term === base.term, "a snapshot holds what is committed", () => {
      return `node ${id} takes ${base.index}/${base.term}, committed is term ${known?.term}`;
    });
    this.#checked.set(id, Math.max(base.index, this.#checked.get(id) ?? 0));
  }

  #compareTo(node: NodeView, commitIndex: LogIndex, term: Term): void {
    const { id, log } = node;
    const to = Math.min(commitIndex, log.lastIndex());
    let at = Math.max((this.#checked.get(id) ?? 0) + 1, log.firstIndex());
    while (at <= to) {
      const entries = log.entries(at, to + 1, 1 << 20);
      demand(entries.length > 0, "committed entries can be read", () => `node ${id} at ${at}`);
      for (const entry of entries) this.#compare(node, entry, term);
      at += entries.length;
    }
    this.#checked.set(id, Math.max(to, this.#checked.get(id) ?? 0));
  }

  #compare({ id }: NodeView, entry: Entry, committedIn: Term): void {
    const { index, term, kind, payload } = entry;
    const hash = crc32(payload);
    const known = this.#entries[index];
    if (known === undefined) {
      demand(index === this.#entries.length, "the ledger has no holes", () => `${index}`);
      const change = kind === "configuration" ? payload : null;
      const committed = { term, kind, hash, change, committedIn };
      this.#entries.push(committed);
      this.onCommitted(index, committed, entry);
      return;
    }
    const same = known.term === term && known.hash === hash && known.kind === kind;
    demand(same, "committed entries never change", () => {
      const was = `${known.kind} of term ${known.term}`;
      return `index ${index} was committed as a ${was}, node ${id} has a ${kind} of term ${term}`;
    });
  }
}
