/** What becomes of last_insert_rowid() by a statement, known from its words and the schema. It asks SQLite nothing. */

import type { PreparedStatement } from "./prepared-statement.ts";
import type { SchemaFacts } from "./schema-facts.ts";

/**
 * What a statement does to last_insert_rowid(): `keeps` it; `inserts` a row into a table with rowids if it changed any
 * row; `ask` SQLite, after it was told what to begin with; `native`: SQLite has known since the request began.
 */
export type RowidRule = "keeps" | "inserts" | "ask" | "native";

export function rowidRule(
  { shape, class: sort }: PreparedStatement,
  facts: SchemaFacts,
): RowidRule {
  if (sort !== "replicated") return "keeps";
  const { verb, insertTarget, names } = shape;
  if (verb === "insert" || verb === "replace") {
    // An upsert may change a row without inserting one.
    const plain = insertTarget !== null && facts.rowidTables.has(insertTarget);
    return plain && !names.has("conflict") ? "inserts" : "ask";
  }
  return verb === "with" && (names.has("insert") || names.has("replace")) ? "ask" : "keeps";
}
