/** `balsa serve` as a process: how it starts, how it ends, and how it says so. One node is a cluster of its own. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { balsa, freePorts, killAll, RunningCommand } from "./command.ts";

let dir = "";
let address = "";

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "balsa-serve-"));
  address = `127.0.0.1:${await freePorts(1)}`;
});

afterEach(() => {
  killAll();
  rmSync(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
});

function flags(...more: readonly string[]): string[] {
  const own = ["--id", "1", "--dir", dir, "--listen", address, "--peers", `1=${address}`];
  return ["serve", ...own, "--log-format", "json", ...more];
}

describe("a node ends", () => {
  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("in order at %s", async (signal) => {
    const node = new RunningCommand(flags());
    await node.prints(/"msg":"listening"/);
    node.child.kill(signal);
    expect(await node.ended).toEqual({ code: 0, signal: null });
    expect(node.out).toBe("");
    expect(node.err).toMatch(/"msg":"stopped"\}\n$/);
  });

  test("when its standard input does, if told so", async () => {
    const node = new RunningCommand(flags("--until-eof"), "pipe");
    await node.prints(/"msg":"listening"/);
    node.child.stdin?.end();
    expect(await node.ended).toEqual({ code: 0, signal: null });
  });

  test("and may be started again at once", async () => {
    for (let run = 0; run < 3; run++) {
      const node = new RunningCommand(flags());
      await node.prints(/"role":"leader"/);
      node.child.kill(run === 1 ? "SIGKILL" : "SIGTERM");
      await node.ended;
    }
  });

  test("also when nobody reads its log", async () => {
    const node = new RunningCommand(flags("--log-level", "debug"));
    await node.prints(/"role":"leader"/);
    node.child.stderr?.pause();
    for (let at = 0; at < 5; at++) {
      const { code } = await balsa("sql", "SELECT 1", "--endpoints", address);
      expect(code).toBe(0);
    }
    node.child.kill("SIGTERM");
    node.child.stderr?.resume();
    expect((await node.ended).code).toBe(0);
  });
});

describe("a node that cannot start ends with one line that says why", () => {
  test("its port is in use", async () => {
    const first = new RunningCommand(flags());
    await first.prints(/"msg":"listening"/);
    const second = await balsa(...flags("--dir", join(dir, "other")));
    expect(second.code).toBe(1);
    expect(second.err).toMatch(/^balsa: 127.0.0.1:\d+ is in use by another process.*\n$/);
  });

  test("its directory is in use", async () => {
    const first = new RunningCommand(flags());
    await first.prints(/"msg":"listening"/);
    const other = `127.0.0.1:${await freePorts(1)}`;
    const second = await balsa(...flags("--listen", other));
    expect(second.code).toBe(1);
    expect(second.err).toMatch(/^balsa: the data directory .* is in use.*\n$/);
  });

  test("it is not among its peers", async () => {
    const { code, err } = await balsa(...flags("--id", "7"));
    expect(code).toBe(2);
    expect(err).toMatch(/^balsa: peers must name this node too.*7=HOST:PORT.*\n$/);
  });
});

describe("SQL from the shell", () => {
  test("failures of SQL have SQLite's code and status 1", async () => {
    const node = new RunningCommand(flags());
    await node.prints(/"role":"leader"/);
    const sql = (text: string, ...more: string[]) =>
      balsa("sql", text, "--endpoints", address, ...more);
    const made = await sql("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE)");
    expect(made).toEqual({ code: 0, out: "ok: 0 rows changed\n", err: "" });
    const added = await sql("INSERT INTO t (name) VALUES ('a')");
    expect(added).toEqual({ code: 0, out: "ok: 1 row changed\n", err: "" });

    const twice = await sql("INSERT INTO t (name) VALUES ('a')");
    expect(twice).toMatchObject({ code: 1, out: "" });
    expect(twice.err).toBe("balsa: SQLITE_CONSTRAINT_UNIQUE: UNIQUE constraint failed: t.name\n");
    const wrong = await sql("SELEC 1");
    expect(wrong).toMatchObject({ code: 1, out: "" });
    expect(wrong.err).toMatch(/^balsa: SQLITE_ERROR: near "SELEC": syntax error\n$/);
    expect((await sql("BEGIN")).err).toMatch(/^balsa: REFUSED: /);

    const returned = await sql("INSERT INTO t (name) VALUES ('b') RETURNING id, name");
    expect(returned).toEqual({ code: 0, out: "id  name\n2   b\n", err: "" });
    const written = await sql("UPDATE t SET name = name || '!'", "--json");
    expect(written).toMatchObject({ code: 0, err: "" });
    expect(JSON.parse(written.out)).toMatchObject({ changes: 2, index: expect.any(Number) });
    expect((await sql("SELECT * FROM t WHERE 0")).code).toBe(0);
  });
});
