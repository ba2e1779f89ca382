/**
 * Entries under a verdict (docs/decisions/0013-after-a-mismatch.md): which they are, and whether this machine may apply them
 * so. It runs nothing and touches no database.
 */

import type { DigestMismatch, Effect, Verdict } from "../node/ports.ts";
import type { Entry, LogIndex } from "../raft/entry.ts";
import { invariant } from "../sql/invariant.ts";
import type { LoggedVerdict } from "../wire/log-codec.ts";

/** `keep`: what the entry did here is whole, in the open transaction, and may stay; this remembers its answer. */
export interface Difference extends DigestMismatch {
  readonly keep?: () => void;
}

/** Characters of how effects differ: nodes compare them. */
const DETAIL_MAX = 500;

/** How this machine's effects differ from what the entry says. */
export function differences(index: LogIndex, expected: number) {
  return (found: number, words: string, keep?: () => void): Difference => {
    const mismatch = { index, expected, found, detail: words.slice(0, DETAIL_MAX) };
    return keep === undefined ? mismatch : { ...mismatch, keep };
  };
}

export class Settling {
  /** What the file stands under: its entry was applied as this says. As stored. */
  settled: Verdict | null = null;
  #verdict: Verdict | null = null;

  begin(verdict: Verdict): void {
    this.#verdict = verdict;
  }

  /** Which of these are under the verdict: from ≤ position < to. */
  rangeIn(entries: readonly Entry[]): { readonly from: number; readonly to: number } {
    const verdict = this.#verdict;
    if (verdict === null) return { from: entries.length, to: entries.length };
    const { index, at } = verdict;
    const before = entries.filter((entry) => entry.index < index).length;
    return { from: before, to: entries.filter((entry) => entry.index < at).length };
  }

  /** The verdict that this entry is under. */
  at(index: LogIndex): Verdict {
    const verdict = this.#verdict;
    invariant(verdict !== null && index >= verdict.index && index < verdict.at, "under a verdict");
    return verdict;
  }

  /** Why this entry cannot be applied here: what went before was not applied as the verdict says. */
  problem(index: LogIndex): DigestMismatch | null {
    const verdict = this.at(index);
    if (index === verdict.index || this.#agrees(verdict)) return null;
    return overruled(index, verdict);
  }

  /** The verdict itself is applied: has this machine gone by it? */
  meet(verdict: LoggedVerdict, at: LogIndex): DigestMismatch | null {
    return this.#agrees(verdict) ? null : overruled(at, verdict);
  }

  #agrees(verdict: LoggedVerdict): boolean {
    const { settled } = this;
    return settled !== null && settled.index === verdict.index && isSame(settled, verdict);
  }
}

/** Where a digest is missing, the words say what happened. */
function isSame(one: Effect, other: Effect): boolean {
  return one.digest === other.digest && (one.digest !== 0 || one.detail === other.detail);
}

/** Null: the entry did what the verdict says. `difference`: from what its leader says; null: it did that. */
export function compare(
  verdict: Verdict,
  difference: DigestMismatch | null,
): DigestMismatch | null {
  const { index, digest: expected } = verdict;
  const detail = "it does here what its leader said, not what a majority found";
  if (difference === null) return { index, expected, found: 0, detail };
  const effect = { digest: difference.found, detail: difference.detail };
  return isSame(verdict, effect) ? null : { ...without(difference), expected };
}

/** For the node. */
export function without({ keep: _, ...mismatch }: Difference): DigestMismatch {
  return mismatch;
}

function overruled(at: LogIndex, { index, digest }: LoggedVerdict): DigestMismatch {
  const detail = `entry ${index} was applied here as its leader did, not as a majority found it`;
  return { index: at, expected: digest, found: 0, detail };
}
