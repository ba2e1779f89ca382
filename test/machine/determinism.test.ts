/**
 * The same log gives the same file. Generated requests run on a leader, with commits, failures, reads and lost transactions
 * in between; followers apply its log with other commits. Content and remembered answers must agree to the byte.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import Database from "better-sqlite3";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readFileContent } from "../../src/machine/content-digest.ts";
import type { Entry } from "../../src/raft/entry.ts";
import type { Statement } from "../../src/sql/statement.ts";
import { decodeCommand, encodeCommand } from "../../src/wire/log-codec.ts";
import { encodeBatch } from "../../src/wire/statement-codec.ts";
import { failureOf, freshPath, openCore, TestLeader, TIME_MS } from "./support/machine-harness.ts";

const SCHEMA = `
  CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, k UNIQUE, v, at DEFAULT CURRENT_TIMESTAMP);
  CREATE TABLE b (x, y REAL, r DEFAULT (random()), CHECK (x IS NULL OR x <> 3));
  CREATE TABLE w (p TEXT, q INT, n, PRIMARY KEY (p, q)) WITHOUT ROWID;
  CREATE TABLE child (a REFERENCES a(id) ON DELETE CASCADE);
  CREATE INDEX ay ON a(v) WHERE v > 2;
  CREATE TRIGGER ins AFTER INSERT ON a BEGIN
    INSERT INTO b(x, y) VALUES (last_insert_rowid() + 10, julianday('now'));
    INSERT INTO child VALUES (new.id);
  END;
  CREATE TRIGGER del AFTER DELETE ON w BEGIN
    INSERT OR IGNORE INTO w VALUES (old.p || changes(), old.q, hex(randomblob(4)));
  END;
  CREATE VIEW v AS SELECT id, v, datetime('now', '-1 day') AS before FROM a;
`;
const EXTRAS = [
  "CREATE VIRTUAL TABLE f USING fts5(text)",
  "CREATE TRIGGER af AFTER INSERT ON a BEGIN INSERT INTO f(rowid, text) VALUES (new.id, new.v); END",
];

const VALUE = fc.oneof(
  fc.integer({ min: 0, max: 12 }),
  fc.constantFrom<Statement["args"] & string>(...("now|text|é".split("|") as never[])),
  fc.double({ noNaN: true, min: 0, max: 10 }),
  fc.constant(null),
  fc.uint8Array({ maxLength: 6 }),
  fc.constant(2n ** 60n),
);

const STATEMENT: fc.Arbitrary<Statement> = fc.oneof(
  fc
    .constantFrom(
      "INSERT INTO a(k, v) VALUES (?, ?)",
      "INSERT OR REPLACE INTO a(k, v) VALUES (?, ?)",
      "INSERT OR IGNORE INTO a(k, v) VALUES (?, ?)",
      "INSERT OR FAIL INTO a(k, v) VALUES (random(), 1), (?, ?)",
      "INSERT INTO a(k, v) VALUES (?, ?) ON CONFLICT(k) DO UPDATE SET v = excluded.v || date('now')",
      "INSERT INTO a(k, v) VALUES (?, ?) RETURNING *",
      "INSERT INTO b(x, y) VALUES (?, ?)",
      "INSERT INTO w VALUES (?, abs(random()) % 5, ?)",
      "UPDATE a SET v = ? WHERE k = ?",
      "DELETE FROM a WHERE k = ? OR v = ?",
      "DELETE FROM w WHERE p = ? OR n = ?",
      "SELECT count(*), sum(v), ?, ? FROM a",
    )
    .chain((sql) => fc.tuple(VALUE, VALUE).map((args) => ({ sql, args }))),
  fc.constantFrom(
    { sql: "INSERT INTO b(x) SELECT v FROM a ORDER BY random() LIMIT 3" },
    { sql: "INSERT INTO b(x, y) SELECT id, julianday(before) FROM v" },
    { sql: "UPDATE b SET y = random() / 1e18, x = NULL WHERE rowid % 3 = 0" },
    { sql: "INSERT INTO b(x) VALUES (changes() || ',' || last_insert_rowid())" },
    { sql: "DELETE FROM child" },
    { sql: "SELECT random(), date(), changes(), last_insert_rowid()" },
  ),
);
const RARE: fc.Arbitrary<Statement> = fc.constantFrom(
  { sql: "ANALYZE" },
  { sql: "REINDEX" },
  { sql: "CREATE TABLE extra (a, b UNIQUE ON CONFLICT FAIL)" },
  { sql: "DROP TABLE IF EXISTS extra" },
  { sql: "CREATE INDEX IF NOT EXISTS extra_i ON b(x)" },
  { sql: "ALTER TABLE b ADD COLUMN c DEFAULT 5" },
  { sql: "INSERT INTO extra VALUES (1, 1), (2, 2), (1, 1)" },
  { sql: "PRAGMA user_version = 12" },
  ...EXTRAS.map((sql) => ({ sql })),
);

type Step =
  | { readonly kind: "batch"; readonly statements: readonly Statement[]; readonly session: boolean }
  | { readonly kind: "commit" }
  | { readonly kind: "restart" };

const STEP: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant("batch" as const),
      statements: fc.oneof(
        { weight: 3, arbitrary: fc.array(STATEMENT, { minLength: 1, maxLength: 1 }) },
        { weight: 1, arbitrary: fc.array(STATEMENT, { minLength: 2, maxLength: 4 }) },
        { weight: 1, arbitrary: fc.array(RARE, { minLength: 1, maxLength: 1 }) },
      ),
      session: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.constant({ kind: "commit" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "restart" as const }) },
);

function play(leader: TestLeader, steps: readonly Step[]): void {
  leader.exec(SCHEMA);
  const session = leader.openSession();
  let sequence = 0;
  for (const step of steps) {
    leader.timeMs += 137;
    if (step.kind === "commit") leader.commit();
    else if (step.kind === "restart") leader.reopen();
    else {
      const request = step.session ? { session, sequence: ++sequence } : {};
      if (leader.batch(step.statements, request).kind === "broken") leader.reopen();
    }
  }
  leader.commit();
}

function remembered(path: string): unknown {
  const database = new Database(path, { readonly: true });
  const rows = database.prepare("SELECT * FROM balsa_session").all();
  database.close();
  return rows;
}

test("leader and followers hold the same, whatever their commits", () => {
  fc.assert(
    fc.property(
      fc.array(STEP, { minLength: 5, maxLength: 60 }),
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 }),
      (steps, sizes) => {
        const leader = new TestLeader();
        play(leader, steps);
        const content = readFileContent(leader.path);
        const commits = [(i: number) => sizes[i % sizes.length] ?? 1, () => 1, () => 1000];
        for (const size of commits) {
          const path = leader.follower(size);
          expect(readFileContent(path)).toStrictEqual(content);
          expect(remembered(path)).toStrictEqual(remembered(leader.path));
        }
        leader.core.close();
      },
    ),
    { numRuns: 25 },
  );
}, 60_000);

test("followers' files agree page by page, but for Balsa's own header", () => {
  const leader = new TestLeader();
  leader.exec(SCHEMA);
  for (let i = 0; i < 200; i++) {
    leader.run("INSERT INTO a(k, v) VALUES (?, random())", [i]);
    if (i % 3 === 0) leader.run("DELETE FROM a WHERE k = ?", [i - 1]);
    if (i % 17 === 0) leader.commit();
  }
  leader.commit();
  const pages = (path: string) => {
    // The change counters of page 1 count commits; page 2 is balsa_meta with its epoch.
    const file = readFileSync(path).subarray(2 * 4096);
    return [file.length, createHash("sha256").update(file).digest("hex")];
  };
  const first = pages(leader.follower(() => 1));
  expect(pages(leader.follower(() => 7))).toStrictEqual(first);
  leader.core.close();
  expect(pages(leader.path)).toStrictEqual(first);
});

describe("an entry proves itself", () => {
  const forged = (entry: Entry, change: (batch: Uint8Array) => Uint8Array): Entry => {
    const command = decodeCommand(entry.payload);
    return { ...entry, payload: encodeCommand({ ...command, batch: change(command.batch) }) };
  };
  const withSql = (sql: string) => () => encodeBatch([{ sql }]);

  function leaderWithLog(): TestLeader {
    const leader = new TestLeader();
    leader.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE)");
    for (let i = 1; i <= 5; i++) leader.run("INSERT INTO t(a) VALUES (?)", [i]);
    return leader;
  }

  test.each<[string, string, RegExp]>([
    ["another number of changes", "INSERT INTO t(a) VALUES (7), (8)", /other effects/],
    ["another rowid", "INSERT INTO t VALUES (77, 5)", /other effects/],
    ["rows", "INSERT INTO t(a) VALUES (4) RETURNING id", /other effects/],
    ["an error", "INSERT INTO t(a) VALUES (1)", /SQLITE_CONSTRAINT_UNIQUE/],
    ["a refusal", "VACUUM", /REFUSED/],
    ["nothing written", "SELECT 1", /it wrote nothing/],
    ["a lost transaction", "INSERT OR ROLLBACK INTO t(a) VALUES (1)", /SQLITE_CONSTRAINT_UNIQUE/],
    ["an undone schema", "CREATE TABLE x AS SELECT abs(-9223372036854775808)", /overflow/],
  ])("%s: what came before is committed, it and the rest are not", (_what, sql, detail) => {
    const leader = leaderWithLog();
    const log = [...leader.log];
    log[4] = forged(log[4]!, withSql(sql));
    const path = freshPath();
    const follower = openCore({ path });
    follower.apply(log.slice(0, 2));
    const { last, mismatch } = follower.apply(log.slice(2));
    expect(last).toStrictEqual({ index: 4, term: 1 });
    expect(mismatch).toMatchObject({ index: 5, detail: expect.stringMatching(detail) });
    expect(follower.state.appliedIndex).toBe(4);
    follower.close();
    const database = new Database(path, { readonly: true });
    expect(database.prepare("SELECT a FROM t").pluck().all()).toStrictEqual([1, 2, 3]);
    database.close();
  });

  test("the first entry of an apply may be the one", () => {
    const leader = leaderWithLog();
    const follower = openCore({ path: freshPath() });
    follower.apply(leader.log.slice(0, 2));
    const sick = forged(leader.log[2]!, withSql("DELETE FROM t"));
    expect(follower.apply([sick])).toMatchObject({ last: { index: 2 }, mismatch: { index: 3 } });
    // Its connection was replaced, and the WAL with it: that is no change from outside.
    follower.look();
    // The true entry still fits.
    expect(follower.apply(leader.log.slice(2))).toMatchObject({
      last: { index: 6 },
      mismatch: null,
    });
  });

  test("sessions are rolled back with it", () => {
    const leader = leaderWithLog();
    const session = leader.openSession();
    leader.batch([{ sql: "DELETE FROM t" }], { session, sequence: 1 });
    leader.batch([{ sql: "INSERT INTO t(a) VALUES (9)" }], { session, sequence: 2 });
    const log = [...leader.log];
    log[8] = forged(log[8]!, withSql("INSERT INTO t VALUES (5, 5)"));
    const follower = openCore({ path: freshPath() });
    expect(follower.apply(log)).toMatchObject({ last: { index: 8 }, mismatch: { index: 9 } });
    expect(follower.apply(leader.log.slice(8)).mismatch).toBeNull();
  });

  test("an entry that repeats a write, or runs log time back, does not fit", () => {
    const leader = leaderWithLog();
    const session = leader.openSession();
    leader.batch([{ sql: "DELETE FROM t" }], { session, sequence: 1 });
    const repeated: Entry = { ...leader.log[7]!, index: 9 };
    const follower = openCore({ path: freshPath() });
    expect(follower.apply([...leader.log, repeated])).toMatchObject({
      last: { index: 8 },
      mismatch: { index: 9, detail: "it was applied before" },
    });
    const command = decodeCommand(leader.log[1]!.payload);
    const payload = encodeCommand({ ...command, timeMs: TIME_MS - 1 });
    expect(follower.apply([{ index: 9, term: 1, kind: "command", payload }])).toMatchObject({
      mismatch: { index: 9, detail: expect.stringContaining("log time") },
    });
  });

  test("no-ops and configurations only move the applied index", () => {
    const path = freshPath();
    const core = openCore({ path });
    const payload = new Uint8Array([255, 255]);
    const entries: Entry[] = [
      { index: 1, term: 3, kind: "noop", payload: new Uint8Array() },
      { index: 2, term: 3, kind: "configuration", payload },
    ];
    expect(core.apply(entries)).toStrictEqual({ last: { index: 2, term: 3 }, mismatch: null });
    core.close();
    expect(openCore({ path }).state).toMatchObject({ appliedIndex: 2, appliedTerm: 3 });
  });
});

test("a killed writer's transaction is as if it had never been", () => {
  const leader = new TestLeader();
  leader.exec("CREATE TABLE t (a)");
  leader.commit();
  leader.run("INSERT INTO t VALUES (1)");
  leader.core.close();
  const core = openCore({ path: leader.path });
  expect(core.state.appliedIndex).toBe(1);
  expect(core.apply(leader.log.slice(1))).toMatchObject({ last: { index: 2 }, mismatch: null });
  expect(() => failureOf({ kind: "answer", result: new Uint8Array(), index: 0 })).toThrow();
});
