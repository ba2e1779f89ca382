/**
 * The search of the linearizability checker: Wing and Gong's, with Lowe's memoisation. It knows one key's operations
 * as intervals and a sequential model; it prints nothing and keeps no clock.
 *
 * A configuration is (which operations have taken effect, state). It is told apart by
 *   rank    the first operation in the order of returns that has not taken effect yet: all before it have,
 *   extras  those after it that have (few: only operations that run at the same time),
 *   state   the model's,
 *   used    which of the operations of unknown outcome have taken effect.
 * An operation of unknown outcome need never take effect. So they are tried last and as few as possible, and a
 * configuration is not worth a visit if another with the same rank, extras and state has been visited that used only a
 * part of the same: whatever could follow here could follow there. Without this rule, twenty unknown outcomes on a key
 * would be a million subsets.
 *
 * An operation that only observes and is right where it stands is taken at once, and nothing else is tried there:
 * in any order that has it later it can be moved to here.
 */

import type { Operation } from "./history.ts";

/** A model's state; compared by ===. */
export type State = string | number | null;

/** A model made for the operations of one key. */
export interface Sequential<Op extends Operation> {
  readonly initial: State;
  /** The state after `operation`; undefined if its output contradicts `state`. An output of null matches anything. */
  step(state: State, operation: Op): State | undefined;
  /** True if an operation that gave this output cannot have changed the state, whatever the state was. */
  onlyObserves(operation: Op): boolean;
  /** States that some of these operations can tell apart, such that every possible state is like one of them. */
  states(operations: readonly Op[]): readonly State[];
}

export type Verdict =
  | { readonly kind: "linearizable"; readonly configurations: number }
  /** `stuck`: what no order of the others lets take effect in time. */
  | { readonly kind: "violation"; readonly stuck: Operation; readonly configurations: number }
  /** More configurations than allowed: nothing is known. */
  | { readonly kind: "undecided"; readonly configurations: number };

interface Alternative {
  readonly state: State;
  readonly used: Uint32Array;
}

/** One step down: an operation has taken effect, and these are the ways to go on. */
interface Level {
  /** The operation whose effect led here; -1 at the root. By index in the order of invocations. */
  readonly operation: number;
  readonly rank: number;
  readonly extras: readonly number[];
  /** The first is the plain one; the others let operations of unknown outcome take effect first. */
  readonly alternatives: Alternative[];
  expanded: boolean;
  alternative: number;
  /** Next operation to try, by index in the order of invocations; `count` is the end. */
  cursor: number;
}

export function search<Op extends Operation>(
  sequential: Sequential<Op>,
  operations: readonly Op[],
  limit: number,
  initial: State = sequential.initial,
): Verdict {
  return new Search(sequential, operations, limit).run(initial);
}

class Search<Op extends Operation> {
  readonly #sequential: Sequential<Op>;
  readonly #limit: number;
  /** Those with a return, by invocation. */
  readonly #known: readonly Op[];
  /** Those without, by invocation. */
  readonly #unknown: readonly Op[];
  /** Index in #known → place in the order of returns, and back. */
  readonly #rankOf: Int32Array;
  readonly #byRank: Int32Array;
  readonly #onlyObserves: readonly boolean[];
  /** The operations of #known that have not taken effect, as a list; `count` is its head and end. */
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #visited = new Map<string, Uint32Array[]>();
  #configurations = 0;

  constructor(sequential: Sequential<Op>, operations: readonly Op[], limit: number) {
    this.#sequential = sequential;
    this.#limit = limit;
    const sorted = [...operations].sort((a, b) => a.invokedAt - b.invokedAt);
    this.#known = sorted.filter((each) => each.returnedAt !== null);
    this.#unknown = sorted.filter((each) => each.returnedAt === null);
    this.#onlyObserves = this.#known.map((each) => sequential.onlyObserves(each));
    const count = this.#known.length;
    const order = Array.from({ length: count }, (_, index) => index);
    order.sort((a, b) => this.#returnOf(a) - this.#returnOf(b));
    this.#byRank = Int32Array.from(order);
    this.#rankOf = new Int32Array(count);
    for (const [rank, index] of order.entries()) this.#rankOf[index] = rank;
    this.#next = Int32Array.from({ length: count + 1 }, (_, i) => (i === count ? 0 : i + 1));
    this.#previous = Int32Array.from({ length: count + 1 }, (_, i) => (i === 0 ? count : i - 1));
  }

  run(initial: State): Verdict {
    const count = this.#known.length;
    const none = new Uint32Array(Math.ceil(this.#unknown.length / 32));
    const stack = [this.#level(-1, 0, [], { state: initial, used: none })];
    let furthest = 0;
    for (let level = stack.at(-1); level !== undefined; level = stack.at(-1)) {
      if (level.rank === count) {
        return { kind: "linearizable", configurations: this.#configurations };
      }
      if (this.#configurations > this.#limit) {
        return { kind: "undecided", configurations: this.#configurations };
      }
      const deeper = this.#advance(level);
      if (deeper === null) {
        stack.pop();
        if (level.operation >= 0) this.#putBack(level.operation);
        continue;
      }
      furthest = Math.max(furthest, deeper.rank);
      stack.push(deeper);
    }
    const stuck = this.#known[this.#byRank[furthest] as number] as Op;
    return { kind: "violation", stuck, configurations: this.#configurations };
  }

  #level(operation: number, rank: number, extras: readonly number[], first: Alternative): Level {
    const cursor = this.#next[this.#known.length] as number;
    return {
      operation,
      rank,
      extras,
      alternatives: [first],
      expanded: false,
      alternative: 0,
      cursor,
    };
  }

  /** The next configuration below this level that is worth a visit; null when there is none left. */
  #advance(level: Level): Level | null {
    // Whatever is invoked after the next return cannot take effect before it.
    const horizon = this.#returnOf(this.#byRank[level.rank] as number);
    const count = this.#known.length;
    for (;;) {
      const from = level.alternatives[level.alternative];
      if (from === undefined) {
        if (level.expanded) return null;
        level.expanded = true;
        this.#expand(level, horizon);
        continue;
      }
      if (level.cursor === this.#next[count]) {
        const observed = this.#findObservation(from.state, horizon);
        if (observed >= 0) {
          // Nothing else here; and if this was the plain alternative, none of the others either.
          level.cursor = count;
          if (level.alternative === 0) level.expanded = true;
          const deeper = this.#takeEffect(level, observed, from);
          if (deeper !== null) return deeper;
        }
      }
      while (level.cursor !== count) {
        const index = level.cursor;
        const operation = this.#known[index] as Op;
        if (operation.invokedAt > horizon) break;
        level.cursor = this.#next[index] as number;
        const state = this.#sequential.step(from.state, operation);
        if (state === undefined) continue;
        const deeper = this.#takeEffect(level, index, { state, used: from.used });
        if (deeper !== null) return deeper;
      }
      level.alternative += 1;
      level.cursor = this.#next[count] as number;
    }
  }

  /** An operation that could take effect now, in this state, without changing it, then or ever; -1 if there is none. */
  #findObservation(state: State, horizon: number): number {
    const count = this.#known.length;
    for (let index = this.#next[count] as number; index !== count; ) {
      const operation = this.#known[index] as Op;
      if (operation.invokedAt > horizon) break;
      const observes = this.#onlyObserves[index] as boolean;
      if (observes && this.#sequential.step(state, operation) === state) return index;
      index = this.#next[index] as number;
    }
    return -1;
  }

  #takeEffect(level: Level, index: number, to: Alternative): Level | null {
    let { rank, extras } = level;
    const own = this.#rankOf[index] as number;
    if (own === rank) {
      rank += 1;
      let at = 0;
      for (; extras[at] === rank; at += 1) rank += 1;
      extras = extras.slice(at);
    } else {
      extras = [...extras, own].sort((a, b) => a - b);
    }
    if (!this.#visit(rank, extras, to)) return null;
    const [previous, next] = [this.#previous[index] as number, this.#next[index] as number];
    this.#next[previous] = next;
    this.#previous[next] = previous;
    return this.#level(index, rank, extras, to);
  }

  #putBack(index: number): void {
    this.#next[this.#previous[index] as number] = index;
    this.#previous[this.#next[index] as number] = index;
  }

  /** Adds what can be reached by effects of unknown operations alone, those that need fewer of them first. */
  #expand(level: Level, horizon: number): void {
    for (let at = 0; at < level.alternatives.length; at += 1) {
      const from = level.alternatives[at] as Alternative;
      for (const [index, operation] of this.#unknown.entries()) {
        if (operation.invokedAt > horizon) break;
        const [word, bit] = [index >>> 5, 1 << (index & 31)];
        if (((from.used[word] as number) & bit) !== 0) continue;
        const state = this.#sequential.step(from.state, operation);
        if (state === undefined || state === from.state) continue;
        const used = from.used.slice();
        used[word] = (used[word] as number) | bit;
        const to = { state, used };
        if (this.#visit(level.rank, level.extras, to)) level.alternatives.push(to);
      }
    }
  }

  /** False if there is nothing new to be found from there. */
  #visit(rank: number, extras: readonly number[], to: Alternative): boolean {
    const key = `${rank}|${extras.join(",")}|${typeof to.state}${to.state}`;
    const before = this.#visited.get(key);
    if (before?.some((used) => isSubset(used, to.used))) return false;
    this.#configurations += 1;
    const others = before?.filter((used) => !isSubset(to.used, used)) ?? [];
    this.#visited.set(key, [...others, to.used]);
    return true;
  }

  #returnOf(index: number): number {
    return this.#known[index]?.returnedAt as number;
  }
}

function isSubset(part: Uint32Array, whole: Uint32Array): boolean {
  for (let at = 0; at < part.length; at += 1) {
    if (((part[at] as number) & ~(whole[at] as number)) !== 0) return false;
  }
  return true;
}
