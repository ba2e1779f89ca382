/** The seal beside a closed database file: what counts as a change, and what a crash at each step leaves. */

import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { FileSeal } from "../../src/machine/file-seal.ts";
import { FileChanged } from "../../src/machine/machine-fault.ts";
import { freshPath, openReader, TestLeader } from "./support/machine-harness.ts";

interface Closed {
  readonly path: string;
  readonly seal: FileSeal;
  readonly leader: TestLeader;
}

/** A database that a writer has closed in order. */
function closed(): Closed {
  const path = freshPath();
  const seal = new FileSeal(path);
  expect(seal.break()).toEqual({ kind: "unsealed" });
  const leader = new TestLeader({ path });
  seal.opened();
  leader.exec("CREATE TABLE t (n)");
  leader.exec("INSERT INTO t VALUES (1)");
  leader.commit();
  expect(seal.close(leader.core)).toBe("");
  return { path, seal, leader };
}

function run(path: string, sql: string): void {
  const file = new Database(path);
  file.exec(sql);
  file.close();
}

const lookAt = (path: string) => new FileSeal(path).look();

describe("a sealed file", () => {
  it("is intact, and tells what it had applied", () => {
    const { path, leader } = closed();
    expect(lookAt(path)).toEqual({ kind: "intact" });
    run(path, "UPDATE t SET n = 2");
    const { state } = leader.core;
    expect(lookAt(path)).toMatchObject({ kind: "changed", state });
  });

  it("stays so when it is read, copied with its times, linked, or given other rights", () => {
    const { path } = closed();
    for (const readonly of [true, false]) {
      const file = new Database(path, { readonly });
      expect(file.prepare("SELECT n FROM t").pluck().all()).toEqual([1]);
      file.close();
      expect(lookAt(path)).toEqual({ kind: "intact" });
    }
    chmodSync(path, 0o640);
    linkSync(path, `${path}.link`);
    execFileSync("cp", ["-p", path, `${path}.copy`]);
    renameSync(`${path}.copy`, path);
    expect(lookAt(path)).toEqual({ kind: "intact" });
  });

  it("has a time that no write leaves, and another each time: so one within the same tick of the clock shows", () => {
    const beganMs = Date.now();
    const times = [1, 2, 3].map(() => statSync(closed().path).mtimeMs);
    for (const time of times) expect(time).toBeLessThan(beganMs - 1_000);
    expect(new Set(times).size).toBe(3);
    const { path } = closed();
    // With what was there already: nothing tells but the time.
    writeFileSync(path, readFileSync(path));
    expect(lookAt(path)).toMatchObject({ kind: "changed", what: expect.stringContaining("last") });
  });

  it("is changed by a write through a link, and by one whose program was killed or goes on", () => {
    const linked = closed().path;
    linkSync(linked, `${linked}.link`);
    run(`${linked}.link`, "UPDATE t SET n = 2");
    expect(lookAt(linked).kind).toBe("changed");
    const { path } = closed();
    const open = new Database(path);
    open.pragma("wal_autocheckpoint = 0");
    open.exec("UPDATE t SET n = 2");
    expect(lookAt(path)).toMatchObject({ kind: "changed", what: expect.stringContaining("-wal") });
    open.close();
  });

  it("is changed by VACUUM, by another node's file, by an older one, and when it is gone", () => {
    const vacuumed = closed().path;
    run(vacuumed, "VACUUM");
    expect(lookAt(vacuumed).kind).toBe("changed");
    const [one, other] = [closed().path, closed().path];
    renameSync(other, one);
    expect(lookAt(one).kind).toBe("changed");
    expect(lookAt(other)).toMatchObject({ kind: "changed", what: "it is gone" });
  });

  it("loses its seal, durably, before the next writer opens it: a kill leaves none", () => {
    const { path, seal } = closed();
    expect(seal.break()).toEqual({ kind: "intact" });
    expect(existsSync(`${path}.seal`)).toBe(false);
    expect(lookAt(path)).toEqual({ kind: "unsealed" });
  });

  it("that was changed stays so through any number of starts, whatever is done to it, until it is accepted", () => {
    const { path, leader } = closed();
    run(path, "UPDATE t SET n = 2");
    const { state } = leader.core;
    const first = new FileSeal(path).break();
    run(path, "UPDATE t SET n = 3");
    rmSync(`${path}.seal`);
    const second = new FileSeal(path).break();
    expect(first).toMatchObject({ kind: "changed", state });
    expect(second).toEqual(first);
    new FileSeal(path).forget();
    expect(lookAt(path)).toEqual({ kind: "unsealed" });
  });

  it("with a seal that is torn, or of a later version, is taken as after a kill, and that is told", () => {
    for (const text of ["", '{"version":1,"by', '{"version":1}', '{"version":2}', "null"]) {
      const { path } = closed();
      writeFileSync(`${path}.seal`, text);
      expect(lookAt(path)).toMatchObject({ kind: "unreadable" });
      expect(new FileSeal(path).break().kind).toBe("unreadable");
      expect(existsSync(`${path}.seal`)).toBe(false);
    }
  });

  it("whose note of a change is torn, or of a later version, is changed all the same", () => {
    for (const text of ["", '{"version":1,"wh', '{"version":2,"what":7}', "null"]) {
      const { path, leader } = closed();
      writeFileSync(`${path}.changed`, text);
      // What it had applied the seal still says.
      expect(lookAt(path)).toMatchObject({ kind: "changed", state: leader.core.state });
      rmSync(`${path}.seal`);
      expect(lookAt(path)).toMatchObject({ kind: "changed", state: null });
    }
  });
});

/** A database that a writer has open. */
function begun(): Closed {
  const path = freshPath();
  const seal = new FileSeal(path);
  const leader = new TestLeader({ path });
  seal.opened();
  leader.exec("CREATE TABLE t (n)");
  leader.commit();
  return { path, seal, leader };
}

describe("closing", () => {
  it("seals nothing that somebody else has written to, even if it was all brought to the file", () => {
    const { path, seal, leader } = begun();
    run(path, "INSERT INTO t VALUES (7)");
    expect(() => seal.close(leader.core)).toThrow(FileChanged);
    expect(readdirSync(dirname(path))).not.toContain("main.db.seal");
  });

  it("sees a write between its last look and its end", () => {
    const { path, seal, leader } = begun();
    const { core } = leader;
    const engine = {
      state: core.state,
      emptyWal: () => core.emptyWal(),
      look: () => core.look(),
      close: () => {
        core.close();
        run(path, "INSERT INTO t VALUES (7)");
      },
    };
    expect(() => seal.close(engine)).toThrow(FileChanged);
    expect(lookAt(path)).toEqual({ kind: "unsealed" });
  });

  it("sees that another file has taken its place", () => {
    const { path, seal, leader } = begun();
    copyFileSync(path, `${path}.other`);
    renameSync(`${path}.other`, path);
    expect(() => seal.demandSameFile()).toThrow("another file took its place");
    expect(() => seal.close(leader.core)).toThrow(FileChanged);
    rmSync(path);
    expect(() => seal.demandSameFile()).toThrow("it was removed");
  });

  it("seals nothing while a reader keeps the WAL from the file", () => {
    const { path, seal, leader } = begun();
    const file = new Database(path, { readonly: true });
    file.exec("BEGIN");
    file.prepare("SELECT count(*) FROM t").get();
    leader.exec("INSERT INTO t VALUES (1)");
    leader.commit();
    expect(seal.close(leader.core)).toBe("somebody still reads it");
    file.close();
    expect(lookAt(path)).toEqual({ kind: "unsealed" });
  });

  it("on a disk that has no room for the seal leaves none, nor a part of one", () => {
    const { path, seal, leader } = begun();
    // Where the seal is to be written nothing can be.
    mkdirSync(`${path}.seal.new`);
    expect(seal.close(leader.core)).not.toBe("");
    expect(lookAt(path)).toEqual({ kind: "unsealed" });
  });

  it("notes a change by a name alone when there is room for no more", () => {
    const { path, seal, leader } = begun();
    mkdirSync(`${path}.changed.new`);
    seal.note("somebody wrote", leader.core.state);
    expect(statSync(`${path}.changed`).size).toBe(0);
    expect(lookAt(path)).toMatchObject({ kind: "changed", state: null });
  });
});

describe("a crash before any step", () => {
  const closing = ["empty the WAL", "mark", "look", "close", "sync the file"];
  const writing = ["sync .seal", "name .seal", "sync the name of .seal"];

  it.each([...closing, ...writing])(
    "of closing leaves no change where there was none, and hides none: %s",
    (at) => {
      const { path, seal, leader } = begun();
      let isOver = false;
      seal.onStep = (step) => {
        isOver ||= step === at;
        if (isOver) throw new Error("crash");
      };
      // A failed write is an answer, not an error: a crash in the midst of it is the same.
      try {
        seal.close(leader.core);
      } catch (error) {
        expect(String(error)).toContain("crash");
      }
      expect(isOver).toBe(true);
      const left = lookAt(path).kind;
      expect(left).toBe(at === "sync the name of .seal" ? "intact" : "unsealed");
      leader.core.close();
      run(path, "INSERT INTO t VALUES (7)");
      expect(lookAt(path).kind).toBe(left === "intact" ? "changed" : "unsealed");
    },
  );

  it.each(["remove .seal", "sync the removal of .seal"])("of a start: %s", (at) => {
    const { path } = closed();
    const seal = new FileSeal(path);
    seal.onStep = (step) => {
      if (step === at) throw new Error("crash");
    };
    expect(() => seal.break()).toThrow("crash");
    // Nothing was written yet: either is true.
    expect(lookAt(path).kind).toBe(at === "remove .seal" ? "intact" : "unsealed");
  });

  it.each(["sync .changed", "name .changed", "sync the name of .changed"])(
    "of noting a change forgets it not: %s",
    (at) => {
      const { path } = closed();
      run(path, "INSERT INTO t VALUES (7)");
      const seal = new FileSeal(path);
      seal.onStep = (step) => {
        if (step === at) throw new Error("crash");
      };
      seal.break();
      expect(lookAt(path).kind).toBe("changed");
    },
  );

  it.each(["remove .changed", "sync the removal of .changed", "remove .seal"])(
    "of accepting leaves a change, or nothing known: %s",
    (at) => {
      const { path } = closed();
      run(path, "INSERT INTO t VALUES (7)");
      new FileSeal(path).break();
      const seal = new FileSeal(path);
      seal.onStep = (step) => {
        if (step === at) throw new Error("crash");
      };
      expect(() => seal.forget()).toThrow("crash");
      expect(lookAt(path).kind).toBe("changed");
    },
  );
});

describe("an open database", () => {
  function led(): { leader: TestLeader; path: string } {
    const path = freshPath();
    const leader = new TestLeader({ path });
    leader.exec("CREATE TABLE t (n)");
    leader.commit();
    return { leader, path };
  }

  it("into which another connection commits is not worked on any more", () => {
    const { leader, path } = led();
    run(path, "INSERT INTO t VALUES (7)");
    expect(() => leader.core.look()).toThrow(FileChanged);
    expect(() => leader.exec("INSERT INTO t VALUES (1)")).toThrow(FileChanged);
    const noop = { index: 2, term: 1, kind: "noop", payload: new Uint8Array() } as const;
    expect(() => leader.core.apply([noop])).toThrow(FileChanged);
    const file = new Database(path, { readonly: true });
    expect(file.prepare("SELECT n FROM t").pluck().all()).toEqual([7]);
    file.close();
  });

  it("that another program holds locked for writing is not worked on: what it writes may come in between two writers", () => {
    const { leader, path } = led();
    const other = new Database(path);
    other.exec("BEGIN IMMEDIATE; INSERT INTO t VALUES (7)");
    expect(() => leader.exec("INSERT INTO t VALUES (1)")).toThrow(FileChanged);
    other.exec("ROLLBACK");
    other.close();
  });

  it("whose schema, or whose applied index, another connection changes is not worked on either", () => {
    for (const sql of ["CREATE TABLE u (n)", "UPDATE balsa_meta SET applied_index = 7", "VACUUM"]) {
      const { leader, path } = led();
      run(path, sql);
      expect(() => leader.exec("INSERT INTO t VALUES (1)")).toThrow(FileChanged);
    }
  });

  it("whose file is emptied is not worked on", () => {
    const { leader, path } = led();
    const seal = new FileSeal(path);
    seal.opened();
    seal.demandSameFile();
    leader.core.checkpoint();
    seal.demandSameFile();
    truncateSync(path, 0);
    expect(() => seal.demandSameFile()).toThrow(FileChanged);
  });

  it("whose WAL, or the WAL's index, is removed is not worked on: who opens it next would read what is old", () => {
    for (const suffix of ["-wal", "-shm"]) {
      const { leader, path } = led();
      leader.core.look();
      rmSync(path + suffix);
      expect(() => leader.core.look()).toThrow(FileChanged);
      // A reader makes another, which the writer does not write to.
      openReader(path).close();
      expect(() => leader.core.look()).toThrow(FileChanged);
    }
  });

  it("does not mind its own commits and checkpoints, readers, backups, and who changes nothing", async () => {
    const { leader, path } = led();
    const reader = openReader(path);
    reader.hold();
    reader.release();
    for (let time = 0; time < 3; time += 1) {
      leader.exec("INSERT INTO t VALUES (1)");
      leader.commit();
      leader.core.checkpoint();
      leader.core.emptyWal();
      const other = new Database(path);
      other.prepare("SELECT * FROM t").all();
      other.exec("UPDATE t SET n = 2 WHERE n = 5; BEGIN IMMEDIATE; ROLLBACK");
      other.pragma("wal_checkpoint(PASSIVE)");
      await other.backup(`${path}.backup`);
      other.exec(`VACUUM INTO '${path}.into${time}'`);
      other.close();
      leader.core.look();
    }
  });
});
