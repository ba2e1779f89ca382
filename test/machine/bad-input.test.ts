/** Whatever a caller sends gets its own clear answer, and leaves nothing behind. */

import { describe, expect, test } from "vitest";
import { DEFAULT_LIMITS } from "../../src/sql/limits.ts";
import type { Statement } from "../../src/sql/statement.ts";
import { encodeBatch, encodeScript, encodeStatement } from "../../src/wire/statement-codec.ts";
import { failureOf, onlyResult, openReader, TestLeader } from "./support/machine-harness.ts";

const UNBOUNDED = {
  ...DEFAULT_LIMITS,
  statementBytes: 1e9,
  valueBytes: 1e9,
  requestBytes: 1e9,
  statements: 1e9,
};

function leaderWithTable(): TestLeader {
  const leader = new TestLeader();
  leader.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE, CHECK (a <> 13))");
  return leader;
}

describe("statements", () => {
  test.each<[string, Statement, string, RegExp]>([
    ["no SQL", { sql: "SELEC 1" }, "SQLITE_ERROR", /near "SELEC": syntax error/],
    ["an unclosed quote", { sql: "SELECT 'x" }, "SQLITE_ERROR", /unrecognized token/],
    ["an unknown table", { sql: "INSERT INTO nosuch VALUES (1)" }, "SQLITE_ERROR", /no such table/],
    ["an unknown function", { sql: "SELECT nosuch(1)" }, "SQLITE_ERROR", /no such function/],
    ["a double-quoted string", { sql: 'SELECT "x"' }, "SQLITE_ERROR", /no such column/],
    ["nothing", { sql: "" }, "INVALID_ARGUMENT", /the statement is empty/],
    ["only a comment", { sql: "-- hello" }, "INVALID_ARGUMENT", /has only comments/],
    ["only a semicolon", { sql: ";" }, "INVALID_ARGUMENT", /has only comments/],
    ["two statements", { sql: "SELECT 1; SELECT 2" }, "INVALID_ARGUMENT", /use exec\(\)/],
    ["a NUL", { sql: "SELECT 1\0; DROP TABLE t" }, "INVALID_ARGUMENT", /NUL character/],
    [
      "too few values",
      { sql: "SELECT ?, ?", args: [1] },
      "INVALID_ARGUMENT",
      /has 2 parameters, 1 was given/,
    ],
    [
      "too many values",
      { sql: "SELECT ?", args: [1, 2] },
      "INVALID_ARGUMENT",
      /has 1 parameter, 2 were given/,
    ],
    [
      "values for none",
      { sql: "SELECT 1", args: [1] },
      "INVALID_ARGUMENT",
      /has 0 parameters, 1 was given/,
    ],
    [
      "names for none",
      { sql: "SELECT 1", args: { a: 1 } },
      "INVALID_ARGUMENT",
      /values by name were given/,
    ],
    [
      "a missing name",
      { sql: "SELECT :a, @b", args: { a: 1 } },
      "INVALID_ARGUMENT",
      /no value for the parameter b/,
    ],
    [
      "values for names",
      { sql: "SELECT :a", args: [1] },
      "INVALID_ARGUMENT",
      /names its parameters \(a\)/,
    ],
    ["names for values", { sql: "SELECT ?", args: { a: 1 } }, "INVALID_ARGUMENT", /without a name/],
    [
      "a missing __proto__",
      { sql: "SELECT :__proto__", args: { a: 1 } },
      "INVALID_ARGUMENT",
      /__proto__/,
    ],
    [
      "a unique key twice",
      { sql: "INSERT INTO t(a) VALUES (1), (1)" },
      "SQLITE_CONSTRAINT_UNIQUE",
      /t\.a/,
    ],
    [
      "a failing CHECK",
      { sql: "INSERT INTO t(a) VALUES (13)" },
      "SQLITE_CONSTRAINT_CHECK",
      /CHECK/,
    ],
    [
      "an integer overflow",
      { sql: "SELECT abs(-9223372036854775808)" },
      "SQLITE_ERROR",
      /overflow/,
    ],
    ["a text as rowid", { sql: "INSERT INTO t(id) VALUES ('x')" }, "SQLITE_MISMATCH", /mismatch/],
    ["a huge blob from within", { sql: "SELECT zeroblob(2000000000)" }, "SQLITE_TOOBIG", /too big/],
    ["too deep", { sql: `SELECT ${"1+".repeat(1500)}1` }, "SQLITE_ERROR", /too large/],
    ["BEGIN", { sql: "BEGIN" }, "REFUSED", /one batch or script/],
    ["BEGIN behind a comment", { sql: "/* x */ begin immediate" }, "REFUSED", /BEGIN/],
    ["COMMIT", { sql: "COMMIT" }, "REFUSED", /COMMIT is not allowed/],
    ["END", { sql: "END TRANSACTION" }, "REFUSED", /END is not allowed/],
    ["ROLLBACK", { sql: "ROLLBACK" }, "REFUSED", /ROLLBACK/],
    ["SAVEPOINT", { sql: "SAVEPOINT a" }, "REFUSED", /SAVEPOINT/],
    ["RELEASE", { sql: "RELEASE balsa_request" }, "REFUSED", /RELEASE/],
    ["ATTACH", { sql: "ATTACH 'x.db' AS x" }, "REFUSED", /create the tables in this database/],
    ["DETACH", { sql: "DETACH x" }, "REFUSED", /DETACH/],
    ["VACUUM", { sql: "VACUUM" }, "REFUSED", /VACUUM/],
    ["VACUUM INTO", { sql: "VACUUM INTO 'x.db'" }, "REFUSED", /VACUUM/],
    ["PRAGMA journal_mode", { sql: "PRAGMA journal_mode=DELETE" }, "REFUSED", /always a WAL/],
    ["PRAGMA in brackets", { sql: "PRAGMA main.synchronous(0)" }, "REFUSED", /durability/],
    ["PRAGMA foreign_keys", { sql: "PRAGMA foreign_keys=maybe" }, "REFUSED", /ON or OFF/],
    ["PRAGMA writable_schema", { sql: "PRAGMA writable_schema=1" }, "REFUSED", /one node alone/],
    ["PRAGMA wal_checkpoint", { sql: "PRAGMA wal_checkpoint" }, "REFUSED", /by themselves/],
    ["PRAGMA optimize", { sql: "PRAGMA optimize" }, "REFUSED", /ANALYZE/],
    ["an unknown PRAGMA", { sql: "PRAGMA nosuch = 1" }, "REFUSED", /PRAGMA nosuch/],
  ])("%s", (_what, statement, code, message) => {
    const leader = leaderWithTable();
    const { sql, args } = statement;
    const failure = leader.fail(sql, args ?? []);
    expect(failure).toMatchObject({ code, outcome: "not-applied", statementIndex: 0 });
    expect(failure.message).toMatch(message);
    expect(leader.all("SELECT * FROM t")).toStrictEqual([]);
    expect(leader.log).toHaveLength(1);
    // The transaction is as it was: the next write is fine.
    expect(leader.run("INSERT INTO t(a) VALUES (1)").changes).toBe(1);
  });

  test("a script with BEGIN or COMMIT in it does nothing at all", () => {
    const leader = leaderWithTable();
    for (const word of ["BEGIN", "COMMIT", "ROLLBACK"]) {
      const failure = failureOf(leader.script(`INSERT INTO t(a) VALUES (5); ${word}; SELECT 1`));
      expect(failure.code).toBe("REFUSED");
    }
    expect(leader.all("SELECT * FROM t")).toStrictEqual([]);
  });

  test("the statement that failed is named", () => {
    const leader = leaderWithTable();
    const failure = failureOf(leader.script("INSERT INTO t(a) VALUES (1); -- c\n ; SELECT nosuch"));
    expect(failure).toMatchObject({ code: "SQLITE_ERROR", statementIndex: 1 });
    const batch = leader.batch([{ sql: "SELECT 1" }, { sql: "SELECT ?", args: [] }]);
    expect(failureOf(batch)).toMatchObject({ code: "INVALID_ARGUMENT", statementIndex: 1 });
    const at = (index: number, code: string) => ({ code, statementIndex: index });
    const script = leader.script("SELECT 1; SELECT 2; VACUUM; SELECT 3");
    expect(failureOf(script)).toMatchObject(at(2, "REFUSED"));
    const second = leader.batch([{ sql: "SELECT 1" }, { sql: "VACUUM" }]);
    expect(failureOf(second)).toMatchObject(at(1, "REFUSED"));
    const long = { sql: "SELECT ?", args: ["x".repeat(6.5 * 2 ** 20)] };
    const large = encodeBatch([{ sql: "SELECT 1" }, long], UNBOUNDED);
    expect(failureOf(leader.execute(large))).toMatchObject(at(1, "LIMIT_EXCEEDED"));
    // What failed before does not stick.
    expect(failureOf(leader.batch([{ sql: "VACUUM" }]))).toMatchObject(at(0, "REFUSED"));
  });

  test("parameters bind in every style, and keep their kind", () => {
    const leader = leaderWithTable();
    const kinds = "typeof(?1) AS a, typeof(?2) AS b, ?1 AS c";
    expect(leader.all(`SELECT ${kinds}`, [1, 1.5])).toStrictEqual([
      { a: "integer", b: "real", c: 1 },
    ]);
    expect(leader.all("SELECT json_array(?, :) ".replace(", :", ""), [1])).toStrictEqual([
      { "json_array(?)": "[1]" },
    ]);
    expect(leader.all("SELECT ?2 AS x, ? AS y, ?1 AS z", ["a", "b", "c"])).toStrictEqual([
      { x: "b", y: "c", z: "a" },
    ]);
    expect(
      leader.all("SELECT :a AS x, @b AS y, $c AS z", { a: 1, b: 2, c: 3, unused: 4 }),
    ).toStrictEqual([{ x: 1, y: 2, z: 3 }]);
    expect(leader.all("SELECT :constructor AS x", { constructor: 5 })).toStrictEqual([{ x: 5 }]);
    const big = 2n ** 53n + 1n;
    leader.run("INSERT INTO t(a) VALUES (?)", [big]);
    expect(leader.all("SELECT a FROM t")).toStrictEqual([{ a: big }]);
  });
});

describe("limits", () => {
  test("hold where requests arrive, whoever sent them", () => {
    const leader = leaderWithTable();
    const cases: [Uint8Array, string][] = [
      [encodeBatch([{ sql: `SELECT '${"x".repeat(2 ** 20)}'` }], UNBOUNDED), "statementBytes"],
      [
        encodeBatch([{ sql: "SELECT ?", args: ["x".repeat(6.5 * 2 ** 20)] }], UNBOUNDED),
        "valueBytes",
      ],
      [encodeBatch([{ sql: "SELECT ?", args: [new Uint8Array(1e7)] }], UNBOUNDED), "requestBytes"],
      [encodeBatch(Array(10_001).fill({ sql: "SELECT 1" }), UNBOUNDED), "statements"],
      [encodeScript("SELECT 1;".repeat(10_001), UNBOUNDED), "statements"],
      [
        encodeBatch(
          [{ sql: `SELECT ?${",?".repeat(32_766)}`, args: Array(32_767).fill(1) }],
          UNBOUNDED,
        ),
        "parameters",
      ],
    ];
    for (const [batch, limit] of cases) {
      const failure = failureOf(leader.execute(batch));
      expect(failure, limit).toMatchObject({ code: "LIMIT_EXCEEDED", facts: { limit } });
    }
  });

  test("a batch without statements, a script with parameters, bytes that are no batch", () => {
    const leader = leaderWithTable();
    expect(failureOf(leader.batch([])).code).toBe("INVALID_ARGUMENT");
    const script = Buffer.concat([
      encodeBatch([{ sql: "SELECT ?", args: [1] }]),
      Buffer.from([16, 1]),
    ]);
    expect(failureOf(leader.execute(script)).message).toMatch(/a script has no parameters/);
    expect(failureOf(leader.execute(Buffer.from([0xff]))).code).toBe("PROTOCOL");
  });

  test("rows of a write are bounded, and what exceeds the bound is not done", () => {
    const limits = { ...DEFAULT_LIMITS, resultBytes: 1000 };
    const leader = new TestLeader({ limits });
    leader.exec("CREATE TABLE t (a)");
    const many = "WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1000)";
    const failures = [
      failureOf(leader.batch([{ sql: `${many} INSERT INTO t SELECT i FROM n RETURNING a` }])),
      failureOf(
        leader.batch([
          { sql: "INSERT INTO t VALUES (1)" },
          { sql: `${many} SELECT i, 'some text' FROM n` },
        ]),
      ),
    ];
    for (const failure of failures) {
      expect(failure).toMatchObject({ code: "LIMIT_EXCEEDED", facts: { limit: "resultBytes" } });
    }
    expect(leader.all("SELECT count(*) AS n FROM t")).toStrictEqual([{ n: 0 }]);
  });
});

test("a write that changed nothing is logged: AUTOINCREMENT moves for a row that is ignored", () => {
  const leader = new TestLeader();
  leader.exec("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a UNIQUE)");
  expect(leader.batch([{ sql: "DELETE FROM t WHERE a = 99" }]).kind).toBe("proposal");
  expect(leader.batch([{ sql: "SELECT * FROM t" }, { sql: "VALUES (1)" }]).kind).toBe("answer");
});

describe("a reader", () => {
  test.each<[string, string, RegExp]>([
    ["INSERT INTO t(a) VALUES (1)", "REFUSED", /use run\(\)/],
    ["INSERT INTO t(a) VALUES (1) RETURNING id", "REFUSED", /use run\(\)/],
    ["WITH x AS (SELECT 1) DELETE FROM t", "REFUSED", /use run\(\)/],
    ["CREATE TABLE x (a)", "REFUSED", /use run\(\)/],
    ["PRAGMA user_version = 5", "REFUSED", /use run\(\)/],
    ["PRAGMA query_only = 0", "REFUSED", /PRAGMA query_only/],
    ["REINDEX", "REFUSED", /REINDEX does not read/],
    ["BEGIN", "REFUSED", /BEGIN/],
    ["ATTACH 'x' AS y", "REFUSED", /ATTACH/],
    ["SELECT * FROM balsa_session", "REFUSED", /Balsa's own/],
    ["SELECT load_extension('x')", "REFUSED", /load_extension/],
    ["SELECT * FROM nosuch", "SQLITE_ERROR", /no such table/],
    ["SELECT 1; SELECT 2", "INVALID_ARGUMENT", /more than one/],
  ])("refuses %s", (sql, code, message) => {
    const leader = leaderWithTable();
    leader.commit();
    const reader = openReader(leader.path);
    const start = () => reader.start(encodeStatement({ sql }));
    expect(start).toThrow(expect.objectContaining({ code }));
    expect(start).toThrow(message);
    expect(reader.start(encodeStatement({ sql: "SELECT 1" })).done).toBe(true);
  });

  test("tells of its node when asked: PRAGMA, EXPLAIN, dbstat, the clock", () => {
    const leader = leaderWithTable();
    leader.commit();
    const reader = openReader(leader.path);
    for (const sql of [
      "PRAGMA table_info(t)",
      "PRAGMA journal_mode",
      "PRAGMA integrity_check",
      "EXPLAIN QUERY PLAN DELETE FROM t",
      "SELECT * FROM pragma_page_count",
      "SELECT count(*) FROM dbstat",
      "SELECT sqlite_version(), date('now')",
    ]) {
      expect(reader.start(encodeStatement({ sql })).done, sql).toBe(true);
    }
  });
});

test("kinds of nothing: NULL, empty text, empty blob", () => {
  const leader = leaderWithTable();
  const outcome = leader.batch([
    { sql: "SELECT ? AS a, ? AS b, ? AS c", args: [null, "", new Uint8Array()] },
  ]);
  expect(onlyResult(outcome).rows).toStrictEqual([{ a: null, b: "", c: new Uint8Array() }]);
});
