/** Functions fed by the entry: the same as SQLite's where no clock is involved, the entry's time and dice where it is. */

import Database from "better-sqlite3";
import fc from "fast-check";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { DeterministicFunctions } from "../../src/machine/deterministic-functions.ts";
import { SeededRandom } from "../../src/machine/random.ts";

process.env["TZ"] = "UTC";
const NOW_MS = Date.UTC(2024, 1, 29, 23, 59, 58, 987);
const NOW = "2024-02-29 23:59:58.987";

const stock = new Database(":memory:");
const fed = new Database(":memory:");
const functions = new DeterministicFunctions();
functions.register(fed);
for (const database of [stock, fed]) database.defaultSafeIntegers(true);
beforeEach(() => functions.beginRequest(NOW_MS, 1, 2));
afterAll(() => {
  stock.close();
  fed.close();
});

function ask(database: Database.Database, expression: string, args: unknown[] = []): unknown {
  return database.prepare(`SELECT ${expression}`).pluck().get(args);
}

describe("dates without a clock", () => {
  const TIME = fc.oneof(
    fc.constantFrom<unknown>(
      null,
      "2024-02-29",
      "2024-02-30",
      "1969-07-20 20:17:40",
      "2024-03-01T12:00:00.123+02:30",
      "12:34",
      "12:34:56.789Z",
      "-4713-11-24 12:00:00",
      "9999-12-31 23:59:59.999",
      "10000-01-01",
      "nonsense",
      "",
      "2024-01-01\0junk",
      Buffer.from("2024-02-29"),
      Buffer.from([0xff, 0xfe]),
      0n,
      1_709_251_198n,
      2_460_370n,
      -1n,
      2_460_370.25,
      1e20,
      Number.POSITIVE_INFINITY,
    ),
    fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
    fc.bigInt({ min: -(2n ** 40n), max: 2n ** 40n }),
    fc.double({ noNaN: true, min: -1e7, max: 1e7 }),
  );
  const MODIFIER = fc.constantFrom<unknown>(
    "+1 day",
    "-3 months",
    "+1.5 hours",
    "start of month",
    "start of year",
    "weekday 0",
    "unixepoch",
    "auto",
    "julianday",
    "localtime",
    "utc",
    "UTC",
    "LocalTime",
    "subsec",
    "ceiling",
    "floor",
    "+0002-01-03",
    "bogus",
    null,
    5n,
    Buffer.from("+1 day"),
    "+1 day\0x",
    "now",
  );
  const NAME = fc.constantFrom("date", "time", "datetime", "julianday", "unixepoch");
  const MODIFIERS = fc.array(MODIFIER, { maxLength: 4 });

  const isShifted = (args: unknown[]) => args.some((arg) => /^(utc|localtime)/i.test(String(arg)));

  /** In SQLite "utc" forgets a "subsec" before it, unless the time was UTC already. */
  const isForgetful = (args: unknown[]) =>
    args.includes("subsec") && args.some((arg) => /^utc/i.test(String(arg)));

  const same = (name: string, args: unknown[]) => {
    const call = `${name}(${args.map(() => "?").join(", ")})`;
    const [ours, theirs] = [ask(fed, call, args), ask(stock, call, args)];
    // Shifting what is beyond its years, SQLite makes some date or other; here it is NULL.
    if ((ours === null && isShifted(args)) || isForgetful(args)) return;
    expect([typeof ours, ours]).toStrictEqual([typeof theirs, theirs]);
  };

  test("a day that does not exist is taken back as in SQLite, behind a shift of zone too", () => {
    for (const shift of ["localtime", "utc"]) {
      for (const end of ["floor", "ceiling"]) same("date", ["2024-02-30", shift, end]);
    }
  });

  test("are SQLite's", () => {
    fc.assert(
      fc.property(NAME, TIME, MODIFIERS, (name, time, modifiers) => {
        same(name, [time, ...modifiers]);
      }),
      { numRuns: 3000 },
    );
  });

  test("strftime() and timediff() too", () => {
    const format = fc.constantFrom<unknown>(
      "%d %e %f %F %G %g %H %I %j %J %k %l %m %M %p %P %R %s %S %T %u %U %V %w %W %Y %%",
      "%Y",
      "%x",
      "",
      null,
      "now",
      "100%",
      5n,
    );
    fc.assert(
      fc.property(format, TIME, MODIFIERS, (text, time, modifiers) => {
        same("strftime", [text, time, ...modifiers]);
      }),
      { numRuns: 1500 },
    );
    fc.assert(
      fc.property(TIME, TIME, (a, b) => same("timediff", [a, b])),
      { numRuns: 500 },
    );
  });

  test("a wrong number of arguments is SQLite's error", () => {
    for (const call of ["timediff('now')", "random(1)", "randomblob()", "current_date()"]) {
      expect(() => ask(fed, call), call).toThrow(expect.objectContaining({ code: "SQLITE_ERROR" }));
    }
    expect(ask(fed, "strftime()")).toBe(ask(stock, "strftime()"));
  });
});

describe("now is the entry's time", () => {
  test.each<[string, unknown]>([
    ["date()", "2024-02-29"],
    ["time()", "23:59:58"],
    ["datetime()", "2024-02-29 23:59:58"],
    ["unixepoch()", 1_709_251_198n],
    ["date('now')", "2024-02-29"],
    ["date('NOW')", "2024-02-29"],
    ["datetime('now', '+1 second')", "2024-02-29 23:59:59"],
    ["datetime('now', 'localtime')", "2024-02-29 23:59:58"],
    ["datetime('now', 'utc', '+1 day')", "2024-03-01 23:59:58"],
    ["datetime('now', 'subsec')", NOW],
    ["datetime('subsec')", NOW],
    ["datetime('subsecond')", NOW],
    ["datetime('SubSec', '+1 day')", "2024-03-01 23:59:58.987"],
    ["unixepoch('subsec')", 1_709_251_198.987],
    ["unixepoch('now')", 1_709_251_198n],
    ["datetime('now', 'unixepoch')", null],
    ["strftime('%s')", "1709251198"],
    ["strftime('%Y-%m-%d', 'now')", "2024-02-29"],
    ["strftime('%f', 'now', '+0.013 seconds')", "59.000"],
    ["timediff('now', '2024-02-29')", "+0000-00-00 23:59:58.987"],
    ["timediff('2024-02-29', 'now')", "-0000-00-00 23:59:58.987"],
    ["CURRENT_TIMESTAMP", "2024-02-29 23:59:58"],
    ["CURRENT_DATE", "2024-02-29"],
    ["CURRENT_TIME", "23:59:58"],
    ["current_timestamp", "2024-02-29 23:59:58"],
  ])("%s", (expression, expected) => {
    expect(ask(fed, expression)).toStrictEqual(expected);
  });

  test("julianday() to the last bit", () => {
    expect(ask(fed, "julianday()")).toBe(ask(stock, "julianday(?)", [NOW]));
    expect(ask(fed, "julianday('now')")).toBe(ask(stock, "julianday(?)", [NOW]));
  });

  test.each<[string, unknown]>([
    ["a blob", Buffer.from("now")],
    ["a blob in capitals", Buffer.from("NOW")],
    ["text that ends at a NUL", "now\0and more"],
    ["a blob that ends at a NUL", Buffer.from("now\0\xff")],
    ["subsec as a blob", Buffer.from("subsec")],
  ])("spelled as %s it does not reach the clock", (_spelling, value) => {
    expect(ask(fed, "date(?)", [value])).toBe("2024-02-29");
    expect(ask(fed, "strftime('%Y', ?)", [value])).toBe("2024");
    expect(ask(fed, "timediff(?, '2024-02-29')", [value])).toMatch(/^\+0000-00-00 23:59:58/);
  });

  test("it is the same in triggers, defaults, views and CTEs", () => {
    const database = new Database(":memory:");
    functions.register(database);
    database.exec(`
      CREATE TABLE t (id INTEGER PRIMARY KEY, at DEFAULT CURRENT_TIMESTAMP, d DEFAULT (date('now')));
      CREATE TABLE log (at, dice);
      CREATE TRIGGER tr AFTER INSERT ON t BEGIN
        INSERT INTO log VALUES (datetime('now'), random());
      END;
      CREATE VIEW v AS SELECT time() AS at;
      INSERT INTO t DEFAULT VALUES;
    `);
    const all = database.prepare(
      "WITH c AS (SELECT date() AS x) SELECT t.at AS a, d, log.at AS b, v.at AS c, x FROM t, log, v, c",
    );
    expect(all.get()).toStrictEqual({
      a: "2024-02-29 23:59:58",
      d: "2024-02-29",
      b: "2024-02-29 23:59:58",
      c: "23:59:58",
      x: "2024-02-29",
    });
    database.close();
  });

  test("SQLite refuses them where a stored value would hang on them", () => {
    const database = new Database(":memory:");
    functions.register(database);
    database.exec("CREATE TABLE t (a)");
    for (const sql of [
      "CREATE INDEX i ON t(date(a))",
      "CREATE INDEX i ON t(a) WHERE a > date('now')",
      "CREATE TABLE g (a, b AS (date(a)))",
      "CREATE INDEX i ON t(random())",
    ]) {
      expect(() => database.exec(sql), sql).toThrow(/non-deterministic/);
    }
    database.close();
  });
});

describe("dice", () => {
  const roll = (count: number) =>
    Array.from({ length: count }, () => ask(fed, "random()") as bigint);

  test("the same seed gives the same, another statement or seed others", () => {
    functions.beginRequest(NOW_MS, 1, 2);
    const first = roll(5);
    functions.beginRequest(NOW_MS, 1, 2);
    expect(roll(5)).toStrictEqual(first);
    functions.beginStatement(1);
    const second = roll(5);
    expect(second).not.toStrictEqual(first);
    functions.beginStatement(1);
    expect(roll(5)).toStrictEqual(second);
    for (const [high, low] of [
      [2, 2],
      [1, 3],
      [2, 1],
      [0, 0],
    ] as const) {
      functions.beginRequest(NOW_MS, high, low);
      expect(roll(5)).not.toStrictEqual(first);
    }
  });

  test("every row has its own", () => {
    const rows = fed
      .prepare(
        "WITH n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<1000) SELECT random() FROM n",
      )
      .pluck()
      .all();
    expect(new Set(rows).size).toBe(1000);
  });

  test("the numbers are golden: an entry means the same for ever", () => {
    functions.beginRequest(NOW_MS, 0xdeadbeef, 0xcafebabe);
    expect([...roll(2), ask(fed, "hex(randomblob(7))")]).toMatchInlineSnapshot(`
      [
        -2228450141794959560n,
        2333917450884215466n,
        "D53003A37F0A33",
      ]
    `);
  });

  test("bits are balanced", () => {
    const random = new SeededRandom();
    random.seed(3, 4, 5);
    const ones = Array.from({ length: 64 }, () => 0);
    for (let i = 0; i < 4000; i++) {
      let value = BigInt.asUintN(64, random.int64());
      for (let bit = 0; bit < 64; bit++, value >>= 1n) ones[bit]! += Number(value & 1n);
    }
    for (const count of ones) expect(Math.abs(count - 2000)).toBeLessThan(250);
  });

  test("randomblob() has SQLite's lengths", () => {
    for (const length of ["0", "-5", "NULL", "1", "17", "'3x'", "2.9", "x'34'", "'a'"]) {
      const call = `length(randomblob(${length}))`;
      expect(ask(fed, call), call).toBe(ask(stock, call));
    }
    // Before a byte of it is made.
    expect(() => ask(fed, "randomblob(536870889)")).toThrow(/too big/);
  });
});
