/**
 * The language of interaction scripts: commands, then `----`, then what they printed, then a blank line; between two
 * pairs of `----` what they printed may hold blank lines. Comments and blank lines between commands are kept, so that
 * a script and its transcript differ in the outputs only.
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
  /** Of the command, from 1. */
  readonly line: number;
  readonly command: Command;
  /** Lines between the command and the `----`. */
  readonly input: readonly string[];
  readonly expected: string;
}

/** Text to be repeated as it stands, or a directive with the text that called it. */
export type Part =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "directive"; readonly text: string; readonly directive: Directive };

/** The script itself is wrong, or a node halted in it: it cannot go on. */
export class ScriptError extends Error {
  override readonly name = "ScriptError";
  readonly line: number;

  constructor(line: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.line = line;
  }
}

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
  const source = new Lines(text);
  const parts: Part[] = [];
  for (let line = source.next(); line !== undefined; line = source.next()) {
    const isText = line.trim() === "" || line.trim().startsWith("#");
    parts.push(isText ? { kind: "text", text: `${line}\n` } : parseDirective(line, source));
  }
  return parts;
}

function parseDirective(first: string, source: Lines): Part {
  const line = source.line;
  const called = [first];
  let command = first.trim();
  while (command.endsWith("\\") && source.peek() !== undefined) {
    const more = source.next() ?? "";
    called.push(more);
    command = `${command.slice(0, -1)} ${more.trim()}`;
  }
  const input: string[] = [];
  while (source.peek() !== SEPARATOR) {
    const more = source.next();
    if (more === undefined) throw new ScriptError(line, `no ${SEPARATOR} after: ${first}`);
    called.push(more);
    input.push(more);
  }
  source.next();
  return {
    kind: "directive",
    text: `${called.join("\n")}\n${SEPARATOR}\n`,
    directive: {
      line,
      command: parseCommand(command),
      input: input.map((each) => each.trim()).filter((each) => each !== ""),
      expected: parseExpected(source).join("\n"),
    },
  };
}

function parseExpected(source: Lines): string[] {
  const expected: string[] = [];
  if (source.peek() !== SEPARATOR) {
    while ((source.peek() ?? "").trim() !== "") expected.push(source.next() ?? "");
    return expected;
  }
  source.next();
  for (let line = source.next(); line !== undefined; line = source.next()) {
    if (line === SEPARATOR && source.peek() === SEPARATOR) {
      source.next();
      break;
    }
    expected.push(line);
  }
  return expected;
}

class Lines {
  readonly #lines: readonly string[];
  /** Of what next() gave last, from 1. */
  line = 0;

  constructor(text: string) {
    const lines = text.split("\n");
    if (lines[lines.length - 1] === "") lines.pop();
    this.#lines = lines;
  }

  peek(): string | undefined {
    return this.#lines[this.line];
  }

  next(): string | undefined {
    const line = this.peek();
    if (line !== undefined) this.line++;
    return line;
  }
}
