/**
 * SQLite's tokens, found as SQLite finds them, and where one statement of a script ends. It reads text only: it neither
 * judges nor changes a statement, and never decides whether one is valid.
 */

export type TokenKind =
  /** An unquoted identifier or keyword. */
  | "word"
  /** "…", `…` or […]. */
  | "quoted"
  | "string"
  | "blob"
  | "number"
  | "parameter"
  | "operator"
  | "semicolon"
  /** What SQLite refuses: an unclosed quote, a stray character. */
  | "illegal";

/** White space and comments are left out. */
export interface Token {
  readonly kind: TokenKind;
  readonly start: number;
  readonly end: number;
}

const SPACE = /[ \t\n\f\r\uFEFF]*/y;
const NUMBER =
  /(?:0[xX][0-9a-fA-F_]+|(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9][0-9_]*)?)/y;
const WORD = /[A-Za-z_\u0080-\uFFFF][A-Za-z0-9_$\u0080-\uFFFF]*/y;
const WORD_REST = /[A-Za-z0-9_$\u0080-\uFFFF]*/y;
const BLOB = /[xX]'[^']*'?/y;
const BLOB_VALID = /^[xX]'(?:[0-9a-fA-F]{2})*'$/;
const OPERATOR = /->>?|\|\||<<|>>|<=|>=|<>|==|!=/y;
const ILLEGAL_NUMBER_TAIL = /[A-Za-z0-9_$\u0080-\uFFFF]/;

function matchEnd(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}

/** Behind white space and comments that begin at `at`. An unclosed comment runs to the end. */
function skipTrivia(text: string, at: number): number {
  let position = at;
  for (;;) {
    position = matchEnd(SPACE, text, position);
    if (text.startsWith("--", position)) {
      const end = text.indexOf("\n", position);
      position = end < 0 ? text.length : end + 1;
    } else if (text.startsWith("/*", position) && position + 2 < text.length) {
      const end = text.indexOf("*/", position + 2);
      position = end < 0 ? text.length : end + 2;
    } else {
      return position;
    }
  }
}

/** All tokens of a text. Total: every text has tokens. */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  for (let at = skipTrivia(text, 0); at < text.length; ) {
    const token = readToken(text, at);
    tokens.push(token);
    at = skipTrivia(text, token.end);
  }
  return tokens;
}

function readToken(text: string, start: number): Token {
  const first = text.charAt(start);
  switch (first) {
    case ";":
      return { kind: "semicolon", start, end: start + 1 };
    case "'":
      return readQuoted(text, start, "'", "string");
    case '"':
    case "`":
      return readQuoted(text, start, first, "quoted");
    case "[": {
      const close = text.indexOf("]", start);
      if (close < 0) return { kind: "illegal", start, end: text.length };
      return { kind: "quoted", start, end: close + 1 };
    }
    case "?": {
      const end = matchEnd(/[0-9]*/y, text, start + 1);
      return { kind: "parameter", start, end };
    }
    case ":":
    case "@":
    case "#":
    case "$": {
      const end = matchEnd(WORD_REST, text, start + 1);
      return { kind: end === start + 1 ? "illegal" : "parameter", start, end };
    }
    default:
      return readPlain(text, start);
  }
}

function readPlain(text: string, start: number): Token {
  const blobEnd = matchEnd(BLOB, text, start);
  if (blobEnd > start) {
    const kind = BLOB_VALID.test(text.slice(start, blobEnd)) ? "blob" : "illegal";
    return { kind, start, end: blobEnd };
  }
  const wordEnd = matchEnd(WORD, text, start);
  if (wordEnd > start) return { kind: "word", start, end: wordEnd };
  const numberEnd = matchEnd(NUMBER, text, start);
  if (numberEnd > start) {
    if (!ILLEGAL_NUMBER_TAIL.test(text.charAt(numberEnd))) {
      return { kind: "number", start, end: numberEnd };
    }
    return { kind: "illegal", start, end: matchEnd(WORD_REST, text, numberEnd) };
  }
  const operatorEnd = matchEnd(OPERATOR, text, start);
  const end = operatorEnd > start ? operatorEnd : start + 1;
  const known = operatorEnd > start || "()*+,-./%=<>&|~".includes(text.charAt(start));
  return { kind: known ? "operator" : "illegal", start, end };
}

/** A quote inside is written twice. */
function readQuoted(text: string, start: number, quote: string, kind: TokenKind): Token {
  for (let at = start + 1; ; at += 2) {
    at = text.indexOf(quote, at);
    if (at < 0) return { kind: "illegal", start, end: text.length };
    if (text.charAt(at + 1) !== quote) return { kind, start, end: at + 1 };
  }
}

/** What an identifier or string names: without quotes, in lower case (SQLite folds only ASCII, as names differ by it). */
export function nameOf(text: string, token: Token): string {
  const raw = text.slice(token.start, token.end);
  if (token.kind === "word") return foldCase(raw);
  const quote = raw.charAt(0);
  const inner = raw.slice(1, -1);
  if (quote === "[") return foldCase(inner);
  return foldCase(inner.replaceAll(quote + quote, quote));
}

function foldCase(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

export interface SplitStatement {
  /** Without the semicolon that ends it, and without what stands before its first token. */
  readonly text: string;
  readonly tokens: readonly Token[];
}

/**
 * A script's statements. A semicolon ends a statement, but in CREATE TRIGGER only one behind `; END`. Empty statements
 * (comments, lone semicolons) are left out.
 */
export function splitStatements(text: string): SplitStatement[] {
  const statements: SplitStatement[] = [];
  let tokens: Token[] = [];
  for (const token of tokenize(text)) {
    const ends =
      token.kind === "semicolon" && !(isTrigger(text, tokens) && !isClosed(text, tokens));
    if (!ends) {
      tokens.push(token);
    } else if (tokens.length > 0) {
      statements.push(cut(text, tokens));
      tokens = [];
    }
  }
  if (tokens.length > 0) statements.push(cut(text, tokens));
  return statements;
}

/** Token positions are made relative to the statement's own text. */
function cut(text: string, tokens: readonly Token[]): SplitStatement {
  const start = tokens[0]?.start ?? 0;
  const end = tokens.at(-1)?.end ?? start;
  const moved = tokens.map((token) => ({
    kind: token.kind,
    start: token.start - start,
    end: token.end - start,
  }));
  return { text: text.slice(start, end), tokens: moved };
}

/** [EXPLAIN [QUERY PLAN]] CREATE [TEMP | TEMPORARY] TRIGGER. */
function isTrigger(text: string, tokens: readonly Token[]): boolean {
  let at = 0;
  const next = () => {
    const token = tokens[at];
    return token?.kind === "word" ? nameOf(text, token) : "";
  };
  if (next() === "explain") {
    at++;
    if (next() === "query") at += 2;
  }
  if (next() !== "create") return false;
  at++;
  if (next() === "temp" || next() === "temporary") at++;
  return next() === "trigger";
}

/** Does it end in `; END`? */
function isClosed(text: string, tokens: readonly Token[]): boolean {
  const last = tokens.at(-1);
  const before = tokens.at(-2);
  return before?.kind === "semicolon" && last?.kind === "word" && nameOf(text, last) === "end";
}
