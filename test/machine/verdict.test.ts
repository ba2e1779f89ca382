/** Entries under a verdict: what a majority found counts, and whoever went another way notices. */

import Database from "better-sqlite3";
import { beforeEach, describe, expect, test } from "vitest";
import type { MachineCore } from "../../src/machine/machine-core.ts";
import type { Verdict } from "../../src/node/ports.ts";
import type { Entry } from "../../src/raft/entry.ts";
import { encodeVerdict } from "../../src/wire/log-codec.ts";
import { freshPath, openCore, TestLeader } from "./support/machine-harness.ts";

describe("a leader whose database was changed", () => {
  let log: Entry[];
  let leader: TestLeader;
  let verdict: Verdict;

  /** Entry 3 is the first that it executed on what was changed; 4 fails elsewhere; 6 is the verdict. */
  beforeEach(() => {
    leader = new TestLeader();
    leader.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER UNIQUE)");
    leader.run("INSERT INTO t VALUES (1, 10), (2, 30)");
    leader.commit();
    leader.core.close();
    const file = new Database(leader.path);
    file.exec("UPDATE t SET n = 20 WHERE id = 1; DELETE FROM t WHERE id = 2");
    file.close();
    leader.core = openCore({ path: leader.path });
    leader.run("UPDATE t SET n = n + 1 WHERE id = 1 RETURNING n");
    leader.run("INSERT INTO t VALUES (2, 40)");
    leader.run("INSERT INTO t VALUES (3, 50)");
    leader.commit();
    const follower = openCore({ path: freshPath() });
    const { mismatch } = follower.apply(leader.log);
    if (mismatch === null) throw new Error("entry 3 differs");
    const { index, found: digest, detail } = mismatch;
    expect(index).toBe(3);
    verdict = { index, digest, detail, at: 6 };
    const payload = encodeVerdict(verdict);
    log = [...leader.log, { index: 6, term: 2, kind: "command", payload }];
  });

  const rowsOf = (path: string) => {
    const file = new Database(path, { readonly: true });
    const rows = file.prepare("SELECT id, n FROM t ORDER BY id").raw(true).all();
    file.close();
    return rows;
  };
  const EXPECTED = [
    [1, 11],
    [2, 30],
    [3, 50],
  ];

  test("counts for nothing from there to the verdict; what fails leaves nothing", () => {
    const path = freshPath();
    const core = openCore({ path });
    core.apply(log.slice(0, 2));
    core.settle(verdict);
    expect(core.apply(log.slice(2))).toEqual({ last: { index: 6, term: 2 }, mismatch: null });
    expect(rowsOf(path)).toEqual(EXPECTED);
    expect(core.state.settled).toEqual(verdict);
  });

  test.each([3, 4, 5])("a restart behind entry %i comes to the same", (at) => {
    const path = freshPath();
    let core: MachineCore = openCore({ path });
    core.settle(verdict);
    core.apply(log.slice(0, at));
    core.close();
    core = openCore({ path });
    expect(core.state).toMatchObject({ appliedIndex: at, settled: verdict });
    core.settle(verdict);
    expect(core.apply(log.slice(at)).mismatch).toBeNull();
    expect(rowsOf(path)).toEqual(EXPECTED);
  });

  test("whoever went the leader's way stops at the verdict, wherever it hears of it", () => {
    const known = leader.core.apply([log[5] as Entry]);
    expect(known.last.index).toBe(5);
    expect(known.mismatch).toMatchObject({ index: 6, detail: expect.stringMatching(/majority/) });
    const path = freshPath();
    const core = openCore({ path });
    core.apply(log.slice(0, 2));
    core.settle({ ...verdict, index: 2 });
    expect(core.apply(log.slice(2)).mismatch).toMatchObject({ index: 3 });
  });

  test("a node that comes to a third result does not take the majority's word for its own", () => {
    const core = openCore({ path: freshPath() });
    core.apply(log.slice(0, 2));
    core.settle({ ...verdict, digest: verdict.digest + 1 });
    const { last, mismatch } = core.apply(log.slice(2));
    expect(last.index).toBe(2);
    expect(mismatch).toMatchObject({ index: 3, expected: verdict.digest + 1 });
  });
});
