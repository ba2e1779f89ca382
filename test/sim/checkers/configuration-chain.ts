/**
 * The configurations of a cluster are one chain (thesis §4): each follows from the one before by a committed entry, the
 * quorums of neighbours intersect, every node is in the one that its commit index says, and no leader begins a change
 * before its own no-op is committed, or a second one before the first.
 */

import type { Effects } from "../../../src/raft/effect.ts";
import {
  type Configuration,
  type Entry,
  type LogIndex,
  type NodeId,
  votersOnly,
} from "../../../src/raft/entry.ts";
import { changeConfiguration, decodeChange } from "../../../src/raft/membership.ts";
import type { CommittedLedger } from "./committed-ledger.ts";
import type { Checker, NodeView } from "./view.ts";
import { demand } from "./violation.ts";

export interface Link {
  /** The entry that made it; 0 for the founding one. */
  readonly index: LogIndex;
  readonly configuration: Configuration;
}

export class ConfigurationChain implements Checker {
  readonly #ledger: CommittedLedger;
  readonly #chain: Link[];

  constructor(ledger: CommittedLedger, founders: readonly NodeId[]) {
    this.#ledger = ledger;
    this.#chain = [{ index: 0, configuration: votersOnly(founders) }];
  }

  /** The one in force behind everything that is committed. */
  get last(): Link {
    return this.#chain[this.#chain.length - 1] as Link;
  }

  /** The one before; the first itself if there is no other. */
  get previous(): Link {
    return this.#chain[this.#chain.length - 2] ?? this.last;
  }

  get length(): number {
    return this.#chain.length;
  }

  /** A committed entry of kind configuration; in the order of the log. */
  committed(index: LogIndex, payload: Uint8Array): void {
    const before = this.last.configuration;
    const after = next(before, index, payload);
    if (after === null) return;
    demand(quorumsIntersect(before, after), "quorums of neighbours intersect", () => {
      return `entry ${index}: ${inWords(before)} and ${inWords(after)}`;
    });
    this.#chain.push({ index, configuration: after });
  }

  stepped(node: NodeView, { changed, persist }: Effects): void {
    if (changed !== null) this.#compare(node, changed.commitIndex, changed.configuration);
    const first = persist?.entries.find(({ kind }) => kind === "configuration");
    if (first !== undefined) this.#checkProposal(node, first);
  }

  #compare({ id }: NodeView, commitIndex: LogIndex, found: Configuration): void {
    // The database file may know of a later one than the log's hint of what is committed.
    const through = Math.max(commitIndex, found.index);
    let at = this.#chain.length - 1;
    while ((this.#chain[at] as Link).index > through) at -= 1;
    const expected = (this.#chain[at] as Link).configuration;
    demand(inWords(found) === inWords(expected), "one chain of configurations", () => {
      return `node ${id} at ${commitIndex} is in ${inWords(found)}, not in ${inWords(expected)}`;
    });
  }

  #checkProposal({ id, status, noop, log }: NodeView, { index, term }: Entry): void {
    if (status.role !== "leader" || term !== status.currentTerm) return;
    const isFirstCommitted = noop !== null && status.commitIndex >= noop.index;
    demand(isFirstCommitted, "no change before the leader's no-op is committed", () => {
      return `leader ${id} of term ${term} proposes ${index}, committed is ${status.commitIndex}`;
    });
    const from = Math.max(this.#ledger.length + 1, log.firstIndex());
    const open = log.entries(from, log.lastIndex() + 1, Number.MAX_SAFE_INTEGER);
    const count = open.filter(({ kind }) => kind === "configuration").length;
    demand(count <= 1, "one change at a time", () => `leader ${id} has ${count} open changes`);
  }
}

/** null: it changes nothing. */
export function next(
  before: Configuration,
  index: LogIndex,
  payload: Uint8Array,
): Configuration | null {
  const change = decodeChange(payload);
  if (change === null) return null;
  const result = changeConfiguration(before, change);
  return result.kind === "changed" ? { ...result.configuration, index } : null;
}

/** Every quorum of the one has a member in every quorum of the other. Of at most some ten members. */
export function quorumsIntersect(left: Configuration, right: Configuration): boolean {
  const all = [...new Set([left, right].flatMap((one) => [...one.voters, ...one.outgoing]))];
  for (let set = 0; set < 2 ** all.length; set += 1) {
    const inside = all.filter((_, at) => (set & (1 << at)) !== 0);
    const outside = all.filter((_, at) => (set & (1 << at)) === 0);
    if (isQuorum(left, inside) && isQuorum(right, outside)) return false;
  }
  return true;
}

/** Written anew here: the product's own is what is under test. */
export function isQuorum({ voters, outgoing }: Configuration, ids: readonly NodeId[]): boolean {
  const half = (members: readonly NodeId[]): boolean =>
    members.length === 0 || members.filter((id) => ids.includes(id)).length * 2 > members.length;
  return half(voters) && half(outgoing);
}

function inWords({ voters, outgoing, learners, learnersNext }: Configuration): string {
  const text = (ids: readonly NodeId[]): string => [...ids].sort((a, b) => a - b).join(" ");
  return `(${text(voters)})(${text(outgoing)}) learners (${text(learners)})(${text(learnersNext)})`;
}
