/** Whether two files hold the same, and where they differ if not. */

import Database from "better-sqlite3";
import { readContent } from "../../src/machine/content-digest.ts";

export interface FileFacts {
  readonly digest: string;
  /** By table: rows and a hash of them. */
  readonly tables: ReadonlyMap<string, string>;
  readonly integrity: string;
}

const KEEP_TABLES = "name NOT LIKE 'balsa@_meta' ESCAPE '@'";

/** Content as users see it, and beneath: shadow tables, the answers that sessions remember. */
export function factsOf(path: string): FileFacts {
  const database = new Database(path, { readonly: true });
  database.defaultSafeIntegers(true);
  try {
    const { digest, schemaHash, tables } = readContent(database);
    const found = new Map<string, string>([["the schema", schemaHash]]);
    for (const { name, rows, hash } of tables) found.set(name, `${rows} rows, ${hash}`);
    const beneath = database
      .prepare<unknown[], string>(
        `SELECT name FROM pragma_table_list WHERE schema = 'main'
         AND (type = 'shadow' OR name = 'balsa_session') AND ${KEEP_TABLES} ORDER BY 1`,
      )
      .pluck()
      .all();
    for (const name of beneath) found.set(name, dump(database, name));
    const integrity = String(database.pragma("integrity_check(3)", { simple: true }));
    return { digest, tables: found, integrity };
  } finally {
    database.close();
  }
}

/**
 * FTS5's structure record (row 10 of its `_data`) begins with a counter of configurations, by which connections notice a new
 * one. A rebuild as the first thing that a connection does sets it back; what else there is does not depend on it.
 */
function dump(database: Database.Database, name: string): string {
  const select = name.endsWith("_data")
    ? `SELECT id, CASE id WHEN 10 THEN substr(block, 5) ELSE block END FROM "${name}"`
    : `SELECT * FROM "${name}"`;
  const rows = database.prepare(select).raw().all();
  return JSON.stringify(rows, (_key, value) => (typeof value === "bigint" ? `${value}` : value));
}

/** What differs, in words; empty if nothing does. */
export function differences(expected: FileFacts, found: FileFacts): string[] {
  const names = new Set([...expected.tables.keys(), ...found.tables.keys()]);
  const differing = [...names].filter(
    (name) => expected.tables.get(name) !== found.tables.get(name),
  );
  if (differing.length === 0 && expected.digest !== found.digest) differing.push("the digest");
  return differing;
}

/** Rows of a table that stand in one file only, for a message. */
export function rowsApart(pathA: string, pathB: string, table: string): string {
  const read = (path: string) => {
    const database = new Database(path, { readonly: true });
    database.defaultSafeIntegers(true);
    try {
      const rows = database.prepare(`SELECT * FROM "${table}"`).raw().all();
      return rows.map((row) =>
        JSON.stringify(row, (_k, v) => (typeof v === "bigint" ? `${v}` : v)),
      );
    } catch (error) {
      return [String(error)];
    } finally {
      database.close();
    }
  };
  const [a, b] = [read(pathA), read(pathB)];
  const only = (left: string[], right: string[]) =>
    left.filter((row) => !right.includes(row)).slice(0, 4);
  return `leader only: ${only(a, b).join(" ")} | follower only: ${only(b, a).join(" ")}`.slice(
    0,
    1500,
  );
}
