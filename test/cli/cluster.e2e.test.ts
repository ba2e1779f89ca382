/** `balsa cluster` with real processes: what it prints, what it bears, and that nothing outlives it. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { balsa, freePorts, isAlive, killAll, RunningCommand, until } from "./command.ts";

let dir = "";
let port = 0;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "balsa-cluster-"));
  port = await freePorts(6);
});

afterEach(() => {
  killAll();
  rmSync(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
});

function startCluster(...more: readonly string[]): RunningCommand {
  return new RunningCommand(["cluster", "--dir", dir, "--port", `${port}`, ...more]);
}

function endpoints(): string[] {
  return ["--endpoints", [0, 1, 2].map((at) => `127.0.0.1:${port + at}`).join(",")];
}

/** The nodes' process ids, from the table. */
async function pidsOf(cluster: RunningCommand): Promise<number[]> {
  await cluster.prints(/stop {6}Ctrl-C/);
  const rows = [...cluster.out.matchAll(/^\d {5}127\.0\.0\.1:\d+ +(\d+) /gm)];
  return rows.map((row) => Number(row[1]));
}

async function leaderOf(cluster: RunningCommand): Promise<number> {
  const match = await cluster.prints(/^-- node (\d) leads in term \d+$/m);
  return Number(match[1]);
}

function gone(pids: readonly number[]): Promise<void> {
  return until(
    () => !pids.some(isAlive),
    () => `still alive: ${pids.filter(isAlive)}`,
  );
}

describe("a cluster", () => {
  test("starts, serves, reports a death and an election, and stops in order", async () => {
    const cluster = startCluster();
    const pids = await pidsOf(cluster);
    expect(pids).toHaveLength(3);
    expect(cluster.out).toContain(`connect({ endpoints: ["127.0.0.1:${port}", `);
    const leader = await leaderOf(cluster);
    expect(cluster.err).toMatch(/^\[1\] \d\d:\d\d:\d\d\.\d{3} INFO {2}listening/m);

    const made = await balsa("sql", "CREATE TABLE t (id INTEGER PRIMARY KEY, v)", ...endpoints());
    expect(made).toEqual({ code: 0, out: "ok: 0 rows changed\n", err: "" });
    await balsa("sql", "INSERT INTO t (v) VALUES (x'00ff'), (9007199254740993)", ...endpoints());
    const json = await balsa("sql", "SELECT * FROM t", "--json", ...endpoints());
    expect(json.out).toBe('{"id":1,"v":{"base64":"AP8="}}\n{"id":2,"v":9007199254740993}\n');

    process.kill(pids[leader - 1] ?? 0, "SIGKILL");
    await cluster.prints(new RegExp(`^-- node ${leader} died \\(SIGKILL\\): 2 of 3 run`, "m"));
    const others = [1, 2, 3].filter((id) => id !== leader).join("|");
    await until(
      () => [...cluster.out.matchAll(new RegExp(`^-- node (${others}) leads`, "gm"))].length > 0,
      () => `no new leader:\n${cluster.out}`,
    );
    const read = await balsa("sql", "SELECT count(*) AS n FROM t", ...endpoints());
    expect(read).toMatchObject({ code: 0, out: "n\n2\n" });
    const status = await balsa("status", ...endpoints());
    expect(status.code).toBe(0);
    expect(status.out).toMatch(/no answer: UNAVAILABLE/);

    cluster.child.kill("SIGINT");
    expect(await cluster.ended).toEqual({ code: 0, signal: null });
    expect(cluster.out).toMatch(/-- stopping the nodes\n(.*\n)*-- all nodes have stopped\n$/);
    expect(pids.some(isAlive)).toBe(false);
  });

  test("keeps its data between runs", async () => {
    const first = startCluster("--nodes", "1");
    await leaderOf(first);
    const one = ["--endpoints", `127.0.0.1:${port}`];
    const script = "CREATE TABLE t (v); INSERT INTO t VALUES ('kept')";
    expect((await balsa("sql", script, ...one)).code).toBe(0);
    first.child.kill("SIGTERM");
    expect((await first.ended).code).toBe(0);

    const second = startCluster("--nodes", "1");
    await leaderOf(second);
    expect((await balsa("sql", "SELECT v FROM t", ...one)).out).toBe("v\nkept\n");
  });

  test("that is killed takes its nodes along", async () => {
    const cluster = startCluster();
    const pids = await pidsOf(cluster);
    cluster.child.kill("SIGKILL");
    await cluster.ended;
    await gone(pids);
  });
});

describe("a cluster that cannot start says why and leaves nothing running", () => {
  test("a port in use", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(port + 1, "127.0.0.1", resolve));
    const { code, out, err } = await balsa("cluster", "--dir", dir, "--port", `${port}`);
    server.close();
    expect({ code, out }).toEqual({ code: 1, out: "" });
    expect(err).toMatch(
      new RegExp(`^balsa: port ${port + 1} is in use .* choose others with --port`),
    );
  });

  test("a directory that is a file", async () => {
    writeFileSync(join(dir, "2"), "");
    const { code, err } = await balsa("cluster", "--dir", dir, "--port", `${port}`);
    expect(code).toBe(1);
    expect(err).toMatch(/^balsa: the data directory .*2 is a file, or lies below one/);
  });

  test("a directory in use by another process", async () => {
    const first = startCluster();
    await pidsOf(first);
    const second = new RunningCommand(["cluster", "--dir", dir, "--port", `${port + 3}`]);
    expect((await second.ended).code).toBe(1);
    expect(`${second.out}${second.err}`).toMatch(
      /\[\d\] balsa: the data directory .* is in use by another/,
    );
    expect(second.out).toMatch(/-- node \d did not start \(exit status 1\); stopping the others/);
    expect(first.child.exitCode).toBeNull();
  });
});
