/**
 * Makes a violation readable: from the thousands of operations on a key it keeps a few that contradict each other, and
 * prints them. It only explains what the search has found; its cuts are sound, so what it prints is itself impossible.
 */

import type { Operation } from "./history.ts";
import type { Model } from "./linearizability-models.ts";
import { type Sequential, type State, search } from "./linearizability-search.ts";

/** One search of the many that find a small window. */
const CONFIGURATIONS_MAX = 20_000;
/** All of them together, in configurations and operations looked at: some seconds. Then it shows what it has. */
const WORK_MAX = 2_000_000;
const CONTEXT_MAX = 12;
const WINDOW_MAX = 60;

export function describeViolation<Op extends Operation>(
  model: Model<Op>,
  key: string,
  operations: readonly Op[],
  stuck: Op,
): string {
  const sequential = model.of(operations);
  const before = upTo(operations, stuck);
  const proof = new Proof(sequential);
  const window = shrink(proof, smallestWindow(proof, before, sequential), stuck);
  const shown = new Set(window.operations.map((each) => identity(each)));
  const sources = before.filter(
    (each) => !shown.has(identity(each)) && mentionsOneOf(each, window.operations),
  );
  const lines = [
    `key ${key}: not linearizable (${model.name}, ${operations.length} operations)`,
    `these cannot all be true, starting from ${startText(window.initial)}:`,
    ...table(window.operations.slice(-WINDOW_MAX), stuck),
  ];
  const hidden = window.operations.length - WINDOW_MAX;
  if (hidden > 0) lines.push(`  … and ${hidden} before them: the search for fewer took too long`);
  if (sources.length > 0) {
    lines.push("other operations on the same values:");
    lines.push(...table(sources.slice(0, CONTEXT_MAX), stuck));
    const rest = sources.length - CONTEXT_MAX;
    if (rest > 0) lines.push(`  … and ${rest} more`);
  }
  return lines.join("\n");
}

interface Window<Op> {
  readonly operations: readonly Op[];
  readonly initial: readonly State[];
}

/** What was invoked later cannot be the reason; what returned later may as well not have returned. */
function upTo<Op extends Operation>(operations: readonly Op[], stuck: Op): Op[] {
  const end = stuck.returnedAt as number;
  return operations
    .filter((each) => each.invokedAt <= end)
    .map((each) => ((each.returnedAt ?? Infinity) > end ? asUnknown(each) : each))
    .sort((a, b) => a.invokedAt - b.invokedAt);
}

function asUnknown<Op extends Operation>(operation: Op): Op {
  return { ...operation, output: null, returnedAt: null };
}

/**
 * Forgets what returned before some moment, doubling the window until it is impossible from every state that the
 * forgotten could have left. Operations astride the moment become unknown.
 */
function smallestWindow<Op extends Operation>(
  proof: Proof<Op>,
  operations: readonly Op[],
  sequential: Sequential<Op>,
): Window<Op> {
  for (let size = 2; size < operations.length; size *= 2) {
    const from = (operations.at(-size) as Op).invokedAt;
    const window = operations
      .filter((each) => (each.returnedAt ?? Infinity) >= from)
      .map((each) => (each.invokedAt < from ? asUnknown(each) : each));
    const states = sequential.states(window);
    if (proof.isImpossible({ operations: window, initial: states })) {
      return { operations: window, initial: states };
    }
  }
  return { operations, initial: [sequential.initial] };
}

/** Weakens or drops one operation after the other as long as what remains is impossible. */
function shrink<Op extends Operation>(proof: Proof<Op>, window: Window<Op>, stuck: Op): Window<Op> {
  let { operations } = window;
  let searches = 400;
  for (let size = operations.length; size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < operations.length && searches > 0; searches -= 1) {
      const chosen = new Set(
        operations
          .slice(at, at + size)
          .filter((each) => each.returnedAt !== null && each.invokedAt !== stuck.invokedAt),
      );
      const weaker = operations.map((each) => (chosen.has(each) ? asUnknown(each) : each));
      const candidate = { operations: weaker, initial: window.initial };
      if (chosen.size > 0 && proof.isImpossible(candidate)) operations = weaker;
      at += size;
    }
  }
  // An unknown effect that nothing needs explains nothing. Those that could be needed are listed as context.
  return { operations: operations.filter((e) => e.returnedAt !== null), initial: window.initial };
}

/** Says "no" too when the work that it may do is done: then nothing more is cut away. */
class Proof<Op extends Operation> {
  readonly #sequential: Sequential<Op>;
  #work = 0;

  constructor(sequential: Sequential<Op>) {
    this.#sequential = sequential;
  }

  isImpossible({ operations, initial }: Window<Op>): boolean {
    return initial.every((state) => {
      if (this.#work > WORK_MAX) return false;
      const verdict = search(this.#sequential, operations, CONFIGURATIONS_MAX, state);
      this.#work += verdict.configurations + operations.length;
      return verdict.kind === "violation";
    });
  }
}

function startText(initial: readonly State[]): string {
  return initial.length === 1 ? `the state ${JSON.stringify(initial[0])}` : "any state";
}

function identity(operation: Operation): string {
  return `${operation.client} ${operation.invokedAt}`;
}

function mentionsOneOf(operation: Operation, others: readonly Operation[]): boolean {
  const own = valuesIn(operation.input);
  return others.some((other) =>
    [...valuesIn(other.input), ...valuesIn(other.output)].some((value) => own.includes(value)),
  );
}

function valuesIn(part: unknown): unknown[] {
  if (part === null) return [];
  if (typeof part === "object") return Object.values(part).flatMap(valuesIn);
  return [part];
}

function table(operations: readonly Operation[], stuck: Operation): string[] {
  const widest = Math.max(...operations.map((each) => each.client.length));
  return operations.map((each) => {
    const mark = identity(each) === identity(stuck) ? ">" : " ";
    const end = each.returnedAt === null ? "  never" : each.returnedAt.toFixed(3).padStart(11);
    const input = each.input === null ? "" : ` ${JSON.stringify(each.input)}`;
    const output = each.output === null ? "?" : JSON.stringify(each.output);
    const times = `${each.invokedAt.toFixed(3).padStart(11)} … ${end.padEnd(11)} ms`;
    return `${mark} ${times}  ${each.client.padEnd(widest)}  ${each.kind}${input} → ${output}`;
  });
}
