/**
 * The language of interaction scripts: commands, then `----`, then what they printed, then a blank line. Comments and
 * blank lines between commands are kept, so that a script and its transcript differ in the outputs only.
 */

export interface Argument {
  readonly key: string;
  /** Empty for a bare word. */
  readonly values: readonly string[];
}

export interface Command {
  readonly name: string;
  readonly args: readonly Argument[];
}

export interface Directive {
  readonly command: Command;
  /** Lines between the command and the `----`. */
  readonly input: readonly string[];
  readonly expected: string;
}

/** Text to be repeated as it stands, or a directive with the text that called it. */
export type Part =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "directive"; readonly text: string; readonly directive: Directive };

const SEPARATOR = "----";

export function parseCommand(line: string): Command {
  const words = line.match(/[^\s=]+=\([^)]*\)|\S+/g) ?? [];
  const [name = "", ...rest] = words;
  return { name, args: rest.map(parseArgument) };
}

function parseArgument(word: string): Argument {
  const at = word.indexOf("=");
  if (at < 0) return { key: word, values: [] };
  const value = word.slice(at + 1);
  const isList = value.startsWith("(") && value.endsWith(")");
  const values = isList ? value.slice(1, -1).split(/[\s,]+/) : [value];
  return { key: word.slice(0, at), values: values.filter((item) => item !== "") };
}

export function parseScript(text: string): Part[] {
  const lines = text.split("\n");
  if (lines[lines.length - 1] === "") lines.pop();
  const parts: Part[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at] ?? "";
    if (line.trim() === "" || line.startsWith("#")) {
      parts.push({ kind: "text", text: `${line}\n` });
      at++;
      continue;
    }
    const called: string[] = [];
    while (at < lines.length && lines[at] !== SEPARATOR) called.push(lines[at++] ?? "");
    if (at === lines.length) throw new Error(`no ${SEPARATOR} after: ${called[0]}`);
    at++;
    const expected: string[] = [];
    while (at < lines.length && lines[at]?.trim() !== "") expected.push(lines[at++] ?? "");
    parts.push({
      kind: "directive",
      text: `${called.join("\n")}\n${SEPARATOR}\n`,
      directive: {
        command: parseCommand(called[0] ?? ""),
        input: called.slice(1),
        expected: expected.join("\n"),
      },
    });
  }
  return parts;
}
