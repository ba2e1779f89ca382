/** What a range checksum finds on a follower, whatever it is that rots there; and that all nodes come to the same otherwise. */

import { closeSync, openSync, writeSync } from "node:fs";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import type { TableRange } from "../../src/wire/checksum-codec.ts";
import { decodeCommand } from "../../src/wire/log-codec.ts";
import { RICH_ROWS, RICH_SCHEMA } from "../support/rich-database.ts";
import { freshPath, openCore, TestLeader } from "./support/machine-harness.ts";

function leaderWith(script: string): TestLeader {
  const leader = new TestLeader();
  leader.exec(script);
  return leader;
}

/** The ranges of one whole pass. */
function pass(leader: TestLeader, entriesMax = 500): TableRange[] {
  const ranges: TableRange[] = [];
  for (let entries = 0; entries < entriesMax; entries += 1) {
    const outcome = leader.transact("checksum");
    if (outcome.kind !== "proposal") throw new Error(`no checksum: ${outcome.kind}`);
    const { checksum } = decodeCommand(outcome.payload);
    ranges.push(...(checksum?.ranges ?? []));
    expect(outcome.result).toEqual(Uint8Array.of(checksum?.endsPass ? 1 : 0));
    if (checksum?.endsPass) return ranges;
  }
  throw new Error("the pass does not end");
}

/** What a follower says of a pass, when its file was changed behind its back before. */
function foundIn(leader: TestLeader, change: string): string | null {
  const before = leader.log.length;
  const path = leader.follower();
  const file = new Database(path);
  file.unsafeMode(true);
  file.exec(change);
  file.close();
  const core = openCore({ path });
  pass(leader);
  const { mismatch } = core.apply(leader.log.slice(before));
  return mismatch?.detail ?? null;
}

const many = (count: number) =>
  `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})`;

describe("what the nodes have alike", () => {
  test("every kind of table, for any commit boundary, in the midst of other writes", () => {
    const leader = leaderWith(RICH_SCHEMA);
    leader.exec(RICH_ROWS);
    leader.exec(
      "CREATE VIRTUAL TABLE words5 USING fts5(x); CREATE VIRTUAL TABLE words4 USING fts4(x)",
    );
    const session = leader.openSession();
    const entries: string[] = [];
    for (let round = 0; round < 12; round += 1) {
      const outcome = leader.transact("checksum");
      expect(outcome.kind).toBe("proposal");
      entries.push(outcome.kind);
      leader.run("INSERT INTO journal(what) VALUES (random())", [], {
        session,
        sequence: round + 1,
      });
      for (const fts of ["words5", "words4"])
        leader.run(`INSERT INTO ${fts} VALUES ('word ${round}')`);
      if (round % 3 === 1) leader.commit();
    }
    leader.commit();
    const names = new Set(pass(leader).map(({ table }) => table));
    for (const name of ["journal", "sqlite_sequence", "balsa_session"])
      expect(names).toContain(name);
    expect(names).not.toContain("balsa_meta");
    for (const size of [1, 2, 7, 1_000]) leader.follower(() => size);
  });

  test("a long table in several entries, each behind the last, and other tables beside it", () => {
    const leader = leaderWith(
      "CREATE TABLE long (id INTEGER PRIMARY KEY, v); CREATE TABLE short (v)",
    );
    leader.run(`INSERT INTO long SELECT i * 3, 'v' || i FROM (${many(1_751)} SELECT i FROM n)`);
    const ranges = pass(leader);
    const long = ranges.filter(({ table }) => table === "long");
    expect(long.map(({ rows }) => rows)).toEqual([500 - 1, 500, 500, 1_751 - 1_499]);
    expect(long.map(({ isLast }) => isLast)).toEqual([false, false, false, true]);
    expect(long[1]?.after).toEqual([499n * 3n]);
    expect(ranges.filter(({ table }) => table === "short")).toMatchObject([
      { rows: 0, isLast: true },
    ]);
    leader.follower(() => 2);
  });

  test("few bytes at a time, however long the rows", () => {
    const leader = leaderWith("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
    leader.run(`INSERT INTO t SELECT i, randomblob(100000) FROM (${many(9)} SELECT i FROM n)`);
    const rows = pass(leader)
      .filter(({ table }) => table === "t")
      .map((range) => range.rows);
    expect(rows).toEqual([3, 3, 3]);
    leader.follower();
  });

  test("keys of any kind, collation and direction, and text that is no text", () => {
    const leader = leaderWith(`
      CREATE TABLE a (k PRIMARY KEY, v) WITHOUT ROWID;
      CREATE TABLE b (x TEXT COLLATE NOCASE, y REAL, z BLOB, PRIMARY KEY (x, y DESC, z)) WITHOUT ROWID;
      CREATE TABLE c (x, y, v, PRIMARY KEY (x DESC, y DESC)) WITHOUT ROWID;
      CREATE TABLE d (id INTEGER PRIMARY KEY, t, r REAL);
      CREATE TABLE "" (v); INSERT INTO "" VALUES (1);
      CREATE TABLE "a""b%' -- " ("x""y'", rowid, "_rowid_"); INSERT INTO "a""b%' -- " VALUES (1, 2, 3);
      CREATE TABLE hidden (rowid, _rowid_, oid); INSERT INTO hidden VALUES (1, 2, 3);
      CREATE TABLE alias (rowid, _rowid_, oid, id INTEGER PRIMARY KEY); INSERT INTO alias VALUES (1, 2, 3, 4)`);
    const text = "CAST(unhex(printf('61ff%06x', i)) AS TEXT)";
    leader.run(`INSERT INTO a SELECT CASE i % 4 WHEN 0 THEN i WHEN 1 THEN i / 3.0 WHEN 2 THEN ${text}
      ELSE randomblob(9) END, i FROM (${many(9_000)} SELECT i FROM n)`);
    leader.run(
      `INSERT INTO b SELECT ${text}, i % 7 / 2.0, randomblob(3) FROM (${many(4_000)} SELECT i FROM n)`,
    );
    leader.run(`INSERT INTO c SELECT i % 5, ${text}, NULL FROM (${many(4_000)} SELECT i FROM n)`);
    leader.run(`INSERT INTO d VALUES (1, 9223372036854775807, -0.0), (2, -9223372036854775808, 1e308),
      (3, 'a' || char(0) || 'b', NULL), (-9223372036854775808, '', 0.0), (4, x'', 9e999)`);
    const ranges = pass(leader);
    const count = (name: string) => {
      return ranges
        .filter(({ kind, table }) => kind === "rows" && table === name)
        .reduce((sum, { rows }) => sum + rows, 0);
    };
    expect(["a", "b", "c", "d", "", "a\"b%' -- ", "alias"].map(count)).toEqual([
      9_000, 4_000, 4_000, 5, 1, 1, 1,
    ]);
    expect(count("hidden")).toBe(0);
    leader.follower(() => 4);
  });

  test.each([1_000, 2_000])("%i columns, more than one result may have", (count) => {
    const columns = Array.from({ length: count }, (_, at) => `c${at}`).join(", ");
    const leader = leaderWith(`CREATE TABLE wide (${columns});
      CREATE TABLE keyed (${columns}, PRIMARY KEY (c1)) WITHOUT ROWID`);
    const last = `c${count - 1}`;
    const rows = `('a', 1, 'z'), (CAST(x'ff61' AS TEXT), 2, x'00'), ('\uFFFD', 3, NULL)`;
    for (const table of ["wide", "keyed"])
      leader.exec(`INSERT INTO ${table}(c0, c1, ${last}) VALUES ${rows}`);
    const ranges = pass(leader).filter(({ table }) => /wide|keyed/.test(table));
    expect(ranges).toMatchObject([
      { rows: 3, failed: "" },
      { rows: 3, failed: "" },
    ]);
    leader.follower(() => 1);
    expect(foundIn(leader, `UPDATE wide SET ${last} = 'y' WHERE c1 = 1`)).toContain('"wide"');
    expect(foundIn(leader, `UPDATE keyed SET ${last} = x'01' WHERE c1 = 2`)).toContain('"keyed"');
  });

  test("tables come, go and change between the ranges of a pass", () => {
    const leader = leaderWith("CREATE TABLE m (v); CREATE TABLE n (v); CREATE TABLE z (v)");
    for (const name of ["m", "n", "z"]) {
      leader.run(`INSERT INTO ${name} SELECT i FROM (${many(3_000)} SELECT i FROM n)`);
    }
    for (const change of [
      "DROP TABLE m",
      "ALTER TABLE n RENAME TO nn",
      "CREATE TABLE k (v)",
      "ALTER TABLE z ADD COLUMN w DEFAULT 4",
      "DELETE FROM nn WHERE v < 2900",
      "CREATE TABLE m (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID",
    ]) {
      leader.transact("checksum");
      leader.run(change);
    }
    pass(leader);
    pass(leader);
    leader.follower(() => 3);
  });

  test("a node that leads after another goes on where that one was", () => {
    const leader = leaderWith("CREATE TABLE t (v)");
    leader.run(`INSERT INTO t SELECT i FROM (${many(9_000)} SELECT i FROM n)`);
    leader.transact("checksum");
    leader.transact("checksum");
    const path = freshPath();
    const next = openCore({ path });
    expect(next.apply(leader.log).mismatch).toBeNull();
    const job = { ...JOB, timeMs: leader.timeMs };
    const outcome = next.execute(job);
    if (outcome.kind !== "proposal") throw new Error("no checksum");
    const [first] = decodeCommand(outcome.payload).checksum?.ranges ?? [];
    expect(first).toMatchObject({ table: "t", after: [999n] });
  });

  test("requests notice nothing of it", () => {
    const script =
      "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); CREATE VIRTUAL TABLE f USING fts5(x)";
    const run = (leader: TestLeader, between: () => void) => {
      const results: unknown[] = [];
      for (const sql of [
        "INSERT INTO t(a) VALUES (7), (8)",
        "INSERT INTO f VALUES ('one two')",
        "UPDATE t SET b = last_insert_rowid() || '/' || changes()",
        "INSERT INTO t(a, b) VALUES (random(), changes())",
        "SELECT * FROM t",
      ]) {
        between();
        results.push(leader.run(sql, [], { seed: 5 }));
      }
      return results;
    };
    const [plain, checked] = [leaderWith(script), leaderWith(script)];
    const expected = run(plain, () => {});
    expect(run(checked, () => checked.transact("checksum"))).toEqual(expected);
    checked.follower(() => 2);
  });
});

const JOB = {
  id: 1,
  verb: "checksum" as const,
  batch: new Uint8Array(0),
  openSession: false,
  session: 0,
  sequence: 0,
  acknowledgedThrough: 0,
  seedHigh: 0,
  seedLow: 0,
};

describe("what rots is found, and named", () => {
  const SCHEMA = `
    CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, v, g AS (v || '!') STORED, r REAL);
    CREATE TABLE w (a TEXT, b, PRIMARY KEY (a, b)) WITHOUT ROWID;
    CREATE TABLE bytes (v);
    CREATE VIRTUAL TABLE f USING fts5(text);
    CREATE VIRTUAL TABLE f4 USING fts4(text);
    CREATE VIRTUAL TABLE box USING rtree(id, x0, x1);
    INSERT INTO t(v, r) VALUES ('one', 0.0), ('two', 1.5), ('three', 2.5);
    INSERT INTO w VALUES ('a', 1), ('b', 2);
    INSERT INTO bytes VALUES (CAST(x'61ff' AS TEXT)), (zeroblob(300000));
    INSERT INTO f VALUES ('some words'); INSERT INTO f4 VALUES ('some words');
    INSERT INTO box VALUES (1, 0, 1);
    ANALYZE`;
  const ROT: readonly [what: string, change: string, table: string][] = [
    ["a value", "UPDATE t SET v = 'onf' WHERE id = 1", "t"],
    ["its kind", "UPDATE t SET v = x'6f6e65' WHERE id = 1", "t"],
    ["the last bit of a real", "UPDATE t SET r = 1.5000000000000002 WHERE id = 2", "t"],
    ["a row", "DELETE FROM t WHERE id = 3", "t"],
    ["one more", "INSERT INTO bytes VALUES (1)", "bytes"],
    ["a rowid", "UPDATE bytes SET rowid = 7 WHERE rowid = 2", "bytes"],
    [
      "text that was no text",
      "UPDATE bytes SET v = CAST(x'61fe' AS TEXT) WHERE rowid = 1",
      "bytes",
    ],
    [
      "a byte of a long value",
      "UPDATE bytes SET v = CAST(zeroblob(299999) || 'x' AS BLOB) WHERE rowid = 2",
      "bytes",
    ],
    ["a key without rowid", "UPDATE w SET b = 3 WHERE a = 'b'", "w"],
    ["a counter of AUTOINCREMENT", "UPDATE sqlite_sequence SET seq = 77", "sqlite_sequence"],
    ["statistics", "UPDATE sqlite_stat1 SET stat = '9' WHERE tbl = 't'", "sqlite_stat1"],
    ["FTS5's content", "UPDATE f_content SET c0 = 'some wordz'", "f_content"],
    ["FTS5's index", "UPDATE f_data SET block = block || x'00' WHERE id > 10", "f_data"],
    ["FTS5's structure", "UPDATE f_data SET block = block || x'00' WHERE id = 10", "f_data"],
    ["FTS4's index", "UPDATE f4_segdir SET root = root || x'00'", "f4_segdir"],
    ["a box", "UPDATE box_node SET data = zeroblob(length(data))", "box_node"],
    [
      "what a session remembers",
      "UPDATE balsa_session SET acknowledged_through = 5",
      "balsa_session",
    ],
    [
      "the schema's text",
      "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = replace(sql, 'bytes (v)', 'bytes (w)')",
      "",
    ],
    ["the header", "PRAGMA user_version = 5", ""],
    ["a table that is gone", "DROP TABLE bytes", ""],
  ];

  test.each(ROT)("%s", (_what, change, table) => {
    const leader = leaderWith(SCHEMA);
    leader.openSession();
    const detail = foundIn(leader, change);
    expect(detail).toContain(table === "" ? "the schema" : `table ${JSON.stringify(table)}`);
  });

  test("nothing where nothing did", () => {
    const leader = leaderWith(SCHEMA);
    leader.openSession();
    expect(foundIn(leader, "VACUUM; UPDATE balsa_meta SET writer_epoch = 99")).toBeNull();
    const cookie =
      "UPDATE f_data SET block = CAST(x'00000009' || substr(block, 5) AS BLOB) WHERE id = 10";
    expect(foundIn(leader, cookie)).toBeNull();
  });

  test("what no node can read, for want of a collation, is no difference", () => {
    const leader = leaderWith("CREATE TABLE k (a TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID");
    leader.run("INSERT INTO k VALUES ('x')");
    leader.commit();
    const unknown = `PRAGMA writable_schema = 1;
      UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'elsewhere') WHERE name = 'k'`;
    const follower = leader.follower();
    for (const path of [leader.path, follower]) {
      const file = new Database(path);
      file.unsafeMode(true);
      file.exec(unknown);
      file.close();
    }
    leader.reopen();
    const before = leader.log.length;
    const failed = pass(leader).filter((range) => range.failed !== "");
    expect(failed).toMatchObject([{ table: "k", failed: "SQLITE_ERROR_MISSING_COLLSEQ" }]);
    expect(openCore({ path: follower }).apply(leader.log.slice(before)).mismatch).toBeNull();
  });

  test("a leader that cannot read what others can is the one that differs", () => {
    const leader = leaderWith(SCHEMA);
    leader.commit();
    const follower = leader.follower();
    leader.core.close();
    const file = new Database(leader.path);
    file.unsafeMode(true);
    file.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    const root = file.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'w'").pluck().get();
    file.close();
    const raw = openSync(leader.path, "r+");
    writeSync(raw, Buffer.from([0xff]), 0, 1, (Number(root) - 1) * 4_096);
    closeSync(raw);
    leader.reopen();
    const before = leader.log.length;
    pass(leader);
    const { mismatch } = openCore({ path: follower }).apply(leader.log.slice(before));
    expect(mismatch?.detail).toMatch(/table "w".*the leader cannot read it: SQLITE_CORRUPT/);
  });
});
