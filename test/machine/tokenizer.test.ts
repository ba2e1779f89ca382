/** Tokens and statements as SQLite sees them; where it can be asked, it is. */

import Database from "better-sqlite3";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { shapeOf } from "../../src/machine/statement-shape.ts";
import { splitStatements, tokenize } from "../../src/machine/tokenizer.ts";

const kinds = (text: string) =>
  tokenize(text).map(({ kind, start, end }) => [kind, text.slice(start, end)]);

test.each<[string, [string, string][]]>([
  [
    "SELECT 'it''s', \"a\"\"b\", `c`, [d e], x'0aFF', 1.5e-3, .5, 0x1F, 1_000 -- rest; of line",
    [
      ["word", "SELECT"],
      ["string", "'it''s'"],
      ["operator", ","],
      ["quoted", '"a""b"'],
      ["operator", ","],
      ["quoted", "`c`"],
      ["operator", ","],
      ["quoted", "[d e]"],
      ["operator", ","],
      ["blob", "x'0aFF'"],
      ["operator", ","],
      ["number", "1.5e-3"],
      ["operator", ","],
      ["number", ".5"],
      ["operator", ","],
      ["number", "0x1F"],
      ["operator", ","],
      ["number", "1_000"],
    ],
  ],
  [
    "?,?12,:a,@b,$c a->>'$.x'||b",
    [
      ["parameter", "?"],
      ["operator", ","],
      ["parameter", "?12"],
      ["operator", ","],
      ["parameter", ":a"],
      ["operator", ","],
      ["parameter", "@b"],
      ["operator", ","],
      ["parameter", "$c"],
      ["word", "a"],
      ["operator", "->>"],
      ["string", "'$.x'"],
      ["operator", "||"],
      ["word", "b"],
    ],
  ],
  ["/* a; */ ünïcode$1 /* open; ", [["word", "ünïcode$1"]]],
  [
    "1-2",
    [
      ["number", "1"],
      ["operator", "-"],
      ["number", "2"],
    ],
  ],
  ["'open; -- x", [["illegal", "'open; -- x"]]],
  ["x'0'", [["illegal", "x'0'"]]],
  ["12abc", [["illegal", "12abc"]]],
  ["\uFEFFSELECT", [["word", "SELECT"]]],
  [
    "/*",
    [
      ["operator", "/"],
      ["operator", "*"],
    ],
  ],
])("tokens of %s", (text, expected) => {
  expect(kinds(text)).toStrictEqual(expected);
});

describe("splitting", () => {
  const split = (text: string) => splitStatements(text).map((statement) => statement.text);

  test.each<[string, string[]]>([
    ["a; b ;; ; c", ["a", "b", "c"]],
    ["  ; /* only */ -- comments\n", []],
    ["a /* ; */ ';' \";\" [;] `;`; b", ["a /* ; */ ';' \";\" [;] `;`", "b"]],
    [
      "CREATE TRIGGER x AFTER INSERT ON t BEGIN UPDATE t SET a = CASE WHEN 1 THEN 2 END; SELECT 1; END; b",
      [
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN UPDATE t SET a = CASE WHEN 1 THEN 2 END; SELECT 1; END",
        "b",
      ],
    ],
    [
      "create temp /* ; */ trigger if not exists begin after delete on t begin select 1; end; b",
      [
        "create temp /* ; */ trigger if not exists begin after delete on t begin select 1; end",
        "b",
      ],
    ],
    [
      "EXPLAIN QUERY PLAN CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END; b",
      ["EXPLAIN QUERY PLAN CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END", "b"],
    ],
    ["CREATE TABLE trigger_(a); SELECT 1", ["CREATE TABLE trigger_(a)", "SELECT 1"]],
  ])("of %s", (text, expected) => {
    expect(split(text)).toStrictEqual(expected);
  });

  const piece = fc.constantFrom(
    "SELECT",
    "1",
    "'a;b'",
    '"c;d"',
    "[e;f]",
    "`g;h`",
    "x'00'",
    "/* ; */",
    "-- ;\n",
    "?1",
    ":name",
    "CASE",
    "END",
    "BEGIN",
    "\n",
    "é",
    "->",
  );
  const statement = fc.array(piece, { minLength: 1, maxLength: 12 }).map((all) => all.join(" "));

  test("joining and splitting again gives the same statements", () => {
    fc.assert(
      fc.property(fc.array(statement, { maxLength: 6 }), (statements) => {
        const once = split(statements.join("\n;"));
        expect(split(once.join("\n;\n"))).toStrictEqual(once);
      }),
    );
  });

  test("tokens never overlap, never go back, and leave out only what is no token", () => {
    const anything = fc.oneof(
      fc.string({ maxLength: 60 }),
      fc.array(piece, { maxLength: 10 }).map((all) => all.join("")),
      fc
        .array(fc.constantFrom("'", '"', "[", "]", "`", "/", "*", "-", ";", "x", "\n", "0", "."))
        .map((all) => all.join("")),
    );
    fc.assert(
      fc.property(anything, (text) => {
        let at = 0;
        for (const { start, end } of tokenize(text)) {
          expect(start).toBeGreaterThanOrEqual(at);
          expect(end).toBeGreaterThan(start);
          at = end;
        }
        expect(at).toBeLessThanOrEqual(text.length);
      }),
      { numRuns: 1000 },
    );
  });

  test("SQLite agrees on where a statement ends: it takes each one alone, and no two at once", () => {
    const database = new Database(":memory:");
    database.exec("CREATE TABLE t(a, b)");
    const real = fc.constantFrom(
      "SELECT 1",
      "SELECT ';' AS \";\", [a] FROM t -- ;\n",
      "INSERT INTO t VALUES (x'3b', '/*') /* ; */",
      "CREATE TRIGGER i AFTER INSERT ON t BEGIN SELECT CASE WHEN 1 THEN ';' END; DELETE FROM t; END",
      "SELECT a->>'$;' FROM t",
      'CREATE TABLE "end"("begin")',
      "DELETE FROM t WHERE a = 1.5e3 AND b <> `b`",
    );
    fc.assert(
      fc.property(fc.array(real, { minLength: 1, maxLength: 5 }), (statements) => {
        const found = split(statements.join(";"));
        expect(found).toHaveLength(statements.length);
        for (const text of found) expect(() => database.prepare(text)).not.toThrow();
      }),
    );
    database.close();
  });
});

describe("parameters", () => {
  const parametersOf = (text: string) => {
    const [statement] = splitStatements(text);
    if (statement === undefined) throw new Error("no statement");
    return shapeOf(statement).parameters;
  };

  test.each([
    ["?, ?", [null, null], true],
    ["?2, ?", [null, "2", null], true],
    ["?, ?1", ["1"], true],
    [":a, :b, :a", ["a", "b"], false],
    [":a, @a, $a", ["a", "a", "a"], false],
    [":a, ?3, ?", ["a", null, "3", null], false],
    ["1", [], true],
    ["':a', \"?\", [?2], /* ? */ 1 -- ?", [], true],
  ])("of SELECT %s", (text, names, positional) => {
    expect(parametersOf(`SELECT ${text}`)).toMatchObject({ names, positional });
  });

  test("SQLite counts as many", () => {
    const database = new Database(":memory:");
    const parameter = fc.constantFrom("?", "?1", "?3", "?7", ":a", ":b", "@a", "$c", "'?'");
    fc.assert(
      fc.property(fc.array(parameter, { minLength: 1, maxLength: 8 }), (parameters) => {
        const text = `SELECT ${parameters.join(", ")}`;
        const { count, names } = parametersOf(text);
        const statement = database.prepare(text);
        const plain = names.filter((name) => name === null).map(() => 1);
        const named = Object.fromEntries(
          names.filter((name) => name !== null).map((name) => [name, 1]),
        );
        expect(names).toHaveLength(count);
        expect(() => statement.get(plain, named)).not.toThrow();
      }),
    );
    database.close();
  });
});
