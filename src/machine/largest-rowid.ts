/**
 * Keeps rowid 2^63 − 1 out of tables. Beside a row that has it, SQLite chooses new rowids by dice of its own, which no
 * function reaches: they would differ between nodes. Looks after a statement, and only where the row can have come from.
 */

import type { Database, Statement } from "better-sqlite3";
import { BalsaError } from "../sql/errors.ts";
import type { SchemaFacts } from "./schema-facts.ts";
import type { StatementShape } from "./statement-shape.ts";

const ROWID_MAX = 2n ** 63n - 1n;
/** A rowid that SQLite's dice chose is hardly ever below. */
const ROWID_SUSPECT = 2n ** 32n;
const ROWID_NAMES = ["rowid", "_rowid_", "oid", "docid"];

/** What a statement did. */
export interface StatementEffect {
  readonly shape: StatementShape;
  /** Of the statement itself. */
  readonly changes: number;
  /** Of its triggers and of foreign keys too. */
  readonly totalChanges: number;
  /** As last_insert_rowid() is now. */
  readonly rowid: bigint;
}

export class LargestRowid {
  readonly #database: Database;
  /** Whether a table has the largest rowid, by its name; null if it has no rowids. */
  readonly #probes = new Map<string, Statement | null>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** The schema has changed. */
  clear(): void {
    this.#probes.clear();
  }

  /** @throws BalsaError REFUSED: what the statement did must be undone. */
  check({ shape, changes, totalChanges, rowid }: StatementEffect, facts: SchemaFacts): void {
    if (totalChanges === 0) return;
    const { target } = shape;
    if (target !== null && mayHoldIt(shape, changes, rowid, facts)) this.#probe(target);
    if (totalChanges === changes) return;
    for (const table of facts.sideTables) this.#probe(table);
  }

  #probe(table: string): void {
    let probe = this.#probes.get(table);
    if (probe === undefined) {
      probe = this.#prepare(table);
      this.#probes.set(table, probe);
    }
    if (probe?.get(ROWID_MAX) === undefined) return;
    throw new BalsaError(
      "REFUSED",
      `${table} would have a row with the largest rowid, ${ROWID_MAX}: beside it SQLite chooses ` +
        "rowids by dice, others on each node; use a smaller one",
    );
  }

  #prepare(table: string): Statement | null {
    const name = `"${table.replaceAll('"', '""')}"`;
    try {
      return this.#database.prepare(`SELECT 1 FROM main.${name} WHERE rowid = ?`);
    } catch {
      return null;
    }
  }
}

/** Of several rows only the last one's rowid is known. */
function mayHoldIt(
  { verb, assigned }: StatementShape,
  changes: number,
  rowid: bigint,
  facts: SchemaFacts,
): boolean {
  if (verb !== "update" && (changes > 1 || rowid >= ROWID_SUSPECT)) return true;
  if (assigned.size === 0) return false;
  if (ROWID_NAMES.some((name) => assigned.has(name))) return true;
  for (const name of assigned) if (facts.rowidAliases.has(name)) return true;
  return false;
}
