/**
 * The short way of a plain write (plain-writes.ts) against the long one, with what plain-writes.test.ts leaves out: schemas that
 * change between two runs of a text, settings, transactions in between, and requests that our client would not send.
 */

import { afterEach, expect, test } from "vitest";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { RequestExecutor } from "../../src/machine/request-executor.ts";
import type { ExecuteOutcome } from "../../src/node/ports.ts";
import type { Statement } from "../../src/sql/statement.ts";
import type { BindValue } from "../../src/sql/value.ts";
import { encodeBatch } from "../../src/wire/statement-codec.ts";
import { randomOf } from "../support/random.ts";
import { freshPath, openCore, type Request, TestLeader } from "./support/machine-harness.ts";

const seed = Number(process.env["BALSA_SEED"] ?? Math.floor(Math.random() * 1e9));
const RUNS = Number(process.env["BALSA_RUNS"] ?? 4);
const STEPS = 200;

const short = RequestExecutor.prototype.runPlain;
let taken = 0;

/** All requests take the long way. */
function forceLong(isLong: boolean): void {
  RequestExecutor.prototype.runPlain = isLong
    ? () => null
    : function (this: RequestExecutor, ...args) {
        const outcome = short.apply(this, args);
        if (outcome !== null) taken += 1;
        return outcome;
      };
}

afterEach(() => {
  RequestExecutor.prototype.runPlain = short;
});

const SCHEMA = [
  "CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, k UNIQUE, v, at DEFAULT CURRENT_TIMESTAMP)",
  "CREATE TABLE b (x NOT NULL CHECK (x <> 3), r DEFAULT (random()))",
  "CREATE TABLE w (p, q, PRIMARY KEY (p, q)) WITHOUT ROWID",
  "CREATE TABLE g (x, y AS (x || 'y') STORED, z AS (length(x)))",
];
/** What comes and goes. */
const CHANGES: readonly [string, string][] = [
  [
    "CREATE TRIGGER tr AFTER INSERT ON a BEGIN INSERT INTO b(x) VALUES (new.k); END",
    "DROP TRIGGER tr",
  ],
  [
    "CREATE TRIGGER rec AFTER UPDATE ON a WHEN new.v < 5 BEGIN UPDATE a SET v = new.v + 1 WHERE id = new.id; END",
    "DROP TRIGGER rec",
  ],
  [
    "CREATE TRIGGER rr AFTER DELETE ON a BEGIN SELECT raise(FAIL, 'no') WHERE old.v = 4; END",
    "DROP TRIGGER rr",
  ],
  ["CREATE TABLE c (x REFERENCES a(id) ON DELETE CASCADE ON UPDATE CASCADE)", "DROP TABLE c"],
  ["CREATE TABLE c2 (x REFERENCES a(k) DEFERRABLE INITIALLY DEFERRED)", "DROP TABLE c2"],
  ["CREATE UNIQUE INDEX ux ON a(v)", "DROP INDEX ux"],
  ["CREATE INDEX ix ON b(r, x)", "DROP INDEX ix"],
  ["CREATE TABLE s (i INTEGER PRIMARY KEY, t TEXT) STRICT", "DROP TABLE s"],
  ["CREATE TABLE s (i, t)", "DROP TABLE s"],
  ["CREATE TABLE s (i PRIMARY KEY, t) WITHOUT ROWID", "DROP TABLE s"],
  ["CREATE TABLE s (i UNIQUE ON CONFLICT FAIL, t)", "DROP TABLE s"],
  ["CREATE TABLE s (i INTEGER PRIMARY KEY, t UNIQUE ON CONFLICT REPLACE)", "DROP TABLE s"],
  ["CREATE TABLE s (i INTEGER PRIMARY KEY, rowid, oid DEFAULT (changes()))", "DROP TABLE s"],
  ["CREATE VIEW s AS SELECT k AS i, v AS t FROM a", "DROP VIEW s"],
  ["CREATE VIRTUAL TABLE s USING fts5(i, t)", "DROP TABLE s"],
  ["CREATE VIRTUAL TABLE rt USING rtree(id, x0, x1)", "DROP TABLE rt"],
  ["ALTER TABLE b ADD COLUMN more DEFAULT 7", "ALTER TABLE b DROP COLUMN more"],
  ["ALTER TABLE a RENAME COLUMN v TO vv", "ALTER TABLE a RENAME COLUMN vv TO v"],
  ["ALTER TABLE a RENAME TO aa", "ALTER TABLE aa RENAME TO a"],
  ["PRAGMA foreign_keys = OFF", "PRAGMA foreign_keys = ON"],
  ["PRAGMA recursive_triggers = ON", "PRAGMA recursive_triggers = OFF"],
  ["ANALYZE", "REINDEX"],
];
const TEXTS = [
  "INSERT INTO a(k, v) VALUES (?, ?)",
  "INSERT OR REPLACE INTO a(k, v) VALUES (?, ?)",
  "INSERT OR IGNORE INTO a(k, v) VALUES (?, ?)",
  "INSERT OR ABORT INTO a(k, v) VALUES (?, ?)",
  "INSERT OR FAIL INTO a(k, v) VALUES (?, ?)",
  "INSERT INTO a(id, k) VALUES (?, ?)",
  "INSERT INTO a(id, k) SELECT ?, x FROM b WHERE x > ? LIMIT 2",
  "INSERT INTO a(k, v) VALUES (?, ?) ON CONFLICT DO NOTHING",
  "INSERT INTO a(k, v) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v",
  "INSERT INTO a(k, v) VALUES (?2, ?1)",
  "INSERT INTO a(k, v) VALUES (?1, ?1)",
  "INSERT INTO a(k, v) VALUES (:k, :v)",
  "INSERT INTO a(k, v) VALUES (?, random() % ?)",
  "INSERT INTO a(k, v) VALUES (?, datetime('now', ? || ' days'))",
  "INSERT INTO a(k, v) VALUES (?, last_insert_rowid() + ?)",
  "INSERT INTO a(k, v) VALUES (?, total_changes() + ?)",
  'INSERT INTO a(k, v) VALUES (?, "changes"() + ?)',
  "INSERT INTO a(k, v) VALUES (?, zeroblob(? * 1200000000))",
  "INSERT INTO b(x, r) VALUES (?, ?)",
  "INSERT INTO B(X) SELECT v FROM a WHERE k >= ? AND v < ?",
  "INSERT INTO b(x) VALUES (?), (?)",
  "INSERT INTO b DEFAULT VALUES",
  'INSERT INTO main."b"(x, rowid) VALUES (?, ?)',
  "INSERT INTO [b](x, _rowid_) VALUES (?, ?) -- tail",
  "REPLACE INTO w VALUES (?, ?)",
  "INSERT INTO g(x) VALUES (? || ?)",
  "UPDATE g SET x = ? WHERE z <> ?",
  "INSERT INTO s VALUES (?, ?)",
  "INSERT INTO s SELECT k, v FROM a WHERE k > ? AND k < ?",
  "UPDATE s SET t = ? WHERE i = ?",
  "UPDATE s SET rowid = ? WHERE i = ?",
  "UPDATE s SET oid = oid + ? WHERE i < ?",
  "DELETE FROM s WHERE i = ? OR t = ?",
  "UPDATE a SET v = ? WHERE k < ?",
  "UPDATE OR REPLACE a SET k = ? WHERE k = ?",
  "UPDATE OR IGNORE a SET k = ? WHERE k <= ?",
  "UPDATE a SET id = id + ? WHERE k = ?",
  "UPDATE a SET v = b.x FROM b WHERE a.k = b.x AND b.x > ? AND a.v < ?",
  "DELETE FROM a WHERE k = ? OR v = ?",
  "DELETE FROM b WHERE x = ? OR x = ?",
  "DELETE FROM b",
  "UPDATE sqlite_sequence SET seq = ? WHERE name = ?",
  "DELETE FROM sqlite_sequence WHERE name = ? OR seq = ?",
  "WITH q(x) AS (SELECT ?) INSERT INTO b(x, r) SELECT x, ? FROM q",
  "INSERT INTO a(k, v) SELECT seq, ? FROM sqlite_sequence WHERE seq > ?",
  "DELETE FROM balsa_meta WHERE ? = ?",
  "INSERT INTO nowhere VALUES (?, ?)",
];

/** From a frame whose memory is written again, as in its process. */
function execute(leader: TestLeader, batch: Uint8Array, request?: Request): ExecuteOutcome {
  const frame = Uint8Array.from(batch);
  const outcome = leader.execute(frame, request);
  frame.fill(0xaa);
  return outcome;
}

class Pair {
  readonly #dice: () => number;
  readonly sides = [new TestLeader(), new TestLeader()] as const;
  readonly sessions: number[];
  #sequence = 0;
  #on = new Set<number>();

  constructor(from: number) {
    this.#dice = randomOf(from);
    for (const sql of SCHEMA) this.both((leader) => leader.batch([{ sql }]));
    this.sessions = this.sides.map((leader) => leader.openSession());
  }

  /** @throws if the two ways came to different ends */
  both(act: (leader: TestLeader) => ExecuteOutcome): ExecuteOutcome {
    const outcomes = this.sides.map((leader, at) => {
      forceLong(at === 1);
      return act(leader);
    });
    expect(outcomes[0]).toStrictEqual(outcomes[1]);
    const [outcome] = outcomes as [ExecuteOutcome, ExecuteOutcome];
    if (outcome.kind === "broken") {
      this.#each((leader) => leader.reopen());
    }
    return outcome;
  }

  #each(act: (leader: TestLeader) => void): void {
    for (const [at, leader] of this.sides.entries()) {
      forceLong(at === 1);
      act(leader);
    }
  }

  #below(bound: number): number {
    return Math.floor(this.#dice() * bound);
  }

  #value(): BindValue {
    const few = [
      ...[
        null,
        "text",
        1.5,
        -3,
        -0,
        2n ** 53n + 1n,
        1n - 2n ** 60n,
        2n ** 62n + 1n,
        2n ** 63n - 1n,
      ],
      ...[
        -(2n ** 63n),
        Number.POSITIVE_INFINITY,
        Number.NaN,
        "a\0b",
        "\ud800",
        "é".repeat(20),
        "\ufeffx",
      ],
      ...[Buffer.alloc(0), Buffer.of(0, 255), "", "1", 2 ** 49, 2 ** 32, true, "x".repeat(2000)],
    ];
    return this.#dice() < 0.75 ? this.#below(9) : (few[this.#below(few.length)] as BindValue);
  }

  #statement(): Statement {
    const sql = TEXTS[this.#below(TEXTS.length)] as string;
    const args: BindValue[] = [];
    const count = this.#dice() < 0.03 ? this.#below(4) : (sql.match(/\?/g)?.length ?? 0);
    for (let at = 0; at < count; at += 1) args.push(this.#value());
    if (sql.includes(":k") && this.#dice() < 0.9) return { sql, args: { k: this.#value(), v: 1 } };
    return { sql, args };
  }

  #change(): void {
    const at = this.#below(CHANGES.length);
    const sql = CHANGES[at]?.[this.#on.has(at) ? 1 : 0] as string;
    const { kind } = this.both((leader) => leader.batch([{ sql }]));
    if (kind !== "proposal") return;
    if (this.#on.has(at)) this.#on.delete(at);
    else this.#on.add(at);
  }

  #transaction(): void {
    this.both((leader) => leader.transact("begin"));
    for (let left = this.#below(4); left > 0; left -= 1) {
      const { sql, args = [] } = this.#statement();
      const { kind } = this.both((leader) => leader.step(sql, args));
      if (kind === "broken") return;
    }
    const verb = this.#dice() < 0.7 ? "commit" : "rollback";
    this.both((leader) => leader.transact(verb));
  }

  /** As no client of ours would send it. */
  #bent(statement: Statement): Buffer {
    const bytes = Buffer.from(encodeBatch([statement]));
    for (let count = 1 + this.#below(3); count > 0; count -= 1) {
      const from = this.#dice() < 0.8 ? Math.min(bytes.length - 1, 4 + statement.sql.length) : 0;
      bytes[from + this.#below(bytes.length - from)] = this.#below(256);
    }
    return this.#dice() < 0.2 ? bytes.subarray(0, this.#below(bytes.length)) : bytes;
  }

  step(): void {
    const dice = this.#dice();
    if (dice < 0.05) return this.#change();
    if (dice < 0.07) return this.#transaction();
    if (dice < 0.09) return this.#each((leader) => leader.commit());
    if (dice < 0.095) return this.#each((leader) => leader.reopen());
    const statement = this.#statement();
    if (dice < 0.13) {
      const bytes = this.#bent(statement);
      this.both((leader) => execute(leader, bytes));
      return;
    }
    if (dice < 0.16) {
      const others = [statement, this.#statement()];
      this.both((leader) => leader.batch(others));
      return;
    }
    if (dice < 0.18) {
      const others = encodeBatch([statement, this.#statement()], undefined, "continue");
      this.both((leader) => execute(leader, others));
      return;
    }
    const batch = encodeBatch([statement]);
    const isNumbered = dice < 0.6;
    if (isNumbered) this.#sequence += 1;
    const sequence = isNumbered ? this.#sequence : 0;
    this.both((leader) => {
      const session = isNumbered ? (this.sessions[this.sides.indexOf(leader)] as number) : 0;
      const acknowledgedThrough = Math.max(0, sequence - 4);
      return execute(leader, batch, { session, sequence, acknowledgedThrough });
    });
  }

  /** Followers that take other ways than their leaders did. */
  replay(): void {
    const contents = this.sides.map((leader) => {
      leader.commit();
      return readFileContent(leader.path);
    });
    expect(contents[1]).toStrictEqual(contents[0]);
    for (const [at, leader] of this.sides.entries()) {
      for (const isLong of [true, false]) {
        forceLong(isLong);
        expect(readFileContent(leader.follower((round) => 1 + (round % (7 + at))))).toStrictEqual(
          contents[0],
        );
      }
    }
    // A follower that begins in the middle, on another's file: all texts are new to it.
    forceLong(false);
    const leader = this.sides[0];
    const path = freshPath();
    for (let from = 0; from < leader.log.length; from += 40) {
      const core = openCore({ path });
      const entries = leader.log.slice(from, from + 40).map((entry) => {
        return { ...entry, payload: Uint8Array.from(entry.payload) };
      });
      expect(core.apply(entries).mismatch).toBeNull();
      for (const { payload } of entries) payload.fill(0xaa);
      core.close();
    }
    expect(readFileContent(path)).toStrictEqual(contents[0]);
  }
}

test("two leaders with one history, and their followers, come to the same", () => {
  for (let run = 0; run < RUNS; run += 1) {
    const pair = new Pair(seed + run);
    try {
      for (let step = 0; step < STEPS; step += 1) pair.step();
      pair.replay();
    } catch (error) {
      throw new Error(`BALSA_SEED=${seed + run} BALSA_RUNS=1`, { cause: error });
    }
  }
  expect(taken).toBeGreaterThan(RUNS * 5);
}, 240_000);
