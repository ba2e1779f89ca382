/** The connection that copies the WAL beside the writer's: real files; other processes where locks or syncs matter. */

import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, it, onTestFinished } from "vitest";
import { FileSeal } from "../../src/machine/file-seal.ts";
import { identifyFiles, WalCopy } from "../../src/machine/wal-copy.ts";
import {
  PowerCut,
  type PowerCutOptions,
  type RewindOptions,
  whyNoPowerCut,
} from "../support/power-cut.ts";
import { freshPath, openReader, TestLeader } from "./support/machine-harness.ts";

/** A leader with a table, and a copier of its file. */
function led() {
  const path = freshPath();
  const leader = new TestLeader({ path });
  leader.exec("CREATE TABLE t (n)");
  leader.commit();
  const copy = new WalCopy(path, identifyFiles(path));
  onTestFinished(() => copy.close());
  const fill = (rows: number): void => {
    leader.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
      INSERT INTO t SELECT zeroblob(4000) FROM n`);
    leader.commit();
  };
  return { path, leader, copy, fill };
}

describe("a copy beside the writer", () => {
  it("runs on an SQLite that is free of the data race in which a WAL that is begun anew is taken for copied", () => {
    const file = new Database(":memory:");
    const version = file.prepare("SELECT sqlite_version()").pluck().get() as string;
    const threads = file.prepare("SELECT sqlite_compileoption_used('THREADSAFE=0')").pluck().get();
    file.close();
    const [major = 0, minor = 0, patch = 0] = version.split(".").map(Number);
    expect(major * 1e6 + minor * 1e3 + patch).toBeGreaterThanOrEqual(3_051_003);
    expect(threads).toBe(0);
  });

  it("goes on while the writer's transaction is open, and leaves only the rest to the writer's checkpoint", () => {
    const { leader, copy, fill } = led();
    fill(500);
    const { all } = leader.core.walSize();
    leader.exec("INSERT INTO t VALUES (zeroblob(4000))");
    expect(copy.pass()).toBe(0);
    leader.exec("INSERT INTO t VALUES (zeroblob(4000))");
    leader.commit();
    const { uncopied } = leader.core.walSize();
    expect(uncopied).toBeGreaterThan(0);
    expect(uncopied).toBeLessThan(all / 50);
    expect(leader.core.checkpoint()).toMatchObject({ complete: true });
  });

  it("is never taken for a complete checkpoint: what was committed since is not in the file", () => {
    const { leader, copy, fill } = led();
    fill(10);
    copy.pass();
    expect(leader.core.walSize().uncopied).toBe(0);
    fill(1);
    expect(leader.core.walSize().uncopied).toBeGreaterThan(0);
  });

  it("lets the WAL be begun anew behind a checkpoint of the writer, and so does not make it grow", () => {
    const { leader, copy, fill, path } = led();
    const sizes = [];
    for (let time = 0; time < 5; time += 1) {
      fill(200);
      copy.pass();
      fill(1);
      leader.core.checkpoint();
      sizes.push(statSync(`${path}-wal`).size);
    }
    expect(new Set(sizes.slice(1)).size).toBe(1);
  });

  it("copies what readers allow, says what they hold back, and the rest later", () => {
    const { leader, copy, fill, path } = led();
    fill(10);
    const reader = openReader(path);
    const other = new Database(path, { readonly: true });
    other.exec("BEGIN");
    other.prepare("SELECT count(*) FROM t").get();
    fill(20);
    expect(copy.pass()).toBeGreaterThanOrEqual(20);
    expect(leader.core.checkpoint()).toMatchObject({ complete: false });
    other.close();
    reader.close();
    expect(copy.pass()).toBe(0);
    expect(leader.core.checkpoint()).toMatchObject({ complete: true });
  });

  it("does nothing while somebody else checkpoints or reads the file alone, and that is no error", () => {
    const { leader, copy, fill, path } = led();
    fill(10);
    leader.core.checkpoint();
    const other = new Database(path, { readonly: true });
    other.exec("BEGIN");
    other.prepare("SELECT count(*) FROM t").get();
    fill(10);
    copy.pass();
    expect(leader.core.walSize().uncopied).toBeGreaterThan(0);
    other.close();
    copy.pass();
    expect(leader.core.walSize().uncopied).toBe(0);
  });

  it("is no change from outside, and no hindrance to the seal once it is closed", () => {
    const { leader, copy, fill, path } = led();
    const seal = new FileSeal(path);
    seal.opened();
    for (let time = 0; time < 3; time += 1) {
      fill(50);
      copy.pass();
      leader.core.look();
      leader.exec("INSERT INTO t VALUES (1)");
      copy.pass();
      leader.commit();
      leader.core.checkpoint();
      leader.core.look();
    }
    copy.close();
    expect(seal.close(leader.core)).toBe("");
    expect(existsSync(`${path}-wal`)).toBe(false);
    expect(new FileSeal(path).look()).toEqual({ kind: "intact" });
  });

  it("outlives that the writer opens the file again", () => {
    const { leader, copy, fill } = led();
    fill(10);
    copy.pass();
    const follower = new TestLeader();
    follower.core.apply(leader.log);
    leader.core.look();
    fill(10);
    copy.pass();
    expect(leader.core.walSize().uncopied).toBe(0);
  });

  it("opens no other file than the writer's: neither a database nor a WAL that took its name", () => {
    for (const suffix of ["", "-wal", "-shm"]) {
      const { copy, fill, path } = led();
      fill(10);
      copyFileSync(path + suffix, `${path}.other`);
      rmSync(path + suffix);
      copyFileSync(`${path}.other`, path + suffix);
      const before = readFileSync(path);
      expect(() => copy.pass()).toThrow(/not those that the writer has open/);
      expect(readFileSync(path).equals(before)).toBe(true);
    }
  });

  it("fails with SQLite's reason, as often as it is tried", () => {
    const path = freshPath();
    writeFileSync(path, "no database".repeat(1_000));
    const copy = new WalCopy(path, identifyFiles(path));
    for (let time = 0; time < 2; time += 1) expect(() => copy.pass()).toThrow(/not a database/);
    copy.close();
  });

  it.runIf(existsSync("/proc/locks"))(
    "leaves the writer its locks on the file when it is closed",
    () => {
      const { copy, fill, path } = led();
      const { ino } = statSync(path);
      const locks = (): number => {
        const lines = readFileSync("/proc/locks", "utf8").split("\n");
        return lines.filter((line) => line.includes(`:${ino} `)).length;
      };
      fill(10);
      const before = locks();
      expect(before).toBeGreaterThan(0);
      copy.pass();
      copy.close();
      expect(locks()).toBe(before);
    },
  );
});

const reason = whyNoPowerCut();
const title = reason === null ? "" : ` (skipped: ${reason})`;

describe.skipIf(reason !== null)(`after a power cut${title}`, { timeout: 60_000 }, () => {
  const PRELUDE = `
    import * as fs from "node:fs";
    import Database from "better-sqlite3";
    import { identifyFiles, WalCopy } from "./src/machine/wal-copy.ts";
    const path = process.env.ROOT + "/main.db";
    const db = new Database(path);
    db.pragma("journal_mode = WAL");
    db.pragma("synchronous = NORMAL");
    db.pragma("wal_autocheckpoint = 0");
    const insert = (text) => {
      const statement = db.prepare("INSERT INTO t (text) VALUES (?)");
      for (let at = 0; at < 100; at += 1) statement.run(text.repeat(3000));
    };`;
  const BASE = `db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, text)");
    insert("x");
    db.pragma("wal_checkpoint(TRUNCATE)");`;
  const COUNT = `const check = db.pragma("integrity_check", { simple: true });
    fs.writeSync(1, check + " " + db.prepare("SELECT count(*) FROM t").pluck().get());`;

  /** Runs a program over a database with 100 rows, kills it, cuts the power, and says what is there then. */
  function cutAfter(program: string, options: PowerCutOptions, rewind: RewindOptions): string {
    const home = mkdtempSync(join(tmpdir(), "balsa-copy-"));
    const root = join(home, "root");
    mkdirSync(root);
    const run = (code: string, environment = {}): string => {
      const all = `${PRELUDE}\n${code}\nprocess.kill(process.pid, "SIGKILL");`;
      const args = ["--import", "tsx", "--input-type=module", "-e", all];
      const env = { ...process.env, ROOT: root, ...environment };
      const result = spawnSync(process.execPath, args, { env, encoding: "utf8" });
      if (result.signal !== "SIGKILL") throw new Error(`it failed: ${result.stderr}`);
      return result.stdout;
    };
    run(BASE);
    const cut = new PowerCut(root, { realSync: false, ...options });
    try {
      run(`const copy = new WalCopy(path, identifyFiles(path));\n${program}`, cut.environment());
      cut.rewind({ names: "all", ...rewind });
      return run(COUNT);
    } finally {
      cut.dispose();
      rmSync(home, { recursive: true });
    }
  }

  it("in the middle of it the file is whole: the WAL was synced before its pages were copied", () => {
    const program = `db.exec("UPDATE t SET text = replace(text, 'x', 'yy') WHERE id % 3 = 0");
      copy.pass();`;
    for (const seed of [1, 2]) {
      // As if the power went before the file was synced.
      const options = { ignore: ["main.db"] };
      expect(cutAfter(program, options, { keep: 0.5, piece: "page", seed })).toBe("ok 100");
    }
  });

  it("what it has copied whole, so that the writer's checkpoint found nothing to do, is there", () => {
    const program = `insert("y");
      copy.pass();
      const [{ busy, log, checkpointed }] = db.pragma("wal_checkpoint(PASSIVE)");
      if (busy !== 0 || log !== checkpointed) throw new Error("not complete");`;
    // The WAL is gone with the cut, whatever of it was synced: the file alone is what the log is cut by.
    expect(cutAfter(program, { ignore: ["*-wal"] }, { keep: 0 })).toBe("ok 200");
  });

  it("what it has copied in part is there with the writer's checkpoint", () => {
    const program = `insert("y");
      copy.pass();
      insert("z");
      const [{ busy, log, checkpointed }] = db.pragma("wal_checkpoint(PASSIVE)");
      if (busy !== 0 || log !== checkpointed) throw new Error("not complete");`;
    expect(cutAfter(program, { ignore: ["*-wal"] }, { keep: 0 })).toBe("ok 300");
  });
});
