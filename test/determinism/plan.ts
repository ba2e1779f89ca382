/**
 * What a determinism run does, as data: it can be kept, shortened and played again. And what it covered: each kind of
 * thing that a run must have done at least once is named here, so that a generator that lost one is noticed.
 */

import type { Statement } from "../../src/sql/statement.ts";

/** A step of an interactive transaction. */
export type Part =
  | {
      readonly kind: "run";
      readonly statements: readonly Statement[];
      readonly covers: readonly string[];
    }
  | { readonly kind: "savepoint" | "release" | "rollbackTo" };

export type Step =
  /** `dtMs`: what the leader's clock does before; it may run back. */
  | {
      readonly kind: "request";
      readonly statements: readonly Statement[];
      readonly session: boolean;
      /** A statement that fails does not stop the ones behind it. */
      readonly goOn: boolean;
      readonly dtMs: number;
      /** Of what each statement is an example. */
      readonly covers: readonly string[];
    }
  | { readonly kind: "script"; readonly sql: string; readonly covers: readonly string[] }
  | { readonly kind: "transaction"; readonly parts: readonly Part[]; readonly commits: boolean }
  /** The next range checksum. */
  | { readonly kind: "checksum" }
  /** SQLite commits what the leader executed. */
  | { readonly kind: "commit" }
  /** The leader's process ends. Of what it proposed since the last commit so much, of 1, is not in the log. */
  | { readonly kind: "lose"; readonly share: number }
  /** Another node, that applied the log so far, leads from here on. */
  | { readonly kind: "handover" };

export interface Plan {
  readonly seed: number;
  readonly steps: readonly Step[];
}

/** How often what happened. */
export class Coverage {
  readonly counts = new Map<string, number>();

  add(kind: string, count = 1): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + count);
  }

  merge(other: Iterable<readonly [string, number]>): void {
    for (const [kind, count] of other) this.add(kind, count);
  }

  /** What never happened, though it must. */
  missing(): string[] {
    return REQUIRED.filter((kind) => (this.counts.get(kind) ?? 0) === 0);
  }

  lines(): string[] {
    const kinds = [...new Set([...REQUIRED, ...this.counts.keys()])].sort();
    return kinds.map((kind) => `${String(this.counts.get(kind) ?? 0).padStart(9)}  ${kind}`);
  }
}

export const CONFLICTS = ["ROLLBACK", "ABORT", "FAIL", "IGNORE", "REPLACE"] as const;

/** Where an expression may stand. */
export const POSITIONS = [
  "values",
  "set",
  "where",
  "order by",
  "limit",
  "returning",
  "upsert",
  "select list",
  "cte",
  "join",
  "default",
  "trigger",
  "view",
  "check",
] as const;

export type Position = (typeof POSITIONS)[number];

const SCHEMA_KINDS = [
  "table",
  "WITHOUT ROWID",
  "STRICT",
  "AUTOINCREMENT",
  "generated stored column",
  "generated virtual column",
  "partial index",
  "expression index",
  "unique index",
  "trigger BEFORE",
  "trigger AFTER",
  "trigger INSTEAD OF",
  "view",
  "FTS5",
  "FTS5 external content",
  "FTS4",
  "R*Tree",
  "foreign key CASCADE",
  "foreign key SET NULL",
  "foreign key SET DEFAULT",
  "foreign key RESTRICT",
  "foreign key deferred",
  "CHECK",
  "COLLATE",
  ...CONFLICTS.map((clause) => `ON CONFLICT ${clause}`),
];

const STATEMENT_KINDS = [
  "INSERT VALUES",
  "INSERT many rows",
  "INSERT SELECT",
  "INSERT DEFAULT VALUES",
  "INSERT bulk",
  "INSERT explicit rowid",
  "REPLACE",
  "upsert DO UPDATE",
  "upsert DO NOTHING",
  "UPDATE",
  "UPDATE FROM",
  "UPDATE LIMIT",
  "UPDATE of a key",
  "DELETE",
  "DELETE LIMIT",
  "DELETE all",
  "RETURNING",
  "WITH INSERT",
  "WITH UPDATE",
  "WITH DELETE",
  "WITH RECURSIVE",
  "plan-dependent INSERT",
  "window function",
  "SELECT",
  "view INSERT",
  "FTS5 write",
  "FTS5 command",
  "FTS5 query",
  "fts5vocab",
  "FTS4 write",
  "FTS4 command",
  "FTS4 query",
  "rows and full text in one request",
  "deferred key violated and healed",
  "REPLACE with triggers",
  "blobs",
  "aggregate",
  "json_tree",
  "R*Tree write",
  "R*Tree query",
  "ANALYZE",
  "REINDEX",
  "CREATE INDEX",
  "DROP INDEX",
  "CREATE TABLE AS",
  "ALTER TABLE ADD",
  "ALTER TABLE RENAME",
  "ALTER TABLE RENAME COLUMN",
  "ALTER TABLE DROP COLUMN",
  "ALTER TABLE constraint",
  "DROP TABLE",
  "CREATE TRIGGER",
  "DROP TRIGGER",
  "CREATE VIEW",
  "DROP VIEW",
  "CREATE UNIQUE INDEX",
  "CREATE TABLE",
  "sqlite_sequence write",
  "EXPLAIN",
  "PRAGMA foreign_keys",
  "PRAGMA recursive_triggers",
  "PRAGMA write",
  "PRAGMA incremental_vacuum",
  "PRAGMA read",
  "refused",
  ...CONFLICTS.map((clause) => `INSERT OR ${clause}`),
  ...CONFLICTS.map((clause) => `UPDATE OR ${clause}`),
];

const EVENT_KINDS = [
  "entry",
  "request of several statements",
  "script",
  "setting of the cluster",
  "batch that goes on",
  "failed statement of a batch that goes on",
  "transaction committed",
  "transaction rolled back",
  "failed step of a transaction",
  "nested transaction released",
  "nested transaction rolled back",
  "answer without an entry",
  "failed request",
  "failed request, in the middle of a batch",
  "failed request in a session",
  "failed ANALYZE",
  "ANALYZE rolled back in a nested transaction",
  ...CONFLICTS.map((clause) => `failed OR ${clause}`),
  "writer given up",
  "failed with CONSTRAINT_UNIQUE",
  "failed with CONSTRAINT_CHECK",
  "failed with CONSTRAINT_FOREIGNKEY",
  "failed with CONSTRAINT_NOTNULL",
  "failed with CONSTRAINT_TRIGGER",
  "failed with CONSTRAINT_DATATYPE",
  "commit",
  "range checksum",
  "whole pass of range checksums",
  "leadership lost",
  "entries thrown away",
  "handover",
  "clock ran back",
  "follower restart",
  "follower started again behind every entry",
  "follower re-seeded behind every entry",
  "leader with auto_vacuum",
  "follower re-seeded from a file",
  "follower re-seeded from a backup",
  "follower with one statement in its cache",
];

export const REQUIRED: readonly string[] = [
  ...SCHEMA_KINDS.map((kind) => `schema: ${kind}`),
  ...STATEMENT_KINDS,
  ...POSITIONS.map((position) => `date in ${position}`),
  ...POSITIONS.filter((position) => position !== "check").map((p) => `random in ${p}`),
  ...EVENT_KINDS.map((kind) => `event: ${kind}`),
];
