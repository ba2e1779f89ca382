/**
 * Ways by which something that differs between nodes could get into an entry, each closed: by other names,
 * by EXPLAIN, by dice.
 */

import { describe, expect, test } from "vitest";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { DEFAULT_LIMITS } from "../../src/sql/limits.ts";
import { freshPath, openCore, TestLeader } from "./support/machine-harness.ts";

function leaderWith(schema: string): TestLeader {
  const leader = new TestLeader();
  leader.exec(schema);
  return leader;
}

function expectSameOnFollower(leader: TestLeader): void {
  leader.commit();
  const content = readFileContent(leader.path);
  expect(readFileContent(leader.follower(() => 2))).toStrictEqual(content);
}

describe("what differs between nodes does not get into an entry", () => {
  test("a table named by a string is a table all the same", () => {
    const leader = leaderWith("CREATE TABLE t (a); ANALYZE");
    for (const sql of [
      "INSERT INTO t SELECT file FROM 'pragma_database_list'",
      "INSERT INTO t SELECT sum(pgsize) FROM 'dbstat'",
      "CREATE VIEW v AS SELECT * FROM main . 'PRAGMA_page_count'",
      "DELETE FROM 'sqlite_stat1'",
    ]) {
      expect(leader.fail(sql), sql).toMatchObject({ code: "REFUSED", outcome: "not-applied" });
    }
    expect(leader.run("INSERT INTO t VALUES (?)", ["pragma_database_list"]).changes).toBe(1);
  });

  test("EXPLAIN PRAGMA is judged as PRAGMA: SQLite sets flags while it compiles", () => {
    const leader = leaderWith("CREATE TABLE t (a CHECK (a > 0))");
    for (const pragma of ["ignore_check_constraints = ON", "writable_schema(1)"]) {
      for (const explain of ["EXPLAIN", "EXPLAIN QUERY PLAN", "/* */ explain"]) {
        expect(leader.fail(`${explain} PRAGMA ${pragma}`).code).toBe("REFUSED");
      }
    }
    expect(leader.fail("INSERT INTO t VALUES (-1)").code).toBe("SQLITE_CONSTRAINT_CHECK");
    expect(leader.batch([{ sql: "EXPLAIN PRAGMA user_version" }]).kind).toBe("answer");
  });

  test("what comes in the order of a connection's memory does not get into an entry", () => {
    const leader = leaderWith("CREATE TABLE t (a)");
    for (const sql of ["PRAGMA table_list", "PRAGMA foreign_key_check"]) {
      const outcome = leader.batch([{ sql }, { sql: "INSERT INTO t VALUES (1)" }]);
      expect(outcome, sql).toMatchObject({ kind: "failure", failure: { code: "REFUSED" } });
      expect(leader.batch([{ sql }]).kind).toBe("answer");
    }
  });

  test("FTS4's optimize() writes in a SELECT, so it is refused in a write", () => {
    const leader = leaderWith("CREATE VIRTUAL TABLE f USING fts4(x)");
    expect(leader.fail("SELECT optimize(f) FROM f").code).toBe("REFUSED");
    leader.run("INSERT INTO f(f) VALUES ('optimize')");
    expectSameOnFollower(leader);
  });

  test("a rowid that SQLite's own dice chose does not get into an entry", () => {
    const leader = leaderWith("CREATE TABLE t (id INTEGER PRIMARY KEY, a)");
    leader.run("INSERT INTO t VALUES (9223372036854775807, 1)");
    leader.commit();
    const alone = leader.batch([{ sql: "INSERT INTO t(a) VALUES (2)" }]);
    expect(alone).toMatchObject({ kind: "broken", failure: { code: "REFUSED" } });
    leader.reopen();
    for (const sql of [
      "INSERT INTO t(a) VALUES (2) RETURNING id",
      "WITH n(a) AS (VALUES (3)) INSERT OR IGNORE INTO main.t(a) SELECT a FROM n",
    ]) {
      const beside = leader.batch([{ sql: "SELECT 1" }, { sql }]);
      expect(beside, sql).toMatchObject({ kind: "failure", failure: { code: "REFUSED" } });
    }
    expect(leader.run("INSERT INTO t VALUES (?, 4)", [2n ** 40n]).lastInsertRowid).toBe(2 ** 40);
    expect(leader.run("INSERT INTO t VALUES (5000000000, 5)").changes).toBe(1);
    expectSameOnFollower(leader);
  });

  test("limits hold where a request is admitted, not where the log is applied", () => {
    const leader = new TestLeader();
    leader.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    leader.run("INSERT INTO t VALUES (?) RETURNING a", ["x".repeat(5000)]);
    const limits = { ...DEFAULT_LIMITS, statements: 1, valueBytes: 1000, resultBytes: 1000 };
    const follower = openCore({ path: freshPath(), limits });
    expect(follower.apply(leader.log).mismatch).toBe(null);
  });
});
