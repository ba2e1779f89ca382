/** The copier in a real writer's process: beside statements that run, at an orderly end, at a kill, and when it fails. */

import { existsSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, onTestFinished, test, vi } from "vitest";
import { FileSeal } from "../../src/machine/file-seal.ts";
import type { MachineOptions } from "../../src/machine/process-machine.ts";
import { WalCopier } from "../../src/machine/wal-copier.ts";
import type { Logger } from "../../src/node/ports.ts";
import { encodeScript } from "../../src/wire/statement-codec.ts";
import { PowerCut, whyNoPowerCut } from "../support/power-cut.ts";
import { freshDirectory, realMachine, until, WatchedWriter } from "./support/toy-machine.ts";
import { job, SILENT } from "./support/toy-processes.ts";

const ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)";
const WAL_BYTES_MAX = 4_000_000;
const THREAD = new URL("../../dist/machine/copier-thread.js", import.meta.url);

class Bench {
  readonly dir: string;
  readonly warnings: string[] = [];
  readonly machine;
  one: WatchedWriter;
  #index = 0;

  constructor(options: Partial<MachineOptions> = {}) {
    const warn = (facts: object, text: string): void => {
      this.warnings.push(`${text} ${JSON.stringify(facts)}`);
    };
    const logger: Logger = { ...SILENT, warn };
    this.dir = options.dir ?? freshDirectory();
    const given = { dir: this.dir, logger, walBytesMax: WAL_BYTES_MAX, ...options };
    this.machine = realMachine(given);
    this.one = new WatchedWriter(this.machine);
  }

  get bytes(): number {
    return statSync(join(this.dir, "main.db")).size;
  }

  get walBytes(): number {
    return statSync(join(this.dir, "main.db-wal")).size;
  }

  execute(sql: string): void {
    this.#index += 1;
    const seedLow = this.#index;
    this.one.writer.execute({
      ...job(seedLow, ""),
      batch: encodeScript(sql),
      timeMs: 1_000,
      seedLow,
    });
  }

  async write(sql: string): Promise<number> {
    this.execute(sql);
    expect((await this.one.expect("executed")).outcome.kind).toBe("proposal");
    this.one.writer.commit({ index: this.#index, term: 1 });
    await this.one.expect("committed");
    return this.#index;
  }

  /** A commit of so many bytes in new rows. */
  fill(bytes: number): Promise<number> {
    return this.write(`INSERT INTO t (y) VALUES (zeroblob(${bytes}))`);
  }
}

async function begun(options: Partial<MachineOptions> = {}): Promise<Bench> {
  const bench = new Bench(options);
  await bench.one.expect("ready");
  await bench.write("CREATE TABLE t (x INTEGER PRIMARY KEY, y)");
  return bench;
}

test("the WAL is copied while the writer runs a statement that never ends, and nothing is told of it", async () => {
  const bench = await begun();
  const index = await bench.fill(1_500_000);
  bench.execute(`INSERT INTO t SELECT x + 1000, 1 FROM (${ENDLESS} SELECT x FROM c WHERE x < 0)`);
  await until(() => bench.bytes > 1_500_000);
  expect(bench.one.checkpoints).not.toContain(index);
});

test("a writer that never rests checkpoints in between, and its WAL stays within its bound", async () => {
  const bench = await begun();
  for (let time = 0; time < 60; time += 1) await bench.fill(300_000);
  await until(() => bench.one.checkpoints.length > 0);
  expect(bench.walBytes).toBeLessThan(4 * WAL_BYTES_MAX);
  expect(bench.warnings).toEqual([]);
});

test("an idle writer's checkpoint is complete soon after the copier's pass", async () => {
  const bench = await begun();
  const index = await bench.fill(2_000_000);
  await until(() => bench.one.checkpoints.includes(index));
});

test("a writer that is closed while it copies seals the file, and leaves no WAL", async () => {
  const bench = await begun();
  for (let time = 0; time < 8; time += 1) await bench.fill(400_000);
  bench.one.writer.close();
  expect((await bench.one.expect("exited")).reason).toBe("closed");
  expect(bench.warnings).toEqual([]);
  expect(new FileSeal(join(bench.dir, "main.db")).look()).toEqual({ kind: "intact" });
});

test("a writer that is killed while it copies leaves all commits to the next", async () => {
  const bench = await begun();
  let index = 0;
  for (let time = 0; time < 8; time += 1) index = await bench.fill(400_000);
  bench.one.writer.kill();
  await bench.one.expect("exited");
  const two = new WatchedWriter(bench.machine);
  expect((await two.expect("ready")).state.appliedIndex).toBe(index);
  const file = new Database(join(bench.dir, "main.db"), { readonly: true });
  onTestFinished(() => void file.close());
  expect(file.prepare("SELECT count(*) FROM t").pluck().get()).toBe(8);
  expect(file.pragma("integrity_check", { simple: true })).toBe("ok");
});

test.skipIf(whyNoPowerCut() !== null)(
  "a copier whose sync fails is told once, and leaves a writer that copies for itself",
  async () => {
    const dir = freshDirectory();
    // SQLite's own syncs are of another kind.
    const cut = new PowerCut(dir, { realSync: false, fail: ["fdatasync:main.db"] });
    for (const [name, value] of Object.entries(cut.environment())) vi.stubEnv(name, value);
    onTestFinished(() => {
      vi.unstubAllEnvs();
      cut.dispose();
    });
    const bench = await begun({ dir });
    for (let time = 0; time < 40; time += 1) await bench.fill(300_000);
    const index = await bench.fill(300_000);
    await until(() => bench.one.checkpoints.includes(index));
    expect(bench.warnings).toEqual([expect.stringMatching(/copies its WAL by itself.*EIO/)]);
    bench.one.writer.close();
    expect((await bench.one.expect("exited")).reason).toBe("closed");
    expect(new FileSeal(join(dir, "main.db")).look()).toEqual({ kind: "intact" });
  },
);

test("another file under the name is found when the copier would open it", async () => {
  const bench = await begun();
  const path = join(bench.dir, "main.db");
  renameSync(path, `${path}.old`);
  writeFileSync(path, "");
  await bench.fill(1_500_000);
  await until(() => bench.one.events.some(({ kind }) => kind === "changed"));
  expect(statSync(path).size).toBe(0);
  expect(existsSync(`${path}.changed`)).toBe(true);
});

test("the thread copies when it is told to, says why it cannot, and ends", () => {
  const path = join(freshDirectory(), "main.db");
  const file = new Database(path);
  onTestFinished(() => void file.close());
  for (const pragma of ["journal_mode = WAL", "wal_autocheckpoint = 0"]) file.pragma(pragma);
  file.exec("CREATE TABLE t (x)");
  const left = (): number => {
    const [row] = file.pragma("wal_checkpoint(NOOP)") as { log: number; checkpointed: number }[];
    return (row?.log ?? 0) - (row?.checkpointed ?? 0);
  };
  const copier = new WalCopier({ path, demandSameFiles() {}, program: THREAD });
  expect(copier.state).toBe("resting");
  for (let time = 0; time < 3; time += 1) {
    file.exec("INSERT INTO t VALUES (1)");
    expect(left()).toBeGreaterThan(0);
    copier.begin();
    expect(copier.wait(60_000)).toBe(true);
    expect([copier.state, copier.heldPages, left()]).toEqual(["resting", 0, 0]);
  }
  copier.begin();
  expect(copier.stop(60_000)).toBe(true);
  copier.begin();
  expect(copier.state).toBe("resting");
  const lost = new WalCopier({ path: `${path}.none`, demandSameFiles() {}, program: THREAD });
  lost.begin();
  expect(lost.wait(60_000)).toBe(true);
  expect([lost.state, lost.reason]).toEqual(["failed", "unable to open database file"]);
  expect(lost.stop(60_000)).toBe(true);
});

test("a thread that hangs is not waited for, neither in between nor at the end", () => {
  const hangs = "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_000)";
  const program = new URL(`data:text/javascript,${encodeURIComponent(hangs)}`);
  const path = join(freshDirectory(), "main.db");
  const copier = new WalCopier({ path, demandSameFiles() {}, program });
  copier.begin();
  copier.begin();
  expect(copier.state).toBe("copying");
  expect(copier.wait(20)).toBe(false);
  expect(copier.stop(20)).toBe(false);
});
