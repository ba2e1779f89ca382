/**
 * A transcript against the one that the script brings along, at two levels: `states` is what `raft-log`, `raft-state`,
 * `status` and `compact` print; `messages` is everything else but log lines, whose wording is free.
 */

import type { Outcome } from "./interaction-commands.ts";

export type Level = "states" | "messages";

export interface Difference {
  readonly level: Level;
  readonly line: number;
  readonly command: string;
  /** Lines that only one of the two has, between those that both begin and end with. */
  readonly expected: readonly string[];
  readonly printed: readonly string[];
}

export interface Comparison {
  readonly differences: readonly Difference[];
  readonly compared: Readonly<Record<Level, number>>;
}

const STATE_COMMANDS = ["raft-log", "raft-state", "status", "compact"];
const LOG_LINE = /^\s*(DEBUG|INFO|WARN|ERROR|FATAL) /;

/** Outputs that the script leaves empty are not compared. */
export function compare(outcomes: readonly Outcome[]): Comparison {
  const differences: Difference[] = [];
  const compared = { states: 0, messages: 0 };
  for (const { directive, output } of outcomes) {
    const { line, command, input, expected } = directive;
    if (expected === "") continue;
    const last = command.name === "propose-conf-change" ? undefined : input.at(-1);
    const name = last?.split(/\s/)[0] ?? command.name;
    const level: Level = STATE_COMMANDS.includes(name) ? "states" : "messages";
    compared[level]++;
    const [wanted, got] = [linesOf(expected), linesOf(output)];
    if (wanted.join("\n") === got.join("\n")) continue;
    const [from, behind] = commonEnds(wanted, got);
    differences.push({
      level,
      line,
      command: [command.name, ...command.args.map(({ key }) => key)].join(" "),
      expected: wanted.slice(from, wanted.length - behind),
      printed: got.slice(from, got.length - behind),
    });
  }
  return { differences, compared };
}

function linesOf(output: string): readonly string[] {
  const lines = output.split("\n").map((line) => line.trimEnd());
  return lines.filter((line) => line !== "" && line !== "ok" && !LOG_LINE.test(line));
}

function commonEnds(a: readonly string[], b: readonly string[]): readonly [number, number] {
  const shorter = Math.min(a.length, b.length);
  let from = 0;
  while (from < shorter && a[from] === b[from]) from++;
  let behind = 0;
  while (behind < shorter - from && a.at(-1 - behind) === b.at(-1 - behind)) behind++;
  return [from, behind];
}
