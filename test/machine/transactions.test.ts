/**
 * Interactive transactions and batches that go on: what the leader ran step by step, followers run from one entry, to the
 * same content and remembered answers; what failed or was rolled back left nothing.
 */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ExecuteOutcome } from "../../src/node/ports.ts";
import type { Statement } from "../../src/sql/statement.ts";
import { decodeCommand, encodeCommand } from "../../src/wire/log-codec.ts";
import { NOT_APPLIED } from "../../src/wire/result-codec.ts";
import { encodeBatch, encodeScript } from "../../src/wire/statement-codec.ts";
import { DEFERRED, expectAgreement, leaderWith, TEXTS } from "./support/agreement.ts";
import {
  failureOf,
  freshPath,
  onlyResult,
  openCore,
  resultsOf,
  type TestLeader,
  TIME_MS,
} from "./support/machine-harness.ts";

function expectDone(outcome: ExecuteOutcome): void {
  expect(outcome.kind, JSON.stringify(outcome)).toMatch(/^(answer|proposal)$/);
}

describe("a transaction", () => {
  test("sees its own writes, and is one entry when it commits", () => {
    const leader = leaderWith();
    const before = leader.log.length;
    expectDone(leader.transact("begin"));
    expectDone(leader.step("INSERT INTO a(k) VALUES (?)", ["x"]));
    expect(onlyResult(leader.step("SELECT k FROM a")).rows).toEqual([{ k: "x" }]);
    expectDone(leader.step("UPDATE a SET v = 1"));
    expect(leader.log).toHaveLength(before);
    expect(leader.transact("commit").kind).toBe("proposal");
    expect(leader.log).toHaveLength(before + 1);
    const { transaction } = decodeCommand(leader.log.at(-1)?.payload ?? new Uint8Array());
    expect(transaction?.steps.map(({ kind }) => kind)).toEqual(["run", "run"]);
    expectAgreement(leader);
  });

  test("leaves nothing when it is rolled back, and the writer goes on", () => {
    const leader = leaderWith();
    const before = leader.log.length;
    leader.transact("begin");
    leader.step("INSERT INTO a(k) VALUES (1)");
    expectDone(leader.transact("rollback"));
    expect(leader.all("SELECT * FROM a")).toEqual([]);
    leader.run("INSERT INTO a(k) VALUES (1)");
    expect(leader.log).toHaveLength(before + 1);
    expectAgreement(leader);
  });

  test("that wrote nothing is no entry", () => {
    const leader = leaderWith();
    leader.transact("begin");
    leader.step("SELECT * FROM a");
    leader.step("INSERT INTO a(k) VALUES (1), (1)");
    expect(leader.transact("commit").kind).toBe("answer");
    expectAgreement(leader);
  });

  test("goes on behind a failed statement, which followers fail too", () => {
    const leader = leaderWith(TEXTS);
    leader.transact("begin");
    leader.step("INSERT INTO f VALUES ('one')");
    leader.step("INSERT INTO a(k) VALUES ('x')");
    expect(failureOf(leader.step("INSERT INTO a(k) VALUES ('y'), ('x')")).code).toBe(
      "SQLITE_CONSTRAINT_UNIQUE",
    );
    expect(failureOf(leader.step("INSERT INTO f VALUES (?)")).code).toBe("INVALID_ARGUMENT");
    expect(failureOf(leader.step("VACUUM")).code).toBe("REFUSED");
    leader.step("INSERT INTO f VALUES ('two')");
    leader.transact("commit");
    const { transaction } = decodeCommand(leader.log.at(-1)?.payload ?? new Uint8Array());
    const failed = transaction?.steps.map((step) => (step.kind === "run" ? step.failed : ""));
    expect(failed).toEqual(["", "", "SQLITE_CONSTRAINT_UNIQUE", "INVALID_ARGUMENT", "REFUSED", ""]);
    expectAgreement(leader);
  });

  test("has one instant, and other dice in each statement", () => {
    const leader = leaderWith();
    leader.transact("begin");
    const read = onlyResult(leader.step("SELECT random() AS r")).rows[0]?.["r"];
    leader.timeMs += 5_000;
    leader.step("INSERT INTO n DEFAULT VALUES");
    leader.step("INSERT INTO n DEFAULT VALUES");
    leader.transact("commit");
    const rows = leader.all("SELECT r, at FROM n");
    const expected = new Date(TIME_MS).toISOString().slice(0, 19).replace("T", " ");
    expect(rows.map(({ at }) => at)).toEqual([expected, expected]);
    expect(new Set([read, ...rows.map(({ r }) => r)]).size).toBe(3);
    expectAgreement(leader);
  });

  test("has last_insert_rowid() and changes() of its own, 0 at its start", () => {
    const leader = leaderWith();
    leader.run("INSERT INTO a(k) VALUES (1), (2), (3)");
    leader.transact("begin");
    const state = "SELECT last_insert_rowid() AS l, changes() AS c";
    expect(onlyResult(leader.step(state)).rows).toEqual([{ l: 0, c: 0 }]);
    leader.step("INSERT INTO a(k) VALUES (4), (5)");
    leader.step("SELECT 1; ");
    expect(onlyResult(leader.step(state)).rows).toEqual([{ l: 5, c: 2 }]);
    leader.step("INSERT INTO a(k) VALUES (6), (5)");
    leader.step("INSERT INTO n(c) SELECT last_insert_rowid() * 10 + changes()");
    expect(failureOf(leader.step("INSERT INTO n(c) VALUES (?)")).code).toBe("INVALID_ARGUMENT");
    leader.step("INSERT INTO n(c) SELECT last_insert_rowid() * 10 + changes()");
    leader.transact("commit");
    expect(leader.all("SELECT c FROM n")).toEqual([{ c: 50 }, { c: 10 }]);
    expectAgreement(leader);
  });

  test("proves deferred foreign keys at its end, not before", () => {
    const leader = leaderWith(DEFERRED);
    leader.transact("begin");
    expectDone(leader.step("INSERT INTO child VALUES (7)"));
    expectDone(leader.step("INSERT INTO parent VALUES (7)"));
    expect(leader.transact("commit").kind).toBe("proposal");
    leader.transact("begin");
    leader.step("INSERT INTO child VALUES (8)");
    const failure = failureOf(leader.transact("commit"));
    expect(failure.code).toBe("SQLITE_CONSTRAINT_FOREIGNKEY");
    expect(leader.all("SELECT p FROM child")).toEqual([{ p: 7 }]);
    expectAgreement(leader);
  });

  test("may not grow beyond one log entry", () => {
    const leader = leaderWith();
    leader.transact("begin");
    const mib = new Uint8Array(2 ** 20);
    const codes: string[] = [];
    for (let i = 0; i < 9; i++) {
      const outcome = leader.step("INSERT INTO a(v) VALUES (?)", [mib]);
      codes.push(outcome.kind === "failure" ? outcome.failure.code : outcome.kind);
    }
    expect(codes.filter((code) => code === "LIMIT_EXCEEDED")).toHaveLength(3);
    expect(leader.transact("commit").kind).toBe("proposal");
    expect(leader.log.at(-1)?.payload.length).toBeLessThan(7 * 2 ** 20);
    expectAgreement(leader);
  });

  test("takes a script, with a new schema", () => {
    const leader = leaderWith();
    leader.transact("begin");
    const script = "CREATE TABLE z (x); INSERT INTO z VALUES (1); CREATE INDEX zx ON z(x); ANALYZE";
    expectDone(leader.transact("run", encodeScript(script)));
    expectDone(leader.step("INSERT INTO z VALUES (2)"));
    leader.transact("commit");
    expectAgreement(leader);
  });
});

describe("what ends the connection", () => {
  test.each([
    ["a rollback behind a new table", "CREATE TABLE z (x)"],
    ["a rollback behind ANALYZE", "ANALYZE"],
    ["a rollback behind an ANALYZE that failed", "ANALYZE nosuch"],
  ])("%s", (_name, sql) => {
    const leader = leaderWith();
    leader.transact("begin");
    leader.step("INSERT INTO a(k) VALUES (1)");
    leader.step(sql);
    expect(leader.transact("rollback").kind).toBe("broken");
    leader.reopen();
    expectAgreement(leader);
  });

  test("a nested rollback of a new table; not one inside which nothing of the kind was done", () => {
    const leader = leaderWith();
    leader.transact("begin");
    leader.step("CREATE TABLE z (x)");
    leader.transact("savepoint");
    leader.step("INSERT INTO z VALUES (1)");
    expectDone(leader.transact("rollbackTo"));
    leader.transact("savepoint");
    leader.step("CREATE TABLE y (x)");
    leader.transact("savepoint");
    expectDone(leader.transact("release"));
    expect(leader.transact("rollbackTo").kind).toBe("broken");
    leader.reopen();
    expectAgreement(leader);
  });

  test("a statement that ends SQLite's own transaction", () => {
    const leader = leaderWith();
    leader.transact("begin");
    leader.step("INSERT INTO a(k) VALUES (1)");
    expect(leader.step("INSERT OR ROLLBACK INTO a(k) VALUES (1)").kind).toBe("broken");
    leader.reopen();
    expectAgreement(leader);
  });
});

describe("nested transactions", () => {
  test("are undone alone, on followers too", () => {
    const leader = leaderWith(TEXTS);
    leader.transact("begin");
    leader.step("INSERT INTO f VALUES ('kept')");
    leader.transact("savepoint");
    leader.step("INSERT INTO f VALUES ('lost')");
    leader.step("INSERT INTO a(k) VALUES (1)");
    leader.transact("savepoint");
    leader.step("INSERT INTO a(k) VALUES (2)");
    leader.transact("release");
    leader.transact("rollbackTo");
    leader.transact("savepoint");
    leader.step("INSERT INTO a(k) VALUES (3)");
    leader.transact("release");
    expect(leader.transact("commit").kind).toBe("proposal");
    expect(leader.all("SELECT k FROM a")).toEqual([{ k: 3 }]);
    expect(leader.all("SELECT text FROM f")).toEqual([{ text: "kept" }]);
    expectAgreement(leader);
  });

  test("must have ended before the commit, and begun before they end", () => {
    const leader = leaderWith();
    leader.transact("begin");
    expect(failureOf(leader.transact("release")).code).toBe("INVALID_ARGUMENT");
    leader.step("INSERT INTO a(k) VALUES (1)");
    leader.transact("savepoint");
    expect(failureOf(leader.transact("commit")).code).toBe("INVALID_ARGUMENT");
    expect(leader.all("SELECT * FROM a")).toEqual([]);
    expectAgreement(leader);
  });
});

describe("exactly once", () => {
  test("a commit is remembered, and a question about it finds it", () => {
    const leader = leaderWith();
    const session = leader.openSession();
    const request = { session, sequence: 1 };
    leader.transact("begin", new Uint8Array(), request);
    leader.step("INSERT INTO a(k) VALUES (1)");
    leader.transact("commit");
    const index = leader.log.length;
    leader.commit();
    const answer = { kind: "answer", result: Buffer.alloc(0), index };
    expect(leader.transact("settle", new Uint8Array(), request)).toMatchObject(answer);
    expect(failureOf(leader.transact("begin", new Uint8Array(), request)).code).toBe(
      "SEQUENCE_EXPIRED",
    );
    expectAgreement(leader);
  });

  test("one that was not committed never is, once that was asked", () => {
    const leader = leaderWith();
    const session = leader.openSession();
    const request = { session, sequence: 1 };
    const asked = leader.transact("settle", new Uint8Array(), request);
    expect(asked).toMatchObject({ kind: "proposal", result: NOT_APPLIED });
    const again = leader.transact("settle", new Uint8Array(), request);
    expect(again.kind === "answer" && Buffer.from(again.result)).toEqual(Buffer.from(NOT_APPLIED));
    expect(leader.transact("begin", new Uint8Array(), request).kind).toBe("failure");
    expectAgreement(leader);
  });

  test("a transaction in an expired session does not begin", () => {
    const leader = leaderWith();
    const failure = failureOf(
      leader.transact("begin", new Uint8Array(), { session: 9, sequence: 1 }),
    );
    expect(failure.code).toBe("SESSION_EXPIRED");
    expect(
      failureOf(leader.transact("settle", new Uint8Array(), { session: 9, sequence: 1 })).code,
    ).toBe("SESSION_EXPIRED");
  });
});

test("a follower whose step comes out otherwise finds the entry", () => {
  const leader = leaderWith();
  leader.transact("begin");
  leader.step("INSERT INTO a(k) VALUES (1)");
  leader.step("INSERT INTO a(k) VALUES (1)");
  leader.transact("commit");
  const entry = leader.log.at(-1);
  const command = decodeCommand(entry?.payload ?? new Uint8Array());
  const steps = command.transaction?.steps ?? [];
  const others = [
    steps.map((step) => (step.kind === "run" ? { ...step, failed: "" } : step)),
    steps.map((step) => (step.kind === "run" ? { ...step, failed: "SQLITE_ERROR" } : step)),
    steps.slice(0, 1),
    [{ kind: "savepoint" as const }, ...steps, { kind: "release" as const }],
  ];
  for (const other of others) {
    const core = openCore({ path: freshPath() });
    core.apply(leader.log.slice(0, -1));
    const payload = encodeCommand({ ...command, transaction: { steps: other, notApplied: false } });
    const { mismatch } = core.apply([
      { index: leader.log.length, term: 1, kind: "command", payload },
    ]);
    expect(mismatch).not.toBeNull();
  }
});

describe("a batch that goes on", () => {
  const goOn = (statements: readonly Statement[]) => encodeBatch(statements, undefined, "continue");

  test("keeps what succeeded, tells what failed, and is the same on followers", () => {
    const leader = leaderWith(TEXTS);
    const session = leader.openSession();
    const batch = goOn([
      { sql: "INSERT INTO a(k) VALUES (1) RETURNING id" },
      { sql: "INSERT INTO a(k) VALUES (2), (1)" },
      { sql: "INSERT INTO f VALUES (?)" },
      { sql: "INSERT INTO f VALUES ('x')" },
      { sql: "DROP DATABASE" },
      { sql: "ATTACH 'x' AS y" },
      { sql: "INSERT INTO n(c) SELECT count(*) + changes() FROM a" },
    ]);
    const outcome = leader.execute(batch, { session, sequence: 1 });
    expect(outcome.kind).toBe("proposal");
    const results = resultsOf(outcome) as readonly { failure?: { code: string } }[];
    expect(results.map(({ failure }) => failure?.code ?? "")).toEqual([
      "",
      "SQLITE_CONSTRAINT_UNIQUE",
      "INVALID_ARGUMENT",
      "",
      "SQLITE_ERROR",
      "REFUSED",
      "",
    ]);
    expect(leader.all("SELECT count(*) AS n FROM a")).toEqual([{ n: 1 }]);
    const { failed } = decodeCommand(leader.log.at(-1)?.payload ?? new Uint8Array());
    expect(failed?.map(({ index }) => index)).toEqual([1, 2, 4, 5]);
    expectAgreement(leader);
  });

  test("that wrote nothing is no entry", () => {
    const leader = leaderWith();
    const before = leader.log.length;
    const outcome = leader.execute(
      goOn([{ sql: "INSERT INTO no VALUES (1)" }, { sql: "SELECT 1" }]),
    );
    expect(outcome.kind).toBe("answer");
    expect(leader.log).toHaveLength(before);
  });

  test("fails as a whole where no statement alone is to blame", () => {
    const leader = leaderWith(DEFERRED);
    const mixed = goOn([{ sql: "INSERT INTO a(k) VALUES (1)" }, { sql: "PRAGMA page_count" }]);
    expect(failureOf(leader.execute(mixed)).code).toBe("REFUSED");
    const deferred = goOn([{ sql: "INSERT INTO child VALUES (8)" }]);
    expect(failureOf(leader.execute(deferred)).code).toBe("SQLITE_CONSTRAINT_FOREIGNKEY");
    expect(failureOf(leader.execute(goOn([]))).code).toBe("INVALID_ARGUMENT");
    expect(leader.all("SELECT * FROM a")).toEqual([]);
    expectAgreement(leader);
  });
});

const STEP = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom<Statement>(
      { sql: "INSERT INTO a(k, v) VALUES (abs(random()) % 7, changes())" },
      { sql: "INSERT OR FAIL INTO a(k) VALUES (100 + abs(random()) % 9), (3), (4)" },
      { sql: "INSERT OR REPLACE INTO a(k) VALUES (2) RETURNING *" },
      { sql: "INSERT INTO n(c) SELECT last_insert_rowid() * 100 + changes()" },
      { sql: "UPDATE a SET v = random() WHERE k < 4" },
      { sql: "DELETE FROM a WHERE k = abs(random()) % 5" },
      { sql: "INSERT INTO f VALUES (hex(randomblob(3)) || ' word')" },
      { sql: "DELETE FROM f WHERE rowid % 3 = 1" },
      { sql: "INSERT INTO child VALUES (1)" },
      { sql: "INSERT OR IGNORE INTO parent VALUES (1)" },
      { sql: "SELECT * FROM f WHERE f MATCH 'word'" },
      { sql: "INSERT INTO a(k) VALUES (?)" },
      { sql: "ANALYZE a" },
      { sql: "PRAGMA page_count" },
      { sql: "nonsense" },
    ),
  },
  { weight: 1, arbitrary: fc.constantFrom("savepoint", "release", "rollbackTo") },
);

test("whatever a transaction does, followers do", () => {
  const seen = { proposal: 0, answer: 0, failure: 0, broken: 0 };
  const ends = fc.constantFrom("commit", "commit", "commit", "rollback");
  const one = fc.tuple(fc.array(STEP, { maxLength: 14 }), ends, fc.boolean());
  fc.assert(
    fc.property(
      fc.array(one, { minLength: 1, maxLength: 5 }),
      fc.constantFrom([], [TEXTS], [DEFERRED]),
      (all, extras) => {
        const leader = leaderWith(...extras);
        const session = leader.openSession();
        let sequence = 0;
        for (const [steps, end, asBatch] of all) {
          sequence += 1;
          let outcome: ExecuteOutcome | null = null;
          const request = { session, sequence, acknowledgedThrough: Math.max(0, sequence - 3) };
          if (asBatch) {
            const batch = steps.filter((step) => typeof step !== "string");
            outcome = leader.execute(encodeBatch(batch, undefined, "continue"), request);
          } else {
            outcome = runTransaction(leader, request, steps, end);
          }
          if (outcome.kind === "apart") throw new Error("no setting is among them");
          seen[outcome.kind] += 1;
          if (outcome.kind === "broken") leader.reopen();
          leader.run("INSERT INTO n(c) SELECT count(*) FROM a");
        }
        expectAgreement(leader);
      },
    ),
    { numRuns: 60 },
  );
  for (const count of Object.values(seen)) expect(count).toBeGreaterThan(0);
}, 60_000);

function runTransaction(
  leader: TestLeader,
  request: { session: number; sequence: number; acknowledgedThrough: number },
  steps: readonly (Statement | string)[],
  end: string,
): ExecuteOutcome {
  leader.transact("begin", new Uint8Array(), request);
  let depth = 0;
  for (const step of steps) {
    const outcome =
      typeof step === "string"
        ? leader.transact(step as "savepoint")
        : leader.step(step.sql, step.args ?? []);
    if (outcome.kind === "broken") return outcome;
    if (typeof step === "string" && outcome.kind === "answer")
      depth += step === "savepoint" ? 1 : -1;
  }
  for (; depth > 0; depth--) leader.transact("release");
  return leader.transact(end as "commit");
}
