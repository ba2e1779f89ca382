/**
 * Names that only reads may use: what extensions bring that are not declared deterministic. Judged by the text, as in gate.ts,
 * when a statement writes or changes the schema; and once over the whole schema, which may be older than the declaration.
 */

import type { Database } from "better-sqlite3";
import { BalsaError } from "../sql/errors.ts";
import type { KnownExtension } from "../sql/extension.ts";
import { MachineFault } from "./machine-fault.ts";
import { type StatementShape, shapeOf } from "./statement-shape.ts";
import { splitStatements } from "./tokenizer.ts";

/** By name, lower case: the extension that it is from. */
export interface UndeclaredNames {
  readonly functions: ReadonlyMap<string, string>;
  readonly collations: ReadonlyMap<string, string>;
  readonly modules: ReadonlyMap<string, string>;
}

/** Functions that SQLite calls for an operator of this name. */
const OPERATORS = ["like", "glob", "regexp", "match"];

/** Null if there are none. */
export function undeclaredNames(extensions: readonly KnownExtension[]): UndeclaredNames | null {
  const undeclared = extensions.filter(({ deterministic }) => !deterministic);
  if (undeclared.length === 0) return null;
  const namesOf = (kind: "functions" | "collations" | "modules") =>
    new Map(
      undeclared.flatMap(({ name, [kind]: names }) => names.map((one) => [one, name] as const)),
    );
  const [functions, collations, modules] = [
    namesOf("functions"),
    namesOf("collations"),
    namesOf("modules"),
  ];
  return { functions, collations, modules };
}

/** @throws BalsaError REFUSED, with the way out */
export function refuseUndeclared(shape: StatementShape, undeclared: UndeclaredNames): void {
  const found = findUndeclared(shape, undeclared);
  if (found === null) return;
  throw new BalsaError(
    "REFUSED",
    `${found} is not allowed in a write: the extension is not declared deterministic, so it may differ ` +
      "between nodes; read it first and pass what you need as parameters, or start all nodes with " +
      "--extension PATH#deterministic if it always gives the same",
  );
}

/** At a writer's start: nothing that a write may come upon uses them. @throws MachineFault that names where */
export function demandDeclared(database: Database, undeclared: UndeclaredNames): void {
  const objects = database
    .prepare<unknown[], { type: string; name: string; sql: string }>(
      "SELECT type, name, sql FROM main.sqlite_schema WHERE sql IS NOT NULL",
    )
    .all();
  for (const { type, name, sql } of objects) {
    for (const statement of splitStatements(sql)) {
      const found = findUndeclared(shapeOf(statement), undeclared);
      if (found === null) continue;
      throw new MachineFault(
        `${type} ${name} uses ${found}, which is not declared deterministic; start all nodes with ` +
          "--extension PATH#deterministic as before, and drop it first",
      );
    }
  }
}

function findUndeclared(shape: StatementShape, undeclared: UndeclaredNames): string | null {
  for (const [name, extension] of undeclared.functions) {
    const isOperator = OPERATORS.includes(name) && shape.names.has(name);
    if (isOperator || shape.functions.has(name)) return `${name}() of the extension ${extension}`;
  }
  for (const [name, extension] of undeclared.collations) {
    if (shape.collations.has(name)) return `the collation ${name} of the extension ${extension}`;
  }
  for (const [name, extension] of undeclared.modules) {
    // SQLite takes a string for a name where a table is expected.
    if (!shape.names.has(name) && !shape.strings.has(name)) continue;
    return `the virtual table ${name} of the extension ${extension}`;
  }
  const tokenizer = foreignTokenizer(shape);
  if (tokenizer === null) return null;
  return `a tokenizer that is not SQLite's own (${tokenizer}), so perhaps that of an extension,`;
}

/** SQLite tells nobody which tokenizers an extension brought: only its own are certain. */
const TOKENIZERS = new Set(["ascii", "porter", "simple", "trigram", "unicode61"]);
const TOKENIZE = /\btokenize\s*=\s*["'`[]*(\w+)(?:\s+(\w+))?/gi;

function foreignTokenizer({ verb, names, text }: StatementShape): string | null {
  if (verb !== "create" || !names.has("virtual") || !names.has("tokenize")) return null;
  const found = [...text.matchAll(TOKENIZE)];
  if (found.length === 0) return "tokenize";
  for (const [, first = "", second] of found) {
    // Porter's stems are made of another one's words.
    const named = first.toLowerCase() === "porter" && second !== undefined ? second : first;
    if (!TOKENIZERS.has(named.toLowerCase())) return named;
  }
  return null;
}
