/** Which way `balsa sql` sends what it is given. */

import { expect, test } from "vitest";
import { kindOf, type SqlKind } from "../../src/cli/sql.ts";

const CASES: { readonly [kind in SqlKind]: readonly string[] } = {
  nothing: ["", "  \n", ";;", "-- only a comment", "/* only */ ; /* comments"],
  read: [
    "SELECT 1",
    "  -- first\n select 1;",
    "VALUES (1), (2);",
    "EXPLAIN QUERY PLAN SELECT 1",
    "PRAGMA table_info(t)",
    "PRAGMA foreign_keys",
    "PRAGMA user_version",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    "SELECT ';', \";\", [;], `;` -- ; \n /* ; */",
    "SELECT 'it''s; fine'",
    "INSERT INTO t VALUES (1) RETURNING id",
  ],
  write: [
    "INSERT INTO t VALUES (';')",
    "PRAGMA foreign_keys = OFF;",
    "PRAGMA main.user_version=3",
    "PRAGMA foreign_keys(0)",
    "PRAGMA incremental_vacuum",
    "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
    "CREATE TABLE t (a)",
    "DROP TABLE t;",
    "ALTER TABLE t RENAME TO u",
    "ANALYZE",
  ],
  script: [
    "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
    "SELECT 1; SELECT 2;",
    "CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM t; END",
  ],
};

for (const [kind, texts] of Object.entries(CASES)) {
  test.each(texts)(`${kind}: %j`, (text) => expect(kindOf(text)).toBe(kind));
}
