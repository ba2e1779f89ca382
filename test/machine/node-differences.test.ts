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

  test("when FTS5 writes what it gathered is nobody's effect: a rebuild behind a statement of several rows", () => {
    const leader = leaderWith(`
      CREATE TABLE t (a UNIQUE);
      CREATE VIRTUAL TABLE f USING fts5(x);
      INSERT INTO f VALUES ('one two')`);
    leader.commit();
    leader.run("INSERT INTO f VALUES ('three')");
    // Not committed yet: SQLite counts the table among those that its next savepoints tell.
    leader.script("INSERT INTO t VALUES (1), (2); INSERT INTO f(f) VALUES ('rebuild')");
    leader.commit();
    const content = readFileContent(leader.path);
    for (const size of [1, 2, 3]) {
      expect(readFileContent(leader.follower(() => size))).toStrictEqual(content);
    }
  });

  test("FTS5's own table counts what one connection did first: a read may show it, a write must not", () => {
    const leader = leaderWith(`
      CREATE TABLE t (a); CREATE TABLE u (f_data); INSERT INTO u VALUES (0);
      CREATE VIEW v AS SELECT * FROM f_data;
      CREATE VIEW w AS SELECT hex(block) AS h FROM v;
      CREATE TRIGGER tr AFTER DELETE ON u BEGIN INSERT INTO t SELECT hex(block) FROM f_data; END;
      CREATE VIRTUAL TABLE f USING fts5(x)`);
    const refused = { code: "REFUSED", message: expect.stringMatching(/FTS5.*ask the full-text/) };
    for (const sql of [
      "INSERT INTO t SELECT hex(block) FROM f_data",
      "INSERT INTO t SELECT hex(block) FROM main . 'F_Data' WHERE id = 10",
      "WITH d AS (SELECT h FROM w) INSERT INTO t SELECT h FROM d",
      "UPDATE u SET f_data = (SELECT max(id) FROM f_data)",
      "CREATE TABLE c AS SELECT * FROM v",
      "DELETE FROM u",
      "CREATE VIRTUAL TABLE g USING fts4(block, content=f_data)",
    ]) {
      expect(leader.batch([{ sql }]), sql).toMatchObject({ kind: "failure", failure: refused });
    }
    const read = { sql: "SELECT id FROM v" };
    expect(leader.batch([read]).kind).toBe("answer");
    const among = leader.batch([read, { sql: "INSERT INTO t VALUES (1)" }]);
    expect(among).toMatchObject({ failure: { code: "REFUSED" } });
    // A column of that name is nobody's table.
    leader.run("UPDATE u SET f_data = 1 WHERE f_data = ?", [0]);
    leader.run("DROP TABLE f");
    leader.run("CREATE TABLE f_data (id, block)");
    leader.run("INSERT INTO t SELECT count(*) FROM f_data");
    expectSameOnFollower(leader);
  });

  // A connection whose memory of them is not the file's would merge, page and delete otherwise from then on.
  test.each([
    ["FTS5: secure-delete", "INSERT INTO f(f, rank) VALUES ('secure-delete', 1)"],
    ["FTS5, in other words", `INSERT INTO main.'f'("F", 'rank') SELECT 'secure-delete', 1`],
    ["FTS4: automerge", "INSERT INTO f4(f4) VALUES ('automerge=2')"],
    ["a trigger's", "INSERT INTO u VALUES (1)"],
  ])("what full text was told and was undone is not remembered: %s", (_what, sql) => {
    const leader = leaderWith(`
      CREATE TABLE t (a UNIQUE NOT NULL); CREATE TABLE u (a);
      CREATE VIRTUAL TABLE f USING fts5(x); CREATE VIRTUAL TABLE f4 USING fts4(x);
      CREATE TRIGGER tr AFTER INSERT ON u BEGIN
        INSERT INTO f(f, rank) VALUES ('secure-delete', 1);
        INSERT INTO f4(f4) VALUES ('automerge=2');
      END`);
    const words = "INSERT INTO f SELECT 'raft log ' || value FROM json_each('[1,2,3,4,5,6,7,8]')";
    leader.run(words);
    leader.commit();
    const undone = leader.batch([{ sql }, { sql: "INSERT INTO t VALUES (NULL)" }]);
    expect(undone).toMatchObject({ kind: "broken", failure: { statementIndex: 1 } });
    leader.reopen();
    leader.run("DELETE FROM f WHERE rowid IN (2, 5)");
    leader.commit();
    leader.transact("begin");
    leader.transact("savepoint");
    leader.step(sql);
    expect(leader.transact("rollbackTo")).toMatchObject({ kind: "broken" });
    leader.reopen();
    leader.run("DELETE FROM f WHERE rowid IN (3, 7)");
    leader.run(words.replace(" f ", " f4 "));
    expectSameOnFollower(leader);
    // Of what is done they know.
    expect(leader.batch([{ sql }]).kind).toBe("proposal");
    leader.run("DELETE FROM f WHERE rowid = 1");
    expectSameOnFollower(leader);
  });

  test("a virtual table that waits for FTS5's own table holds up its making", () => {
    const leader = leaderWith("CREATE VIRTUAL TABLE g USING fts5(block, content='f_data')");
    expect(leader.fail("CREATE VIRTUAL TABLE f USING fts5(x)").message).toMatch(/^g would be over/);
  });

  test("statistics of the temp schema would hide the database's on one connection", () => {
    const leader = leaderWith("CREATE TABLE t (a)");
    for (const name of ["temp", "TEMP", "'temp'", "[temp]", '"temp"']) {
      expect(leader.fail(`ANALYZE ${name}`), name).toMatchObject({ code: "REFUSED" });
    }
    leader.run("ANALYZE main");
    expectSameOnFollower(leader);
  });

  test("rowid 2^63-1 is refused: beside it SQLite's own dice choose rowids", () => {
    const leader = leaderWith(`
      CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE);
      CREATE TABLE p (a);
      CREATE TABLE log (a);
      CREATE TRIGGER tl AFTER DELETE ON p BEGIN INSERT INTO log(rowid, a) VALUES (old.a, 1); END;
      CREATE TABLE k (id INTEGER PRIMARY KEY REFERENCES t ON UPDATE CASCADE);
      CREATE VIRTUAL TABLE f USING fts5(x);
      CREATE VIRTUAL TABLE f4 USING fts4(x); INSERT INTO f4 VALUES ('a');
      CREATE VIRTUAL TABLE r USING rtree(id, x0, x1);
      INSERT INTO t VALUES (1, 1); INSERT INTO k VALUES (1); INSERT INTO p VALUES (9223372036854775807)`);
    for (const sql of [
      "INSERT INTO t VALUES (9223372036854775807, 2)",
      "INSERT INTO t(id, a) VALUES (9223372036854775807, 2), (NULL, 3), (5, 4)",
      "WITH n(a) AS (VALUES (9223372036854775806)) INSERT OR IGNORE INTO main.t(id) SELECT a + 1 FROM n",
      "INSERT INTO t VALUES (1, 1) ON CONFLICT DO UPDATE SET id = 9223372036854775807",
      "UPDATE t SET id = 9223372036854775806 + 1",
      "UPDATE p SET rowid = 9223372036854775807",
      "WITH n AS (SELECT 1) UPDATE OR FAIL main.p SET _rowid_ = 9223372036854775807",
      "INSERT INTO p(oid, a) VALUES (9223372036854775807, 1) RETURNING a",
      "DELETE FROM p",
      "INSERT INTO f(rowid, x) VALUES (9223372036854775807, 'a'), (NULL, 'b')",
      "UPDATE f4 SET docid = 9223372036854775807",
      "INSERT INTO r VALUES (9223372036854775807, 1, 2)",
    ]) {
      expect(leader.batch([{ sql }]), sql).toMatchObject({
        failure: { code: "REFUSED", message: expect.stringContaining("largest rowid") },
      });
    }
    expect(leader.run("INSERT INTO t VALUES (?, 4)", [2n ** 62n]).changes).toBe(1);
    expect(leader.run("UPDATE t SET id = 7 WHERE id = 1").changes).toBe(1);
    expectSameOnFollower(leader);
  });

  test("without a savepoint, a refused statement costs the writer", () => {
    const leader = leaderWith("CREATE TABLE t (id INTEGER PRIMARY KEY)");
    const outcome = leader.batch([{ sql: "INSERT INTO t VALUES (9223372036854775807)" }]);
    expect(outcome).toMatchObject({ kind: "broken", failure: { code: "REFUSED" } });
  });

  test("rootpage of sqlite_schema is of the node: its place depends on where transactions ended", () => {
    const leader = leaderWith("CREATE TABLE t (a)");
    for (const sql of [
      "INSERT INTO t SELECT rootpage FROM sqlite_schema",
      "CREATE VIEW v AS SELECT * FROM sqlite_master",
      "WITH s AS (SELECT m.* FROM 'sqlite_master' AS m) INSERT INTO t SELECT 1 FROM s",
      "INSERT INTO t SELECT ('table', 't', 't', 4, 'x') IN sqlite_schema",
      "DELETE FROM t WHERE ('table', 't', 't', 4, 'x') NOT IN main . \"sqlite_master\"",
      'CREATE VIRTUAL TABLE f USING fts4(content="sqlite_schema")',
    ]) {
      expect(leader.fail(sql).message, sql).toMatch(/rootpage.*name the columns/);
    }
    const all = "SELECT * FROM sqlite_schema";
    expect(leader.batch([{ sql: all }]).kind).toBe("answer");
    expect(leader.batch([{ sql: all }, { sql: "INSERT INTO t VALUES (1)" }])).toMatchObject({
      failure: { code: "REFUSED" },
    });
    leader.run("INSERT INTO t SELECT 't' IN (SELECT name FROM sqlite_schema)");
    leader.run(
      "INSERT INTO t SELECT name || count(*) FROM sqlite_schema WHERE sql LIKE '%*%' OR 1",
    );
    expectSameOnFollower(leader);
  });

  test("statistics are those that a fresh connection would know, also behind DROP INDEX", () => {
    const leader = leaderWith(`
      CREATE TABLE a (x, y); CREATE TABLE b (x, y); CREATE TABLE s (p, q);
      CREATE INDEX ai ON a(x); CREATE INDEX bi ON b(x);
      INSERT INTO a SELECT (value * 7) % 2000, value FROM json_each('[${[...Array(2000).keys()]}]');
      INSERT INTO b SELECT (value * 3) % 20, value FROM json_each('[${[...Array(20).keys()]}]')`);
    leader.run("ANALYZE");
    leader.run("DROP INDEX bi");
    leader.run("INSERT INTO s SELECT a.y, b.y FROM a, b WHERE a.x = b.x LIMIT 3");
    leader.run("INSERT INTO s SELECT a.y, b.y FROM a, b WHERE a.x > b.x LIMIT 3");
    leader.run("DROP INDEX ai");
    leader.run("INSERT INTO s SELECT a.y, b.y FROM b, a WHERE a.x = b.x LIMIT 3");
    leader.commit();
    // Each entry by a connection of its own.
    const path = freshPath();
    for (const entry of leader.log) {
      const core = openCore({ path });
      expect(core.apply([entry]).mismatch).toBeNull();
      core.close();
    }
    expect(readFileContent(path)).toStrictEqual(readFileContent(leader.path));
  });

  test("what FTS4 gathers until a savepoint is not seen by last_insert_rowid() and changes()", () => {
    const leader = leaderWith("CREATE TABLE t (a); CREATE VIRTUAL TABLE f USING fts4(x)");
    leader.run("INSERT INTO f VALUES ('some words to keep')");
    leader.run("INSERT INTO t VALUES (last_insert_rowid() || '/' || changes())");
    expect(leader.all("SELECT a FROM t")).toStrictEqual([{ a: "0/0" }]);
    expectSameOnFollower(leader);
  });

  test.each([
    ["a wrong type in a STRICT table", "INSERT INTO s VALUES (1), ('x')"],
    ["a wrong type, IGNORE", "INSERT OR IGNORE INTO s SELECT * FROM mixed"],
    ["a text for a rowid, IGNORE", "INSERT OR IGNORE INTO k SELECT * FROM mixed"],
    ["a text for a rowid by UPDATE", "UPDATE OR IGNORE k SET id = 'x' || id WHERE id > 5"],
    ["a text for a rowid, DO NOTHING", "INSERT INTO k VALUES (1), ('x') ON CONFLICT DO NOTHING"],
    ["a wrong type in a trigger", "INSERT INTO t VALUES (1)"],
    ["triggers that recurse too deep", "INSERT INTO deep VALUES (1)"],
  ])("%s: SQLite leaves the rows before it, Balsa none", (_what, sql) => {
    const leader = leaderWith(`
      CREATE TABLE s (a INTEGER) STRICT;
      CREATE TABLE k (id INTEGER PRIMARY KEY);
      CREATE TABLE mixed (a); INSERT INTO mixed VALUES (1), (2), ('x');
      CREATE TABLE t (a);
      CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO s SELECT * FROM mixed; END;
      CREATE TABLE deep (a);
      CREATE TRIGGER td AFTER INSERT ON deep BEGIN INSERT INTO deep VALUES (1); END;
      INSERT INTO k VALUES (6), (7)`);
    leader.commit();
    const before = readFileContent(leader.path);
    expect(leader.batch([{ sql }])).toMatchObject({ kind: "failure" });
    leader.commit();
    expect(readFileContent(leader.path)).toStrictEqual(before);
    leader.run("INSERT INTO mixed VALUES (9)");
    expectSameOnFollower(leader);
  });

  test("a failure that SQLite may not undo, met without a savepoint, costs the writer", () => {
    const leader = leaderWith(`
      CREATE TABLE p (id UNIQUE);
      CREATE TABLE c (id INTEGER PRIMARY KEY REFERENCES p(id) ON UPDATE CASCADE);
      INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1), (2)`);
    const outcome = leader.batch([{ sql: "UPDATE p SET id = 'x' || id" }]);
    expect(outcome).toMatchObject({ kind: "broken", failure: { code: "SQLITE_MISMATCH" } });
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
