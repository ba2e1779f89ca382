/**
 * How parameters are written: `run(1, "a")`, `run([1, "a"])` and `run({ id: 1 })` as one thing. What kinds of value may
 * be bound, and how large, is checked where they are encoded; what a statement needs, where it is prepared.
 */

import type { Args, BindValue } from "../sql/value.ts";

/** One parameter by position, or, alone, all of them as a list or by name. */
export type Given = readonly (BindValue | Args)[];

export function toArgs(given: Given): Args {
  const [first] = given;
  if (given.length === 1 && typeof first === "object" && first !== null) {
    if (Array.isArray(first) || isNamed(first)) return first as Args;
  }
  return given as readonly BindValue[];
}

/** A plain object; a Date, a blob or any other class's instance is a value. */
function isNamed(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
