/** `balsa export` and `balsa dump`: what they make of a running cluster and of a stopped node, and what they refuse. */

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Database as Client } from "../../src/client/index.ts";
import { type Content, readFileContent } from "../../src/machine/content-digest.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { RICH_ROWS, RICH_SCHEMA } from "../support/rich-database.ts";
import { balsa, killAll, RunningCommand, until } from "./command.ts";

let home = "";
let cluster: TestCluster;
let db: Client;
/** What the same statements make of a file without Balsa. */
let expected: Content;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "balsa-export-"));
  const alone = join(home, "alone.db");
  const plain = new Database(alone);
  plain.exec(RICH_SCHEMA);
  plain.exec(RICH_ROWS);
  plain.close();
  expected = readFileContent(alone);
  cluster = await TestCluster.start();
  await cluster.ready();
  db = cluster.connect();
  await db.exec(RICH_SCHEMA);
  await db.exec(RICH_ROWS);
});

afterAll(async () => {
  killAll();
  await cluster?.stop();
  rmSync(home, { recursive: true, force: true });
});

function endpoints(): string[] {
  return ["--endpoints", cluster.endpoints.join(",")];
}

function leftovers(): string[] {
  return readdirSync(home).filter((name) => /part|-journal|-wal|-shm/.test(name));
}

function namesIn(path: string): string[] {
  const file = new Database(path, { readonly: true });
  const names = file.prepare("SELECT name FROM sqlite_schema WHERE name LIKE 'balsa%'").pluck();
  const mode = file.pragma("journal_mode", { simple: true });
  const found = [...(names.all() as string[]), `${mode}`];
  file.close();
  return found;
}

describe("of a running cluster", () => {
  test.each([[[]], [["--compact"]]])("an export holds what was written %j", async (flags) => {
    const path = join(home, `out${flags.length}.db`);
    const done = await balsa("export", path, ...flags, ...endpoints());
    expect(done).toMatchObject({ code: 0 });
    expect(done.out).toMatch(/the database of node \d at .* at log index \d+, \d+ bytes/);
    expect(done.err).toMatch(/copied (\d+) of \1 bytes \(100 %\)/);
    expect(namesIn(path)).toEqual(["delete"]);
    expect(readFileContent(path)).toEqual(expected);
    expect(leftovers()).toEqual([]);
  });

  test("it is taken from a follower, or from the node that is named", async () => {
    const leader = (await cluster.leader()).id;
    const path = join(home, "from.db");
    const first = await balsa("export", path, "--json", ...endpoints());
    expect(JSON.parse(first.out).from).not.toMatch(new RegExp(`^node ${leader} `));
    const named = ["--force", "--json", "--node", `${leader}`];
    const second = await balsa("export", path, ...named, ...endpoints());
    expect(JSON.parse(second.out).from).toMatch(new RegExp(`^node ${leader} `));
  });

  test("a follower's has all that was acknowledged before, and tells the index", async () => {
    const { index } = await db.prepare("INSERT INTO journal(what) VALUES ('newest')").run();
    const path = join(home, "newest.db");
    const done = await balsa("export", path, "--json", ...endpoints());
    expect(JSON.parse(done.out).index).toBeGreaterThanOrEqual(index);
    const file = new Database(path);
    const found = file.prepare("SELECT count(*) FROM journal WHERE what = 'newest'").pluck().get();
    file.close();
    expect(found).toBe(1);
    await db.exec("DELETE FROM journal WHERE what = 'newest'");
  });

  test("while writes go on each of them is in it whole, or not at all", async () => {
    await db.exec("CREATE TABLE left_side (n); CREATE TABLE right_side (n)");
    let isOver = false;
    let written = 0;
    const writing = (async () => {
      for (; !isOver; written += 1) {
        await db.batch([
          { sql: "INSERT INTO left_side VALUES (?)", args: [written] },
          { sql: "INSERT INTO right_side VALUES (?)", args: [written] },
        ]);
      }
    })();
    await until(
      () => written > 20,
      () => "no writes",
    );
    const before = written;
    const path = join(home, "meanwhile.db");
    const done = await balsa("export", path, ...endpoints());
    const during = written - before;
    isOver = true;
    await writing;
    expect(done).toMatchObject({ code: 0 });
    expect(during).toBeGreaterThan(0);
    const file = new Database(path);
    const sides = ["left_side", "right_side"].map((name) => {
      return file.prepare(`SELECT n FROM ${name} ORDER BY n`).pluck().all();
    });
    file.close();
    expect(sides[0]).toEqual(sides[1]);
    expect(sides[0]?.length).toBeGreaterThanOrEqual(before);
    expect(sides[0]).toEqual(sides[0]?.map((_, at) => at));
    await db.exec("DROP TABLE left_side; DROP TABLE right_side");
  });

  test("nothing is overwritten unless told, and nothing is left of a failure", async () => {
    const path = join(home, "kept.db");
    writeFileSync(path, "mine");
    const refused = await balsa("export", path, ...endpoints());
    expect(refused.code).toBe(1);
    expect(refused.err).toMatch(/is there already.*--force/);
    const forced = await balsa("export", path, "--force", ...endpoints());
    expect(forced.code).toBe(0);
    expect(readFileContent(path).digest).toBe(expected.digest);
    const nobody = await balsa("export", join(home, "none.db"), "--endpoints", "127.0.0.1:1");
    expect(nobody.code).toBe(3);
    expect(existsSync(join(home, "none.db"))).toBe(false);
    expect(leftovers()).toEqual([]);
  });

  test("an interrupted one leaves nothing", async () => {
    const path = join(home, "interrupted.db");
    const node = cluster.node(((await cluster.leader()).id % 3) + 1);
    const run = new RunningCommand(["export", path, "--node", `${node.id}`, ...endpoints()]);
    await run.prints(/makes a copy/);
    run.child.kill("SIGINT");
    const { code } = await run.ended;
    // It may have been quicker than the signal.
    if (code === 0) expect(existsSync(path)).toBe(true);
    else {
      expect(run.err).toMatch(/interrupted; nothing was written/);
      expect(existsSync(path)).toBe(false);
    }
    expect(leftovers()).toEqual([]);
  });
});

describe("as SQL", () => {
  /** Runs it in an empty file by SQLite's own shell. */
  function load(sql: string, name: string): string {
    const path = join(home, name);
    const shell = spawnSync("sqlite3", ["-bail", path], { input: sql, encoding: "utf8" });
    expect(shell).toMatchObject({ status: 0, stderr: "" });
    return path;
  }

  test("a dump makes the same database again", async () => {
    const printed = await balsa("dump", ...endpoints());
    expect(printed).toMatchObject({ code: 0 });
    expect(printed.err).toMatch(/log index \d+/);
    expect(readFileContent(load(printed.out, "printed.db"))).toEqual(expected);
    const path = join(home, "dump.sql");
    const written = await balsa("dump", path, ...endpoints());
    expect(written).toMatchObject({ code: 0, out: "" });
    expect(readFileSync(path, "utf8")).toBe(printed.out);
    expect((await balsa("dump", path, ...endpoints())).err).toMatch(/is there already/);
    expect(leftovers()).toEqual([]);
  });
});

describe("of a stopped node", () => {
  test("a running one is refused; a stopped one gives its file, and stays as it is", async () => {
    const node = cluster.node(3);
    const dir = join(cluster.dir, "node3");
    await cluster.caughtUp();
    const path = join(home, "stopped.db");
    const busy = await balsa("export", path, "--dir", dir);
    expect(busy.code).toBe(3);
    expect(busy.err).toMatch(/in use by another process/);
    await node.kill();
    const files = () => readdirSync(dir).filter((name) => !name.startsWith("node.lock"));
    const before = files();
    const done = await balsa("export", path, "--dir", dir, "--json");
    expect(done).toMatchObject({ code: 0 });
    expect(JSON.parse(done.out).index).toBeGreaterThan(0);
    expect(readFileContent(path)).toEqual(expected);
    expect(files()).toEqual(before);
    node.start();
    await until(
      async () => (await balsa("status", "--json", ...endpoints())).out.includes('"id": 3'),
      () => "node 3 did not come back",
    );
    await cluster.caughtUp();
    const none = await balsa("export", join(home, "x.db"), "--dir", home);
    expect(none.code).toBe(2);
  });
});
