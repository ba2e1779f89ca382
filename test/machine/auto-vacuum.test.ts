/** What becomes of free pages: chosen when the file is made, and no matter to what the tables hold. */

import { statSync } from "node:fs";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { readFileContent } from "../../src/machine/content-digest.ts";
import { AUTO_VACUUM } from "../../src/sql/settings.ts";
import { freshPath, openCore, openReader, readAll, TestLeader } from "./support/machine-harness.ts";

const MODES = { none: 0, full: 1, incremental: 2 };

function busy(autoVacuum: keyof typeof MODES): TestLeader {
  const leader = new TestLeader({ autoVacuum });
  leader.exec("CREATE TABLE t (v); CREATE TABLE u (v); CREATE VIRTUAL TABLE f USING fts5(x)");
  for (let i = 0; i < 20; i += 1) {
    leader.run("INSERT INTO t VALUES (randomblob(20000))");
    leader.run("INSERT INTO f VALUES (hex(randomblob(40)))");
  }
  leader.run("DELETE FROM t WHERE rowid % 3 > 0");
  leader.run("PRAGMA incremental_vacuum(30)");
  leader.run("DROP TABLE u");
  leader.run("INSERT INTO t VALUES (random())");
  leader.commit();
  return leader;
}

test.each(AUTO_VACUUM)("%s is in the file that is made, and told", (autoVacuum) => {
  const leader = busy(autoVacuum);
  const told = readAll(openReader(leader.path), "PRAGMA auto_vacuum");
  expect(told).toStrictEqual([{ auto_vacuum: MODES[autoVacuum] }]);
});

test("a file that is there keeps its own", () => {
  const path = freshPath();
  openCore({ path, autoVacuum: "incremental" }).close();
  openCore({ path, autoVacuum: "full" }).close();
  openCore({ path }).close();
  const file = new Database(path);
  expect(file.pragma("auto_vacuum", { simple: true })).toBe(2);
  file.close();
});

test("nodes with different modes come to the same, by the same digests; only their files differ", () => {
  const leader = busy("incremental");
  const expected = readFileContent(leader.path);
  const sizes = new Set<number>();
  for (const autoVacuum of AUTO_VACUUM) {
    const path = freshPath();
    const core = openCore({ path, autoVacuum });
    expect(core.apply(leader.log).mismatch).toBeNull();
    core.close();
    expect(readFileContent(path)).toStrictEqual(expected);
    sizes.add(statSync(path).size);
  }
  expect(sizes.size).toBeGreaterThan(1);
});
