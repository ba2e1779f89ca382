/** Which statements can give no second row, whatever the tables hold. */

import Database from "better-sqlite3";
import { afterAll, expect, test } from "vitest";
import { givesNoSecondRow, type Instruction } from "../../src/machine/read-plans.ts";

const database = new Database(":memory:").defaultSafeIntegers(true);
database.exec(`
  CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b REAL, c);
  CREATE INDEX t_c ON t(c);
  CREATE TABLE w (k TEXT PRIMARY KEY, v) WITHOUT ROWID;
  CREATE TABLE u (id INTEGER PRIMARY KEY, t REFERENCES t);
  CREATE VIRTUAL TABLE f USING fts5(x);
`);

afterAll(() => database.close());

function isSingle(sql: string): boolean {
  const values = Array.from(sql.match(/\?/g) ?? [], () => null);
  const program = database.prepare<unknown[], Instruction>(`EXPLAIN ${sql}`).all(...values);
  return givesNoSecondRow(program);
}

test.each([
  "SELECT * FROM t WHERE id = ?",
  "SELECT a, b + 1 FROM t WHERE id = 5 LIMIT 1",
  "SELECT b FROM t WHERE a = ?",
  "SELECT b FROM t WHERE id = ? AND a LIKE ?",
  "SELECT v FROM w WHERE k = ?",
  "SELECT t.a FROM u JOIN t ON t.id = u.t WHERE u.id = ?",
  "SELECT CASE WHEN a IS NULL THEN b ELSE c END, coalesce(a, b) FROM t WHERE id = ?",
  "SELECT count(*) FROM t WHERE id = ?",
  "SELECT 1",
])("one row at most: %s", (sql) => expect(isSingle(sql)).toBe(true));

test.each([
  "SELECT * FROM t",
  "SELECT * FROM t WHERE c = ?",
  "SELECT * FROM t WHERE id > ?",
  "SELECT * FROM t WHERE id = ? OR id = 2",
  "SELECT * FROM t WHERE id IN (1, 2)",
  "SELECT * FROM w WHERE k > ? LIMIT 2",
  "SELECT 1 UNION ALL SELECT 2",
  "VALUES (1), (2)",
  "SELECT * FROM f WHERE x MATCH ?",
  "SELECT * FROM json_each(?)",
  "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT i FROM n",
  "SELECT t.id FROM t JOIN u ON u.t = t.id WHERE t.id = ?",
  "SELECT id FROM t WHERE id = ? UNION ALL SELECT id FROM u",
])("perhaps more: %s", (sql) => expect(isSingle(sql)).toBe(false));

test("what is not known is taken for a loop, and so is a jump back", () => {
  const program = (opcode: string, p2: bigint): Instruction[] => [
    { addr: 0n, opcode: "Init", p2: 3n },
    { addr: 1n, opcode, p2 },
    { addr: 2n, opcode: "ResultRow", p2: 1n },
    { addr: 3n, opcode: "Goto", p2: 1n },
  ];
  expect(givesNoSecondRow(program("Column", 0n))).toBe(true);
  expect(givesNoSecondRow(program("Eq", 2n))).toBe(true);
  expect(givesNoSecondRow(program("Eq", 0n))).toBe(false);
  expect(givesNoSecondRow(program("Goto", 1n))).toBe(false);
  expect(givesNoSecondRow(program("Unheard", 2n))).toBe(false);
  expect(givesNoSecondRow(program("ResultRow", 1n))).toBe(false);
});
