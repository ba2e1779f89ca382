/** What a request needs around a statement, from the statement's words and the schema. It asks SQLite nothing. */

import type { JudgedStatement, PreparedStatement } from "./prepared-statement.ts";
import { rowidRule } from "./rowid-rule.ts";
import type { SchemaFacts } from "./schema-facts.ts";

export const SCHEMA_VERBS = new Set(["create", "drop", "alter", "analyze", "reindex"]);
/** Of these better-sqlite3 tells how many rows they changed. */
export const COUNTED_VERBS = new Set(["insert", "replace", "update", "delete"]);
const STATE_FUNCTIONS = ["last_insert_rowid", "changes"];

export function walksSchema({ shape }: JudgedStatement): boolean {
  return shape.verb === "analyze" || shape.verb === "reindex";
}

/** Undone, what FTS5 and FTS4 were told of merges, pages and the like stays in the connection's memory. */
export function tellsFullText(
  { shape, class: sort }: PreparedStatement,
  facts: SchemaFacts,
): boolean {
  return sort === "replicated" && (shape.tellsFullText || facts.tellsFullText);
}

export function usesConnectionState({ shape }: JudgedStatement): boolean {
  return STATE_FUNCTIONS.some((name) => shape.functions.has(name));
}

/**
 * SQLite undoes a failed statement by itself, but not after OR FAIL, nor where it believes that nothing can fail: at a wrong
 * type in a STRICT table, at a text for an INTEGER PRIMARY KEY when conflicts are ignored, when triggers recurse too deep
 * (all tried, SQLite 3.53.2). And we must if its rows are too many.
 */
export function mayFailHalfway({ shape }: JudgedStatement, facts: SchemaFacts): boolean {
  const { names } = shape;
  if (facts.triggers || names.has("fail") || names.has("returning")) return true;
  return shape.severalRows && (facts.strict || names.has("ignore") || names.has("nothing"));
}

/** Alone in a request, it needs nothing around it, and tells all that it did by its changes and its rowid. */
export function isPlainWrite(prepared: PreparedStatement, facts: SchemaFacts): boolean {
  const { shape } = prepared;
  const { plain, positional } = shape.parameters;
  const isCounted = COUNTED_VERBS.has(shape.verb) && !shape.explain && prepared.columns === null;
  if (prepared.class !== "replicated" || !isCounted || !plain || !positional) return false;
  if (!facts.plain || facts.needsSavepoint || facts.deferrable || facts.usesConnectionState) {
    return false;
  }
  if (facts.nodeTables.size > 0 || tellsFullText(prepared, facts)) return false;
  if (usesConnectionState(prepared) || mayFailHalfway(prepared, facts)) return false;
  return rowidRule(prepared, facts) !== "ask";
}
