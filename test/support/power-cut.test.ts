/** What survives a power cut, shown with small programs that write with and without syncs, and with SQLite. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PowerCut, type PowerCutOptions, whyNoPowerCut } from "./power-cut.ts";

const reason = whyNoPowerCut();

describe.skipIf(reason !== null)(
  `a power cut${reason === null ? "" : ` (skipped: ${reason})`}`,
  { timeout: 60_000 },
  () => {
    let root: string;
    let cut: PowerCut;
    let children: ChildProcess[];

    beforeEach(() => {
      root = join(fs.mkdtempSync(join(tmpdir(), "balsa-cut-")), "root");
      fs.mkdirSync(root);
      children = [];
      begin();
    });

    afterEach(() => {
      for (const child of children) child.kill("SIGKILL");
      cut.dispose();
      fs.rmSync(join(root, ".."), { recursive: true });
    });

    function begin(options: PowerCutOptions = {}): void {
      cut?.dispose();
      cut = new PowerCut(root, { realSync: false, ...options });
    }

    /** Runs a program that ends without closing anything. */
    function run(program: string): string {
      const prelude = `
      import * as fs from "node:fs";
      const syncDirectory = (path) => { const d = fs.openSync(path); fs.fsyncSync(d); fs.closeSync(d); };
    `;
      const code = `${prelude}\n${program}\nprocess.kill(process.pid, "SIGKILL");`;
      const result = spawnSync(process.execPath, ["--input-type=module", "-e", code], {
        env: { ...process.env, ...cut.environment(), ROOT: root },
        cwd: process.cwd(),
        encoding: "utf8",
      });
      if (result.signal !== "SIGKILL") throw new Error(`the program failed: ${result.stderr}`);
      return result.stdout;
    }

    const content = (name: string) => fs.readFileSync(join(root, name), "latin1");
    const names = () => fs.readdirSync(root).sort();

    it("loses a file that was written and closed but never synced, and its name", () => {
      run(`fs.writeFileSync(process.env.ROOT + "/a", "hello");`);
      expect(content("a")).toBe("hello");
      cut.rewind();
      expect(names()).toEqual([]);
    });

    it("keeps what was synced, and takes back what was written over, appended or cut off since", () => {
      run(`
      const file = fs.openSync(process.env.ROOT + "/a", "w+");
      fs.writeSync(file, "a".repeat(10000));
      fs.fdatasyncSync(file);
      syncDirectory(process.env.ROOT);
      fs.writeSync(file, "b", 5000);
      fs.writeSync(file, "c".repeat(3000), 10000);
      fs.ftruncateSync(file, 4000);
      fs.ftruncateSync(file, 6000);
    `);
      cut.rewind();
      expect(content("a")).toBe("a".repeat(10_000));
    });

    it("keeps a name only if the directory was synced, whatever was done to the file", () => {
      run(`
      const file = fs.openSync(process.env.ROOT + "/a", "w");
      fs.writeSync(file, "hello");
      fs.fsyncSync(file);
      fs.mkdirSync(process.env.ROOT + "/d");
      fs.writeFileSync(process.env.ROOT + "/d/b", "b", { flush: true });
      syncDirectory(process.env.ROOT + "/d");
    `);
      cut.rewind();
      expect(names()).toEqual([]);
    });

    it("keeps names below a directory once each directory on the way was synced", () => {
      run(`
      fs.mkdirSync(process.env.ROOT + "/d");
      fs.writeFileSync(process.env.ROOT + "/d/b", "b", { flush: true });
      fs.writeFileSync(process.env.ROOT + "/d/empty", "lost");
      syncDirectory(process.env.ROOT + "/d");
      syncDirectory(process.env.ROOT);
    `);
      cut.rewind();
      expect(content("d/b")).toBe("b");
      expect(content("d/empty")).toBe("");
    });

    it("keeps the name of a synced file on request, as ext4 does", () => {
      begin({ entryWithFile: true });
      run(`
      fs.writeFileSync(process.env.ROOT + "/a", "a", { flush: true });
      fs.writeFileSync(process.env.ROOT + "/b", "b");
    `);
      cut.rewind();
      expect(names()).toEqual(["a"]);
    });

    it("keeps each write to a descriptor with O_DSYNC, and only those", () => {
      run(`
      const { O_RDWR, O_CREAT, O_DSYNC } = fs.constants;
      const plain = fs.openSync(process.env.ROOT + "/a", O_RDWR | O_CREAT);
      const synchronous = fs.openSync(process.env.ROOT + "/a", O_RDWR | O_DSYNC);
      syncDirectory(process.env.ROOT);
      fs.writeSync(plain, "lost".repeat(1000), 0);
      fs.writeSync(synchronous, "kept", 8192);
      fs.writevSync(synchronous, [Buffer.from("also "), Buffer.from("kept")], 9000);
      fs.writeSync(plain, "lost", 20000);
    `);
      cut.rewind();
      const zeros = (count: number) => "\0".repeat(count);
      expect(content("a")).toBe(`${zeros(8192)}kept${zeros(804)}also kept`);
    });

    it("sees writes of the thread pool: appends, vectors, copies, truncation", () => {
      run(`
      const { open, appendFile, copyFile } = fs.promises;
      const file = await open(process.env.ROOT + "/a", "a+");
      await file.write("one ");
      await file.writev([Buffer.from("two "), Buffer.from("three ")]);
      await file.appendFile("four");
      await file.datasync();
      await appendFile(process.env.ROOT + "/a", " lost");
      await copyFile(process.env.ROOT + "/a", process.env.ROOT + "/b");
      const copy = await open(process.env.ROOT + "/b", "r+");
      await copy.truncate(11);
      await copy.sync();
      syncDirectory(process.env.ROOT);
      const cut = await open(process.env.ROOT + "/b", "w");
      await cut.write("lost");
    `);
      cut.rewind();
      expect(content("a")).toBe("one two three four");
      expect(content("b")).toBe("one two thr");
    });

    it("writes zeros where a file was cut off and grew again before the sync", () => {
      run(`
      const file = fs.openSync(process.env.ROOT + "/a", "w+");
      fs.writeSync(file, "a".repeat(5000));
      fs.fdatasyncSync(file);
      syncDirectory(process.env.ROOT);
      fs.ftruncateSync(file, 1000);
      fs.ftruncateSync(file, 5000);
      fs.fdatasyncSync(file);
    `);
      cut.rewind();
      expect(content("a")).toBe("a".repeat(1000) + "\0".repeat(4000));
    });

    it("undoes renames and removals that no sync of the directory followed", () => {
      run(`
      for (const name of ["old", "gone"]) fs.writeFileSync(process.env.ROOT + "/" + name, name, { flush: true });
      syncDirectory(process.env.ROOT);
      fs.writeFileSync(process.env.ROOT + "/new", "new", { flush: true });
      fs.renameSync(process.env.ROOT + "/new", process.env.ROOT + "/old");
      fs.unlinkSync(process.env.ROOT + "/gone");
    `);
      cut.rewind();
      expect([names(), content("old"), content("gone")]).toEqual([["gone", "old"], "old", "gone"]);
      run(`
      fs.writeFileSync(process.env.ROOT + "/new", "new", { flush: true });
      fs.renameSync(process.env.ROOT + "/new", process.env.ROOT + "/old");
      fs.unlinkSync(process.env.ROOT + "/gone");
      syncDirectory(process.env.ROOT);
    `);
      cut.rewind();
      expect([names(), content("old")]).toEqual([["old"], "new"]);
    });

    it("keeps a removed file apart from a new one that got its inode", () => {
      run(`
      fs.writeFileSync(process.env.ROOT + "/a", "first", { flush: true });
      syncDirectory(process.env.ROOT);
      for (let at = 0; at < 20; at += 1) {
        fs.unlinkSync(process.env.ROOT + "/a");
        fs.writeFileSync(process.env.ROOT + "/a", "later" + at, { flush: true });
      }
    `);
      cut.rewind();
      expect(content("a")).toBe("first");
    });

    it("lets a later process sync what a killed one wrote", () => {
      run(`
      fs.writeFileSync(process.env.ROOT + "/a", "hello");
      syncDirectory(process.env.ROOT);
    `);
      run(`fs.fsyncSync(fs.openSync(process.env.ROOT + "/a"));`);
      run(`fs.writeFileSync(process.env.ROOT + "/a", "other");`);
      cut.rewind();
      expect(content("a")).toBe("hello");
    });

    it("counts what survived one cut as durable at the next", () => {
      run(
        `fs.writeFileSync(process.env.ROOT + "/a", "hello", { flush: true }); syncDirectory(process.env.ROOT);`,
      );
      cut.rewind();
      run(`const f = fs.openSync(process.env.ROOT + "/a", "r+"); fs.writeSync(f, "J", 0);`);
      cut.rewind();
      expect(content("a")).toBe("hello");
    });

    it("pretends the syncs it is told to, by kind, pattern and count", () => {
      begin({ ignore: ["*.log@2", "dir:sub", "dsync:d*"] });
      const out = run(`
      const { O_RDWR, O_CREAT, O_DSYNC } = fs.constants;
      fs.mkdirSync(process.env.ROOT + "/sub");
      const log = fs.openSync(process.env.ROOT + "/a.log", "w+");
      const direct = fs.openSync(process.env.ROOT + "/direct", O_RDWR | O_CREAT | O_DSYNC);
      fs.writeFileSync(process.env.ROOT + "/sub/b", "b", { flush: true });
      syncDirectory(process.env.ROOT);
      syncDirectory(process.env.ROOT + "/sub");
      fs.writeSync(direct, "lost");
      fs.writeSync(log, "1", 0);
      fs.fdatasyncSync(log);
      fs.writeSync(log, "2", 0);
      fs.fdatasyncSync(log);
      console.log("both succeeded");
    `);
      expect(out).toContain("both succeeded");
      const ignored = cut.trace().filter((line) => line.fate === "ignored");
      expect(ignored.map((line) => `${line.kind} ${line.path}`)).toEqual([
        "dir sub",
        "dsync direct",
        "fdatasync a.log",
      ]);
      cut.rewind();
      expect([content("a.log"), content("direct")]).toEqual(["1", ""]);
      expect(fs.readdirSync(join(root, "sub"))).toEqual([]);
    });

    it("fails the syncs it is told to", () => {
      begin({ fail: ["fsync:a"] });
      const out = run(`
      const file = fs.openSync(process.env.ROOT + "/a", "w");
      try { fs.fsyncSync(file); } catch (error) { console.log(error.code); }
      fs.fdatasyncSync(file);
    `);
      expect(out).toBe("EIO\n");
    });

    it("fails writes that sync, when it is told to begin, once", () => {
      begin({ fail: ["dsync:a@1"], failOnDemand: true });
      const write = `
      const { O_RDWR, O_CREAT, O_DSYNC } = fs.constants;
      const file = fs.openSync(process.env.ROOT + "/a", O_RDWR | O_CREAT | O_DSYNC);
      for (const text of ["1", "2"]) {
        try { fs.writeSync(file, text, 0); console.log(text); } catch (error) { console.log(error.code); }
      }`;
      expect(run(write)).toBe("1\n2\n");
      cut.startFailing();
      expect(run(write)).toBe("EIO\n2\n");
      cut.stopFailing();
      expect(run(write)).toBe("1\n2\n");
    });

    it("keeps some of what was not synced if asked, the same for the same seed", () => {
      const survivors = (seed: number, piece: "page" | "sector") => {
        fs.rmSync(join(root, "a"), { force: true });
        begin();
        run(`
        const file = fs.openSync(process.env.ROOT + "/a", "w+");
        fs.writeSync(file, "a".repeat(400_000));
        fs.fdatasyncSync(file);
        syncDirectory(process.env.ROOT);
        fs.writeSync(file, "b".repeat(600_000), 0);
        fs.writeFileSync(process.env.ROOT + "/named-but-not-synced", "x");
      `);
        cut.rewind({ keep: 0.5, seed, piece, names: "all" });
        expect(names()).toEqual(["a", "named-but-not-synced"]);
        fs.rmSync(join(root, "named-but-not-synced"));
        return content("a");
      };
      for (const piece of ["page", "sector"] as const) {
        const [one, same, other] = [survivors(1, piece), survivors(1, piece), survivors(2, piece)];
        expect(same === one).toBe(true);
        expect(other === one).toBe(false);
        const bytes = piece === "page" ? 4096 : 512;
        const pieces = (one.slice(0, 400_000).match(new RegExp(`.{${bytes}}`, "g")) ?? []).map(
          (each) => new Set(each),
        );
        expect(pieces.every((each) => each.size === 1)).toBe(true);
        const kept = pieces.filter((each) => each.has("b")).length / pieces.length;
        expect(kept).toBeGreaterThan(0.25);
        expect(kept).toBeLessThan(0.75);
      }
    });

    it("takes from SQLite the commits that no sync followed, and leaves the file whole", () => {
      const write = (pragmas: string, more: string) => `
      import Database from "better-sqlite3";
      const db = new Database(process.env.ROOT + "/main.db");
      db.pragma("journal_mode = WAL");
      db.pragma("wal_autocheckpoint = 0");
      ${pragmas}
      db.exec("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, text TEXT)");
      const insert = db.prepare("INSERT INTO t (text) VALUES (?)");
      for (let at = 0; at < 50; at += 1) insert.run("x".repeat(500));
      ${more}
    `;
      const count = `
      import Database from "better-sqlite3";
      const db = new Database(process.env.ROOT + "/main.db", { fileMustExist: true });
      const check = db.pragma("integrity_check", { simple: true });
      const table = db.prepare("SELECT count(*) FROM sqlite_schema WHERE name = 't'").pluck().get();
      fs.writeSync(1, check + " " + (table ? db.prepare("SELECT count(*) FROM t").pluck().get() : "none"));
    `;
      const syncAll = "syncDirectory(process.env.ROOT);";
      run(write(`db.pragma("synchronous = NORMAL");`, syncAll));
      cut.rewind();
      expect(names()).not.toContain("main.db-shm");
      expect(run(count)).toBe("ok none");

      run(write(`db.pragma("synchronous = FULL");`, ""));
      cut.rewind();
      expect(run(count)).toBe("ok 50");

      run(
        write(
          `db.pragma("synchronous = NORMAL");`,
          `db.pragma("wal_checkpoint(TRUNCATE)"); insert.run("y");`,
        ),
      );
      cut.rewind();
      expect(run(count)).toBe("ok 100");
    });

    it("keeps every write whose sync was reported, with many threads at it until the kill", async () => {
      const program = `
      import { open } from "node:fs/promises";
      import * as fs from "node:fs";
      const record = Buffer.alloc(300);
      const files = [];
      for (let at = 0; at < 6; at += 1) files.push(await open(process.env.ROOT + "/f" + at, "w+"));
      fs.fsyncSync(fs.openSync(process.env.ROOT));
      for (const [number, file] of files.entries()) void (async () => {
        for (let at = 0; ; at += 1) {
          const bytes = Buffer.alloc(300, 1 + (at % 250));
          await Promise.all([
            file.write(bytes, 0, 300, at * 300),
            files[(number + 1) % 6].write(Buffer.alloc(10), 0, 10, 5_000_000 + at * 700),
          ]);
          await file.datasync();
          fs.writeSync(1, number + " " + at + "\\n");
        }
      })();
    `;
      for (let round = 0; round < 3; round += 1) {
        const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
          env: { ...process.env, ...cut.environment(), ROOT: root, UV_THREADPOOL_SIZE: "8" },
          stdio: ["ignore", "pipe", "inherit"],
        });
        children.push(child);
        const acknowledged = new Map<string, number>();
        let total = 0;
        for await (const line of createInterface({ input: child.stdout })) {
          const [file = "", at] = line.split(" ");
          acknowledged.set(file, Number(at));
          total += 1;
          if (total === 600 + round * 77) child.kill("SIGKILL");
        }
        cut.rewind({ keep: round === 2 ? 0.5 : 0, seed: round });
        expect(acknowledged.size).toBe(6);
        for (const [file, last] of acknowledged) {
          const bytes = fs.readFileSync(join(root, `f${file}`));
          for (let at = 0; at <= last; at += 1) {
            const expected = Buffer.alloc(300, 1 + (at % 250));
            expect(bytes.subarray(at * 300, at * 300 + 300).equals(expected)).toBe(true);
          }
        }
        for (const name of names()) fs.rmSync(join(root, name));
        begin();
      }
    });
  },
);
