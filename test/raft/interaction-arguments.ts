/** Reading the arguments of a script's commands. */

import type { Argument } from "./interaction-script.ts";

/** The command makes no sense: the script ends here, as it does in etcd's test-suite. */
export class Misuse extends Error {
  override readonly name = "Misuse";
}

export function numberOf(text: string | undefined): number {
  if (text === undefined || !/^\d+$/.test(text) || !Number.isSafeInteger(Number(text))) {
    throw new Misuse(text === undefined ? "a number is missing" : `not a number: ${text}`);
  }
  return Number(text);
}

export function booleanOf(text: string | undefined): boolean {
  if (text !== "true" && text !== "false") throw new Misuse(`neither true nor false: ${text}`);
  return text === "true";
}

/** Of the bare words, in order. */
export function idsOf(args: readonly Argument[]): number[] {
  return args.filter(({ values }) => values.length === 0).map(({ key }) => numberOf(key));
}

export function idOf(args: readonly Argument[]): number {
  return numberOf(args[0]?.key);
}

/** Exactly two. */
export function pairOf(args: readonly Argument[], what: string): readonly [number, number] {
  const [first, second, ...rest] = idsOf(args);
  if (first === undefined || second === undefined || rest.length > 0) throw new Misuse(what);
  return [first, second];
}

export function option(args: readonly Argument[], key: string): readonly string[] {
  return args.find((arg) => arg.key === key)?.values ?? [];
}
