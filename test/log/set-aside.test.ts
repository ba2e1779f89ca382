/** What a start does with a log that cannot be trusted, and with its database: both are kept, however often it starts. */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openLog } from "../../src/log/open-log.ts";
import { rememberCluster, setLogAside, setLoneDatabaseAside } from "../../src/log/set-aside.ts";
import type { Log } from "../../src/node/ports.ts";

const CLUSTER = "c".repeat(32);

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "balsa-set-aside-"));
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

const read = (name: string) => readFileSync(join(dir, name), "utf8");

async function withLog(use: (log: Log) => Promise<void>): Promise<void> {
  const log = await openLog({ dir: join(dir, "log"), nodeId: 3 });
  await use(log);
  await new Promise<void>((resolve) => log.close(resolve));
}

function writeDatabase(of: string): void {
  for (const suffix of ["", "-wal", "-shm", ".seal", ".changed"]) {
    writeFileSync(join(dir, `main.db${suffix}`), of + suffix);
  }
}

async function logOfCluster(): Promise<void> {
  await withLog(async (log) => {
    const identity = { ...log.identity, clusterId: CLUSTER, phase: "formed" as const };
    await new Promise<void>((resolve) => log.setIdentity(identity, resolve));
  });
}

const start = () => withLog((log) => rememberCluster(dir, log));

test("keeps the database and its WAL with the log, and a copy to compare with", async () => {
  await logOfCluster();
  writeDatabase("old");
  mkdirSync(join(dir, "snapshots"));
  writeFileSync(join(dir, "snapshots", "incoming.json"), "of another snapshot");
  setLogAside(dir);
  await withLog(async (log) => {
    await rememberCluster(dir, log);
    expect(log.identity).toMatchObject({ phase: "lost", clusterId: CLUSTER });
  });
  expect(read("log.damaged-1/main.db")).toBe("old");
  expect(read("log.damaged-1/main.db-wal")).toBe("old-wal");
  // What was noted of it says nothing of the one that comes next.
  expect(read("log.damaged-1/main.db.seal")).toBe("old.seal");
  expect(read("log.damaged-1/main.db.changed")).toBe("old.changed");
  expect(read("snapshots/incoming.db")).toBe("old");
  expect(readdirSync(dir).sort()).toEqual(["log", "log.damaged-1", "snapshots"]);
  expect(readdirSync(join(dir, "snapshots"))).toEqual(["incoming.db"]);
});

test("touches nothing at the starts that follow while no leader has admitted the node", async () => {
  await logOfCluster();
  writeDatabase("old");
  setLogAside(dir);
  await start();
  writeDatabase("empty");
  await start();
  expect(read("log.damaged-1/main.db")).toBe("old");
  expect(read("log.damaged-1/main.db-wal")).toBe("old-wal");
  expect(read("snapshots/incoming.db")).toBe("old");
  expect(read("main.db")).toBe("empty");
});

test("goes on where a crash ended it between the files", async () => {
  await logOfCluster();
  writeDatabase("old");
  const aside = setLogAside(dir);
  // The WAL had been moved already.
  writeFileSync(join(aside, "main.db-wal"), "old-wal");
  rmSync(join(dir, "main.db-wal"));
  await start();
  expect(read("log.damaged-1/main.db")).toBe("old");
  expect(read("log.damaged-1/main.db-wal")).toBe("old-wal");
});

test("a database without its log is set aside too, and its node forms no other cluster", async () => {
  writeDatabase("old");
  mkdirSync(join(dir, "log"));
  expect(setLoneDatabaseAside(dir)).toBe(join(dir, "log.damaged-1"));
  await withLog(async (log) => {
    await rememberCluster(dir, log);
    expect(log.identity).toMatchObject({ phase: "lost", clusterId: "" });
  });
  expect(read("log.damaged-1/main.db")).toBe("old");
  writeDatabase("empty");
  expect(setLoneDatabaseAside(dir)).toBeNull();
});

test("a database whose log a crash has just set aside goes there, and with it the cluster's id", async () => {
  await logOfCluster();
  writeDatabase("old");
  setLogAside(dir);
  expect(setLoneDatabaseAside(dir)).toBeNull();
});

test("a new directory has no database to set aside", () => {
  expect(setLoneDatabaseAside(dir)).toBeNull();
});
