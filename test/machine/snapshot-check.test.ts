/** A snapshot's file: that the copy is of one moment, and that nothing else passes for it. */

import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { MachineCore } from "../../src/machine/machine-core.ts";
import {
  checkSnapshot,
  copyDatabase,
  describe as manifestOf,
} from "../../src/machine/snapshot-task.ts";
import { encodeBatch } from "../../src/wire/statement-codec.ts";

function fresh(): string {
  const dir = mkdtempSync(join(tmpdir(), "balsa-check-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** A writer whose every call is one more entry. */
function writer(path: string): (sql: string) => void {
  const core = MachineCore.open({ path });
  onTestFinished(() => core.close());
  return (sql) => {
    const index = core.state.appliedIndex + 1;
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
    core.commit({ index, term: 2 });
  };
}

/** A copy of a small database, with what its source says of it. */
async function aCopy() {
  const dir = fresh();
  const write = writer(join(dir, "main.db"));
  write("CREATE TABLE t (x)");
  for (let row = 0; row < 500; row += 1)
    write(`INSERT INTO t VALUES ('row ${row} of some length')`);
  const path = join(dir, "copy.db");
  const at = await copyDatabase(join(dir, "main.db"), path);
  const manifest = manifestOf(at, path, `${path}.hashes`);
  return { path, expected: manifest };
}

test("what was copied passes, and is the entry that it says", async () => {
  const { path, expected } = await aCopy();
  expect(expected).toMatchObject({ index: 501, term: 2 });
  expect(() => checkSnapshot(path, expected)).not.toThrow();
});

test("E5: a copy is of the moment that it names, although others write meanwhile", async () => {
  const dir = fresh();
  const write = writer(join(dir, "main.db"));
  write("CREATE TABLE t (x)");
  // More pages than are copied at a time, so that the copying makes pauses.
  for (let row = 0; row < 40; row += 1) write("INSERT INTO t VALUES (zeroblob(500000))");
  const copying = copyDatabase(join(dir, "main.db"), join(dir, "copy.db"));
  let writes = 0;
  const ended = await new Promise<{ index: number }>((resolve, reject) => {
    const next = (): void => {
      write(`INSERT INTO t VALUES ('while it was copied: ${writes}')`);
      writes += 1;
      timer = setImmediate(next);
    };
    let timer = setImmediate(next);
    copying.then(resolve, reject).finally(() => clearImmediate(timer));
  });
  expect(writes).toBeGreaterThan(0);
  const copy = new Database(join(dir, "copy.db"), { readonly: true });
  onTestFinished(() => void copy.close());
  const applied = copy.prepare("SELECT applied_index FROM balsa_meta").pluck().get();
  expect(applied).toBe(ended.index);
  expect(copy.prepare("SELECT count(*) FROM t").pluck().get()).toBe(ended.index - 1);
});

test("E9: a file of another length is refused", async () => {
  const { path, expected } = await aCopy();
  writeFileSync(path, readFileSync(path).subarray(0, expected.bytes - 4096));
  expect(() => checkSnapshot(path, expected)).toThrow(/bytes instead of/);
});

test("E9: one changed byte is found by the digest of the whole", async () => {
  const { path, expected } = await aCopy();
  const file = openSync(path, "r+");
  // In the middle of a row: SQLite's own check sees nothing in it.
  const at = readFileSync(path).lastIndexOf("of some length");
  expect(at).toBeGreaterThan(0);
  writeSync(file, Buffer.from("O"), 0, 1, at);
  closeSync(file);
  expect(() => checkSnapshot(path, expected)).toThrow("the digest differs");
});

test("E9: damage that the source had already is found by SQLite", async () => {
  const { path, expected } = await aCopy();
  const bytes = readFileSync(path);
  // The last page's header, of a table or of its free list.
  bytes.fill(0xff, expected.bytes - 4096, expected.bytes - 4096 + 16);
  writeFileSync(path, bytes);
  const damaged = manifestOf(expected, path, `${path}.hashes`);
  expect(() => checkSnapshot(path, damaged)).toThrow(/damaged|malformed/);
});

test("E9: a database of another entry is refused", async () => {
  const { path, expected } = await aCopy();
  expect(() => checkSnapshot(path, { ...expected, index: 500 })).toThrow(
    "it holds entry 501 of term 2",
  );
  expect(() => checkSnapshot(path, { ...expected, term: 3 })).toThrow(
    "it holds entry 501 of term 2",
  );
});
