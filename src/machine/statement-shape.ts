/**
 * What can be known of a statement from its text alone: its leading word, its parameters, what it mentions. Found once
 * for each text and kept; it never judges (see gate.ts) and never asks SQLite.
 */

import { nameOf, type SplitStatement, type Token } from "./tokenizer.ts";

/** A statement's parameters as SQLite numbers them. */
export interface ParameterList {
  /** Highest index in use: what must be bound. */
  readonly count: number;
  /** By index − 1: the name without its prefix, or null for a plain `?` and for a gap. */
  readonly names: readonly (string | null)[];
  /** Only `?` and `?NNN`: may be bound by position. */
  readonly positional: boolean;
  /** Only plain `?`: what is given can be bound as it stands. */
  readonly plain: boolean;
}

export interface PragmaShape {
  /** Lower case, without its schema. */
  readonly name: string;
  /** `= value` or `(value)` follows. */
  readonly hasArgument: boolean;
  /** Of one word, string or number, lower case; empty if it is none or more. */
  readonly argument: string;
}

export interface StatementShape {
  readonly text: string;
  /** Lower case; of `EXPLAIN x` it is x. */
  readonly verb: string;
  readonly explain: boolean;
  readonly pragma: PragmaShape | null;
  readonly parameters: ParameterList;
  /** All unquoted words and quoted identifiers, lower case. */
  readonly names: ReadonlySet<string>;
  /** Of these, what is called with parentheses. */
  readonly functions: ReadonlySet<string>;
  /** What stands behind COLLATE, lower case. */
  readonly collations: ReadonlySet<string>;
  /** String literals, lower case: SQLite takes them as names where a name is expected. */
  readonly strings: ReadonlySet<string>;
  /** Creates in, or names, the temp schema. */
  readonly temporary: boolean;
  /** Lower-case name after INSERT … INTO or REPLACE INTO, also behind WITH; null when there is none. */
  readonly insertTarget: string | null;
  /** The same, and the table of an UPDATE. */
  readonly target: string | null;
  /** What stands between the first SET and what follows it: the columns that get values, and more. */
  readonly assigned: ReadonlySet<string>;
  /** May write more than one row by itself: anything but VALUES with one row. */
  readonly severalRows: boolean;
  /** Tables with all their columns behind IN, by their name alone. */
  readonly wholeTables: ReadonlySet<string>;
  /** Has a `*` that stands for columns. */
  readonly allColumns: boolean;
  /** Sends full text a command that its connection may remember: INSERT INTO f(f), INSERT INTO f(f, rank). */
  readonly tellsFullText: boolean;
}

export function shapeOf({ text, tokens }: SplitStatement): StatementShape {
  const names = new Set<string>();
  const functions = new Set<string>();
  const strings = new Set<string>();
  const collations = new Set<string>();
  tokens.forEach((token, index) => {
    if (token.kind === "word" || token.kind === "quoted") {
      const name = nameOf(text, token);
      names.add(name);
      if (isOperator(text, tokens[index + 1], "(")) functions.add(name);
      if (name === "collate") collations.add(anyName(text, tokens[index + 1]));
    } else if (token.kind === "string") strings.add(nameOf(text, token));
  });
  let at = 0;
  const wordAt = (index: number) => leadingWord(text, tokens[index]);
  const explain = wordAt(0) === "explain";
  if (explain) at = wordAt(1) === "query" ? 3 : 1;
  const verb = wordAt(at);
  const insertTarget = insertTargetOf(text, tokens, at);
  return {
    text,
    verb,
    explain,
    pragma: verb === "pragma" ? pragmaOf(text, tokens.slice(at + 1)) : null,
    parameters: parametersOf(text, tokens),
    names,
    functions,
    collations,
    strings,
    temporary: isTemporary(text, tokens, at),
    insertTarget,
    target: insertTarget ?? updateTargetOf(text, tokens, at),
    assigned: assignedIn(text, tokens),
    severalRows: !isOneRow(text, tokens),
    wholeTables: wholeTables(text, tokens),
    allColumns: tokens.some((_, index) => isColumnsStar(text, tokens, index)),
    tellsFullText: tellsFullText(text, tokens),
  };
}

function leadingWord(text: string, token: Token | undefined): string {
  return token?.kind === "word" ? nameOf(text, token) : "";
}

function anyName(text: string, token: Token | undefined): string {
  if (token === undefined) return "";
  const isName = token.kind === "word" || token.kind === "quoted" || token.kind === "string";
  return isName ? nameOf(text, token) : "";
}

function isOperator(text: string, token: Token | undefined, operator: string): boolean {
  return token?.kind === "operator" && text.slice(token.start, token.end) === operator;
}

/** PRAGMA [schema.]name [= value | (value)]. */
function pragmaOf(text: string, tokens: readonly Token[]): PragmaShape {
  const at = isOperator(text, tokens[1], ".") ? 2 : 0;
  const next = tokens[at + 1];
  const hasArgument = isOperator(text, next, "=") || isOperator(text, next, "(");
  return {
    name: anyName(text, tokens[at]),
    hasArgument,
    argument: argumentOf(text, tokens, at + 1),
  };
}

/** What follows `=` or stands in the parentheses, and nothing behind it. */
function argumentOf(text: string, tokens: readonly Token[], at: number): string {
  const [value, last] = [tokens[at + 1], tokens[at + 2]];
  const end = isOperator(text, tokens[at], "(") ? 3 : 2;
  if (value === undefined || tokens.length !== at + end) return "";
  if (end === 3 && !isOperator(text, last, ")")) return "";
  return anyName(text, value) || text.slice(value.start, value.end);
}

/** CREATE TEMP …, ANALYZE of the temp schema, or its name with its dot. */
function isTemporary(text: string, tokens: readonly Token[], at: number): boolean {
  const verb = leadingWord(text, tokens[at]);
  if (verb === "create") {
    const second = leadingWord(text, tokens[at + 1]);
    if (second === "temp" || second === "temporary") return true;
  }
  if (verb === "analyze" && anyName(text, tokens[at + 1]) === "temp") return true;
  return tokens.some(
    (token, index) => anyName(text, token) === "temp" && isOperator(text, tokens[index + 1], "."),
  );
}

function insertTargetOf(text: string, tokens: readonly Token[], at: number): string | null {
  let position = at;
  if (leadingWord(text, tokens[at]) === "with") {
    // INTO is no name unless it is quoted.
    const into = tokens.findIndex((token) => leadingWord(text, token) === "into");
    position = into - (leadingWord(text, tokens[into - 2]) === "or" ? 3 : 1);
  }
  const verb = leadingWord(text, tokens[position]);
  if (verb !== "insert" && verb !== "replace") return null;
  position++;
  if (leadingWord(text, tokens[position]) === "or") position += 2;
  if (leadingWord(text, tokens[position]) !== "into") return null;
  position++;
  if (isOperator(text, tokens[position + 1], ".")) position += 2;
  return anyName(text, tokens[position]) || null;
}

function updateTargetOf(text: string, tokens: readonly Token[], at: number): string | null {
  let position = at;
  if (leadingWord(text, tokens[at]) === "with") {
    position = tokens.findIndex((token) => leadingWord(text, token) === "update");
  }
  if (leadingWord(text, tokens[position]) !== "update") return null;
  position++;
  if (leadingWord(text, tokens[position]) === "or") position += 2;
  if (isOperator(text, tokens[position + 1], ".")) position += 2;
  return anyName(text, tokens[position]) || null;
}

const BEHIND_SET = new Set(["where", "from", "returning", "order", "limit"]);

function assignedIn(text: string, tokens: readonly Token[]): ReadonlySet<string> {
  const names = new Set<string>();
  const start = tokens.findIndex((token) => leadingWord(text, token) === "set");
  if (start < 0) return names;
  for (const token of tokens.slice(start + 1)) {
    if (BEHIND_SET.has(leadingWord(text, token))) break;
    const name = anyName(text, token);
    if (name !== "") names.add(name);
  }
  return names;
}

/** VALUES with one row, and nothing that selects. */
function isOneRow(text: string, tokens: readonly Token[]): boolean {
  const values = tokens.findIndex((token) => leadingWord(text, token) === "values");
  if (values < 0) return false;
  if (tokens.some((token) => leadingWord(text, token) === "select")) return false;
  return !tokens.some(
    (token, index) =>
      index > values &&
      isOperator(text, token, ")") &&
      isOperator(text, tokens[index + 1], ",") &&
      isOperator(text, tokens[index + 2], "("),
  );
}

/** `x IN name`, `x IN schema.name`. */
function wholeTables(text: string, tokens: readonly Token[]): ReadonlySet<string> {
  const names = new Set<string>();
  tokens.forEach((token, index) => {
    if (leadingWord(text, token) !== "in") return;
    const at = isOperator(text, tokens[index + 2], ".") ? index + 3 : index + 1;
    names.add(anyName(text, tokens[at]));
  });
  return names;
}

/** Anywhere in the text: it may be a trigger's. 'delete' names the row's columns too, and leaves nothing in memory. */
export function tellsFullText(text: string, tokens: readonly Token[]): boolean {
  return tokens.some((token, index) => {
    if (leadingWord(text, token) !== "into") return false;
    const at = isOperator(text, tokens[index + 2], ".") ? index + 3 : index + 1;
    if (!isOperator(text, tokens[at + 1], "(")) return false;
    const names: string[] = [];
    for (let next = at + 2; next < tokens.length; next += 1) {
      if (isOperator(text, tokens[next], ")")) break;
      if (!isOperator(text, tokens[next], ",")) names.push(anyName(text, tokens[next]));
    }
    const own = names.includes(anyName(text, tokens[at]));
    return own && (names.length === 1 || names.includes("rank"));
  });
}

const BEFORE_STAR = new Set(["select", "all", "distinct", "returning"]);

function isColumnsStar(text: string, tokens: readonly Token[], index: number): boolean {
  if (!isOperator(text, tokens[index], "*")) return false;
  const before = tokens[index - 1];
  if (isOperator(text, before, ".") || isOperator(text, before, ",")) return true;
  return BEFORE_STAR.has(leadingWord(text, before));
}

/** As SQLite's sqlite3ExprAssignVarNumber. */
function parametersOf(text: string, tokens: readonly Token[]): ParameterList {
  const names: (string | null)[] = [];
  const indexes = new Map<string, number>();
  let positional = true;
  let plain = true;
  for (const token of tokens) {
    if (token.kind !== "parameter") continue;
    const name = text.slice(token.start, token.end);
    if (name === "?") {
      names.push(null);
    } else if (name.startsWith("?")) {
      plain = false;
      const index = Number(name.slice(1));
      // Beyond SQLite's own bound: prepare will refuse it.
      if (index < 1 || index > 32_766) continue;
      while (names.length < index) names.push(null);
      names[index - 1] ??= name.slice(1);
    } else {
      plain = false;
      positional = false;
      if (indexes.has(name)) continue;
      names.push(name.slice(1));
      indexes.set(name, names.length);
    }
  }
  return { count: names.length, names, positional, plain };
}
