/**
 * Finds violated deferred foreign keys before COMMIT would: SQLite counts them but tells the count nobody. When a table
 * with a deferred key is dropped while some are outstanding, SQLite deletes its rows first to see whether the count
 * falls; so a row of ours that is deleted shows them. Undone at once.
 */

import type { Database, Statement } from "better-sqlite3";
import { SqlError } from "../sql/errors.ts";

const PROBE = `
  SAVEPOINT balsa_probe;
  CREATE TEMP TABLE balsa_parent(id INTEGER PRIMARY KEY);
  CREATE TEMP TABLE balsa_child(
    parent INTEGER REFERENCES balsa_parent(id) DEFERRABLE INITIALLY DEFERRED
  );
  INSERT INTO temp.balsa_parent VALUES (1);
  INSERT INTO temp.balsa_child VALUES (1);
`;

export class DeferredKeyProbe {
  readonly #database: Database;
  readonly #totalChanges: Statement<unknown[], bigint>;

  constructor(database: Database) {
    this.#database = database;
    this.#totalChanges = database.prepare<unknown[], bigint>("SELECT total_changes()").pluck(true);
  }

  /** Inside a transaction; costs a change of the schema, so only where keys are deferrable. @throws SqlError */
  check(): void {
    this.#database.exec(PROBE);
    const before = this.#totalChanges.get();
    this.#database.exec("DROP TABLE temp.balsa_child");
    const after = this.#totalChanges.get();
    this.#database.exec("ROLLBACK TO balsa_probe; RELEASE balsa_probe");
    if (after !== before) {
      throw new SqlError("SQLITE_CONSTRAINT_FOREIGNKEY", "FOREIGN KEY constraint failed");
    }
  }
}
