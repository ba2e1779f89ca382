/**
 * What the schema makes a write need: found by reading its text, anew after each change of it. The same on all nodes,
 * because it depends on nothing else; and rather too careful than too little.
 */

import type { Database, Statement } from "better-sqlite3";

export interface SchemaFacts {
  /**
   * Statements may leave a part of their work when they fail (ON CONFLICT FAIL, RAISE(FAIL)), may leave violations for
   * COMMIT (deferred keys), or gather work until a savepoint or COMMIT (virtual tables: their shadow tables are the same
   * on all nodes only if every request stands in a savepoint).
   */
  readonly needsSavepoint: boolean;
  /** Some foreign key may be violated until COMMIT. */
  readonly deferrable: boolean;
  /** A trigger, view or default uses last_insert_rowid() or changes(). */
  readonly usesConnectionState: boolean;
  /** Lower-case names of ordinary tables with a rowid. */
  readonly rowidTables: ReadonlySet<string>;
}

export class SchemaReader {
  readonly #texts: Statement<unknown[], string>;
  readonly #tables: Statement<unknown[], string>;
  #facts: SchemaFacts | null = null;

  constructor(database: Database) {
    this.#texts = database
      .prepare<unknown[], string>("SELECT sql FROM main.sqlite_schema WHERE sql IS NOT NULL")
      .pluck(true);
    this.#tables = database
      .prepare<unknown[], string>(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND wr = 0",
      )
      .pluck(true);
  }

  /** The schema may have changed. */
  invalidate(): void {
    this.#facts = null;
  }

  get facts(): SchemaFacts {
    this.#facts ??= this.#read();
    return this.#facts;
  }

  #read(): SchemaFacts {
    let needsSavepoint = false;
    let deferrable = false;
    let usesConnectionState = false;
    for (const text of this.#texts.all()) {
      needsSavepoint ||= /\bfail\b|\bdeferr|^\s*create\s+virtual\b/i.test(text);
      deferrable ||= /\bdeferr/i.test(text);
      usesConnectionState ||= /\blast_insert_rowid\b|\bchanges\b/i.test(text);
    }
    const rowidTables = new Set(this.#tables.all().map((name) => name.toLowerCase()));
    return { needsSavepoint, deferrable, usesConnectionState, rowidTables };
  }
}
