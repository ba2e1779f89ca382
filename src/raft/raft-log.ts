/**
 * The log as the core sees it: the stored log, and over it a tail in memory of what is not known to be stored yet.
 * Decides nothing about commitment; never writes. The stored log may or may not show an append that is under way:
 * where the tail has an entry, the tail is right.
 */

import { invariant } from "../sql/invariant.ts";
import type { LogReader, SnapshotMark } from "./effect.ts";
import type { Entry, EntryId, LogIndex, Term } from "./entry.ts";

/** Entries in one message or one apply: keeps entries without payload bounded, too. */
const MAX_ENTRIES_AT_ONCE = 4096;
/** Stored entries kept in memory for the followers and the machine, so that they are not read back. */
const KEPT_ENTRIES = 4096;
const KEPT_BYTES = 16 * 1024 * 1024;
/** Fewer than this are not worth moving the tail for. */
const RELEASE_AT_LEAST = 256;

export class RaftLog {
  readonly #stored: LogReader;
  /** Entries from #offset on. Those up to #stableIndex are stored and kept only for speed. */
  #tail: Entry[] = [];
  #tailBytes = 0;
  #offset: LogIndex;
  /** Everything up to here is durable, and no write under way can replace it. */
  #stableIndex: LogIndex;
  /** Everything up to here was handed out to be stored. */
  #askedIndex: LogIndex;
  /** A snapshot that took the log's place and is not stored yet; the stored log is void then. */
  #snapshot: SnapshotMark | null = null;
  #isSnapshotAsked = false;
  /** Where the configuration changes above the commit index stand, ascending; all of them (trap C3). */
  #changes: LogIndex[] = [];

  constructor(stored: LogReader) {
    this.#stored = stored;
    this.#stableIndex = stored.lastIndex();
    this.#askedIndex = this.#stableIndex;
    this.#offset = this.#stableIndex + 1;
  }

  /** The first index that can be sent; what stands before it needs a snapshot. */
  get firstIndex(): LogIndex {
    return this.#snapshot === null ? this.#stored.firstIndex() : this.#snapshot.index + 1;
  }

  get lastIndex(): LogIndex {
    return this.#offset + this.#tail.length - 1;
  }

  get lastTerm(): Term {
    return this.term(this.lastIndex);
  }

  get last(): EntryId {
    const index = this.lastIndex;
    return { index, term: this.term(index) };
  }

  get stableIndex(): LogIndex {
    return this.#stableIndex;
  }

  /** Needs firstIndex − 1 ≤ index ≤ lastIndex. */
  term(index: LogIndex): Term {
    const kept = this.#tail[index - this.#offset];
    if (kept !== undefined) return kept.term;
    if (index === this.#snapshot?.index) return this.#snapshot.term;
    invariant(index < this.#offset, `term of index ${index} beyond the log's end`);
    return this.#stored.term(index);
  }

  /** False also for what is beyond the end or was compacted. */
  matches(index: LogIndex, term: Term): boolean {
    if (index > this.lastIndex || index < this.firstIndex - 1) return false;
    return this.term(index) === term;
  }

  /** §5.4.1: the candidate's log is at least as up to date as ours. */
  isUpToDate(index: LogIndex, term: Term): boolean {
    const lastTerm = this.lastTerm;
    return term > lastTerm || (term === lastTerm && index >= this.lastIndex);
  }

  /**
   * The largest index ≤ `index` whose term is ≤ `term`: below it the logs may agree, above they cannot (trap
   * D5). Stops at the compacted part, of which the term is taken as unknown (0).
   */
  findConflictByTerm(index: LogIndex, term: Term): EntryId {
    const floor = this.firstIndex - 1;
    for (let at = index; at > 0; at--) {
      if (at < floor) return { index: at, term: 0 };
      const ours = this.term(at);
      if (ours <= term) return { index: at, term: ours };
    }
    return { index: 0, term: 0 };
  }

  /** Entries from `from` on, at least one, then as many as fit; none beyond the end or beyond `through`. */
  slice(from: LogIndex, through: LogIndex, maxBytes: number): readonly Entry[] {
    const last = Math.min(through, this.lastIndex, from + MAX_ENTRIES_AT_ONCE - 1);
    if (from > last) return [];
    if (from >= this.#offset) return this.#tailSlice(from, last, maxBytes);
    const stored = this.#stored.entries(from, Math.min(last + 1, this.#offset), maxBytes);
    const reached = from + stored.length - 1;
    invariant(stored.length > 0, `the stored log has no entry ${from}`);
    if (reached < this.#offset - 1 || reached === last) return stored;
    const room = maxBytes - payloadBytes(stored);
    const next = this.#tail[0];
    if (next === undefined || next.payload.length > room) return stored;
    return [...stored, ...this.#tailSlice(this.#offset, last, room)];
  }

  #tailSlice(from: LogIndex, last: LogIndex, maxBytes: number): readonly Entry[] {
    const start = from - this.#offset;
    const end = last - this.#offset + 1;
    let bytes = 0;
    for (let at = start; at < end; at++) {
      bytes += this.#tail[at]?.payload.length ?? 0;
      if (bytes > maxBytes && at > start) return this.#tail.slice(start, at);
    }
    return this.#tail.slice(start, end);
  }

  /** A leader's own new entry. */
  append(entry: Entry): void {
    if (entry.index !== this.lastIndex + 1) leavesGap(entry);
    this.#tail.push(entry);
    if (entry.kind === "configuration") this.#changes.push(entry.index);
    this.#tailBytes += entry.payload.length;
  }

  /**
   * Takes over a leader's entries, of which the first follows one that matched. Only what conflicts is cut off
   * (§5.3; trap D6: a reordered or repeated message must not shorten the log).
   */
  merge(entries: readonly Entry[], commitIndex: LogIndex): void {
    let at = 0;
    while (at < entries.length) {
      const entry = entries[at];
      if (entry === undefined || !this.matches(entry.index, entry.term)) break;
      at++;
    }
    const conflict = entries[at];
    if (conflict === undefined) return;
    invariant(conflict.index > commitIndex, `committed entry ${conflict.index} in conflict`);
    invariant(conflict.index <= this.lastIndex + 1, `entry ${conflict.index} leaves a gap`);
    if (conflict.index <= this.lastIndex) this.#cut(conflict.index);
    for (; at < entries.length; at++) {
      const entry = entries[at];
      if (entry !== undefined) this.append(entry);
    }
  }

  /** Forgets everything from `index` on. */
  #cut(index: LogIndex): void {
    const kept = Math.max(index - this.#offset, 0);
    this.#tailBytes -= payloadBytes(this.#tail.slice(kept));
    this.#tail.length = kept;
    this.#changes = this.#changes.filter((at) => at < index);
    this.#offset = Math.min(this.#offset, index);
    this.#stableIndex = Math.min(this.#stableIndex, index - 1);
    this.#askedIndex = Math.min(this.#askedIndex, index - 1);
  }

  get hasUnasked(): boolean {
    return this.#askedIndex < this.lastIndex;
  }

  /** What was not handed out to be stored yet; it counts as handed out from now on. */
  takeUnasked(): readonly Entry[] {
    if (!this.hasUnasked) return [];
    const entries = this.#tail.slice(this.#askedIndex + 1 - this.#offset);
    this.#askedIndex = this.lastIndex;
    return entries;
  }

  /**
   * A write that ended with `last` is durable. Ignored if the log has another entry there by now: that completion
   * speaks of entries which were replaced, and whose replacement is still on its way (trap D9).
   */
  stableTo(last: EntryId): void {
    if (last.index <= this.#stableIndex || last.index > this.lastIndex) return;
    if (this.term(last.index) !== last.term) return;
    if (this.#snapshot !== null && this.#isSnapshotAsked) this.#snapshot = null;
    invariant(last.index <= this.#askedIndex, `entry ${last.index} durable but never asked for`);
    this.#stableIndex = last.index;
  }

  /** The snapshot replaces the whole log. */
  restore(snapshot: SnapshotMark): void {
    this.#tail = [];
    this.#tailBytes = 0;
    this.#offset = snapshot.index + 1;
    this.#stableIndex = snapshot.index - 1;
    this.#askedIndex = snapshot.index;
    this.#snapshot = snapshot;
    this.#isSnapshotAsked = false;
    this.#changes = [];
  }

  /** A snapshot that was not handed out to be stored yet; it counts as handed out from now on. */
  takeUnaskedSnapshot(): SnapshotMark | null {
    if (this.#isSnapshotAsked) return null;
    this.#isSnapshotAsked = this.#snapshot !== null;
    return this.#snapshot;
  }

  get hasUnaskedSnapshot(): boolean {
    return this.#snapshot !== null && !this.#isSnapshotAsked;
  }

  /** Looks up the configuration changes of the stored log after `index`. Reads all of it: for the start only. */
  findChanges(index: LogIndex): void {
    const last = this.lastIndex;
    let at = Math.max(index + 1, this.firstIndex);
    while (at <= last) {
      const entries = this.slice(at, last, KEPT_BYTES);
      for (const entry of entries) {
        if (entry.kind === "configuration") this.#changes.push(entry.index);
      }
      at += entries.length;
    }
  }

  /** Up to `commitIndex` there is a configuration change that was not taken. */
  hasChanges(commitIndex: LogIndex): boolean {
    return (this.#changes[0] ?? Number.POSITIVE_INFINITY) <= commitIndex;
  }

  /** The configuration changes up to `commitIndex`; each is given once. */
  takeChanges(commitIndex: LogIndex): readonly Entry[] {
    const first = this.#changes[0];
    if (first === undefined || first > commitIndex) return [];
    const entries: Entry[] = [];
    for (const index of this.#changes) {
      if (index <= commitIndex) entries.push(...this.slice(index, index, 0));
    }
    this.#changes = this.#changes.filter((index) => index > commitIndex);
    return entries;
  }

  /** Lets go of stored entries that the machine has been offered, or that are too many to keep. */
  release(offeredIndex: LogIndex): void {
    const tooMany = this.#tailBytes > KEPT_BYTES || this.#tail.length > KEPT_ENTRIES;
    const through = tooMany ? this.#stableIndex : Math.min(this.#stableIndex, offeredIndex);
    const count = through - this.#offset + 1;
    if (count <= 0 || (count < RELEASE_AT_LEAST && count < this.#tail.length)) return;
    this.#tailBytes -= payloadBytes(this.#tail.slice(0, count));
    this.#tail = this.#tail.slice(count);
    this.#offset = through + 1;
  }
}

export function payloadBytes(entries: readonly Entry[]): number {
  let bytes = 0;
  for (const entry of entries) bytes += entry.payload.length;
  return bytes;
}

/** Apart, so that its words are put together only if they are needed: it is asked of every entry. */
function leavesGap({ index }: Entry): never {
  invariant(false, `append of ${index} leaves a gap`);
}
