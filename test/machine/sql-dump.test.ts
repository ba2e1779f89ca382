/** SQL text that a database is written as makes the same database, to the last bit of a real and the last rowid. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { dumpDatabase } from "../../src/machine/sql-dump.ts";
import { RICH_ROWS, RICH_SCHEMA } from "../support/rich-database.ts";

let home = "";
let path = "";

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "balsa-dump-"));
  path = join(home, "from.db");
});

afterEach(() => rmSync(home, { recursive: true, force: true }));

function make(fill: (database: Database.Database) => void): void {
  const database = new Database(path);
  database.pragma("synchronous = OFF");
  fill(database);
  database.close();
}

function dump(): Buffer {
  return Buffer.concat([...dumpDatabase(path)]);
}

/** Runs the dump in an empty file, as the shell does: without the defence of the schema. */
function load(): string {
  const to = join(home, "to.db");
  rmSync(to, { force: true });
  const database = new Database(to);
  database.unsafeMode(true);
  database.pragma("synchronous = OFF");
  database.exec(dump().toString());
  database.close();
  return to;
}

test("all kinds of tables, indexes, views and triggers", () => {
  make((database) => {
    database.exec(RICH_SCHEMA);
    database.exec(RICH_ROWS);
    database.exec("PRAGMA application_id = -5");
  });
  const to = load();
  expect(readFileContent(to)).toEqual(readFileContent(path));
  const loaded = new Database(to);
  expect(loaded.pragma("integrity_check", { simple: true })).toBe("ok");
  const found = loaded.prepare("SELECT rowid FROM words WHERE words MATCH 'fox'").pluck().all();
  expect(found).toEqual([9, 12]);
  loaded.prepare("INSERT INTO counted(what) VALUES ('next')").run();
  expect(loaded.prepare("SELECT max(id) FROM counted").pluck().get()).toBe(5);
  loaded.close();
});

test("any value comes back as it was", () => {
  const value = fc.oneof(
    fc.double({ noNaN: true }),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.string({ unit: "binary" }),
    fc.constantFrom("a\0b", "\0", "it's", "\r\n", ""),
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    fc.constant(null),
  );
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 300 }), (values) => {
      rmSync(path, { force: true });
      make((database) => {
        database.exec("CREATE TABLE t (rowid, v)");
        const insert = database.prepare("INSERT INTO t(v) VALUES (?)");
        database.transaction(() => {
          for (const one of values) insert.run(one);
        })();
      });
      expect(readFileContent(load())).toEqual(readFileContent(path));
    }),
    { numRuns: 20 },
  );
});

test.each(["UTF-16le", "UTF-8"])("bytes that are no text in %s stay as they are", (encoding) => {
  make((database) => {
    database.pragma(`encoding = '${encoding}'`);
    database.exec("CREATE TABLE t (v TEXT)");
    database.exec("INSERT INTO t VALUES ('plain €'), (char(0) || 'x')");
  });
  const to = load();
  expect(readFileContent(to)).toEqual(readFileContent(path));
  const loaded = new Database(to);
  expect(loaded.pragma("encoding", { simple: true })).toBe(encoding);
  loaded.close();
});

test("text that is no UTF-8 passes undecoded", () => {
  make((database) => {
    database.exec("CREATE TABLE t (v TEXT)");
    database.exec("INSERT INTO t VALUES (CAST(x'c328ff' AS TEXT))");
  });
  expect(dump().includes(Buffer.from([0x27, 0xc3, 0x28, 0xff, 0x27]))).toBe(true);
});

test("a rowid whose every name is a column's is not written, and breaks nothing", () => {
  make((database) => {
    database.exec("CREATE TABLE t (rowid, oid, _rowid_); INSERT INTO t VALUES (1, 2, 3)");
    database.exec("CREATE TABLE d (id INTEGER PRIMARY KEY DESC, v); INSERT INTO d VALUES (4, 'x')");
    database.exec("CREATE TABLE s (id INT PRIMARY KEY, v); INSERT INTO s(rowid, id) VALUES (8, 1)");
    database.exec("ANALYZE");
  });
  const to = load();
  const rows = (file: string) => {
    const database = new Database(file);
    const found = ["t", "d", "s", "sqlite_stat1"].map((name) => {
      return database.prepare(`SELECT *, ${name === "t" ? 0 : "rowid"} AS r FROM ${name}`).all();
    });
    database.close();
    return found;
  };
  expect(rows(to)).toEqual(rows(path));
});
