/**
 * What the schema makes a write need: found by reading its text, anew after each change of it. The same on all nodes,
 * because it depends on nothing else; and rather too careful than too little.
 */

import type { Database, Statement } from "better-sqlite3";
import { findNodeTables } from "./node-tables.ts";
import { tellsFullText } from "./statement-shape.ts";
import { nameOf, tokenize } from "./tokenizer.ts";

export interface SchemaFacts {
  /**
   * Statements may leave a part of their work when they fail (ON CONFLICT FAIL, RAISE(FAIL), a mismatch where conflicts
   * are ignored), may leave violations for COMMIT (deferred keys), or gather work until a savepoint or COMMIT (virtual
   * tables: their shadow tables are the same on all nodes only if every request stands in a savepoint).
   */
  readonly needsSavepoint: boolean;
  /** Some foreign key may be violated until COMMIT. */
  readonly deferrable: boolean;
  /** A trigger, view or default uses last_insert_rowid() or changes(). */
  readonly usesConnectionState: boolean;
  /** Lower-case names of ordinary tables with a rowid. */
  readonly rowidTables: ReadonlySet<string>;
  /** Lower-case names of columns that are, in some table, another name of the rowid. */
  readonly rowidAliases: ReadonlySet<string>;
  /** Lower-case names of tables that a trigger or a foreign key may write to. */
  readonly sideTables: readonly string[];
  /** A statement changes rows of the table that it names, and nothing else: no triggers, foreign keys, virtual tables. */
  readonly plain: boolean;
  /** Some table is STRICT: a statement that meets a wrong type leaves the rows before it (tried, SQLite 3.53.2). */
  readonly strict: boolean;
  readonly triggers: boolean;
  /** Some trigger sends full text a command that its connection may remember. */
  readonly tellsFullText: boolean;
  /** Lower-case names under which tables can be read that are not the same on all nodes (node-tables.ts). */
  readonly nodeTables: ReadonlySet<string>;
  /** Some trigger names one of them. */
  readonly nodeTablesInTriggers: boolean;
  /** A virtual table whose text names one of them. */
  readonly overNodeTable: string | null;
}

const SIDE_EFFECTS = /\breferences\b|^\s*create\s+virtual\b/i;

export type SchemaRow = [type: string, name: string, sql: string];

export class SchemaReader {
  readonly #objects: Statement<unknown[], SchemaRow>;
  readonly #tables: Statement<unknown[], [name: string, type: string]>;
  readonly #aliases: Statement<unknown[], string>;
  #facts: SchemaFacts | null = null;

  constructor(database: Database) {
    this.#objects = database
      .prepare<unknown[], SchemaRow>(
        "SELECT type, name, sql FROM main.sqlite_schema WHERE sql IS NOT NULL",
      )
      .raw(true);
    this.#tables = database
      .prepare<unknown[], [string, string]>(
        `SELECT name, type FROM pragma_table_list
         WHERE schema = 'main' AND (type = 'virtual' OR (type = 'table' AND wr = 0))`,
      )
      .raw(true);
    this.#aliases = database
      .prepare<unknown[], string>(
        `SELECT DISTINCT c.name FROM pragma_table_list AS l, pragma_table_xinfo(l.name) AS c
         WHERE l.schema = 'main' AND l.type = 'table' AND c.pk = 1 AND upper(c.type) = 'INTEGER'`,
      )
      .pluck(true);
  }

  /** The schema may have changed. */
  invalidate(): void {
    this.#facts = null;
  }

  /** If they were read since the schema last changed. */
  get known(): SchemaFacts | null {
    return this.#facts;
  }

  get facts(): SchemaFacts {
    this.#facts ??= this.#read();
    return this.#facts;
  }

  #read(): SchemaFacts {
    const tables = this.#tables.all().map(([name, type]) => ({ name: lower(name), type }));
    const objects = this.#objects.all();
    const texts = objects.map(([, , sql]) => sql);
    const triggers = objects.flatMap(([type, , sql]) => (type === "trigger" ? [sql] : []));
    return {
      needsSavepoint: texts.some((text) =>
        /\bfail\b|\bignore\b|\bdeferr|^\s*create\s+virtual\b/i.test(text),
      ),
      deferrable: texts.some((text) => /\bdeferr/i.test(text)),
      usesConnectionState: texts.some((text) => /\blast_insert_rowid\b|\bchanges\b/i.test(text)),
      rowidTables: new Set(tables.flatMap(({ name, type }) => (type === "table" ? [name] : []))),
      rowidAliases: new Set(this.#aliases.all().map(lower)),
      sideTables: sideTables(new Set(tables.map(({ name }) => name)), objects),
      plain: triggers.length === 0 && !texts.some((text) => SIDE_EFFECTS.test(text)),
      strict: texts.some((text) => /\bstrict\b/i.test(text)),
      triggers: triggers.length > 0,
      tellsFullText: triggers.some((sql) => tellsFullText(sql, tokenize(sql))),
      ...findNodeTables(objects),
    };
  }
}

/** Of `tables`, what a trigger names, and whose own foreign keys change rows. */
function sideTables(tables: ReadonlySet<string>, objects: readonly SchemaRow[]): string[] {
  const found = new Set<string>();
  for (const [type, name, sql] of objects) {
    if (type === "trigger") {
      for (const token of tokenize(sql)) found.add(nameOf(sql, token));
    } else if (/\breferences\b.*\b(cascade|default)\b/is.test(sql)) found.add(lower(name));
  }
  return [...found].filter((name) => tables.has(name));
}

function lower(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
