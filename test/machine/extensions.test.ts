/**
 * Loadable extensions on a leader, its followers and a reader: what is declared deterministic is part of the replicated state,
 * what is not is for reads alone, and what would break it is not loaded. In their processes: process-extensions.test.ts.
 */

import {
  appendFileSync,
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { demandDistinct } from "../../src/machine/extension-check.ts";
import { readExtensions } from "../../src/machine/extension-files.ts";
import { loadExtensions } from "../../src/machine/extension-loading.ts";
import { learnNames } from "../../src/machine/extension-names.ts";
import { makePlain } from "../../src/machine/plain-copy.ts";
import { judgeSeed } from "../../src/machine/seed-file.ts";
import {
  checkSnapshot,
  copyDatabase,
  describe as describeCopy,
} from "../../src/machine/snapshot-task.ts";
import { dumpDatabase } from "../../src/machine/sql-dump.ts";
import type { ExtensionOptions, KnownExtension } from "../../src/sql/extension.ts";
import { compileExtension, compilerTrouble } from "../support/extension.ts";
import { freshPath, openCore, openReader, readAll, TestLeader } from "./support/machine-harness.ts";

const trouble = compilerTrouble();
const skipped = trouble === null ? "" : ` (skipped: ${trouble})`;

let dir = "";
let declared: KnownExtension;
let undeclared: KnownExtension;

beforeAll(() => {
  if (trouble !== null) return;
  dir = mkdtempSync(join(tmpdir(), "balsa-extensions-"));
  declared = known({ path: compileExtension(dir, "pure"), deterministic: true });
  const chance = compileExtension(dir, "chance", 'PREFIX="wild_"', "WITH_REGEXP", "FLAGS=0");
  undeclared = known({ path: chance });
});

afterAll(() => rmSync(dir, { recursive: true, force: true }));

function known(options: ExtensionOptions): KnownExtension {
  const [extension] = readExtensions([options]).map(learnNames);
  if (extension === undefined) throw new Error("no extension");
  return extension;
}

describe.skipIf(trouble !== null)(`an extension that is declared deterministic${skipped}`, () => {
  const SCHEMA = `
    CREATE TABLE t (id INTEGER PRIMARY KEY, n, double AS (times(n)) STORED, CHECK (times(n) < 1000));
    CREATE INDEX tn ON t(times(n));
    CREATE TABLE w (k TEXT COLLATE backwards PRIMARY KEY) WITHOUT ROWID;
    CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT OR IGNORE INTO w VALUES (new.n || times(new.n)); END;
    CREATE VIEW v AS SELECT times(n) AS d FROM t ORDER BY n COLLATE backwards`;

  function leader(): TestLeader {
    const made = new TestLeader({ extensions: [declared] });
    made.exec(SCHEMA);
    made.run("INSERT INTO t(n) SELECT value FROM upto(40)");
    made.run("DELETE FROM w WHERE k < 'b31' COLLATE backwards");
    made.run("UPDATE t SET n = times(n) WHERE double > 70");
    made.exec("ANALYZE; REINDEX backwards");
    made.commit();
    return made;
  }

  test("is used in every position of a write, the same on a follower and after a reopening", () => {
    const made = leader();
    const content = readFileContent(made.path, [declared]);
    for (const size of [1, 3, 1000]) {
      const path = made.follower(() => size);
      expect(readFileContent(path, [declared])).toStrictEqual(content);
    }
    made.reopen();
    expect(made.all("SELECT count(*) AS c, sum(double) AS s FROM t")).toMatchObject([{ c: 40 }]);
  });

  test("is there in reads", () => {
    const made = leader();
    const reader = openReader(made.path, undefined, [declared]);
    expect(readAll(reader, "SELECT max(d) AS d FROM v")).toStrictEqual([{ d: 160 }]);
    expect(readAll(reader, "SELECT sum(value) AS s FROM upto(4)")).toStrictEqual([{ s: 10 }]);
    const keys = readAll(reader, "SELECT k FROM w ORDER BY k");
    expect(keys.length).toBeGreaterThan(5);
    expect(keys).toStrictEqual(readAll(reader, "SELECT k FROM w ORDER BY k COLLATE backwards"));
  });

  test("a failed statement with it leaves nothing", () => {
    const made = leader();
    expect(made.fail("INSERT INTO t(n) VALUES (600)").code).toBe("SQLITE_CONSTRAINT_CHECK");
    expect(readFileContent(made.follower(), [declared])).toStrictEqual(
      readFileContent(made.path, [declared]),
    );
  });

  test("is loaded wherever the file is read as a whole", async () => {
    const made = leader();
    const [copy, plain] = [join(dir, "copy.db"), join(dir, "plain.db")];
    const at = await copyDatabase(made.path, copy);
    const manifest = describeCopy(at, copy, join(dir, "hashes"));
    expect(() => checkSnapshot(copy, manifest, [declared])).not.toThrow();
    makePlain(copy, plain, [declared]);
    // Statistics of Balsa's own tables go with these.
    const tables = (path: string) =>
      readFileContent(path, [declared]).tables.filter(({ name }) => !name.startsWith("sqlite_"));
    expect(tables(plain)).toHaveLength(2);
    expect(tables(plain)).toStrictEqual(tables(made.path));
    const text = Buffer.concat([...dumpDatabase(plain, [declared])]).toString();
    const loaded = new Database(join(dir, "loaded.db"));
    loadExtensions(loaded, [declared]);
    loaded.exec(text);
    expect(loaded.prepare("SELECT count(*) FROM w").pluck().get()).toBeGreaterThan(5);
    loaded.close();
    expect(() => makePlain(plain, join(dir, "no.db"))).toThrow(/backwards|times.*--extension/s);
  });

  test("a file that needs it is imported with it, and refused without", async () => {
    const made = leader();
    const [file, copy] = [join(dir, "file.db"), join(dir, "import.db")];
    await copyDatabase(made.path, file);
    makePlain(file, null, [declared]);
    copyFileSync(file, copy);
    expect(() => judgeSeed(file, copy, [declared])).not.toThrow();
    expect(() => judgeSeed(file, copy)).toThrow(/cannot be imported.*(times|backwards)/);
    expect(() => judgeSeed(file, copy, [{ ...declared, deterministic: false }])).toThrow(
      /times\(\) of the extension pure is not allowed/,
    );
  });
});

describe.skipIf(trouble !== null)(`an extension that is not declared${skipped}`, () => {
  const setUp = () => {
    const leader = new TestLeader({ extensions: [declared, undeclared] });
    leader.exec("CREATE TABLE t (a, b); INSERT INTO t VALUES (3, 'x')");
    leader.commit();
    return leader;
  };

  const REFUSED: readonly [string, RegExp][] = [
    ["INSERT INTO t(a) VALUES (wild_times(2))", /wild_times\(\).*chance.*parameters.*#determin/],
    ['INSERT INTO t(a) VALUES ("WILD_Times" (2))', /wild_times\(\)/],
    ["UPDATE t SET a = (SELECT wild_times(a))", /wild_times\(\)/],
    ["DELETE FROM t WHERE wild_times(a) = 6", /wild_times\(\)/],
    ["WITH w AS (SELECT wild_times(1)) INSERT INTO t(a) SELECT * FROM w", /wild_times\(\)/],
    ["INSERT INTO t(a) VALUES (1) RETURNING wild_times(a)", /wild_times\(\)/],
    ["CREATE VIEW v AS SELECT wild_times(a) FROM t", /wild_times\(\)/],
    ["CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT wild_times(1); END", /wild_times\(\)/],
    ["CREATE TABLE u (a DEFAULT (wild_times(1)))", /wild_times\(\)/],
    ["CREATE TABLE u (a, b AS (wild_times(a)))", /wild_times\(\)/],
    ["CREATE TABLE u (a CHECK (wild_times(a) > 1))", /wild_times\(\)/],
    ["CREATE INDEX i ON t(wild_times(a))", /wild_times\(\)/],
    ["ALTER TABLE t ADD COLUMN c AS (wild_times(a))", /wild_times\(\)/],
    ["INSERT INTO t(a) SELECT b REGEXP 'x' FROM t", /regexp\(\)/],
    ["INSERT INTO t(a) SELECT a FROM t ORDER BY b COLLATE wild_backwards", /wild_backwards/],
    ['CREATE INDEX i ON t(b COLLATE "wild_backwards")', /collation wild_backwards/],
    ["CREATE TABLE u (a COLLATE wild_backwards)", /collation wild_backwards/],
    ["INSERT INTO t(a) SELECT value FROM wild_upto(3)", /virtual table wild_upto/],
    ["INSERT INTO t(a) SELECT value FROM 'wild_upto'(3)", /virtual table wild_upto/],
    ["CREATE VIRTUAL TABLE u USING wild_upto", /virtual table wild_upto/],
    ["SELECT wild_times(1)", /wild_times\(\)/],
    ["CREATE VIRTUAL TABLE u USING fts5(x, tokenize = 'wild 1')", /tokenizer .* \(wild\)/],
    ['CREATE VIRTUAL TABLE u USING fts5(x, tokenize="porter wild")', /tokenizer .* \(wild\)/],
    ["CREATE VIRTUAL TABLE u USING fts5(x, tokenize/**/='wild')", /tokenizer/],
  ];

  test.each(REFUSED)("%s", (sql, message) => {
    const leader = setUp();
    expect(leader.fail(sql)).toMatchObject({
      code: "REFUSED",
      message: expect.stringMatching(message),
    });
    expect(leader.all("SELECT count(*) AS c FROM t")).toStrictEqual([{ c: 1 }]);
  });

  test("is refused in a transaction, too", () => {
    const leader = setUp();
    leader.transact("begin");
    expect(leader.step("INSERT INTO t(a) VALUES (wild_times(2))")).toMatchObject({
      kind: "failure",
      failure: { code: "REFUSED" },
    });
  });

  test("names of columns and values are not mistaken for its own", () => {
    const leader = setUp();
    leader.exec("CREATE TABLE u (wild_times, wild_backwards)");
    leader.exec(`CREATE VIRTUAL TABLE f USING fts5(x, tokenize = 'porter unicode61 remove_diacritics 1');
      CREATE VIRTUAL TABLE g USING fts4(x, tokenize=simple)`);
    leader.run("INSERT INTO u SELECT 'regexp', 'wild_times' WHERE ? = 'times'", ["times"]);
    expect(leader.all("SELECT wild_backwards AS w FROM u")).toStrictEqual([{ w: "wild_times" }]);
  });

  test("works in reads", () => {
    const reader = openReader(setUp().path, undefined, [declared, undeclared]);
    const sql = `SELECT wild_times(a) AS d, b REGEXP 'x' AS m, (SELECT count(*) FROM wild_upto(5)) AS c
      FROM t ORDER BY b COLLATE wild_backwards`;
    expect(readAll(reader, sql)).toStrictEqual([{ d: 6, m: 1, c: 5 }]);
  });

  test("a schema that is older than the declaration keeps the writer from starting", () => {
    const leader = new TestLeader({ extensions: [declared] });
    leader.exec(
      "CREATE TABLE t (a); CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT times(1); END",
    );
    leader.commit();
    leader.core.close();
    const extensions = [{ ...declared, deterministic: false }];
    expect(() => openCore({ path: leader.path, extensions })).toThrow(
      /trigger r uses times\(\) of the extension pure.*not declared.*#deterministic/,
    );
  });
});

describe.skipIf(trouble !== null)(`an extension that is not loaded${skipped}`, () => {
  const TAKEN: readonly [string, string, number][] = [
    ["random", "random", 0],
    ["a function of dates, with another number of arguments", "date", 7],
    ["CURRENT_TIMESTAMP", "current_timestamp", 0],
    ["last_insert_rowid", "last_insert_rowid", 0],
    ["an operator that no text names", "->>", 2],
  ];

  test.each(TAKEN)("because it replaces %s", (_what, name, count) => {
    const path = compileExtension(dir, "taker", `TAKES="${name}"`, `TAKES_COUNT=${count}`);
    expect(() => known({ path, deterministic: true })).toThrow(
      `extension taker replaces ${name}(), which Balsa makes the same on every node`,
    );
  });

  test("what it replaces of FTS5 is seen, and refused in writes unless declared", () => {
    for (const flags of ["0", "SQLITE_DETERMINISTIC"]) {
      const given = ['TAKES="snippet"', "TAKES_COUNT=-1", `FLAGS=${flags}`];
      expect(known({ path: compileExtension(dir, "taker", ...given) }).functions).toContain(
        "snippet",
      );
    }
    expect(declared.functions).toStrictEqual(["times"]);
    expect(declared.collations).toStrictEqual(["backwards"]);
    expect(declared.modules).toStrictEqual(["upto"]);
  });

  test("because its file is none that can be loaded", () => {
    const missing = join(dir, "missing.so");
    expect(() => known({ path: missing })).toThrow(
      `extension missing: there is no file ${missing}`,
    );
    expect(() => known({ path: join(dir, "pure") })).toThrow(
      /there is no file .*is .*pure.so meant/,
    );
    expect(() => known({ path: dir })).toThrow(/there is no file/);
    const text = join(dir, "text.so");
    writeFileSync(text, "no library");
    expect(() => known({ path: text })).toThrow(/extension text cannot be loaded: .*text.so/);
    const foreign = join(dir, "foreign.so");
    const library = readFileSync(declared.path);
    // The machine in an ELF header: SPARC.
    library.writeUInt16LE(2, 18);
    writeFileSync(foreign, library);
    expect(() => known({ path: foreign })).toThrow(/extension foreign cannot be loaded: /);
    const refusing = compileExtension(dir, "refusing", "FAILS");
    expect(() => known({ path: refusing })).toThrow(
      /extension refusing cannot be loaded: .*not today/,
    );
  });

  test("because its hash is not the one given, or its name is taken", () => {
    const { path, sha256 } = declared;
    expect(known({ path, sha256: sha256.toUpperCase() }).sha256).toBe(sha256);
    expect(() => known({ path, sha256: "0".repeat(64) })).toThrow(
      `${path} has the SHA-256 ${sha256}, not ${"0".repeat(64)}`,
    );
    expect(() => readExtensions([{ path }, { path }])).toThrow(/two extensions are called pure/);
  });

  test("because another brings the same name", () => {
    const twin = { ...undeclared, name: "twin", functions: [], modules: declared.modules };
    expect(() => demandDistinct([declared, undeclared])).not.toThrow();
    expect(() => demandDistinct([declared, twin])).toThrow(
      "upto is among the modules of both pure and twin; use only one of them",
    );
  });

  test("because its file was changed since", () => {
    const path = join(dir, "changed.so");
    copyFileSync(declared.path, path);
    const changed = known({ path, deterministic: true });
    appendFileSync(path, "x");
    expect(() => openCore({ path: freshPath(), extensions: [changed] })).toThrow(
      /changed.so was changed since the node began/,
    );
  });

  test("an entry point can be named", () => {
    const { path } = declared;
    expect(known({ path, entry: "begin_small" }).functions).toStrictEqual(["small"]);
    expect(() => known({ path, entry: "begin_nothing" })).toThrow(/begin_nothing/);
  });
});

test("load_extension() stays refused in SQL", () => {
  const leader = new TestLeader();
  expect(leader.fail("SELECT load_extension('x')").code).toBe("REFUSED");
  leader.commit();
  const reader = openReader(leader.path);
  expect(() => readAll(reader, "SELECT load_extension('x')")).toThrow(/not allowed/);
});
