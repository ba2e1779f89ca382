/** Reads in chunks, each query on a snapshot of its own. */

import { expect, test } from "vitest";
import { ReadExecutor } from "../../src/machine/read-executor.ts";
import { STEP_ANSWER } from "../../src/machine/step-answer.ts";
import type { Failure } from "../../src/sql/errors.ts";
import { DEFAULT_LIMITS } from "../../src/sql/limits.ts";
import { decodeFailure } from "../../src/wire/failure-codec.ts";
import {
  type DecodedResult,
  decodeBatchResult,
  decodeRowChunk,
} from "../../src/wire/result-codec.ts";
import { encodeBatch, encodeScript, encodeStatement } from "../../src/wire/statement-codec.ts";
import { openReader, readAll, TestLeader } from "./support/machine-harness.ts";

const NUMBERS = "WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 10000) ";

function leaderWithTable(): TestLeader {
  const leader = new TestLeader();
  leader.exec(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'a'), (2, 'b')",
  );
  leader.commit();
  return leader;
}

test("rows come in chunks of about the size asked for, columns in the first", () => {
  const reader = openReader(leaderWithTable().path, 1000);
  let chunk = reader.start(encodeStatement({ sql: `${NUMBERS} SELECT i AS x, 'text' FROM n` }));
  const sizes: number[] = [];
  const found: unknown[] = [];
  for (let first = true; ; first = false) {
    const { columns, rows } = decodeRowChunk(chunk.bytes, "auto");
    expect(columns).toStrictEqual(first ? ["x", "'text'"] : []);
    found.push(...rows.map(([x]) => x));
    sizes.push(chunk.bytes.length);
    if (chunk.done) break;
    chunk = reader.next();
  }
  expect(found).toStrictEqual(Array.from({ length: 10_000 }, (_, i) => i + 1));
  expect(Math.max(...sizes)).toBeLessThan(1100);
  expect(sizes.length).toBeGreaterThan(100);
});

test("no rows: one chunk with the columns", () => {
  const reader = openReader(leaderWithTable().path);
  const chunk = reader.start(encodeStatement({ sql: "SELECT * FROM t WHERE id = 9" }));
  expect(chunk.done).toBe(true);
  expect(decodeRowChunk(chunk.bytes, "auto")).toStrictEqual({ columns: ["id", "v"], rows: [] });
});

test("a query under way keeps its snapshot; the next one sees what was written since", () => {
  const leader = leaderWithTable();
  const reader = openReader(leader.path, 1);
  const first = reader.start(encodeStatement({ sql: "SELECT v FROM t" }));
  leader.run("UPDATE t SET v = 'new'");
  leader.commit();
  expect(decodeRowChunk(first.bytes, "auto").rows).toStrictEqual([["a"]]);
  expect(decodeRowChunk(reader.next().bytes, "auto").rows).toStrictEqual([["b"]]);
  expect(reader.next().done).toBe(true);
  const again = reader.start(encodeStatement({ sql: "SELECT v FROM t" }));
  expect(decodeRowChunk(again.bytes, "auto").rows).toStrictEqual([["new"]]);
  reader.stop();
});

test("queries under one snapshot see the same, whatever is written meanwhile; after it they see all", () => {
  const leader = leaderWithTable();
  const reader = openReader(leader.path);
  const count = () => readAll(reader, "SELECT count(*) AS n FROM t");
  reader.hold();
  expect(count()).toStrictEqual([{ n: 2 }]);
  leader.exec("DELETE FROM t");
  leader.commit();
  expect(count()).toStrictEqual([{ n: 2 }]);
  expect(() => readAll(reader, "SELECT absent")).toThrow("no such column");
  expect(count()).toStrictEqual([{ n: 2 }]);
  reader.release();
  reader.release();
  expect(count()).toStrictEqual([{ n: 0 }]);
});

test("a query that is stopped lets its snapshot go", () => {
  const leader = leaderWithTable();
  const reader = openReader(leader.path, 1);
  reader.start(encodeStatement({ sql: "SELECT * FROM t" }));
  leader.run("UPDATE t SET v = 'x'");
  leader.commit();
  expect(leader.core.checkpoint()).toMatchObject({ complete: false });
  reader.stop();
  expect(leader.core.checkpoint()).toMatchObject({ complete: true });
  reader.stop();
});

test("a query that fails in its middle ends, and the next one works", () => {
  const leader = leaderWithTable();
  const reader = openReader(leader.path, 1);
  const overflow = "SELECT CASE id WHEN 1 THEN 1 ELSE abs(-9223372036854775808) END FROM t";
  expect(reader.start(encodeStatement({ sql: overflow })).done).toBe(false);
  expect(() => reader.next()).toThrow(
    expect.objectContaining({ name: "SqlError", code: "SQLITE_ERROR" }),
  );
  expect(readAll(reader, "SELECT count(*) AS n FROM t")).toStrictEqual([{ n: 2 }]);
});

test("columns follow the schema, though the statement was prepared under another", () => {
  const leader = leaderWithTable();
  const reader = openReader(leader.path);
  expect(readAll(reader, "SELECT * FROM t WHERE id = 1")).toStrictEqual([{ id: 1, v: "a" }]);
  leader.exec("ALTER TABLE t RENAME COLUMN v TO w; ALTER TABLE t ADD COLUMN x DEFAULT 5");
  leader.commit();
  expect(readAll(reader, "SELECT * FROM t WHERE id = 1")).toStrictEqual([{ id: 1, w: "a", x: 5 }]);
  leader.exec("DROP TABLE t; CREATE TABLE t (id TEXT)");
  leader.commit();
  expect(readAll(reader, "SELECT * FROM t WHERE id = 1")).toStrictEqual([]);
});

test("a row that would keep the node from everything else is refused", () => {
  const { path } = leaderWithTable();
  const reader = ReadExecutor.open({ path, limits: { ...DEFAULT_LIMITS, resultBytes: 200_000 } });
  const huge = encodeStatement({ sql: "SELECT 1 UNION ALL SELECT zeroblob(300000)" });
  expect(() => reader.start(huge)).toThrow(/one row has more than resultBytes allows \(200000\)/);
  const many = encodeStatement({ sql: `${NUMBERS} SELECT zeroblob(100000) FROM n LIMIT 5` });
  expect(reader.start(many).done).toBe(false);
  reader.close();
});

test("it sees nothing of an open transaction", () => {
  const leader = leaderWithTable();
  const reader = openReader(leader.path);
  leader.run("DELETE FROM t");
  expect(readAll(reader, "SELECT count(*) AS n FROM t")).toStrictEqual([{ n: 2 }]);
});

test("values keep their kind", () => {
  const reader = openReader(leaderWithTable().path);
  const sql = "SELECT 1 AS a, 1.0 AS b, 9007199254740993 AS c, 'é' AS d, x'00ff' AS e, NULL AS f";
  expect(readAll(reader, sql)).toStrictEqual([
    { a: 1, b: 1, c: 9007199254740993n, d: "é", e: new Uint8Array([0, 255]), f: null },
  ]);
});

test("under one schema a statement's columns and whether it gives one row are known; another schema is noticed at once", () => {
  const leader = leaderWithTable();
  const reader = openReader(leader.path);
  const read = (id: number) => {
    reader.hold();
    const rows = readAll(reader, "SELECT * FROM t WHERE id = ?", [id]);
    reader.release();
    return rows;
  };
  for (let times = 0; times < 4; times += 1) {
    expect(read(2)).toStrictEqual([{ id: 2, v: "b" }]);
    expect(read(3)).toStrictEqual([]);
  }
  leader.exec("ALTER TABLE t ADD COLUMN w DEFAULT 'new'; ALTER TABLE t RENAME COLUMN v TO u");
  leader.commit();
  for (let times = 0; times < 4; times += 1) {
    expect(read(2)).toStrictEqual([{ id: 2, u: "b", w: "new" }]);
  }
  // The key is none any more, and there may be two rows.
  leader.exec("DROP TABLE t; CREATE TABLE t (id, v); INSERT INTO t VALUES (2, 'x'), (2, 'y')");
  leader.commit();
  for (let times = 0; times < 4; times += 1) {
    expect(read(2)).toStrictEqual([
      { id: 2, v: "x" },
      { id: 2, v: "y" },
    ]);
  }
});

test("a row by key that is larger than a chunk comes whole; one beyond the limit is refused", () => {
  const leader = leaderWithTable();
  leader.exec("INSERT INTO t VALUES (3, hex(zeroblob(5000)))");
  leader.commit();
  const limits = { ...DEFAULT_LIMITS, resultBytes: 2000 };
  const reader = ReadExecutor.open({ path: leader.path, chunkBytes: 1000, limits });
  const large = openReader(leader.path, 1000);
  for (let times = 0; times < 4; times += 1) {
    for (const one of [reader, large]) one.hold();
    const sql = "SELECT v FROM t WHERE id = ?";
    expect(readAll(large, sql, [3])).toStrictEqual([{ v: "00".repeat(5000) }]);
    expect(() => readAll(reader, sql, [3])).toThrow(/resultBytes/);
    expect(readAll(reader, sql, [1])).toStrictEqual([{ v: "a" }]);
    for (const one of [reader, large]) one.release();
  }
  reader.close();
});

/** What a step of a snapshot is answered with. */
function answerOf(reader: ReadExecutor, batch: Uint8Array): DecodedResult[] | Failure {
  const { bytes } = reader.next(batch);
  const rest = bytes.subarray(1);
  return bytes[0] === STEP_ANSWER.failure ? decodeFailure(rest) : decodeBatchResult(rest, "auto");
}

test("a snapshot is one moment for all its steps, whatever is written meanwhile", () => {
  const leader = leaderWithTable();
  const reader = openReader(leader.path);
  reader.start(new Uint8Array(0));
  const count = encodeBatch([{ sql: "SELECT count(*) AS n FROM t" }]);
  const seen = { columns: ["n"], rows: [{ n: 2 }] };
  // What comes between was not looked at before.
  leader.run("INSERT INTO t VALUES (3, 'c')");
  leader.exec("ALTER TABLE t ADD COLUMN w; CREATE TABLE u (a)");
  leader.commit();
  expect(answerOf(reader, count)).toMatchObject([seen]);
  leader.exec("DROP TABLE t");
  leader.commit();
  expect(answerOf(reader, count)).toMatchObject([seen]);
  const all = encodeBatch([{ sql: "SELECT * FROM t" }, { sql: "SELECT * FROM u" }]);
  expect(answerOf(reader, all)).toMatchObject({ code: "SQLITE_ERROR", statementIndex: 1 });
  reader.stop();
  reader.start(new Uint8Array(0));
  expect(answerOf(reader, count)).toMatchObject({ message: "no such table: t" });
  reader.stop();
});

test("a snapshot's step holds the limits of a request", () => {
  const limits = { ...DEFAULT_LIMITS, statements: 3, parameters: 2, statementBytes: 40 };
  const reader = ReadExecutor.open({ path: leaderWithTable().path, limits });
  reader.start(new Uint8Array(0));
  const one = { sql: "SELECT 1" };
  const beyond: [Buffer, string, number][] = [
    [encodeBatch([one, { sql: "SELECT ?, ?, ?", args: [1, 2, 3] }]), "parameters", 1],
    [encodeBatch([one, { sql: `SELECT '${"x".repeat(40)}'` }]), "statementBytes", 1],
    [encodeBatch([one, one, one, one]), "statements", 0],
    [encodeScript("SELECT 1; SELECT 2; SELECT 3; SELECT 4"), "statements", 0],
  ];
  for (const [batch, limit, statementIndex] of beyond) {
    const failure = { code: "LIMIT_EXCEEDED", facts: { limit }, statementIndex };
    expect(answerOf(reader, batch), limit).toMatchObject(failure);
  }
  expect(answerOf(reader, encodeBatch([one, one]))).toHaveLength(2);
  reader.stop();
  reader.close();
});
