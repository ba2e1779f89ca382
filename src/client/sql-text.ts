/**
 * A cheap look at the words of one statement, to choose its way: to the leader to be executed, or to any node to
 * be read. It decides only the route; what a statement may do is judged by the node that runs it.
 */

/** `write`: changes the database; `returning`: does so and has rows to give back; `read`: anything else. */
export type Route = "read" | "write" | "returning";

const WRITES: ReadonlySet<string> = new Set(["INSERT", "UPDATE", "DELETE", "REPLACE"]);

export function routeOf(sql: string): Route {
  const tokens = topLevelTokens(sql);
  let verb = tokens[0];
  if (verb === "WITH") verb = verbAfterCommonTables(tokens);
  if (verb === undefined || !WRITES.has(verb)) return "read";
  return tokens.includes("RETURNING") ? "returning" : "write";
}

/** WITH [RECURSIVE] name [(columns)] AS [[NOT] MATERIALIZED] (query), … verb */
function verbAfterCommonTables(tokens: readonly string[]): string | undefined {
  let at = tokens[1] === "RECURSIVE" ? 2 : 1;
  for (;;) {
    at += 1; // the name
    if (tokens[at] === "()") at += 1;
    if (tokens[at] !== "AS") return undefined;
    at += 1;
    if (tokens[at] === "NOT") at += 1;
    if (tokens[at] === "MATERIALIZED") at += 1;
    if (tokens[at] !== "()") return undefined;
    at += 1;
    if (tokens[at] !== ",") return tokens[at];
    at += 1;
  }
}

/**
 * One alternative a kind of token, tried in order. Quoted things never end a match early: an unterminated one
 * runs to the end of the text, as in SQLite's tokenizer.
 */
const TOKEN = new RegExp(
  [
    /--[^\n]*/,
    /\/\*[\s\S]*?(?:\*\/|$)/,
    /'[^']*(?:''[^']*)*(?:'|$)/,
    /"[^"]*(?:""[^"]*)*(?:"|$)/,
    /`[^`]*(?:``[^`]*)*(?:`|$)/,
    /\[[^\]]*(?:\]|$)/,
    /[$@:#][\w$]+/,
    /[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*/,
    /[(),;]/,
  ]
    .map(({ source }) => source)
    .join("|"),
  "g",
);

/** Words in upper case, quoted names as `""`, what stands in parentheses as `()`; up to the first semicolon. */
function topLevelTokens(sql: string): readonly string[] {
  const tokens: string[] = [];
  let depth = 0;
  for (const [token] of sql.matchAll(TOKEN)) {
    const first = token.charAt(0);
    if (token === "(") depth += 1;
    else if (token === ")") {
      depth -= 1;
      if (depth === 0) tokens.push("()");
    } else if (depth > 0 || isSkipped(token, first)) continue;
    else if (first === ";") {
      if (tokens.length > 0) break;
    } else if (first === '"' || first === "`" || first === "[" || first === "'") tokens.push('""');
    else tokens.push(token.toUpperCase());
  }
  return tokens;
}

function isSkipped(token: string, first: string): boolean {
  if (first === "-" || first === "/") return true;
  return first === "$" || first === "@" || first === ":" || token.startsWith("#");
}
