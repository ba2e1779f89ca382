/**
 * One write of a known text takes a shorter way (plain-writes.ts). It must come to the same as the long way: result,
 * digest, remembered answers, file. A request of two statements, or a text that is met for the first time, takes the long one.
 */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { DeterministicFunctions } from "../../src/machine/deterministic-functions.ts";
import { digestOfEffects } from "../../src/machine/effect-digest.ts";
import { RequestExecutor } from "../../src/machine/request-executor.ts";
import { openWriterConnection } from "../../src/machine/writer-connection.ts";
import { DEFAULT_LIMITS } from "../../src/sql/limits.ts";
import type { Statement } from "../../src/sql/statement.ts";
import {
  BatchResultWriter,
  decodeBatchResult,
  encodePlainResult,
} from "../../src/wire/result-codec.ts";
import { decodeBatch, encodeBatch } from "../../src/wire/statement-codec.ts";
import { freshPath, TestLeader } from "./support/machine-harness.ts";

const SCHEMA = [
  "CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, k UNIQUE, v, at DEFAULT CURRENT_TIMESTAMP)",
  "CREATE TABLE b (x NOT NULL CHECK (x <> 3), r DEFAULT (random()))",
  "CREATE TABLE w (p, q, PRIMARY KEY (p, q)) WITHOUT ROWID",
  "CREATE TABLE s (i INTEGER PRIMARY KEY, t TEXT) STRICT",
  "CREATE INDEX ab ON a(v)",
];
const PLAIN = [
  "INSERT INTO a(k, v) VALUES (?, ?)",
  "INSERT OR REPLACE INTO a(k, v) VALUES (?, ?)",
  "INSERT OR IGNORE INTO a(k, v) VALUES (?, ?)",
  "INSERT INTO a(id, k) VALUES (?, ?)",
  "INSERT INTO b(x, r) VALUES (?, ?)",
  "INSERT INTO b(x) SELECT v FROM a WHERE k >= ? AND v < ?",
  "REPLACE INTO w VALUES (?, ?)",
  "INSERT INTO s VALUES (?, ?)",
  "UPDATE a SET v = ? WHERE k < ?",
  "UPDATE OR REPLACE a SET k = ? WHERE k = ?",
  "UPDATE a SET id = id + ? WHERE k = ?",
  "DELETE FROM a WHERE k = ? OR v = ?",
];
const VALUE = fc.oneof(
  { weight: 20, arbitrary: fc.integer({ min: 0, max: 9 }) },
  { weight: 4, arbitrary: fc.constantFrom(null, "text", 1.5, -3, 2n ** 53n + 1n, 1n - 2n ** 60n) },
  { weight: 1, arbitrary: fc.constantFrom(2n ** 62n + 1n, 2n ** 63n - 1n) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 3 }) },
);
const statementOf = (sql: string) =>
  fc.tuple(VALUE, VALUE).map(([one, other]): Statement => ({ sql, args: [one, other] }));
const STATEMENT = fc.oneof(
  { weight: 40, arbitrary: fc.constantFrom(...PLAIN).chain(statementOf) },
  // A conflict ends the transaction.
  { weight: 1, arbitrary: statementOf("INSERT OR ROLLBACK INTO a(k, v) VALUES (?, ?)") },
);

class Executor {
  readonly database = openWriterConnection(freshPath());
  readonly #functions = new DeterministicFunctions();
  readonly #requests: RequestExecutor;
  plain = 0;

  constructor(preparedStatements = 50) {
    this.#functions.register(this.database);
    this.#requests = new RequestExecutor(this.database, {
      functions: this.#functions,
      flush: () => undefined,
      preparedStatements,
      undeclared: null,
    });
    this.database.exec("BEGIN");
    for (const sql of SCHEMA) this.run(encodeBatch([{ sql }]), true);
  }

  run(batch: Buffer, isLong: boolean) {
    this.#functions.beginRequest(1_000, 7, 9);
    const { resultBytes } = DEFAULT_LIMITS;
    const plain = isLong ? null : this.#requests.runPlain(batch, DEFAULT_LIMITS, resultBytes);
    if (plain !== null) {
      this.plain += 1;
      return plain;
    }
    const bounds = { limits: DEFAULT_LIMITS, resultBytesMax: resultBytes };
    return this.#requests.run(decodeBatch(batch), batch.length, bounds);
  }

  get content(): unknown {
    return ["a", "b", "w", "s"].map((table) =>
      this.database.prepare(`SELECT * FROM ${table} ORDER BY 1, 2`).all(),
    );
  }

  close(): void {
    if (this.database.inTransaction) this.database.exec("ROLLBACK");
    this.database.close();
  }
}

describe("the short way and the long way", () => {
  test("have the same outcomes, and leave the same rows", () => {
    let taken = 0;
    fc.assert(
      fc.property(fc.array(STATEMENT, { minLength: 20, maxLength: 60 }), (statements) => {
        const [short, long] = [new Executor(), new Executor()];
        for (const statement of statements) {
          const batch = encodeBatch([statement]);
          const outcome = long.run(batch, true);
          expect(short.run(batch, false)).toStrictEqual(outcome);
          // The connection is of no use any more.
          if (outcome.kind === "broken") break;
        }
        expect(short.database.inTransaction).toBe(long.database.inTransaction);
        if (long.database.inTransaction) expect(short.content).toStrictEqual(long.content);
        taken += short.plain;
        short.close();
        long.close();
      }),
      { numRuns: 60 },
    );
    expect(taken).toBeGreaterThan(100);
  }, 60_000);

  test("the leader's and the followers' may differ", () => {
    const leader = new TestLeader();
    for (const sql of SCHEMA) leader.run(sql);
    const session = leader.openSession();
    for (let i = 1; i <= 40; i += 1) {
      const request = { session, sequence: i, acknowledgedThrough: Math.max(0, i - 5) };
      const statement = { sql: "INSERT INTO a(k, v) VALUES (?, random())", args: [i] };
      leader.batch([statement], request);
      // A text met in between, so that this connection forgets what it knew.
      if (i % 7 === 0) leader.run(`CREATE TABLE t${i}(x)`);
      if (i % 9 === 0) leader.reopen();
    }
    leader.commit();
    const content = readFileContent(leader.path);
    for (const size of [1, 3, 100]) {
      expect(readFileContent(leader.follower(() => size))).toStrictEqual(content);
    }
  });

  test.each([
    ["a trigger", "CREATE TRIGGER tr AFTER INSERT ON a BEGIN INSERT INTO b(x) VALUES (9); END"],
    ["full text", "CREATE VIRTUAL TABLE f USING fts5(text)"],
    ["a foreign key", "CREATE TABLE c (a REFERENCES a(id) ON DELETE CASCADE)"],
    ["a default that looks at the connection", "CREATE TABLE d (x DEFAULT (last_insert_rowid()))"],
    ["a conflict that fails", "CREATE TABLE d (x UNIQUE ON CONFLICT FAIL)"],
  ])("%s ends the short way, its end lets it be found again", (_what, sql) => {
    const executor = new Executor();
    const insert = (k: number) => encodeBatch([{ sql: PLAIN[0] as string, args: [k, k] }]);
    const drop = `DROP ${/(TRIGGER|TABLE) (\w+)/.exec(sql)?.slice(1).join(" ")}`;
    for (const k of [1, 2]) executor.run(insert(k), false);
    expect(executor.plain).toBe(1);
    executor.run(encodeBatch([{ sql }]), false);
    for (const k of [3, 4, 5]) executor.run(insert(k), false);
    expect(executor.plain).toBe(1);
    executor.run(encodeBatch([{ sql: drop }]), false);
    for (const k of [6, 7]) executor.run(insert(k), false);
    expect(executor.plain).toBe(2);
    executor.close();
  });

  test.each([
    "INSERT INTO a(k, v) VALUES (?, ?) RETURNING id",
    "INSERT INTO a(k, v) VALUES (?, ?) ON CONFLICT DO UPDATE SET v = 1",
    "INSERT INTO a(k, v) VALUES (?1, ?2)",
    "INSERT INTO a(k, v) VALUES (? + changes(), ?)",
    "INSERT OR FAIL INTO a(k, v) VALUES (?, ?)",
    "INSERT OR IGNORE INTO a(k, v) VALUES (?, 1), (?, 2)",
    "SELECT * FROM a WHERE k = ? OR v = ?",
    "EXPLAIN INSERT INTO a(k, v) VALUES (?, ?)",
  ])("%s always takes the long one", (sql) => {
    const executor = new Executor();
    for (const k of [1, 2, 3]) executor.run(encodeBatch([{ sql, args: [k, k + 10] }]), false);
    expect(executor.plain).toBe(0);
    executor.close();
  });

  test("a transaction that is rolled back is open no more", () => {
    const leader = new TestLeader();
    leader.run("CREATE TABLE t (x)");
    for (const x of [1, 2, 3]) leader.run("INSERT INTO t VALUES (?)", [x]);
    leader.core.emptyWal();
    expect(() => leader.run("INSERT INTO t VALUES (4)")).toThrow("ends by commit");
  });

  test("a rowid that a number cannot hold is told as it is, the largest is refused", () => {
    const executor = new Executor();
    const insert = (id: number | bigint) =>
      executor.run(
        encodeBatch([{ sql: "INSERT INTO a(id, k) VALUES (?, ?)", args: [id, id] }]),
        false,
      );
    insert(1);
    const exact = 2n ** 53n + 1n;
    const outcome = insert(exact);
    if (outcome.kind !== "done") throw new Error(outcome.kind);
    expect(decodeBatchResult(outcome.result, "auto")).toMatchObject([{ lastInsertRowid: exact }]);
    expect(insert(2n ** 62n)).toMatchObject({ kind: "done" });
    expect(insert(2n ** 63n - 1n)).toMatchObject({ kind: "broken", failure: { code: "REFUSED" } });
    expect(executor.plain).toBe(3);
    executor.close();
  });

  test("limits are for the long one to tell", () => {
    const leader = new TestLeader({ limits: { ...DEFAULT_LIMITS, valueBytes: 50 } });
    leader.run("CREATE TABLE t (x)");
    for (const x of [1, 2]) leader.run("INSERT INTO t VALUES (?)", [x]);
    const { code, facts } = leader.fail("INSERT INTO t VALUES (?)", ["x".repeat(60)]);
    expect([code, facts["limit"]]).toStrictEqual(["LIMIT_EXCEEDED", "valueBytes"]);
    expect(leader.fail("INSERT INTO t VALUES (?)", [1, 2]).code).toBe("INVALID_ARGUMENT");
  });
});

test("a plain result is what the writer of results makes", () => {
  const numbers = fc.oneof(fc.nat(300), fc.maxSafeNat(), fc.nat());
  const rowid = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
  const writer = new BatchResultWriter();
  const made = (changes: number, id: number | bigint) => {
    writer.start();
    writer.beginResult([]);
    writer.endResult(changes, id);
    return writer.finish();
  };
  fc.assert(
    fc.property(fc.nat(), numbers, rowid, (changes, number, exact) => {
      expect(encodePlainResult(changes, number)).toStrictEqual(made(changes, number));
      expect(encodePlainResult(changes, exact)).toStrictEqual(made(changes, exact));
    }),
    { numRuns: 500 },
  );
});

test("a result that was handed out is never written again", () => {
  const results = Array.from({ length: 3_000 }, (_, at) => encodePlainResult(1, at + 2 ** 40));
  results.forEach((result, at) => {
    expect(decodeBatchResult(result, "auto")).toMatchObject([{ lastInsertRowid: at + 2 ** 40 }]);
  });
});

test("the digest of effects is what it was in every log", () => {
  // As the first program computed them: crc32 of the result, then u64 changes, u32 statements, four bytes of nothing.
  const cases: [Uint8Array, number, number][] = [
    [Buffer.from("0a041801203f", "hex"), 1, 1],
    [Buffer.alloc(0), 0, 1],
    [Buffer.alloc(95, 7), 2 ** 33 + 5, 3],
    [Buffer.alloc(96, 7), 12, 200],
    [Buffer.alloc(5_000, 9), 1, 1],
  ];
  const digests = cases.map((each) => digestOfEffects(...each).toString(16));
  expect(digests).toStrictEqual(["47c81679", "20114bcb", "3eba4cee", "16020cbd", "6fad1c14"]);
});

test("a statement that is used stays in the cache, one that is not leaves it, which ends only the short way", () => {
  const executor = new Executor(5);
  const insert = (r: number) => {
    const batch = encodeBatch([{ sql: `INSERT INTO b(x, r) VALUES (?, ${r})`, args: [10] }]);
    expect(executor.run(batch, false).kind).toBe("done");
  };
  for (let r = 1; r <= 20; r += 1) {
    insert(0);
    insert(r);
  }
  // The one in use stays, though the cache holds five.
  expect(executor.plain).toBe(19);
  insert(1);
  expect(executor.plain).toBe(19);
  expect(executor.database.prepare("SELECT count(*) AS n FROM b").get()).toStrictEqual({ n: 41n });
  executor.close();
});
