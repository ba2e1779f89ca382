/** What counts as the same content, and what does not. */

import { closeSync, openSync, writeSync } from "node:fs";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { contentDigest, readFileContent, readTables } from "../../src/machine/content-digest.ts";
import { freshPath } from "./support/machine-harness.ts";

const SCHEMA = `
  CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, v);
  CREATE TABLE w (a TEXT, b, PRIMARY KEY (a, b)) WITHOUT ROWID;
  CREATE VIRTUAL TABLE f USING fts5(text);
  CREATE VIRTUAL TABLE r USING rtree(id, x0, x1);
  CREATE TABLE balsa_meta (id);
`;
const ROWS = [
  "INSERT INTO t(v) VALUES (1), (2.0), ('3'), (x'04'), (NULL)",
  "INSERT INTO w VALUES ('b', 1), ('a', 2)",
  "INSERT INTO f VALUES ('hello world'), ('hello again')",
  "INSERT INTO r VALUES (1, 0, 1), (2, 5, 6)",
];

function fileWith(...statements: string[]): string {
  const path = freshPath();
  const database = new Database(path);
  database.pragma("synchronous = OFF");
  database.unsafeMode(true);
  for (const statement of [SCHEMA, ...statements]) database.exec(statement);
  database.close();
  return path;
}

const digestOf = (path: string) => readFileContent(path).digest;

test("the layout of pages does not count, nor what Balsa keeps for itself", () => {
  const plain = fileWith(...ROWS);
  const churned = fileWith(
    "CREATE TABLE gone AS WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i+1 FROM n WHERE i<999) SELECT * FROM n",
    ...ROWS.toReversed(),
    "DROP TABLE gone",
    "INSERT INTO f(f) VALUES ('optimize')",
    "INSERT INTO balsa_meta VALUES (7)",
  );
  expect(readFileContent(churned)).toStrictEqual(readFileContent(plain));
});

test.each([
  ["a row", "INSERT INTO t(v) VALUES (6)"],
  ["a value", "UPDATE t SET v = 9 WHERE id = 1"],
  ["a value's kind", "UPDATE t SET v = 1.0 WHERE id = 1"],
  ["text or blob", "UPDATE t SET v = '\u0004' WHERE id = 4"],
  ["a rowid", "UPDATE t SET id = 77 WHERE id = 5"],
  ["a key without rowid", "UPDATE w SET b = 3 WHERE a = 'a'"],
  ["AUTOINCREMENT's counter", "INSERT INTO t(v) VALUES (1); DELETE FROM t WHERE id = 6"],
  ["an indexed text", "UPDATE f SET text = 'other' WHERE rowid = 1"],
  ["a box", "UPDATE r SET x1 = 2 WHERE id = 1"],
  ["the schema", "CREATE INDEX i ON t(v)"],
  ["user_version", "PRAGMA user_version = 3"],
])("%s counts", (_what, statement) => {
  expect(digestOf(fileWith(...ROWS, statement))).not.toBe(digestOf(fileWith(...ROWS)));
});

test("an index that no longer fits its content counts", () => {
  const external = [
    "CREATE TABLE c (id INTEGER PRIMARY KEY, text)",
    "CREATE VIRTUAL TABLE fc USING fts5(text, content = 'c', content_rowid = 'id')",
    "INSERT INTO c VALUES (1, 'hello')",
  ];
  const good = fileWith(...external, "INSERT INTO fc(rowid, text) VALUES (1, 'hello')");
  const bad = fileWith(...external, "INSERT INTO fc(rowid, text) VALUES (1, 'other')");
  expect(digestOf(bad)).not.toBe(digestOf(good));
});

test("a virtual table that cannot be read is told from one that can", () => {
  const external = [
    "CREATE TABLE c (id INTEGER PRIMARY KEY, text)",
    "CREATE VIRTUAL TABLE fc USING fts5(text, content = 'c', content_rowid = 'id')",
    "INSERT INTO c VALUES (1, 'hello')",
  ];
  const gone = fileWith(...external, "DROP TABLE c");
  expect(digestOf(gone)).toBe(digestOf(fileWith(...external, "DROP TABLE c")));
  const row = (path: string) => readFileContent(path).tables.find(({ name }) => name === "fc");
  expect(row(gone)).not.toStrictEqual(row(fileWith(...external)));
});

test("it leaves nothing behind in the connection", () => {
  const database = new Database(fileWith(...ROWS), { readonly: true });
  expect(contentDigest(database)).toBe(contentDigest(database));
  expect(database.inTransaction).toBe(false);
  expect(database.prepare("SELECT count(*) AS n FROM sqlite_temp_schema").get()).toEqual({ n: 0 });
  database.close();
});

test("odd names, and columns that hide the rowid", () => {
  const odd =
    'CREATE TABLE "a""b" (rowid, _rowid_, oid); INSERT INTO "a""b" VALUES (2, 1, 1), (1, 2, 2)';
  const names = readFileContent(fileWith(odd)).tables.map(({ name, rows }) => [name, rows]);
  expect(names).toContainEqual(['a"b', 2]);
});

const beneath = (path: string) => {
  const database = new Database(path, { readonly: true });
  try {
    return new Map([...readTables(database, { beneath: true })].map((one) => [one.name, one.hash]));
  } finally {
    database.close();
  }
};

function differing(left: string, right: string): string[] {
  const [a, b] = [beneath(left), beneath(right)];
  expect([...a.keys()]).toEqual([...b.keys()]);
  return [...a.keys()].filter((name) => a.get(name) !== b.get(name));
}

test("beneath, shadow tables and sessions count, and text by its bytes", () => {
  const own =
    "CREATE TABLE balsa_session (id, answers); INSERT INTO balsa_session VALUES (1, x'00')";
  const plain = fileWith(...ROWS, own);
  expect(differing(plain, fileWith(...ROWS, own))).toEqual([]);
  const cases: readonly [change: string, tables: string[]][] = [
    ["UPDATE balsa_session SET answers = x'01'", ["balsa_session"]],
    ["UPDATE r_node SET data = CAST(data || x'00' AS BLOB)", ["r_node"]],
    ["UPDATE f_docsize SET sz = x'09' WHERE id = 1", ["f_docsize"]],
  ];
  for (const [change, tables] of cases) {
    expect(differing(plain, fileWith(...ROWS, own, change)), change).toEqual(tables);
  }
  const text = (byte: string) => fileWith(`INSERT INTO t(v) VALUES (CAST(x'61${byte}' AS TEXT))`);
  expect(differing(text("ff"), text("fe"))).toEqual(["t"]);
});

test("a byte in the midst of a value that is too large to be held counts", () => {
  const large = (byte: string) => {
    return fileWith(
      "INSERT INTO t(v) VALUES (zeroblob(9000000)), ('small')",
      `UPDATE t SET v = CAST(v || x'${byte}' || zeroblob(9000000) AS BLOB) WHERE id = 1`,
      "CREATE TABLE x (k TEXT COLLATE NOCASE PRIMARY KEY, v) WITHOUT ROWID",
      `INSERT INTO x VALUES ('k', CAST(zeroblob(17000000) || x'${byte}' AS TEXT))`,
    );
  };
  expect(differing(large("01"), large("01"))).toEqual([]);
  expect(differing(large("01"), large("02"))).toEqual(["t", "x"]);
});

test("what cannot be read is told, and the rest all the same", () => {
  const path = fileWith(...ROWS);
  const database = new Database(path);
  const page = database
    .prepare("SELECT rootpage FROM sqlite_schema WHERE name = 't'")
    .pluck()
    .get();
  database.close();
  const file = openSync(path, "r+");
  writeSync(file, Buffer.from([0xff]), 0, 1, (Number(page) - 1) * 4_096);
  closeSync(file);
  const found = beneath(path);
  expect(found.get("t")).toBe("unreadable: SQLITE_CORRUPT");
  expect(found.get("w")).toMatch(/^[0-9a-f]{64}$/);
});
