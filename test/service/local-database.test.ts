import { mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readExtensions } from "../../src/machine/extension-files.ts";
import { loadExtensions } from "../../src/machine/extension-loading.ts";
import { LocalDatabase } from "../../src/service/local-database.ts";
import { LocalFile } from "../../src/service/local-file.ts";
import type { BalsaError } from "../../src/sql/errors.ts";
import { compileExtension, compilerTrouble } from "../support/extension.ts";

const trouble = compilerTrouble();
const skipped = trouble === null ? "" : ` (skipped: ${trouble})`;

describe("a node's own file, read in the app's process", () => {
  let dir: string;
  let path: string;
  let file: LocalFile;
  let local: LocalDatabase;

  /** As the node's writer keeps it. */
  function make(at: string, n: number): Database.Database {
    const database = new Database(at);
    database.pragma("journal_mode = WAL");
    database.exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, n); INSERT INTO t VALUES (1, ${n})`);
    database.exec("CREATE TABLE balsa_meta (applied_index, settings)");
    database.prepare("INSERT INTO balsa_meta VALUES (?, ?)").run(n, '{"foreignKeys":0}');
    return database;
  }

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "balsa-local-"));
    path = join(dir, "main.db");
    file = new LocalFile(path);
    local = new LocalDatabase(file);
  });

  afterEach(() => {
    file.close();
    rmSync(dir, { recursive: true });
  });

  /** As the installation of a snapshot does it. */
  function replaceFile(): void {
    make(join(dir, "other.db"), 9).close();
    for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix, { force: true });
    renameSync(join(dir, "other.db"), path);
    file.look();
  }

  const codeOf = (run: () => unknown): string => {
    try {
      run();
    } catch (error) {
      return (error as BalsaError).code;
    }
    return "nothing was thrown";
  };

  it("sees each commit of the writer, without being told", () => {
    const writer = make(path, 1);
    const n = local.prepare("SELECT n FROM t").pluck();
    expect(n.get()).toBe(1);
    writer.exec("UPDATE t SET n = 2");
    expect(n.get()).toBe(2);
    writer.close();
  });

  it("binds as the client does, and gives rows as better-sqlite3 does", () => {
    make(path, 1).close();
    const kinds = local.prepare("SELECT typeof(?) a, typeof(?) b, ? c, ? d, typeof(?) e");
    const when = new Date(0);
    expect(kinds.get(1, 1.5, true, when, null)).toEqual({
      a: "integer",
      b: "real",
      c: 1,
      d: "1970-01-01T00:00:00.000Z",
      e: "null",
    });
    expect(kinds.get([1, 1.5, true, when, null])).toEqual(kinds.get(1, 1.5, true, when, null));
    const named = local.prepare("SELECT :a a, typeof(:a) k, :b b");
    expect(named.get({ a: 7, b: new Uint8Array([1]) })).toEqual({
      a: 7,
      k: "integer",
      b: Buffer.from([1]),
    });
    const large = local.prepare("SELECT 9007199254740993 n, 'x' t");
    expect(large.safeIntegers().get()).toEqual({ n: 9007199254740993n, t: "x" });
    expect(large.safeIntegers().raw().all()).toEqual([[9007199254740993n, "x"]]);
    expect([...local.prepare("VALUES (1), (2)").pluck().iterate()]).toEqual([1, 2]);
  });

  it("refuses what a node's readers refuse, and says where it can be done", () => {
    make(path, 1).close();
    for (const sql of [
      "INSERT INTO t VALUES (2, 2)",
      "DELETE FROM t RETURNING *",
      "WITH a AS (SELECT 1) DELETE FROM t RETURNING *",
      "CREATE TABLE u (a)",
      "BEGIN",
      "ATTACH 'x.db' AS x",
      "PRAGMA wal_checkpoint(TRUNCATE)",
      "PRAGMA query_only = OFF",
      "PRAGMA cache_size = 10",
      "PRAGMA foreign_keys = ON",
      "PRAGMA user_version = 3",
      "PRAGMA optimize",
      "SELECT load_extension('x')",
      "SELECT * FROM balsa_meta",
      'SELECT * FROM "balsa_session"',
      "SELECT * FROM pragma_foreign_keys",
    ]) {
      expect([sql, codeOf(() => local.prepare(sql).get())]).toEqual([sql, "REFUSED"]);
    }
    expect(() => local.prepare("DELETE FROM t")).toThrow(/node.db.*DELETE does not read/);
    expect(() => local.prepare("PRAGMA optimize")).toThrow(/run ANALYZE instead/);
    expect(local.prepare("SELECT count(*) FROM t").pluck().get()).toBe(1);
  });

  it("tells what a node's readers tell: plans, the schema, and how the cluster is set", () => {
    make(path, 1).close();
    expect(local.prepare("EXPLAIN QUERY PLAN DELETE FROM t WHERE id = 1").all()).toHaveLength(1);
    expect(local.prepare("EXPLAIN INSERT INTO t VALUES (2, 2)").all().length).toBeGreaterThan(5);
    expect(local.prepare("PRAGMA table_info(t)").all()).toHaveLength(2);
    // SQLite does not count this one among those that only read.
    expect(local.prepare("PRAGMA journal_mode").pluck().get()).toMatch(/^(wal|delete)$/);
    // This connection's own switch says otherwise.
    expect(local.prepare("PRAGMA foreign_keys").get()).toEqual({ foreign_keys: 0 });
    expect(local.prepare("SELECT count(*) FROM t").pluck().get()).toBe(1);
  });

  it("fails in the words that a client knows, whoever found the fault", () => {
    make(path, 1).close();
    const failure = (run: () => unknown): unknown => {
      try {
        return run();
      } catch (error) {
        const { name, code } = error as BalsaError;
        return `${name} ${code}`;
      }
    };
    const wrong = "BalsaError INVALID_ARGUMENT";
    expect(failure(() => local.prepare("SELEC"))).toBe("SqlError SQLITE_ERROR");
    expect(failure(() => local.prepare("SELECT json('{')").get())).toBe("SqlError SQLITE_ERROR");
    const late = local.prepare("SELECT json(value) FROM json_each('[1, \"{\"]')").iterate();
    late.next();
    expect(failure(() => late.next())).toBe("SqlError SQLITE_ERROR");
    expect(failure(() => local.prepare("SELECT 1; SELECT 2"))).toBe(wrong);
    expect(failure(() => local.prepare(" -- nothing"))).toBe(wrong);
    expect(failure(() => local.prepare(5 as unknown as string))).toBe(wrong);
    const two = local.prepare("SELECT ?, ?");
    expect(failure(() => two.get(1))).toBe(wrong);
    expect(failure(() => two.all(1, Symbol("x") as unknown as number))).toBe(wrong);
    expect(failure(() => two.iterate(1, 2, 3))).toBe(wrong);
    expect(two.raw().get(1, 2)).toEqual([1, 2]);
  });

  it("says at which log index it stands, and in a transaction stands still", () => {
    const writer = make(path, 7);
    expect(local.index).toBe(7);
    const advance = () => writer.exec("UPDATE balsa_meta SET applied_index = applied_index + 1");
    advance();
    expect(local.index).toBe(8);
    const seen = local.transaction(() => {
      const first = local.index;
      advance();
      return [first, local.index];
    });
    expect(seen).toEqual([8, 8]);
    expect(local.index).toBe(9);
    writer.close();
  });

  it("an open iterator lets no transaction begin or end, and spoils nothing behind it", () => {
    const writer = make(path, 1);
    const all = local.prepare<{ n: number }>("SELECT n FROM t UNION ALL SELECT 100");
    const before = all.iterate();
    before.next();
    expect(codeOf(() => local.transaction(() => 1))).toBe("INVALID_ARGUMENT");
    before.return?.();
    expect(local.transaction(() => 1)).toBe(1);
    const inside: IterableIterator<unknown>[] = [];
    const begun = () =>
      local.transaction(() => {
        const rows = all.iterate();
        rows.next();
        inside.push(rows);
      });
    expect(codeOf(begun)).toBe("INVALID_ARGUMENT");
    writer.exec("UPDATE t SET n = 2");
    // Its moment is its own; everybody else has gone on.
    expect(all.all()).toEqual([{ n: 2 }, { n: 100 }]);
    expect(local.transaction(() => all.get())).toEqual({ n: 2 });
    expect([...(inside[0] ?? [])]).toEqual([{ n: 100 }]);
    writer.close();
  });

  it("a transaction is one moment, also when the writer goes on and the file is replaced", () => {
    const writer = make(path, 1);
    const n = local.prepare("SELECT n FROM t").pluck();
    const seen = local.transaction(() => {
      const first = n.get();
      writer.exec("UPDATE t SET n = 2");
      writer.close();
      replaceFile();
      return [first, n.get(), local.transaction(() => n.get())];
    });
    expect(seen).toEqual([1, 1, 1]);
    file.look();
    expect(n.get()).toBe(9);
    expect(() =>
      local.transaction(() => {
        throw new Error("mine");
      }),
    ).toThrow("mine");
    expect(codeOf(() => local.transaction(async () => 1))).toBe("INVALID_ARGUMENT");
    expect(local.transaction(() => n.get())).toBe(9);
  });

  it("follows a file that takes its place; an open iterator ends on the old one", () => {
    make(path, 1).close();
    const all = local.prepare<{ n: number }>("SELECT n FROM t UNION ALL SELECT 100");
    const open = all.iterate();
    expect(open.next().value).toEqual({ n: 1 });
    expect(all.all()).toEqual([{ n: 1 }, { n: 100 }]);
    replaceFile();
    expect(all.all()).toEqual([{ n: 9 }, { n: 100 }]);
    expect(open.next().value).toEqual({ n: 100 });
    expect(open.next().done).toBe(true);
  });

  it("says when there is no database yet, and when the node is closed", () => {
    expect(codeOf(() => local.prepare("SELECT 1"))).toBe("UNAVAILABLE");
    make(path, 1).close();
    const statement = local.prepare("SELECT 1");
    file.close();
    expect(codeOf(() => statement.get())).toBe("CLOSED");
    expect(codeOf(() => local.prepare("SELECT 1").get())).toBe("CLOSED");
    expect(codeOf(() => local.transaction(() => 1))).toBe("CLOSED");
  });

  it.skipIf(trouble !== null)(`has the node's extensions${skipped}`, () => {
    const extensions = readExtensions([{ path: compileExtension(dir, "pure") }]);
    const writer = make(path, 4);
    loadExtensions(writer, extensions);
    writer.exec(
      "CREATE TABLE back (word COLLATE backwards); INSERT INTO back VALUES ('az'), ('za')",
    );
    writer.close();
    const extended = new LocalFile(path, extensions);
    const reader = new LocalDatabase(extended);
    expect(reader.prepare("SELECT word FROM back ORDER BY word").pluck().all()).toEqual([
      "za",
      "az",
    ]);
    expect(codeOf(() => local.prepare("SELECT word FROM back ORDER BY word"))).toBe(
      "SQLITE_ERROR_MISSING_COLLSEQ",
    );
    extended.close();
  });
});
