/**
 * What makes SQLite under a replicated log go wrong, one test each: transactions that end by themselves, connection state
 * that leaks, statements that tell of one node. Each is shown closed on a leader and its followers.
 */

import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { readFileContent } from "../../src/machine/content-digest.ts";
import type { Statement } from "../../src/sql/statement.ts";
import { freshPath, openCore, resultsOf, TestLeader } from "./support/machine-harness.ts";

/** The log gives the same content on a follower, whatever its commits. */
function expectSameEverywhere(leader: TestLeader): void {
  leader.commit();
  const content = readFileContent(leader.path);
  for (const size of [1, 2, 1000]) {
    expect(readFileContent(leader.follower(() => size))).toStrictEqual(content);
  }
}

function leaderWith(schema: string): TestLeader {
  const leader = new TestLeader();
  leader.exec(schema);
  return leader;
}

describe("a statement that ends the outer transaction", () => {
  const CASES: readonly [string, string, Statement][] = [
    [
      "INSERT OR ROLLBACK",
      "CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1)",
      { sql: "INSERT OR ROLLBACK INTO t VALUES (1)" },
    ],
    [
      "UNIQUE … ON CONFLICT ROLLBACK",
      "CREATE TABLE t (a UNIQUE ON CONFLICT ROLLBACK); INSERT INTO t VALUES (1)",
      { sql: "INSERT INTO t VALUES (1)" },
    ],
    [
      "RAISE(ROLLBACK)",
      `CREATE TABLE t (a);
       CREATE TRIGGER r BEFORE INSERT ON t BEGIN SELECT RAISE(ROLLBACK, 'no'); END`,
      { sql: "INSERT INTO t VALUES (1)" },
    ],
  ];

  test.each(CASES)(
    "%s: the writer is given up, the log makes good what it held",
    (_n, schema, bad) => {
      const leader = leaderWith(schema);
      leader.commit();
      leader.run("CREATE TABLE neighbour (a)");
      leader.run("INSERT INTO neighbour VALUES (7)");
      const outcome = leader.batch([bad]);
      expect(outcome).toMatchObject({ kind: "broken", failure: { outcome: "not-applied" } });
      // It would otherwise go on in autocommit, unreplicated.
      expect(() => leader.run("INSERT INTO neighbour VALUES (8)")).toThrow(/transaction was lost/);
      expect(() => leader.commit()).toThrow(/transaction was lost/);
      leader.reopen();
      expect(leader.all("SELECT * FROM neighbour")).toStrictEqual([{ a: 7 }]);
      expectSameEverywhere(leader);
    },
  );

  test("inside a batch it is the same", () => {
    const leader = leaderWith("CREATE TABLE t (a UNIQUE)");
    const outcome = leader.batch([
      { sql: "INSERT INTO t VALUES (1)" },
      { sql: "INSERT OR ROLLBACK INTO t VALUES (1)" },
    ]);
    expect(outcome).toMatchObject({ kind: "broken", failure: { statementIndex: 1 } });
  });

  test("OR ROLLBACK that does not fail works", () => {
    const leader = leaderWith("CREATE TABLE t (a UNIQUE)");
    expect(leader.run("INSERT OR ROLLBACK INTO t VALUES (1)").changes).toBe(1);
    expectSameEverywhere(leader);
  });
});

describe("a statement that fails half-way", () => {
  test.each([
    ["OR FAIL", "CREATE TABLE t (a UNIQUE)", "INSERT OR FAIL INTO t VALUES (1), (2), (1)"],
    [
      "ON CONFLICT FAIL in the schema",
      "CREATE TABLE t (a UNIQUE ON CONFLICT FAIL)",
      "INSERT INTO t VALUES (1), (2), (1)",
    ],
    [
      "RAISE(FAIL)",
      `CREATE TABLE t (a);
       CREATE TRIGGER f BEFORE INSERT ON t WHEN new.a = 3 BEGIN SELECT RAISE(FAIL, 'three'); END`,
      "INSERT INTO t VALUES (1), (2), (3)",
    ],
    ["ABORT, the default", "CREATE TABLE t (a UNIQUE)", "INSERT INTO t VALUES (1), (2), (1)"],
  ])("%s leaves no row behind", (_name, schema, sql) => {
    const leader = leaderWith(schema);
    expect(leader.fail(sql).code).toMatch(/^SQLITE_CONSTRAINT/);
    expect(leader.all("SELECT * FROM t")).toStrictEqual([]);
    expectSameEverywhere(leader);
  });

  // A writer costs a process and some ten milliseconds of everybody's time: a plain conflict must not be worth one.
  test.each([
    ["a table with rowids", "CREATE TABLE t (a UNIQUE)", "INSERT INTO t VALUES (1)"],
    ["WITHOUT ROWID", "CREATE TABLE t (a PRIMARY KEY) WITHOUT ROWID", "INSERT INTO t VALUES (1)"],
    [
      "an upsert",
      "CREATE TABLE t (a UNIQUE, b NOT NULL DEFAULT 1)",
      "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = NULL",
    ],
    ["a CTE", "CREATE TABLE t (a UNIQUE)", "WITH c(x) AS (SELECT 1) INSERT INTO t SELECT x FROM c"],
    ["REPLACE", "CREATE TABLE t (a PRIMARY KEY, b CHECK (b > 0))", "REPLACE INTO t VALUES (1, 0)"],
    ["an update", "CREATE TABLE t (a UNIQUE)", "UPDATE t SET a = 2 WHERE a = 1"],
  ])("in %s costs no writer when a constraint refuses it", (_name, schema, sql) => {
    const leader = leaderWith(schema);
    for (const a of [1, 2]) leader.run("INSERT INTO t (a) VALUES (?)", [a]);
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const outcome = leader.batch([{ sql }]);
      expect(outcome).toMatchObject({ kind: "failure" });
      expect(outcome).toHaveProperty("failure.code", expect.stringMatching(/^SQLITE_CONSTRAINT/));
    }
    leader.run("INSERT INTO t (a) VALUES (3)");
    expectSameEverywhere(leader);
  });

  test("a batch leaves nothing of the statements before the one that failed", () => {
    const leader = leaderWith("CREATE TABLE t (a UNIQUE)");
    const outcome = leader.batch([
      { sql: "INSERT INTO t VALUES (1)" },
      { sql: "INSERT INTO t VALUES (2)" },
      { sql: "INSERT INTO t VALUES (1)" },
    ]);
    expect(outcome).toMatchObject({
      kind: "failure",
      failure: { code: "SQLITE_CONSTRAINT_UNIQUE", statementIndex: 2 },
    });
    expect(leader.all("SELECT * FROM t")).toStrictEqual([]);
    expect(leader.log).toHaveLength(1);
  });
});

describe("deferred foreign keys", () => {
  const SCHEMA = `
    CREATE TABLE p (id INTEGER PRIMARY KEY);
    CREATE TABLE c (p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)`;

  test("a violation is found before the proposal, not at COMMIT", () => {
    const leader = leaderWith(SCHEMA);
    expect(leader.fail("INSERT INTO c VALUES (5)")).toMatchObject({
      code: "SQLITE_CONSTRAINT_FOREIGNKEY",
      message: "FOREIGN KEY constraint failed",
    });
    expect(leader.all("SELECT * FROM c")).toStrictEqual([]);
    // The failed request left no debt for its neighbours.
    leader.run("INSERT INTO p VALUES (1)");
    leader.run("INSERT INTO c VALUES (1)");
    expect(leader.fail("DELETE FROM p").code).toBe("SQLITE_CONSTRAINT_FOREIGNKEY");
    expectSameEverywhere(leader);
  });

  test("a violation that the request itself heals is none", () => {
    const leader = leaderWith(SCHEMA);
    const outcome = leader.batch([
      { sql: "INSERT INTO c VALUES (5)" },
      { sql: "INSERT INTO p VALUES (5)" },
    ]);
    expect(outcome.kind).toBe("proposal");
    expectSameEverywhere(leader);
  });

  test("also when the key comes with the request", () => {
    const leader = new TestLeader();
    const outcome = leader.script(`${SCHEMA}; INSERT INTO c VALUES (5)`);
    expect(outcome).toMatchObject({ failure: { code: "SQLITE_CONSTRAINT_FOREIGNKEY" } });
  });

  test("PRAGMA defer_foreign_keys is refused: it would leak into later requests", () => {
    const leader = leaderWith(SCHEMA);
    expect(leader.fail("PRAGMA defer_foreign_keys = on")).toMatchObject({
      code: "REFUSED",
      message: expect.stringContaining("INITIALLY DEFERRED"),
    });
  });
});

describe("state of the connection", () => {
  test("last_insert_rowid() and changes() begin anew with each request", () => {
    const leader = leaderWith("CREATE TABLE t (id INTEGER PRIMARY KEY, a)");
    leader.run("INSERT INTO t VALUES (41, 'x'), (42, 'y')");
    const functions = "SELECT last_insert_rowid() AS id, changes() AS n";
    expect(leader.all(functions)).toStrictEqual([{ id: 0, n: 0 }]);
    leader.run("INSERT INTO t(a) SELECT last_insert_rowid() || '/' || changes()");
    expect(leader.all("SELECT a FROM t WHERE id = 43")).toStrictEqual([{ a: "0/0" }]);
    const outcome = leader.batch([
      { sql: "INSERT INTO t VALUES (50, 'z')" },
      { sql: functions },
      { sql: "UPDATE t SET a = changes() || '/' || last_insert_rowid() WHERE id = 50" },
      { sql: "SELECT a FROM t WHERE id = 50" },
    ]);
    const results = resultsOf(outcome);
    expect(results[1]?.rows).toStrictEqual([{ id: 50, n: 1 }]);
    expect(results[3]?.rows).toStrictEqual([{ a: "1/50" }]);
    expectSameEverywhere(leader);
  });

  test("also where only a trigger or a default looks at it", () => {
    const leader = leaderWith(`
      CREATE TABLE t (id INTEGER PRIMARY KEY, seen DEFAULT (last_insert_rowid()));
      CREATE TABLE log (id, n);
      CREATE TRIGGER tr AFTER DELETE ON t BEGIN
        INSERT INTO log VALUES (last_insert_rowid(), changes());
      END`);
    leader.run("INSERT INTO t(id) VALUES (9), (10)");
    leader.run("INSERT INTO t(id) VALUES (11)");
    leader.run("DELETE FROM t WHERE id = 9");
    expect(leader.all("SELECT seen FROM t WHERE id = 11")).toStrictEqual([{ seen: 0 }]);
    expectSameEverywhere(leader);
  });

  test("lastInsertRowid of a result is the request's own", () => {
    const leader = leaderWith(`
      CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE);
      CREATE TABLE w (k PRIMARY KEY) WITHOUT ROWID;
      CREATE VIEW v AS SELECT * FROM t;
      CREATE TRIGGER iv INSTEAD OF INSERT ON v BEGIN INSERT INTO t(a) VALUES (new.a); END`);
    const rowid = (sql: string) => leader.run(sql).lastInsertRowid;
    expect(rowid("INSERT INTO t VALUES (7, 'a')")).toBe(7);
    expect(rowid("UPDATE t SET a = 'b'")).toBe(0);
    expect(rowid("INSERT OR IGNORE INTO t VALUES (7, 'c')")).toBe(0);
    expect(rowid("INSERT INTO w VALUES (1)")).toBe(0);
    expect(rowid("INSERT INTO t VALUES (7, 'd') ON CONFLICT(id) DO UPDATE SET a = 'e'")).toBe(0);
    expect(rowid("INSERT INTO t VALUES (8, 'd') ON CONFLICT(id) DO UPDATE SET a = 'e'")).toBe(8);
    expect(rowid("WITH x AS (SELECT 'f') INSERT INTO t(a) SELECT * FROM x")).toBe(9);
    expect(rowid("INSERT INTO v(a) VALUES ('g')")).toBe(0);
    expect(rowid("INSERT INTO t(a) VALUES ('h') RETURNING id")).toBe(11);
    expect(rowid("DELETE FROM t")).toBe(0);
    const outcome = leader.batch([
      { sql: "INSERT INTO t VALUES (20, 'x')" },
      { sql: "UPDATE t SET a = 'y'" },
      { sql: "INSERT INTO w VALUES (2)" },
      { sql: "INSERT INTO t VALUES (3, 'z')" },
    ]);
    expect(resultsOf(outcome).map((result) => result.lastInsertRowid)).toStrictEqual([
      20, 20, 20, 3,
    ]);
    expectSameEverywhere(leader);
  });

  test("total_changes() cannot be reset, so it is refused in a write, in any spelling", () => {
    const leader = leaderWith("CREATE TABLE t (a, total_changes)");
    for (const call of ["total_changes()", '"Total_Changes" ()', "[total_changes]/**/()"]) {
      expect(leader.fail(`INSERT INTO t(a) VALUES (${call})`).code).toBe("REFUSED");
    }
    expect(leader.run("UPDATE t SET total_changes = 1").changes).toBe(0);
  });

  test("a request undone after ANALYZE or DDL ends the connection, which would plan with what it saw", () => {
    for (const sql of [
      "ANALYZE",
      "CREATE TABLE u (a)",
      "ALTER TABLE t ADD COLUMN b",
      "DROP TABLE t",
    ]) {
      const leader = leaderWith("CREATE TABLE t (a UNIQUE); CREATE TABLE o (a UNIQUE NOT NULL)");
      const outcome = leader.batch([{ sql }, { sql: "INSERT INTO o VALUES (NULL)" }]);
      expect(outcome.kind, sql).toBe("broken");
    }
  });

  test("DDL that SQLite refuses before it runs costs nothing", () => {
    const leader = leaderWith("CREATE TABLE t (a)");
    expect(leader.batch([{ sql: "CREATE TABLE t (a)" }]).kind).toBe("failure");
    expect(leader.batch([{ sql: "CREATE TABEL t (a)" }]).kind).toBe("failure");
    expect(leader.script("CREATE TABLE x (a); BEGIN").kind).toBe("failure");
  });

  test("columns are those of the schema now, not of when the statement was prepared", () => {
    const leader = leaderWith("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    expect(leader.all("SELECT * FROM t")).toStrictEqual([{ a: 1 }]);
    leader.run("ALTER TABLE t ADD COLUMN b");
    expect(leader.all("SELECT * FROM t")).toStrictEqual([{ a: 1, b: null }]);
    const outcome = leader.batch([
      { sql: "ALTER TABLE t RENAME COLUMN b TO c" },
      { sql: "SELECT * FROM t" },
    ]);
    expect(resultsOf(outcome)[1]?.rows).toStrictEqual([{ a: 1, c: null }]);
  });
});

describe("tables that gather work until a savepoint", () => {
  test("FTS5's shadow tables are the same for any commit boundary", () => {
    const leader = leaderWith(`
      CREATE TABLE d (id INTEGER PRIMARY KEY, text);
      CREATE VIRTUAL TABLE f USING fts5(text);
      CREATE TRIGGER df AFTER INSERT ON d BEGIN INSERT INTO f(rowid, text) VALUES (new.id, new.text); END;
      CREATE TRIGGER dd AFTER DELETE ON d BEGIN DELETE FROM f WHERE rowid = old.id; END`);
    for (let i = 1; i <= 60; i++) {
      leader.run("INSERT INTO d(text) VALUES (?)", [`word${i % 7} and other${i}`]);
      if (i % 5 === 0) leader.fail("INSERT INTO d(id, text) VALUES (100, 'x'), (1, 'twice')");
      if (i % 9 === 0) leader.run("DELETE FROM d WHERE id = ?", [i - 4]);
      if (i % 11 === 0) leader.commit();
      if (i % 13 === 0) leader.all("SELECT count(*) FROM f WHERE f MATCH 'word1'");
    }
    leader.commit();
    const shadows = (path: string) => {
      const database = new Database(path, { readonly: true });
      const rows = ["data", "idx", "docsize", "content", "config"].map((suffix) =>
        database.prepare(`SELECT * FROM f_${suffix}`).all(),
      );
      database.close();
      return rows;
    };
    const expected = shadows(leader.path);
    for (const size of [1, 4, 1000]) {
      expect(shadows(leader.follower(() => size))).toStrictEqual(expected);
    }
    expectSameEverywhere(leader);
  });

  test("an FTS5 index that statements have put at odds with its table is an SQL error, no fault", () => {
    const leader = leaderWith(`
      CREATE TABLE c (id INTEGER PRIMARY KEY, text);
      CREATE VIRTUAL TABLE f USING fts5(text, content = 'c', content_rowid = 'id')`);
    const removal = "INSERT INTO f(f, rowid, text) VALUES ('delete', 1, 'never there')";
    expect(leader.fail(removal).code).toBe("SQLITE_CORRUPT_VTAB");
    leader.run("INSERT INTO c VALUES (1, 'still here')");
    expectSameEverywhere(leader);
  });

  test("R*Tree too", () => {
    const leader = leaderWith("CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, y0, y1)");
    for (let i = 1; i <= 200; i++) {
      const x = (i * 37) % 100;
      leader.run("INSERT INTO r VALUES (?, ?, ?, ?, ?)", [i, x, x + 1, i, i + 1]);
      if (i % 3 === 0) leader.run("DELETE FROM r WHERE id = ?", [i - 2]);
      if (i % 50 === 0) leader.commit();
    }
    expectSameEverywhere(leader);
  });
});

describe("what may differ between nodes", () => {
  test.each([
    "INSERT INTO t SELECT file FROM pragma_database_list",
    'INSERT INTO t SELECT * FROM "PRAGMA_database_list"',
    "CREATE VIEW v AS SELECT * FROM [pragma_page_count]",
    "INSERT INTO t SELECT pageno FROM dbstat",
    "INSERT INTO t VALUES (sqlite_version())",
    "INSERT INTO t VALUES (sqlite_source_id())",
    "INSERT INTO t SELECT sqlite_compileoption_get(1)",
    "UPDATE sqlite_stat1 SET stat = '1 1'",
    "INSERT INTO t SELECT load_extension('x')",
    "SELECT load_extension('x')",
    "SELECT fts3_tokenizer('x')",
    "CREATE TEMP TABLE x (a)",
    "CREATE TEMPORARY TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
    "CREATE TABLE temp.x (a)",
    "INSERT INTO 'temp' . x VALUES (1)",
    "DROP TABLE balsa_meta",
    'UPDATE "Balsa_Meta" SET applied_index = 9',
    "DELETE FROM 'balsa_session'",
    "DELETE FROM [balsa_session]",
    "INSERT INTO main.`balsa_session` VALUES (1, 2, 3, 4)",
    "CREATE TABLE balsa_mine (a)",
  ])("%s is refused", (sql) => {
    const leader = leaderWith("CREATE TABLE t (a); ANALYZE");
    expect(leader.fail(sql)).toMatchObject({ code: "REFUSED", outcome: "not-applied" });
  });

  test("PRAGMAs and EXPLAIN do not get into an entry", () => {
    const leader = leaderWith("CREATE TABLE t (a)");
    for (const sql of ["EXPLAIN SELECT 1", "PRAGMA page_count", "PRAGMA integrity_check"]) {
      expect(leader.batch([{ sql }]).kind, sql).toBe("answer");
      const outcome = leader.batch([{ sql }, { sql: "INSERT INTO t VALUES (1)" }]);
      expect(outcome, sql).toMatchObject({ kind: "failure", failure: { code: "REFUSED" } });
    }
    expect(leader.all("SELECT * FROM t")).toStrictEqual([]);
    const shared = leader.batch([
      { sql: "PRAGMA table_info(t)" },
      { sql: "INSERT INTO t VALUES (1)" },
    ]);
    expect(shared.kind).toBe("proposal");
    expectSameEverywhere(leader);
  });

  test("PRAGMA user_version and application_id are ordinary writes", () => {
    const leader = leaderWith("CREATE TABLE t (a UNIQUE)");
    leader.run("PRAGMA user_version = 7");
    leader.run("PRAGMA main.application_id(99)");
    leader.batch([{ sql: "PRAGMA user_version = 8" }, { sql: "INSERT INTO t VALUES (1), (1)" }]);
    expect(leader.all("PRAGMA user_version")).toStrictEqual([{ user_version: 7 }]);
    expectSameEverywhere(leader);
  });

  test("random() and CURRENT_TIMESTAMP are the entry's, in the statement, a default, a trigger", () => {
    const leader = leaderWith(`
      CREATE TABLE t (id INTEGER PRIMARY KEY, r DEFAULT (random()), at DEFAULT CURRENT_TIMESTAMP);
      CREATE TABLE l (r, at);
      CREATE TRIGGER tr AFTER INSERT ON t BEGIN
        INSERT INTO l VALUES (hex(randomblob(8)), strftime('%f', 'now'));
      END`);
    leader.run("INSERT INTO t DEFAULT VALUES");
    leader.run("INSERT INTO t(r) VALUES (random()), (random()), (?)", ["now"]);
    leader.run("INSERT INTO t(r, at) SELECT r, date(?) FROM t ORDER BY random() LIMIT 2", ["now"]);
    expect(leader.all("SELECT DISTINCT at FROM t ORDER BY 1")).toStrictEqual([
      { at: "2024-02-29" },
      { at: "2024-02-29 12:34:56" },
    ]);
    expectSameEverywhere(leader);
  });

  test("each statement has dice of its own: what the one before took does not count", () => {
    const leader = leaderWith("CREATE TABLE t (a)");
    const roll = (before: string) => {
      const statements = [
        { sql: before },
        { sql: "INSERT INTO t VALUES (1) RETURNING random() AS r" },
      ];
      return resultsOf(leader.batch(statements, { seed: 5 }))[1]?.rows[0]?.["r"];
    };
    expect(roll("SELECT random()")).toBe(roll("SELECT random(), random()"));
    const both = leader.batch([{ sql: "SELECT random() AS r" }, { sql: "SELECT random() AS r" }]);
    const [first, second] = resultsOf(both).map((result) => result.rows[0]?.["r"]);
    expect(first).not.toBe(second);
  });

  test("a date in an index is refused with the way out", () => {
    const leader = leaderWith("CREATE TABLE t (a)");
    for (const sql of ["CREATE INDEX i ON t(date(a))", "CREATE TABLE g (a, b AS (datetime(a)))"]) {
      expect(leader.fail(sql).message).toMatch(/non-deterministic.*store the value in a column/);
    }
  });
});

describe("files and processes", () => {
  test("a writer that another one has followed writes no more", () => {
    const leader = leaderWith("CREATE TABLE t (a)");
    leader.commit();
    const next = openCore({ path: leader.path });
    expect(next.state.appliedIndex).toBe(1);
    expect(() => leader.run("INSERT INTO t VALUES (1)")).toThrow(/another writer/);
    expect(next.apply([]).last).toStrictEqual({ index: 1, term: 1 });
  });

  test("entries are applied once, in order, without gaps", () => {
    const leader = leaderWith("CREATE TABLE t (a)");
    leader.run("INSERT INTO t VALUES (1)");
    const follower = openCore({ path: freshPath() });
    follower.apply(leader.log);
    expect(() => follower.apply(leader.log)).toThrow(/entry 1 does not follow 2/);
    const gap = openCore({ path: freshPath() });
    expect(() => gap.apply(leader.log.slice(1))).toThrow(/entry 2 does not follow 0/);
  });

  test("a checkpoint counts only when it was complete, and none happens by itself", () => {
    const leader = leaderWith("CREATE TABLE t (a)");
    expect([leader.core.walSize().uncopied, leader.core.checkpoint()]).toStrictEqual([0, null]);
    for (let i = 0; i < 300; i++) {
      leader.run("INSERT INTO t VALUES (zeroblob(8000))");
      leader.commit();
    }
    expect(leader.core.walSize().uncopied).toBeGreaterThan(4_000_000);
    const reader = new Database(leader.path, { readonly: true });
    reader.exec("BEGIN");
    reader.prepare("SELECT count(*) FROM t").get();
    leader.run("INSERT INTO t VALUES (1)");
    leader.commit();
    expect(leader.core.checkpoint()).toMatchObject({ complete: false });
    expect(leader.core.walSize().uncopied).toBeGreaterThan(0);
    reader.close();
    expect(leader.core.checkpoint()).toMatchObject({ complete: true });
    expect(leader.core.walSize().uncopied).toBe(0);
  });

  test("a file of a later format is left alone", () => {
    const path = freshPath();
    openCore({ path }).close();
    const database = new Database(path);
    database.exec("UPDATE balsa_meta SET format_version = 3");
    database.close();
    expect(() => openCore({ path })).toThrow(/format 3/);
  });

  test("a database of somebody else's is not taken over", () => {
    const path = freshPath();
    const other = new Database(path);
    other.exec("CREATE TABLE theirs (a)");
    expect(() => openCore({ path })).toThrow(/a database that Balsa did not make/);
    expect(other.prepare("SELECT name FROM sqlite_schema").pluck().all()).toStrictEqual(["theirs"]);
    other.close();
  });

  test("what is no database is not touched", () => {
    expect(() => openCore({ path: "/dev/null/main.db" })).toThrow(/cannot open/);
  });
});
