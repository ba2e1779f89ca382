/** `balsa import`: a cluster that begins with an existing file, on every node and for every node that comes later. */

import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { RICH_ROWS, RICH_SCHEMA } from "../support/rich-database.ts";
import { balsa, freePorts, killAll, RunningCommand, until } from "./command.ts";

let home = "";
let file = "";
let cluster: TestCluster | null = null;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "balsa-import-"));
  file = join(home, "file.db");
});

afterEach(async () => {
  killAll();
  // In order: a killed node's children may still make files.
  await cluster?.stopNodes();
  await cluster?.stop();
  cluster = null;
  rmSync(home, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
});

function make(...statements: readonly string[]): void {
  rmSync(file, { force: true });
  const database = new Database(file);
  database.pragma("page_size = 1024");
  for (const sql of statements) database.exec(sql);
  database.close();
}

function nodes(count: number): string[] {
  return Array.from({ length: count }, (_, at) => {
    return [`--node`, `${at + 1}=${join(home, "data", `node${at + 1}`)}`];
  }).flat();
}

function schemaOf(path: string): unknown {
  const database = new Database(path, { readonly: true });
  const found = database
    .prepare("SELECT name, sql FROM sqlite_schema WHERE tbl_name NOT LIKE 'balsa%' ORDER BY rowid")
    .all();
  database.close();
  return found;
}

describe("a cluster that begins with a file", () => {
  test("has all of it, as have nodes that lose their disk or come later", async () => {
    make(RICH_SCHEMA, RICH_ROWS);
    const expected = readFileContent(file);
    const bytes = readFileSync(file);
    const done = await balsa("import", file, ...nodes(3));
    expect(done).toMatchObject({ code: 0 });
    expect(done.out).toContain(createHash("sha256").update(bytes).digest("hex"));
    expect(done.err).toMatch(/copied (\d+) of \1 bytes/);
    expect(readFileSync(file).equals(bytes)).toBe(true);

    cluster = await TestCluster.start({ dir: join(home, "data") });
    await cluster.ready();
    const db = cluster.connect();
    const contentOf = (id: number) => readFileContent(join(home, "data", `node${id}`, "main.db"));
    for (const id of [1, 2, 3]) {
      expect(contentOf(id)).toEqual(expected);
      expect(schemaOf(join(home, "data", `node${id}`, "main.db"))).toEqual(schemaOf(file));
    }
    // It goes on where the file ended.
    expect(await db.prepare("INSERT INTO counted(what) VALUES ('new')").run()).toMatchObject({
      lastInsertRowid: 5,
    });
    const found = await db.prepare("SELECT rowid AS id FROM words('fox') ORDER BY id").all();
    expect(found).toEqual([{ id: 9 }, { id: 12 }]);
    const endpoints = ["--endpoints", cluster.endpoints.join(",")];

    // One loses its disk: the log of the others does not reach back to the file.
    const lost = ((await cluster.leader()).id % 3) + 1;
    await cluster.node(lost).kill();
    rmSync(join(home, "data", `node${lost}`), { recursive: true });
    cluster.node(lost).start();
    // One comes that never was a member.
    const address = `127.0.0.1:${await freePorts(1)}`;
    const dir = join(home, "data", "node4");
    const late = ["serve", "--id", "4", "--dir", dir, "--listen", address, "--join"];
    const fourth = new RunningCommand([...late, "--log-format", "json"]);
    await fourth.prints(/"msg":"listening"/);
    const added = await balsa("member", "add", "--id", "4", "--address", address, ...endpoints);
    expect(added).toMatchObject({ code: 0 });
    await db.exec("INSERT INTO journal(what) VALUES ('last')");
    const alike = async () => {
      const digests = [1, 2, 3, 4].map((id) => {
        const path = join(home, "data", `node${id}`, "main.db");
        try {
          return existsSync(path) ? readFileContent(path).digest : `none of ${id}`;
        } catch {
          // It is being replaced.
          return `unreadable ${id}`;
        }
      });
      return new Set(digests).size === 1;
    };
    await until(alike, () => `the nodes differ: ${cluster?.node(lost).lastWords(30)}`);
    expect(contentOf(4).tables.find(({ name }) => name === "plain")?.rows).toBe(4);
    fourth.child.kill("SIGTERM");
    await fourth.ended;

    // And back again.
    const out = join(home, "out.db");
    expect(await balsa("export", out, ...endpoints)).toMatchObject({ code: 0 });
    expect(readFileContent(out)).toEqual(contentOf(4));
    expect((await balsa("import", out, "--node", `1=${join(home, "again")}`)).code).toBe(0);
  });

  test("does not form from different files", async () => {
    make("CREATE TABLE t (a)");
    expect((await balsa("import", file, ...nodes(1))).code).toBe(0);
    make("CREATE TABLE t (b)");
    const second = ["--node", `2=${join(home, "data", "node2")}`];
    expect((await balsa("import", file, ...second)).code).toBe(0);
    cluster = await TestCluster.start({ dir: join(home, "data"), nodes: 2 });
    const says = async () => {
      const { out } = await balsa(
        "status",
        "--json",
        "--endpoints",
        cluster?.endpoints.join(",") ?? "",
      );
      return /begins with the file of SHA-256.*balsa import from the same file/.test(out);
    };
    await until(says, () => "they do not say so");
  });
});

describe("what is refused, with nothing left behind", () => {
  const CASES: readonly [what: string, statements: readonly string[], message: RegExp][] = [
    ["a node's own file", ["CREATE TABLE balsa_meta (a)"], /balsa_meta: names.*balsa export/],
    [
      "a trigger that asks the connection",
      [
        "CREATE TABLE t (a)",
        "CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT total_changes(); END",
      ],
      /r: total_changes\(\) is not allowed/,
    ],
    [
      "an index on a function of time",
      ["CREATE TABLE t (a)", "CREATE INDEX i ON t (date(a))"],
      /non-deterministic functions/,
    ],
  ];

  test.each(CASES)("%s", async (_what, statements, message) => {
    make(...statements);
    const done = await balsa("import", file, ...nodes(2));
    expect(done.code).toBe(1);
    expect(done.err).toMatch(message);
    for (const dir of ["node1", "node2"]) expect(readdirSync(join(home, "data", dir))).toEqual([]);
  });

  test("an unknown function, an unknown module", async () => {
    const database = new Database(file);
    database.function("mine", { deterministic: true }, (value: unknown) => value);
    database.exec("CREATE TABLE t (a, b AS (mine(a)))");
    database.close();
    const done = await balsa("import", file, ...nodes(1));
    expect(done).toMatchObject({ code: 1 });
    expect(done.err).toMatch(/mine/);
    make("CREATE TABLE t (a)");
    const raw = new Database(file);
    raw.unsafeMode(true);
    raw.pragma("writable_schema = ON");
    const odd = "CREATE VIRTUAL TABLE odd USING spellfix1";
    raw.prepare("INSERT INTO sqlite_schema VALUES ('table', 'odd', 'odd', 0, ?)").run(odd);
    raw.close();
    const module = await balsa("import", file, ...nodes(1));
    expect(module.err).toMatch(/odd is a virtual table of the module spellfix1/);
  });

  test("a damaged file, no database, an open one, a directory with something in it", async () => {
    make(RICH_SCHEMA, RICH_ROWS);
    const bytes = readFileSync(file);
    const damaged = join(home, "damaged.db");
    copyFileSync(file, damaged);
    const torn = Buffer.from(bytes);
    torn.fill(0xee, 5 * 1024, 6 * 1024);
    writeFileSync(damaged, torn);
    expect((await balsa("import", damaged, ...nodes(1))).err).toMatch(
      /damaged\.db cannot be imported/,
    );
    writeFileSync(damaged, "hello, this is text");
    expect((await balsa("import", damaged, ...nodes(1))).err).toMatch(/no SQLite database/);

    const open = new Database(file);
    open.pragma("journal_mode = WAL");
    open.exec("INSERT INTO journal(what) VALUES ('in the WAL')");
    expect((await balsa("import", file, ...nodes(1))).err).toMatch(/-wal belongs to it/);
    open.close();
    expect((await balsa("import", file, ...nodes(1))).code).toBe(0);
    const twice = await balsa("import", file, ...nodes(1));
    expect(twice.code).toBe(1);
    expect(twice.err).toMatch(/is not empty/);
    mkdirSync(join(home, "full"));
    writeFileSync(join(home, "full", "mine.txt"), "mine");
    const full = await balsa("import", file, "--node", `1=${join(home, "full")}`);
    expect(full.err).toMatch(/not empty \(mine.txt\)/);
    expect(readdirSync(join(home, "full"))).toEqual(["mine.txt"]);
  });
});
