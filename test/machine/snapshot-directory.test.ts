/** Putting a snapshot in the database's place, ended by a crash before each of its steps. */

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, onTestFinished, test } from "vitest";
import { MachineCore } from "../../src/machine/machine-core.ts";
import { SnapshotDirectory } from "../../src/machine/snapshot-directory.ts";
import { copyDatabase } from "../../src/machine/snapshot-task.ts";
import { encodeBatch } from "../../src/wire/statement-codec.ts";

const STEPS = [
  "remove -wal",
  "remove -shm",
  "remove .seal",
  "remove .changed",
  "sync the removal",
  "rename",
  "sync the rename",
];

function fresh(): string {
  const dir = mkdtempSync(join(tmpdir(), "balsa-snapshots-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Never closed, as a killed process closes nothing; held, as collecting one would close it and empty the WAL. */
const killed: MachineCore[] = [];

/** A writer that has put `marks` into a table, one entry each, and is then killed: nothing is checkpointed. */
function write(path: string, marks: readonly string[]): void {
  const core = MachineCore.open({ path });
  killed.push(core);
  let { appliedIndex: index } = core.state;
  const statements = ["CREATE TABLE IF NOT EXISTS t (mark TEXT)"];
  for (const mark of marks) statements.push(`INSERT INTO t VALUES ('${mark}')`);
  for (const sql of statements) {
    index += 1;
    const outcome = core.execute({
      id: index,
      batch: encodeBatch([{ sql }]),
      openSession: false,
      session: 0,
      sequence: 0,
      acknowledgedThrough: 0,
      timeMs: 1,
      seedHigh: 1,
      seedLow: 1,
    });
    expect(outcome.kind).toBe("proposal");
    core.commit({ index, term: 3 });
  }
}

function marks(path: string): string[] {
  const database = new Database(path);
  const rows = database.prepare("SELECT mark FROM t ORDER BY rowid").pluck().all() as string[];
  expect(database.pragma("quick_check", { simple: true })).toBe("ok");
  database.close();
  return rows;
}

/** A node's directory with a database whose WAL is full, and a snapshot of another database ready to be installed. */
async function prepared(): Promise<{ dir: string; directory: SnapshotDirectory }> {
  const dir = fresh();
  const other = fresh();
  write(join(dir, "main.db"), ["old 1", "old 2"]);
  expect(existsSync(join(dir, "main.db-wal"))).toBe(true);
  write(join(other, "main.db"), ["new 1", "new 2", "new 3", "new 4"]);
  const directory = new SnapshotDirectory(dir);
  await directory.recover({ index: 0, term: 0 }, () => false);
  const mark = await copyDatabase(join(other, "main.db"), directory.incoming);
  expect(mark).toMatchObject({ index: 5, term: 3 });
  await directory.keep(mark);
  return { dir, directory };
}

const MARK = { index: 5, term: 3 };
const NEW = ["new 1", "new 2", "new 3", "new 4"];

describe("a snapshot", () => {
  test("takes the place of a database whose WAL was not empty", async () => {
    const { dir, directory } = await prepared();
    await directory.install(MARK);
    expect(marks(join(dir, "main.db"))).toEqual(NEW);
    expect(readdirSync(directory.path)).toEqual([]);
  });

  test("gets the database's name when the old one's WAL, and what was noted of it, are gone, not before", async () => {
    const { dir, directory } = await prepared();
    const database = join(dir, "main.db");
    const old = statSync(database).ino;
    for (const suffix of [".seal", ".changed"]) writeFileSync(database + suffix, "");
    const besides = ["-wal", "-shm", ".seal", ".changed"];
    const wals = () => besides.filter((suffix) => existsSync(database + suffix));
    const seen: string[] = [];
    directory.onStep = (step) => {
      seen.push(`${step}: ${statSync(database).ino === old ? "old" : "new"}, ${wals().join(" ")}`);
    };
    await directory.install(MARK);
    expect(seen).toEqual([
      "remove -wal: old, -wal -shm .seal .changed",
      "remove -shm: old, -shm .seal .changed",
      "remove .seal: old, .seal .changed",
      "remove .changed: old, .changed",
      "sync the removal: old, ",
      "rename: old, ",
      "sync the rename: new, ",
    ]);
  });

  test.each(STEPS)(
    "is installed by the next start after a crash before the step: %s",
    async (at) => {
      const { dir, directory } = await prepared();
      directory.onStep = (step) => {
        if (step === at) throw new Error("crash");
      };
      await expect(directory.install(MARK)).rejects.toThrow("crash");
      const restarted = new SnapshotDirectory(dir);
      // The log had begun anew behind the snapshot before the installation.
      const finished = await restarted.recover(MARK, () => false);
      expect(finished).toBe(at !== "sync the rename");
      expect(marks(join(dir, "main.db"))).toEqual(NEW);
      expect(readdirSync(directory.path)).toEqual([]);
    },
  );

  test.each(STEPS)(
    "is installed in the end if the next start crashes as well, before: %s",
    async (at) => {
      const { dir, directory } = await prepared();
      const crash = (step: string): void => {
        if (step === at) throw new Error("crash");
      };
      directory.onStep = crash;
      await expect(directory.install(MARK)).rejects.toThrow("crash");
      const second = new SnapshotDirectory(dir);
      second.onStep = crash;
      await second.recover(MARK, () => false).catch(() => false);
      await new SnapshotDirectory(dir).recover(MARK, () => false);
      expect(marks(join(dir, "main.db"))).toEqual(NEW);
    },
  );

  test("that the log has not begun to take is forgotten by a crash, and the database is untouched", async () => {
    const { dir, directory } = await prepared();
    const restarted = new SnapshotDirectory(dir);
    expect(await restarted.recover({ index: 2, term: 3 }, () => false)).toBe(false);
    expect(await restarted.recover({ index: 5, term: 2 }, () => false)).toBe(false);
    expect(marks(join(dir, "main.db"))).toEqual(["old 1", "old 2"]);
    expect(readdirSync(directory.path)).toEqual([]);
  });
});

describe("a snapshot for a log that goes on", () => {
  test.each(["sync the choice", ...STEPS])(
    "is in the database's place after a crash before the step: %s",
    async (at) => {
      const { dir, directory } = await prepared();
      directory.onStep = (step) => {
        if (step === at) throw new Error("crash");
      };
      await expect(directory.exchange(MARK)).rejects.toThrow("crash");
      const base = { index: 2, term: 3 };
      await new SnapshotDirectory(dir).recover(base, ({ index }) => index === MARK.index);
      expect(marks(join(dir, "main.db"))).toEqual(NEW);
      expect(readdirSync(directory.path)).toEqual([]);
    },
  );

  test("is forgotten if it was not chosen, or if the log is another one", async () => {
    const { dir, directory } = await prepared();
    directory.onStep = () => {
      throw new Error("crash");
    };
    await expect(directory.exchange(MARK)).rejects.toThrow("crash");
    await new SnapshotDirectory(dir).recover({ index: 2, term: 3 }, () => true);
    expect(marks(join(dir, "main.db"))).toEqual(["old 1", "old 2"]);
    const chosen = await prepared();
    chosen.directory.onStep = (step) => {
      if (step === "remove -wal") throw new Error("crash");
    };
    await expect(chosen.directory.exchange(MARK)).rejects.toThrow("crash");
    await new SnapshotDirectory(chosen.dir).recover({ index: 0, term: 0 }, () => false);
    expect(marks(join(chosen.dir, "main.db"))).toEqual(["old 1", "old 2"]);
  });
});

describe("what a node left behind", () => {
  test("is removed at the start, but for a transfer that may go on", async () => {
    const dir = fresh();
    const path = join(dir, "snapshots");
    mkdirSync(path);
    for (const name of ["outgoing-1.db", "outgoing-1.db.hashes", "incoming.db", "incoming.json"]) {
      writeFileSync(join(path, name), name);
    }
    await new SnapshotDirectory(dir).recover({ index: 0, term: 0 }, () => false);
    expect(readdirSync(path).sort()).toEqual(["incoming.db", "incoming.json"]);
    const longAgo = Date.now() / 1_000 - 7_200;
    for (const name of readdirSync(path)) utimesSync(join(path, name), longAgo, longAgo);
    await new SnapshotDirectory(dir).recover({ index: 0, term: 0 }, () => false);
    expect(readdirSync(path)).toEqual([]);
  });
});
