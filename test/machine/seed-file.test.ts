/** What of a SQLite file can begin a cluster and what cannot; and that the copy is the file. */

import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { copySeed, finishSeed, judgeSeed } from "../../src/machine/seed-file.ts";
import { openWriterConnection } from "../../src/machine/writer-connection.ts";
import { RICH_ROWS, RICH_SCHEMA } from "../support/rich-database.ts";

let home = "";
let file = "";
let copy = "";

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "balsa-seed-"));
  file = join(home, "file.db");
  copy = join(home, "copy.db");
});

afterEach(() => rmSync(home, { recursive: true, force: true }));

function make(...statements: readonly string[]): void {
  const database = new Database(file);
  database.pragma("synchronous = OFF");
  for (const sql of statements) database.exec(sql);
  database.close();
}

function take(): Promise<string> {
  return copySeed(file, [copy], () => {}, new AbortController().signal);
}

async function judged(): Promise<void> {
  await take();
  judgeSeed(file, copy);
}

test.each(["UTF-8", "UTF-16be"])(
  "the copy is the file, and then a node's database (%s)",
  async (encoding) => {
    make(
      `PRAGMA encoding = '${encoding}'`,
      "PRAGMA page_size = 8192",
      RICH_SCHEMA,
      RICH_ROWS,
      "ANALYZE",
    );
    const digest = await take();
    expect(readFileSync(copy).equals(readFileSync(file))).toBe(true);
    expect(createHash("sha256").update(readFileSync(file)).digest("hex")).toBe(digest);
    judgeSeed(file, copy);
    finishSeed(copy, { index: 1, term: 1 });
    const writer = openWriterConnection(copy);
    const at = writer.prepare("SELECT applied_index, applied_term FROM balsa_meta").raw().get();
    writer.close();
    expect(at).toEqual([1n, 1n]);
    expect(readFileContent(copy)).toEqual(readFileContent(file));
  },
);

test("a WAL or a journal beside it is not overlooked", async () => {
  make("CREATE TABLE t (a)");
  for (const suffix of ["-wal", "-journal"]) {
    writeFileSync(file + suffix, "something");
    await expect(take()).rejects.toThrow(new RegExp(`file.db${suffix} belongs to it`));
    rmSync(file + suffix);
    rmSync(copy, { force: true });
  }
  writeFileSync(`${file}-wal`, "");
  await take();
});

test("a change while it is copied is noticed", async () => {
  make("CREATE TABLE t (a)");
  const meddle = () => {
    const database = new Database(file);
    database.exec("INSERT INTO t VALUES (zeroblob(100000))");
    database.close();
  };
  const copying = copySeed(file, [copy], meddle, new AbortController().signal);
  await expect(copying).rejects.toThrow(/changed while it was copied/);
});

test.each([
  ["CREATE TABLE balsa_mine (a)", /balsa_mine: names that begin with balsa_/],
  ["CREATE TABLE t (a); CREATE VIEW v AS SELECT * FROM dbstat", /v: dbstat is not allowed/],
  ["CREATE TABLE t (a); CREATE INDEX i ON t (date(a))", /non-deterministic/],
  [
    "CREATE VIRTUAL TABLE f USING fts5 (x); CREATE VIRTUAL TABLE g USING fts5 (block, content='f_data')",
    /g would be over a table that FTS5 keeps/,
  ],
  [
    "CREATE TABLE t (a); CREATE TRIGGER r AFTER UPDATE OF a ON t BEGIN SELECT nobody(1); END",
    /t cannot be used: no such function: nobody/,
  ],
])("%s is refused with its name", async (sql, message) => {
  make(sql);
  await expect(judged()).rejects.toThrow(message);
});

test("what SQLite itself finds damaged is refused", async () => {
  make("CREATE TABLE t (a)", "CREATE INDEX i ON t (a)", "INSERT INTO t VALUES ('findable')");
  const bytes = readFileSync(file);
  bytes.write("lindable", bytes.indexOf("findable"));
  writeFileSync(file, bytes);
  await expect(judged()).rejects.toThrow(/cannot be imported: it is damaged/);
});

test("an empty file, a text, nothing at all", async () => {
  await expect(take()).rejects.toThrow(/there is no such file/);
  writeFileSync(file, "");
  await expect(take()).rejects.toThrow(/it is empty/);
  rmSync(copy, { force: true });
  writeFileSync(file, "a,b,c\n".repeat(100));
  await expect(take()).rejects.toThrow(/no SQLite database/);
});
