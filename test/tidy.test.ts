/**
 * The house rules, judged over the whole repository; and for each rule one file that breaks it, so that a rule that
 * has gone blind is noticed.
 */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import manifest from "../package.json" with { type: "json" };
import { edit, type Mutant } from "./mutants/mutant.ts";
import { MUTANTS } from "./mutants/mutants.ts";
import {
  guardFindings,
  hazardFindings,
  readGuardRows,
  readHazardRows,
  trapIds,
} from "./support/guard-table.ts";
import {
  type Finding,
  fileLength,
  functionLength,
  importMatrix,
  lineLength,
  namedExports,
  namedFiles,
  noLeftovers,
  noMachinePaths,
  opensWithComment,
  pureCore,
  type Rule,
  wholeSuite,
} from "./support/house-rules.ts";
import { importsOf, readSourceFiles, sourceFile } from "./support/source-file.ts";

const ROOT = new URL("..", import.meta.url).pathname;

/** A rule, a file that it must refuse, and the words it must find for it. */
interface Case {
  readonly rule: Rule;
  readonly folders: readonly string[];
  readonly broken: readonly [path: string, text: string, message: RegExp][];
}

const SRC = ["src"];
const ALL = ["src", "test", "cluster"];
const long = (count: number, line: string) => `${line}\n`.repeat(count);

const RULES: { readonly [name: string]: Case } = {
  "a module imports only what the matrix allows": {
    rule: importMatrix,
    folders: SRC,
    broken: [
      [
        "src/sql/a.ts",
        'import { b } from "../wire/b.ts";',
        /sql does not import wire\/b.ts.*nothing/,
      ],
      [
        "src/raft/a.ts",
        'import { v } from "../sql/value.ts";',
        /raft does not import sql\/value.ts/,
      ],
      ["src/raft/a.ts", 'import "node:fs";', /raft is pure: no node:fs/],
      ["src/log/a.ts", 'import { e } from "../raft/effect.ts";', /as types also raft/],
      ["src/node/a.ts", 'export { o } from "../log/b.ts";', /node does not import log/],
      ["src/node/a.ts", 'const log = await import("../log/b.ts");', /node does not import log/],
      ["src/client/a.ts", 'import type { N } from "../node/node.ts";', /the types of node/],
      ["src/client/a.ts", 'type N = import("../node/node.ts").N;', /the types of node/],
      [
        "src/node/a.ts",
        'import Database from "better-sqlite3";',
        /node does not import better-sqlite3/,
      ],
      ["src/drawer/a.ts", "", /not in the import matrix/],
    ],
  },
  "the core is pure": {
    rule: pureCore,
    folders: SRC,
    broken: [
      ["src/raft/a.ts", "export const now = () => Date.now();", /no Date in the core.*input/],
      ["src/raft/a.ts", "export const dice = Math.random();", /no Math.random/],
      ["src/raft/a.ts", "setTimeout(() => {}, 1);", /no setTimeout.*ticks/],
      ["src/raft/a.ts", "export async function f() {}", /not async.*effect/],
      ["src/raft/a.ts", "export function f(): Promise<void> | null { return null; }", /no Promise/],
    ],
  },
  "a file has at most 500 lines": {
    rule: fileLength,
    folders: ALL,
    broken: [["src/sql/a.ts", long(501, "//"), /501 lines; split/]],
  },
  "a function has at most 70 lines": {
    rule: functionLength,
    folders: ALL,
    broken: [
      ["src/sql/a.ts", `function f() {\n${long(69, ";")}}`, /function of 71 lines/],
      ["src/sql/a.ts", `class C { m() {\n${long(69, ";")}} }`, /function of 71 lines/],
      ["src/sql/a.ts", `const f = () => {\n${long(69, ";")}}`, /function of 71 lines/],
    ],
  },
  "a line has at most 130 columns": {
    rule: lineLength,
    folders: ALL,
    broken: [
      ["src/sql/a.ts", `const a = "${"x".repeat(120)}";`, /133 columns; break/],
      ["src/sql/a.ts", `// ${"x".repeat(128)}`, /131 columns/],
    ],
  },
  "a file opens with a comment": {
    rule: opensWithComment,
    folders: ["src", "cluster"],
    broken: [["src/sql/a.ts", "export const a = 1;", /open the file with a comment/]],
  },
  "a file is named after what it holds": {
    rule: namedFiles,
    folders: ALL,
    broken: [
      ["src/sql/utils.ts", "", /drawer; name the file/],
      ["src/sql/sql-helpers.ts", "", /drawer/],
      ["src/sql/common.ts", "", /drawer/],
      ["src/sql/sqlValue.ts", "", /kebab-case/],
    ],
  },
  "nothing is left for later": {
    rule: noLeftovers,
    folders: ALL.filter((folder) => folder !== "test"),
    broken: [["src/sql/a.ts", `// ${"TO"}DO: the rest`, /left behind; do it/]],
  },
  "the whole suite runs": {
    rule: wholeSuite,
    folders: ["test"],
    broken: [
      ["test/sql/a.test.ts", 'test.only("a", () => {});', /test.only left behind/],
      ["test/sql/a.test.ts", 'describe.skip("a", () => {});', /describe.skip left behind/],
      ["test/sql/a.test.ts", 'it.skip.each([])("a", () => {});', /it.skip left behind/],
    ],
  },
  "exports have names": {
    rule: namedExports,
    folders: SRC,
    broken: [["src/sql/a.ts", "export default 1;", /export it by its name/]],
  },
  "no path of one machine": {
    rule: noMachinePaths,
    folders: ALL,
    broken: [["src/sql/a.ts", `const dir = "/${"home"}/me/data";`, /relative to the repository/]],
  },
};

function inWords(findings: readonly Finding[]): string[] {
  return findings.map(({ path, line, message }) => `${path}:${line}: ${message}`);
}

describe("house rules", () => {
  const files = readSourceFiles(ROOT, ALL);

  test("there are files to judge", () => {
    expect(files.some((file) => file.path === "src/sql/errors.ts")).toBe(true);
    expect(files.some((file) => file.path === "test/tidy.test.ts")).toBe(true);
  });

  for (const [name, { rule, folders, broken }] of Object.entries(RULES)) {
    const judged = files.filter(({ path }) => folders.some((each) => path.startsWith(`${each}/`)));
    test(name, () => expect(inWords(judged.flatMap(rule))).toEqual([]));

    test.each(broken)(`${name}: refused in %s: %s`, (path, text, message) => {
      const findings = rule(sourceFile(path, text));
      expect(findings).toHaveLength(1);
      expect(findings[0]?.message).toMatch(message);
    });
  }

  test("what the rules allow passes", () => {
    const root = sourceFile("src/node/open-node.ts", 'import { log } from "../log/log.ts";');
    const types = sourceFile("src/log/a.ts", 'import type { Entry } from "../raft/entry.ts";');
    const named = sourceFile("src/log/a.ts", 'import { type Entry } from "../raft/entry.ts";');
    const core = sourceFile("src/raft/a.ts", "export const o = { Date: 1 }; o.Date; Math.min(1);");
    const pattern = sourceFile("src/sql/a.ts", `//\nconst a =\n  /${"x".repeat(200)}/;`);
    expect(lineLength(pattern)).toEqual([]);
    expect([root, types, named].flatMap(importMatrix)).toEqual([]);
    expect(pureCore(core)).toEqual([]);
  });

  test("every dependency is imported, declared and explained in the README", () => {
    const used = new Set<string>();
    for (const file of files.filter(({ path }) => path.startsWith("src/"))) {
      for (const { specifier } of importsOf(file)) {
        if (/^(node:|\.)/.test(specifier)) continue;
        used.add(/^(@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier);
      }
    }
    const declared = Object.keys(manifest.dependencies);
    expect([...used].sort()).toEqual([...declared].sort());
    const readme = readFileSync(join(ROOT, "README.md"), "utf8");
    expect(declared.filter((name) => !readme.includes(`[${name}]`))).toEqual([]);
  });
});

describe("the table of guards", () => {
  const readTest = (name: string): string | null => {
    const path = join(ROOT, "test", `${name}.test.ts`);
    return existsSync(path) ? readFileSync(path, "utf8") : null;
  };

  test("in docs/SPEC.md names for every trap of Raft its tests, and its mutants or why there are none", () => {
    const rows = readGuardRows(readFileSync(join(ROOT, "docs", "SPEC.md"), "utf8"));
    expect(guardFindings(rows, MUTANTS, readTest)).toEqual([]);
    expect(trapIds()).toHaveLength(59);
  });

  test("names for everything that could differ between nodes a test that is there", () => {
    const rows = readHazardRows(readFileSync(join(ROOT, "docs", "SPEC.md"), "utf8"));
    expect(hazardFindings(rows, readTest)).toEqual([]);
  });

  test("a row of it without its test is refused", () => {
    const rows = readHazardRows(
      [
        "## Of determinism",
        "| what could differ | what Balsa does | tests |",
        "|---|---|---|",
        "| dice \\| seeds | x | `a/b: rolls` |",
        "| clocks | x | `a/b: ticks`, `a/c: ticks`, `a/b` |",
        "| versions | x | |",
      ].join("\n"),
    );
    const text = (name: string) => (name === "a/b" ? 'test("rolls")' : null);
    expect(hazardFindings(rows, text, 4)).toEqual([
      "only 3 rows; 4 were there",
      'clocks: a/b has no test "ticks"',
      "clocks: no file test/a/c.test.ts",
      "clocks: `a/b` names no title, as in `file: words`",
      "versions: no test",
    ]);
  });

  test("a table that lacks something is refused", () => {
    const mutants: Mutant[] = [
      {
        name: "no-lock",
        guards: ["A1", "Z9"],
        removes: "",
        edits: [edit("a", "b", "")],
        killedBy: [],
      },
    ];
    const others = trapIds().filter((id) => !["A1", "A2", "A3", "A4"].includes(id));
    const rows = [
      "| A1 | x | y | z | `raft/a` | `no-key` |",
      "| A2 | x | y | z | `raft/b` | none: why not |",
      "| A3 | x | y | z | `raft/a` |  |",
      ...others.map(
        (id) => `| ${id} | x | y | z | | none: ${"it cannot occur here. ".repeat(3)} |`,
      ),
      "| A5 | x | y | z | | none: it is here a second time, which is once too often |",
    ].join("\n");
    const text = (name: string) => (name === "raft/a" ? 'test("A3: of another trap")' : null);
    expect(guardFindings(readGuardRows(rows), mutants, text)).toEqual([
      "A4 has no row; add one with its mutant, or why it cannot occur",
      "A5 has two rows",
      "Z9 has mutants and no row; add it, or correct their guards",
      "A1: no mutant no-key takes its guard out",
      "A1: the mutant no-lock is missing",
      "A2: say why it cannot occur",
      "A3 has no mutant and no reason: none: ...",
      'A1: none of its tests is named after it, as in test("A1: ...")',
      "A2: no file test/raft/b.test.ts",
    ]);
  });
});
