/**
 * What one key promises when only one client at a time touches it: a register (a row that may be absent), and a list
 * that is only appended to. An error is an answer like any other: "UNIQUE constraint failed" says that the row was there.
 */

import type { Operation } from "./history.ts";
import type { Sequential, State } from "./linearizability-search.ts";

export interface Model<Op extends Operation> {
  readonly name: string;
  /** For the operations of one key, all of them: a model may look ahead to cut the search. */
  of(operations: readonly Op[]): Sequential<Op>;
}

/** What a row holds. Writing a different value each time makes every stale or doubled effect visible. */
export type Cell = string | number;

export type RegisterOperation =
  /** `SELECT`: null when there is no row. */
  | Made<"read", null, { readonly value: Cell | null }>
  /** `INSERT … ON CONFLICT DO UPDATE`. */
  | Made<"write", Cell, "ok">
  /** `INSERT`: `exists` is the answer "UNIQUE constraint failed". */
  | Made<"insert", Cell, "ok" | "exists">
  /** `UPDATE … WHERE value = expected`: `ok` when it changed a row. */
  | Made<"compare-and-set", { readonly expected: Cell; readonly next: Cell }, "ok" | "differs">
  /** `DELETE`: `ok` when it changed a row. */
  | Made<"delete", null, "ok" | "absent">;

export type ListOperation =
  | Made<"append", Cell, "ok">
  /** All values, in the order in which they were appended. */
  | Made<"read", null, { readonly values: readonly Cell[] }>;

interface Made<Kind extends string, Input, Output> extends Operation {
  readonly kind: Kind;
  readonly input: Input;
  readonly output: Output | null;
}

export const register: Model<RegisterOperation> = {
  name: "register",
  of: () => ({
    initial: null,
    step: stepRegister,
    onlyObserves: (operation) =>
      operation.kind === "read" ||
      ["exists", "differs", "absent"].includes(operation.output ?? "ok"),
    states: (operations) => [...new Set([null, OTHER_VALUE, ...operations.flatMap(observed)])],
  }),
};

/** Stands for all values that nobody asks for. */
const OTHER_VALUE = "(some other value)";

function observed(operation: RegisterOperation): State[] {
  if (operation.kind === "read") return operation.output === null ? [] : [operation.output.value];
  return operation.kind === "compare-and-set" ? [operation.input.expected] : [];
}

function stepRegister(state: State, operation: RegisterOperation): State | undefined {
  switch (operation.kind) {
    case "read":
      return operation.output === null || operation.output.value === state ? state : undefined;
    case "write":
      return operation.input;
    case "insert":
      if (state !== null) return says(operation.output, "exists", state);
      return says(operation.output, "ok", operation.input);
    case "compare-and-set":
      if (state !== operation.input.expected) return says(operation.output, "differs", state);
      return says(operation.output, "ok", operation.input.next);
    case "delete":
      if (state === null) return says(operation.output, "absent", state);
      return says(operation.output, "ok", null);
  }
}

function says(output: string | null, expected: string, next: State): State | undefined {
  return output === null || output === expected ? next : undefined;
}

/**
 * A list only grows, so every state is the beginning of the longest list that was ever read, or goes beyond it. The
 * state is therefore its length, and an append is possible only where the longest read shows it. What comes after the
 * longest read nobody saw: its order is of no consequence, and one state stands for all of it.
 */
export const appendList: Model<ListOperation> = {
  name: "append-only list",
  of: (operations) => {
    let longest: readonly Cell[] = [];
    for (const each of operations) {
      if (each.kind !== "read" || each.output === null) continue;
      if (each.output.values.length > longest.length) longest = each.output.values;
    }
    return {
      initial: 0,
      step: (state, operation) => stepList(longest, state as number, operation),
      onlyObserves: (operation) => operation.kind === "read",
      states: () => Array.from({ length: longest.length + 2 }, (_, length) => length),
    };
  },
};

function stepList(
  longest: readonly Cell[],
  length: number,
  operation: ListOperation,
): State | undefined {
  if (operation.kind === "append") {
    if (length >= longest.length) return longest.length + 1;
    return longest[length] === operation.input ? length + 1 : undefined;
  }
  if (operation.output === null) return length;
  const { values } = operation.output;
  if (values.length !== length) return undefined;
  return values.every((value, at) => value === longest[at]) ? length : undefined;
}
