/**
 * What must hold of a whole cluster, judged from outside: from what is on the disks and what was applied. Knows nothing
 * of how the core comes to it.
 */

import type { Configuration, Entry } from "../../src/raft/entry.ts";
import { quorumTally } from "../../src/raft/quorum.ts";
import type { MemoryLog } from "./interaction-node.ts";

export function check(condition: boolean, promise: string): void {
  if (!condition) throw new Error(`broken: ${promise}`);
}

export interface Holder {
  readonly id: number;
  readonly log: MemoryLog;
}

function isQuorum(configuration: Configuration, isIn: (id: number) => boolean): boolean {
  const { voters, outgoing } = configuration;
  const votes = new Map([...voters, ...outgoing].map((id) => [id, isIn(id)]));
  return quorumTally(configuration, votes) === "won";
}

/** Committed by counting in `term`: it is on the disks of a quorum, for good. */
export function isDurable(
  holders: readonly Holder[],
  configuration: Configuration,
  index: number,
  term: number,
): boolean {
  return isQuorum(configuration, (id) => {
    const log = holders[id - 1]?.log;
    if (log === undefined || log.lastIndex() < index) return false;
    // What was compacted was committed.
    return index < log.firstIndex() || log.term(index) === term;
  });
}

/** Log matching: where two logs agree on a term they agree on everything before. */
export function checkMatching(a: Holder, b: Holder): void {
  const from = Math.max(a.log.firstIndex(), b.log.firstIndex());
  const last = Math.min(a.log.lastIndex(), b.log.lastIndex());
  if (from > last) return;
  const [left, right] = [a, b].map(({ log }) => log.entries(from, last + 1, Number.MAX_VALUE));
  let agrees = false;
  for (let at = last - from; at >= 0; at--) {
    const [ours, theirs] = [left?.[at], right?.[at]];
    if (ours === undefined || theirs === undefined) return;
    const isSame = ours.term === theirs.term;
    check(isSame || !agrees, `${a.id} and ${b.id} part at ${ours.index} and agree behind`);
    agrees ||= isSame;
    if (isSame) check(textOf(ours) === textOf(theirs), `one entry at ${ours.term}/${ours.index}`);
  }
}

function textOf({ kind, payload }: Entry): string {
  return `${kind}:${new TextDecoder().decode(payload)}`;
}

/** No quorum of one configuration can decide without anybody of a quorum of the next. */
export function checkNeighbours(before: Configuration, after: Configuration): void {
  const ids = [before, after].flatMap(({ voters, outgoing }) => [...voters, ...outgoing]);
  const all = [...new Set(ids)];
  for (let subset = 0; subset < 2 ** all.length; subset++) {
    const isIn = (id: number) => (subset & (1 << all.indexOf(id))) !== 0;
    const areApart = isQuorum(before, isIn) && isQuorum(after, (id) => !isIn(id));
    check(!areApart, `${JSON.stringify(before)} and ${JSON.stringify(after)} overlap`);
  }
}

/** Everything that was applied anywhere: the same everywhere, and in every later leader's log. */
export class Ledger {
  readonly #entries = new Map<number, { readonly term: number; readonly text: string }>();
  /** A term by which each was known to be committed. */
  readonly #knownIn = new Map<number, number>();
  readonly #configurations = new Map<number, string>();

  termOf(index: number): number {
    const entry = this.#entries.get(index);
    if (entry === undefined) throw new Error(`nobody has applied ${index}`);
    return entry.term;
  }

  applied(entry: Entry, currentTerm: number, before: Configuration, after: Configuration): void {
    const { index, term } = entry;
    const text = textOf(entry);
    const known = this.#entries.get(index);
    const isSame = known === undefined || (known.term === term && known.text === text);
    check(isSame, `state machines agree at ${index}`);
    const configuration = JSON.stringify(after);
    check(
      (this.#configurations.get(index) ?? configuration) === configuration,
      `one configuration at ${index}`,
    );
    if (known !== undefined) return;
    this.#entries.set(index, { term, text });
    this.#knownIn.set(index, currentTerm);
    this.#configurations.set(index, configuration);
    if (before !== after) checkNeighbours(before, after);
  }

  /** Leader completeness (§5.4.3). */
  checkLeader({ id, log }: Holder, term: number): void {
    for (const [index, entry] of this.#entries) {
      if ((this.#knownIn.get(index) ?? term) >= term) continue;
      check(log.lastIndex() >= index, `${id} leads term ${term} and has ${index}`);
      if (index < log.firstIndex()) continue;
      check(log.term(index) === entry.term, `${id} leads term ${term} and has ${index}`);
    }
  }
}
