/**
 * docs/SQL.md, run: every example in its tables does on a leader, a follower and a reader what its section says. And what
 * its sentences say of the clock, the dice and a request's own changes.
 */

import { describe, expect, test } from "vitest";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { DEFAULT_LIMITS } from "../../src/sql/limits.ts";
import { ALONE, ANYWHERE, examplesOf, PAGE, REFUSED, WORKS } from "../support/sql-page.ts";
import {
  failureOf,
  openReader,
  readAll,
  resultsOf,
  TestLeader,
} from "./support/machine-harness.ts";

function leaderWithAll(): TestLeader {
  const leader = new TestLeader();
  for (const sql of examplesOf(WORKS)) leader.exec(sql);
  return leader;
}

function expectSameOnFollowers(leader: TestLeader): void {
  leader.commit();
  const content = readFileContent(leader.path);
  const zone = process.env["TZ"];
  for (const [entries, other] of [
    [1, "America/New_York"],
    [1000, "Asia/Kolkata"],
  ] as const) {
    process.env["TZ"] = other;
    expect(readFileContent(leader.follower(() => entries))).toStrictEqual(content);
  }
  if (zone === undefined) delete process.env["TZ"];
  else process.env["TZ"] = zone;
}

test("the page has the tables that are read here", () => {
  expect([WORKS, ANYWHERE, ALONE, REFUSED].map((rows) => rows.length > 1)).not.toContain(false);
  expect(examplesOf(REFUSED).length).toBeGreaterThan(50);
});

test("what works as in SQLite is the same on followers", () => {
  const leader = new TestLeader();
  for (const sql of examplesOf(WORKS)) {
    expect(leader.script(sql), sql).toMatchObject({ kind: "proposal" });
    leader.run("INSERT INTO a(n) SELECT max(n) + 1 FROM a");
  }
  expectSameOnFollowers(leader);
});

test("what is read, alone or anywhere, a reader reads", () => {
  const elsewhere = [
    "SELECT file FROM pragma_database_list",
    "SELECT name FROM pragma_table_info('a')",
    "SELECT count(*) AS n FROM dbstat",
    "SELECT sqlite_version(), sqlite_source_id(), sqlite_compileoption_get(0), total_changes()",
    "SELECT random(), date('now', 'localtime')",
  ];
  const leader = leaderWithAll();
  leader.commit();
  const reader = openReader(leader.path);
  for (const sql of [...examplesOf(ANYWHERE), ...examplesOf(ALONE), ...elsewhere]) {
    expect(() => readAll(reader, sql), sql).not.toThrow();
  }
});

test("what may be read within a write is the same on all nodes", () => {
  const leader = leaderWithAll();
  for (const sql of examplesOf(ANYWHERE)) {
    const outcome = leader.batch([{ sql }, { sql: "INSERT INTO seq(v) VALUES (1)" }]);
    expect(outcome.kind, sql).toBe("proposal");
  }
  expectSameOnFollowers(leader);
});

test("what is read alone is refused in a request that writes", () => {
  const leader = leaderWithAll();
  for (const sql of examplesOf(ALONE)) {
    expect(leader.batch([{ sql }]).kind, sql).toBe("answer");
    const outcome = leader.batch([{ sql }, { sql: "INSERT INTO seq(v) VALUES (1)" }]);
    expect(failureOf(outcome), sql).toMatchObject({
      code: "REFUSED",
      message: expect.stringContaining("send them alone"),
    });
  }
});

test("what is refused says why and what to do instead, and leaves nothing", () => {
  const leader = leaderWithAll();
  leader.commit();
  const before = readFileContent(leader.path);
  for (const sql of examplesOf(REFUSED)) {
    const outcome = leader.batch([{ sql }]);
    const { code, message } = failureOf(outcome);
    if (/\bdate\(/.test(sql))
      expect(message, sql).toMatch(/non-determin.*store the value in a col/);
    else expect([code, /[:;] ?\S/.test(message)], sql).toStrictEqual(["REFUSED", true]);
    if (outcome.kind === "broken") leader.reopen();
  }
  leader.commit();
  expect(readFileContent(leader.path)).toStrictEqual(before);
});

describe("the clock, the dice, the request's own changes", () => {
  const NOW = "SELECT strftime('%s %f', 'now') AS t, unixepoch('subsec') AS u";

  test("'now' is one moment within a request", () => {
    const leader = leaderWithAll();
    const work =
      "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 9999) " +
      "SELECT max(i) FROM n";
    const statements = [{ sql: NOW }, { sql: work }, { sql: NOW }];
    const [first, , last] = resultsOf(leader.batch(statements));
    expect(first?.rows).toStrictEqual(last?.rows);
  });

  test("and never runs backwards, whatever the leader's clock does", () => {
    const leader = leaderWithAll();
    leader.run("INSERT INTO seq(v) VALUES (unixepoch())");
    const before = leader.all("SELECT v AS t FROM seq ORDER BY id DESC LIMIT 1");
    leader.timeMs -= 86_400_000;
    const after = leader.run("INSERT INTO seq(v) VALUES (unixepoch()) RETURNING v AS t").rows;
    expect(after).toStrictEqual(before);
    leader.reopen();
    expect(leader.run("INSERT INTO seq(v) VALUES (unixepoch()) RETURNING v AS t").rows).toEqual(
      before,
    );
    expectSameOnFollowers(leader);
  });

  test("random() is another for each row, the same on each node, and so is randomblob()", () => {
    const leader = leaderWithAll();
    leader.run(
      `CREATE TABLE dice AS WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 200)
       SELECT random() AS r, randomblob(8) AS b FROM n`,
    );
    expect(
      leader.all("SELECT count(DISTINCT r) AS r, count(DISTINCT b) AS b FROM dice"),
    ).toStrictEqual([{ r: 200, b: 200 }]);
    expectSameOnFollowers(leader);
  });

  test("last_insert_rowid() and changes() are 0 when a request begins, and SQLite's within it, in triggers too", () => {
    const leader = new TestLeader();
    leader.exec(`
      CREATE TABLE t (id INTEGER PRIMARY KEY, v);
      CREATE TABLE seen (at, rowid_, changes_);
      CREATE TRIGGER tr AFTER INSERT ON t BEGIN
        INSERT INTO seen VALUES (new.id, last_insert_rowid(), changes());
      END`);
    leader.run("INSERT INTO t VALUES (5, 'a')");
    leader.commit();
    leader.run("INSERT INTO t SELECT 6, last_insert_rowid() || changes()");
    leader.batch([
      { sql: "INSERT INTO t VALUES (7, 'b'), (8, 'c')" },
      { sql: "UPDATE t SET v = last_insert_rowid() || '/' || changes() WHERE id = 8" },
      { sql: "INSERT INTO t(v) VALUES (last_insert_rowid() || '/' || changes())" },
    ]);
    expect(leader.all("SELECT v FROM t ORDER BY id")).toStrictEqual([
      { v: "a" },
      { v: "00" },
      { v: "b" },
      { v: "8/2" },
      { v: "8/1" },
    ]);
    // As the bare library says it, for the same statements on connections of their own.
    expect(leader.all("SELECT * FROM seen ORDER BY at")).toStrictEqual([
      { at: 5, rowid_: 5, changes_: 0 },
      { at: 6, rowid_: 6, changes_: 0 },
      { at: 7, rowid_: 7, changes_: 0 },
      { at: 8, rowid_: 8, changes_: 0 },
      { at: 9, rowid_: 9, changes_: 1 },
    ]);
    expectSameOnFollowers(leader);
  });

  test("schema text is what was sent", () => {
    const leader = new TestLeader();
    const sql = "CREATE TABLE t (a /* why */ DEFAULT (random()),  b DEFAULT CURRENT_TIMESTAMP)";
    leader.run(sql);
    expect(leader.all("SELECT sql FROM sqlite_schema WHERE name = 't'")).toStrictEqual([{ sql }]);
  });
});

test("the limits of the page are the program's", () => {
  for (const [limit, value] of Object.entries(DEFAULT_LIMITS)) {
    const shown = value % 2 ** 20 === 0 ? `${value / 2 ** 20} MiB` : value.toLocaleString("en-US");
    expect(PAGE).toMatch(new RegExp(`^\\|[^|]*\`${limit}\`[^|]*\\| ${shown} \\|`, "m"));
  }
});
