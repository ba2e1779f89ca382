/**
 * What each node's disk was told to hold for good: no checker itself, but what several ask. Fed by what the log says
 * to be durable; whether the log says the truth is looked at where a process starts, and by attested-durability.ts.
 */

import type { Entry, EntryId, HardState, LogIndex, NodeId, Term } from "../../../src/raft/entry.ts";
import type { LogView } from "./view.ts";

export class DurableLog {
  base: EntryId = { index: 0, term: 0 };
  /** Of the entries behind the base. */
  readonly terms: Term[] = [];
  term: Term = 0;
  votedFor: NodeId = 0;

  get lastIndex(): LogIndex {
    return this.base.index + this.terms.length;
  }

  /** -1: not there. */
  termAt(index: LogIndex): Term {
    if (index === this.base.index) return this.base.term;
    return this.terms[index - this.base.index - 1] ?? -1;
  }

  /** What lies at or before the base was committed. */
  holds({ index, term }: EntryId): boolean {
    return index <= this.base.index || this.termAt(index) === term;
  }
}

export class DurableLogs {
  readonly #logs = new Map<NodeId, DurableLog>();

  of(id: NodeId): DurableLog {
    let found = this.#logs.get(id);
    if (found === undefined) {
      found = new DurableLog();
      this.#logs.set(id, found);
    }
    return found;
  }

  stored(id: NodeId, hardState: HardState | null, entries: readonly Entry[]): void {
    const log = this.of(id);
    if (hardState !== null) {
      log.term = hardState.currentTerm;
      log.votedFor = hardState.votedFor;
    }
    for (const { index, term } of entries) {
      const at = index - log.base.index - 1;
      // Compacted meanwhile: it is committed, and held by the database file.
      if (at < 0) continue;
      log.terms.length = at;
      log.terms.push(term);
    }
  }

  compacted(id: NodeId, base: EntryId): void {
    const log = this.of(id);
    if (base.index <= log.base.index) return;
    log.terms.splice(0, base.index - log.base.index);
    log.base = base;
  }

  restarted(id: NodeId, base: EntryId): void {
    const log = this.of(id);
    log.base = base;
    log.terms.length = 0;
  }

  /** As a process found it. */
  opened(id: NodeId, found: LogView, hardState: HardState): void {
    const log = new DurableLog();
    const base = found.firstIndex() - 1;
    log.base = { index: base, term: found.term(base) };
    for (let at = base + 1; at <= found.lastIndex(); at += 1) log.terms.push(found.term(at));
    log.term = hardState.currentTerm;
    log.votedFor = hardState.votedFor;
    this.#logs.set(id, log);
  }

  lost(id: NodeId): void {
    this.#logs.delete(id);
  }
}
