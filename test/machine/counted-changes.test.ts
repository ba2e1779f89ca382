/**
 * The digest of a request holds how many rows it changed, as SQLite's total_changes() tells it. Where SQLite is not asked,
 * because the request can be seen to have changed no others, the number must be the same.
 */

import { crc32 } from "node:zlib";
import type { Database } from "better-sqlite3";
import { expect, test } from "vitest";
import { DeterministicFunctions } from "../../src/machine/deterministic-functions.ts";
import { RequestExecutor } from "../../src/machine/request-executor.ts";
import { openWriterConnection } from "../../src/machine/writer-connection.ts";
import { DEFAULT_LIMITS } from "../../src/sql/limits.ts";
import { decodeBatch, encodeBatch } from "../../src/wire/statement-codec.ts";

const TABLES = "CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, k UNIQUE, v)";
const NO_ROWIDS = "CREATE TABLE w (k PRIMARY KEY, v) WITHOUT ROWID";
const SET_NULL = "CREATE TABLE c (p REFERENCES a(id) ON DELETE SET NULL)";
const TRIGGER =
  "CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET v = 1 WHERE id <> NEW.id; END";
const FTS = "CREATE VIRTUAL TABLE f USING fts5(text)";
const FILLED = "INSERT INTO a(k, v) VALUES (1, 1), (2, 2), (3, 3)";

function digestOf(result: Uint8Array, changes: bigint, statements: number): number {
  const tail = Buffer.alloc(16);
  tail.writeBigInt64LE(changes, 0);
  tail.writeUInt32LE(statements, 8);
  return crc32(tail, crc32(result));
}

function totalOf(database: Database): bigint {
  return database.prepare<unknown[], bigint>("SELECT total_changes()").pluck(true).get() ?? 0n;
}

test.each([
  ["rows are inserted", [TABLES], [FILLED]],
  ["a row is replaced", [TABLES, FILLED], ["REPLACE INTO a(k, v) VALUES (1, 9)"]],
  ["two conflicts are one row", [TABLES, FILLED], ["INSERT OR REPLACE INTO a VALUES (2, 3, 0)"]],
  ["a conflict is ignored", [TABLES, FILLED], ["INSERT OR IGNORE INTO a(k) VALUES (1)"]],
  [
    "an upsert updates",
    [TABLES, FILLED],
    ["INSERT INTO a(k) VALUES (1) ON CONFLICT DO UPDATE SET v = 5"],
  ],
  [
    "rows are updated, then none",
    [TABLES, FILLED],
    ["UPDATE a SET v = v + 1", "UPDATE a SET v = 1 WHERE k = 99"],
  ],
  ["all rows are deleted", [TABLES, FILLED], ["DELETE FROM a", "DELETE FROM a"]],
  [
    "rows have no rowid",
    [NO_ROWIDS],
    ["INSERT INTO w VALUES (1, 1)", "UPDATE w SET k = 2", "DELETE FROM w"],
  ],
  [
    "a foreign key sets NULL",
    [TABLES, SET_NULL, FILLED, "INSERT INTO c VALUES (1), (1), (2)"],
    ["DELETE FROM a"],
  ],
  ["a trigger changes more", [TABLES, TRIGGER], [FILLED]],
  ["a text is indexed", [FTS], ["INSERT INTO f VALUES ('one two')"]],
  [
    "rows are returned",
    [TABLES],
    ["INSERT INTO a(k) VALUES (1) RETURNING id", FILLED.replace("1, 1", "7, 7")],
  ],
  ["only reading", [TABLES, FILLED], ["SELECT * FROM a"]],
])("the digest counts as SQLite does when %s", (_name, schema, requests) => {
  const database = openWriterConnection(":memory:");
  database.pragma("foreign_keys = ON");
  for (const sql of schema) database.exec(sql);
  const functions = new DeterministicFunctions();
  functions.register(database);
  const executor = new RequestExecutor(database, {
    functions,
    flush: () => {},
    preparedStatements: 10,
    undeclared: null,
  });
  database.exec("BEGIN");
  for (const sql of requests) {
    functions.beginRequest(1, 2, 3);
    const bytes = encodeBatch([{ sql }]);
    const before = totalOf(database);
    const bounds = { limits: DEFAULT_LIMITS, resultBytesMax: 1_000_000 };
    const outcome = executor.run(decodeBatch(bytes), bytes.length, bounds);
    if (outcome.kind !== "done") throw new Error(JSON.stringify(outcome));
    expect(outcome.digest).toBe(digestOf(outcome.result, totalOf(database) - before, 1));
  }
  database.close();
});
