/** Exactly once: duplicates, late ones, expiry and bounds, and that all nodes remember the same. */

import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { DEFAULT_SESSION_LIMITS } from "../../src/machine/sessions.ts";
import {
  failureOf,
  freshPath,
  onlyResult,
  openCore,
  openReader,
  readAll,
  TestLeader,
  TIME_MS,
} from "./support/machine-harness.ts";

const INSERT = [{ sql: "INSERT INTO t(a) VALUES (?) RETURNING id, random() AS r", args: [1] }];
const HOUR_MS = 3_600_000;

function leaderWithTable(options: ConstructorParameters<typeof TestLeader>[0] = {}): TestLeader {
  const leader = new TestLeader(options);
  leader.exec("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a UNIQUE)");
  return leader;
}

const rowsOf = (leader: TestLeader) => leader.all("SELECT count(*) AS n FROM t")[0]?.["n"];

test("sessions are numbered from 1, and the same everywhere", () => {
  const leader = leaderWithTable();
  expect([leader.openSession(), leader.openSession()]).toStrictEqual([1, 2]);
  leader.commit();
  leader.reopen();
  expect(leader.openSession()).toBe(3);
});

test("a duplicate in the same transaction gets the first answer, and changes nothing", () => {
  const leader = leaderWithTable();
  const session = leader.openSession();
  const first = leader.batch(INSERT, { session, sequence: 1 });
  const again = leader.batch(INSERT, { session, sequence: 1, seed: 999 });
  expect(again.kind).toBe("answer");
  expect(onlyResult(again)).toStrictEqual(onlyResult(first));
  expect(rowsOf(leader)).toBe(1);
  expect(leader.log).toHaveLength(3);
});

test("after a commit, a restart, or on another node it is the same, with an index that covers it", () => {
  const leader = leaderWithTable();
  const session = leader.openSession();
  const first = leader.batch(INSERT, { session, sequence: 1 });
  leader.commit();
  expect(leader.batch(INSERT, { session, sequence: 1 })).toMatchObject({
    kind: "answer",
    index: 3,
  });
  leader.reopen();
  const again = leader.batch(INSERT, { session, sequence: 1 });
  expect(again).toMatchObject({ kind: "answer", index: 3 });
  expect(onlyResult(again)).toStrictEqual(onlyResult(first));

  const follower = openCore({ path: freshPath() });
  follower.apply(leader.log);
  const successor = new TestLeader({ path: leader.follower() });
  expect(onlyResult(successor.batch(INSERT, { session, sequence: 1 }))).toStrictEqual(
    onlyResult(first),
  );
  expect(rowsOf(successor)).toBe(1);
});

test("an entry that was only executed is forgotten with its transaction", () => {
  const leader = leaderWithTable();
  const session = leader.openSession();
  leader.commit();
  leader.batch(INSERT, { session, sequence: 1 });
  // Never committed, and not in the log that the next writer sees.
  leader.log.length = 2;
  leader.reopen();
  expect(leader.batch(INSERT, { session, sequence: 1 }).kind).toBe("proposal");
});

test("writes may arrive in any order; an acknowledged one that comes late is refused", () => {
  const leader = leaderWithTable();
  const session = leader.openSession();
  const write = (sequence: number, acknowledgedThrough = 0) =>
    leader.batch([{ sql: "INSERT INTO t(a) VALUES (?)", args: [sequence] }], {
      session,
      sequence,
      acknowledgedThrough,
    });
  expect(write(3).kind).toBe("proposal");
  expect(write(1).kind).toBe("proposal");
  expect(write(2, 1).kind).toBe("proposal");
  expect(failureOf(write(1)).code).toBe("SEQUENCE_EXPIRED");
  expect(write(2).kind).toBe("answer");
  expect(write(3).kind).toBe("answer");
  // The floor may pass a sequence that never arrived: it is refused when it does.
  expect(write(9, 8).kind).toBe("proposal");
  expect(failureOf(write(5))).toMatchObject({ code: "SEQUENCE_EXPIRED", outcome: "unknown" });
  expect(write(10, 8).kind).toBe("proposal");
});

test("what fails is not remembered: the same number may be tried again", () => {
  const leader = leaderWithTable();
  const session = leader.openSession();
  const insert = (a: number) =>
    leader.batch([{ sql: "INSERT INTO t(a) VALUES (?)", args: [a] }], { session, sequence: 2 });
  leader.run("INSERT INTO t(a) VALUES (5)");
  expect(failureOf(insert(5)).code).toBe("SQLITE_CONSTRAINT_UNIQUE");
  expect(insert(6).kind).toBe("proposal");
  expect(insert(5).kind).toBe("answer");
});

test("reads in a session are not remembered", () => {
  const leader = leaderWithTable();
  const session = leader.openSession();
  const read = [{ sql: "SELECT count(*) AS n FROM t" }];
  expect(onlyResult(leader.batch(read, { session, sequence: 1 })).rows).toEqual([{ n: 0 }]);
  leader.run("INSERT INTO t(a) VALUES (1)");
  expect(onlyResult(leader.batch(read, { session, sequence: 1 })).rows).toEqual([{ n: 1 }]);
});

test.each([
  ["an unknown session", { session: 77, sequence: 1 }, "SESSION_EXPIRED"],
  ["no sequence", { session: 1, sequence: 0 }, "INVALID_ARGUMENT"],
  [
    "its own answer acknowledged",
    { session: 1, sequence: 3, acknowledgedThrough: 3 },
    "INVALID_ARGUMENT",
  ],
])("%s is refused and nothing runs", (_what, request, code) => {
  const leader = leaderWithTable();
  leader.openSession();
  expect(failureOf(leader.batch(INSERT, request)).code).toBe(code);
  expect(rowsOf(leader)).toBe(0);
});

describe("expiry", () => {
  test("by log time, an hour after the last write", () => {
    const leader = leaderWithTable();
    const session = leader.openSession();
    const write = (sequence: number, timeMs: number) =>
      leader.batch(
        INSERT.map(({ sql }) => ({ sql, args: [sequence] })),
        { session, sequence, timeMs },
      );
    expect(write(1, TIME_MS + HOUR_MS).kind).toBe("proposal");
    expect(write(2, TIME_MS + 2 * HOUR_MS).kind).toBe("proposal");
    expect(failureOf(write(3, TIME_MS + 3 * HOUR_MS + 1)).code).toBe("SESSION_EXPIRED");
    expect(rowsOf(leader)).toBe(2);
    // Time that only a failed request has seen does not count.
    expect(write(3, TIME_MS + 2 * HOUR_MS + 1).kind).toBe("proposal");
  });

  test("the row goes when another session is opened", () => {
    const leader = leaderWithTable();
    leader.openSession();
    leader.openSession(TIME_MS + HOUR_MS + 1);
    leader.commit();
    const ids = (path: string) => {
      const database = new Database(path, { readonly: true });
      const rows = database.prepare("SELECT id FROM balsa_session").pluck().all();
      database.close();
      return rows;
    };
    expect(ids(leader.path)).toStrictEqual([2]);
    expect(ids(leader.follower())).toStrictEqual([2]);
  });

  test("log time never runs backwards", () => {
    const leader = leaderWithTable();
    const at = (timeMs: number) =>
      leader.run("INSERT INTO t(a) VALUES (unixepoch('subsec')) RETURNING a", [], { timeMs })
        .rows[0]?.["a"];
    const [first, second] = [at(TIME_MS + 5000), leader.fail("INSERT INTO t(a) SELECT a FROM t")];
    expect([first, second.code]).toStrictEqual([
      (TIME_MS + 5000) / 1000,
      "SQLITE_CONSTRAINT_UNIQUE",
    ]);
    const outcome = leader.run("SELECT unixepoch('subsec') AS a", [], { timeMs: TIME_MS });
    expect(outcome.rows).toStrictEqual([{ a: (TIME_MS + 5000) / 1000 }]);
    leader.commit();
    expect(leader.core.state.timeMs).toBe(TIME_MS + 5000);
    leader.reopen();
    expect(leader.core.state.timeMs).toBe(TIME_MS + 5000);
  });

  test("at the bound the one unused for longest ends", () => {
    const sessionLimits = { ...DEFAULT_SESSION_LIMITS, sessions: 2 };
    const leader = leaderWithTable({ sessionLimits });
    const [one, two] = [leader.openSession(), leader.openSession()];
    leader.batch(INSERT, { session: one, sequence: 1, timeMs: TIME_MS + 1 });
    const three = leader.openSession(TIME_MS + 2);
    const write = (session: number) =>
      leader.batch([{ sql: "UPDATE t SET a = a" }], { session, sequence: 2 });
    expect(failureOf(write(two)).code).toBe("SESSION_EXPIRED");
    expect([write(one).kind, write(three).kind]).toStrictEqual(["proposal", "proposal"]);
  });
});

test("answers that nobody acknowledges are bounded", () => {
  const sessionLimits = { ...DEFAULT_SESSION_LIMITS, remembered: 3, rememberedBytes: 1000 };
  const leader = leaderWithTable({ sessionLimits });
  const session = leader.openSession();
  const write = (sequence: number, acknowledgedThrough = 0) =>
    leader.batch([{ sql: "UPDATE t SET a = a" }], { session, sequence, acknowledgedThrough });
  for (const sequence of [1, 2, 3]) expect(write(sequence).kind).toBe("proposal");
  expect(failureOf(write(4))).toMatchObject({
    code: "LIMIT_EXCEEDED",
    facts: { limit: "remembered", value: "3" },
  });
  expect(write(4, 1).kind).toBe("proposal");

  const large = [{ sql: "INSERT INTO t(a) VALUES (1) RETURNING hex(zeroblob(600))" }];
  expect(
    failureOf(leader.batch(large, { session, sequence: 5, acknowledgedThrough: 4 })).code,
  ).toBe("LIMIT_EXCEEDED");
  expect(rowsOf(leader)).toBe(0);
});

test("answers of all sessions together are bounded: those unused for longest end, after a restart too", () => {
  const sessionLimits = { ...DEFAULT_SESSION_LIMITS, allRememberedBytes: 4_000 };
  const leader = leaderWithTable({ sessionLimits });
  const large = [{ sql: "INSERT INTO t(a) VALUES (random()) RETURNING hex(zeroblob(500))" }];
  const sessions = Array.from({ length: 6 }, () => leader.openSession());
  const write = (session: number, sequence: number, acknowledgedThrough = 0) => {
    leader.timeMs += 1;
    return leader.batch(large, { session, sequence, acknowledgedThrough });
  };
  const ends: string[] = [];
  for (const session of sessions) {
    write(session, 1);
    if (session === 3) {
      leader.commit();
      leader.core.close();
      leader.core = openCore({ path: leader.path, sessionLimits });
    }
    // What is acknowledged counts no longer.
    if (session <= 2) write(session, 2, 1);
  }
  const small = [{ sql: "UPDATE t SET a = a" }];
  for (const session of sessions) {
    const outcome = leader.batch(small, { session, sequence: 3, timeMs: leader.timeMs });
    ends.push(outcome.kind === "failure" ? outcome.failure.code : outcome.kind);
  }
  const expired = Array.from({ length: 3 }, () => "SESSION_EXPIRED");
  expect(ends).toStrictEqual([...expired, "proposal", "proposal", "proposal"]);
});

test("the table of sessions is the same for any commit boundary", () => {
  const leader = leaderWithTable();
  const sessions = [leader.openSession(), leader.openSession(), leader.openSession()];
  for (let i = 1; i <= 30; i++) {
    for (const session of sessions) {
      const acknowledgedThrough = Math.max(0, i - 1 - ((session * i) % 5));
      leader.batch([{ sql: "INSERT INTO t(a) VALUES (random()) RETURNING a" }], {
        session,
        // Not in order: pairs change places.
        sequence: i % 2 === 0 ? i - 1 : i + 1,
        acknowledgedThrough: Math.max(0, acknowledgedThrough - 3),
        timeMs: TIME_MS + i * 10,
      });
    }
    if (i % 7 === 0) leader.commit();
    if (i % 11 === 0) leader.reopen();
  }
  leader.commit();
  const rows = (path: string) => readAll(openReader(path), "SELECT id, a FROM t");
  const remembered = (path: string) => {
    const database = new Database(path, { readonly: true });
    const all = database.prepare("SELECT * FROM balsa_session").all();
    database.close();
    return all;
  };
  for (const size of [1, 7, 1000]) {
    const path = leader.follower(() => size);
    expect(remembered(path)).toStrictEqual(remembered(leader.path));
    expect(rows(path)).toStrictEqual(rows(leader.path));
  }
});
