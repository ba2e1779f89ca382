/** What exists only while this node leads: its followers' progress, its reads, its uncommitted bytes. */

import type { RaftOptions } from "./effect.ts";
import type { Configuration, EntryId, LogIndex, NodeId } from "./entry.ts";
import { NOBODY } from "./entry.ts";
import { Inflights } from "./inflights.ts";
import { Progress } from "./progress.ts";
import { isLearner, memberIds } from "./quorum.ts";
import { LeaderReads } from "./read-index.ts";

export class Leadership {
  /** The entry this leader began its term with. */
  readonly noop: EntryId;
  readonly reads: LeaderReads;
  readonly uncommitted = new UncommittedBytes();
  /** Up to here a configuration change may be uncommitted. */
  pendingChange: LogIndex;
  /** Who is to lead next; NOBODY while no transfer is under way. */
  transferee: NodeId = NOBODY;
  /** Ascending by id, this node included if it is a member. */
  peers: readonly Progress[] = [];
  readonly #byId = new Map<NodeId, Progress>();
  /** Of the members that have a record. */
  #incarnations: ReadonlyMap<NodeId, string> = new Map();
  readonly #options: RaftOptions;

  constructor(options: RaftOptions, noop: EntryId) {
    this.#options = options;
    this.noop = noop;
    this.pendingChange = noop.index - 1;
    this.reads = new LeaderReads(options.maxPendingReads);
  }

  progressOf(id: NodeId): Progress | undefined {
    return this.#byId.get(id);
  }

  /**
   * Who stays keeps its progress; who is new, or another incarnation, starts as a probe at `nextIndex` (trap C9, A12).
   * Who was just added counts as active, so that the next check of the quorum leaves it the time to answer.
   */
  follow(
    configuration: Configuration,
    start: { readonly nextIndex: LogIndex; readonly isActive: boolean },
  ): void {
    const ids = memberIds(configuration);
    const incarnations = new Map(configuration.records.map((one) => [one.id, one.incarnation]));
    for (const id of [...this.#byId.keys()]) {
      const isAnother = incarnations.get(id) !== this.#incarnations.get(id);
      if (!ids.includes(id) || (isAnother && incarnations.has(id))) this.#byId.delete(id);
    }
    this.#incarnations = incarnations;
    const { maxInflightMessages, maxInflightBytes } = this.#options;
    this.peers = ids.map((id) => {
      const learner = isLearner(configuration, id);
      const known = this.#byId.get(id);
      if (known !== undefined) {
        known.isLearner = learner;
        return known;
      }
      const inflights = new Inflights(maxInflightMessages, maxInflightBytes);
      const fresh = new Progress(id, start.nextIndex, learner, inflights);
      fresh.isActive = start.isActive;
      this.#byId.set(id, fresh);
      return fresh;
    });
  }
}

/** Payload bytes that this leader proposed and that are not committed yet: back-pressure for who proposes. */
export class UncommittedBytes {
  readonly #sizes: number[] = [];
  #head = 0;
  #total = 0;
  #lastIndex: LogIndex = 0;

  get total(): number {
    return this.#total;
  }

  add(index: LogIndex, bytes: number): void {
    this.#sizes.push(bytes);
    this.#total += bytes;
    this.#lastIndex = index;
  }

  commitTo(index: LogIndex): void {
    // Entry at #head has index #lastIndex − (count − 1).
    let at = this.#lastIndex - (this.#sizes.length - this.#head) + 1;
    while (this.#head < this.#sizes.length && at <= index) {
      this.#total -= this.#sizes[this.#head] ?? 0;
      this.#head++;
      at++;
    }
    if (this.#head === this.#sizes.length) {
      this.#sizes.length = 0;
      this.#head = 0;
    } else if (this.#head > 4096) {
      this.#sizes.splice(0, this.#head);
      this.#head = 0;
    }
  }
}
