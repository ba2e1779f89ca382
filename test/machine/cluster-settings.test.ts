/** Settings of the cluster: entries of their own, the same on the leader, on followers, on readers and after a restart. */

import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { decodeCommand, encodeCommand } from "../../src/wire/log-codec.ts";
import { encodeBatch } from "../../src/wire/statement-codec.ts";
import {
  failureOf,
  freshPath,
  openCore,
  openReader,
  readAll,
  TestLeader,
} from "./support/machine-harness.ts";

const OFF = "PRAGMA foreign_keys = OFF";
const ON = "PRAGMA foreign_keys = ON";
const ORPHAN = "INSERT INTO child VALUES (99)";

function family(): TestLeader {
  const leader = new TestLeader();
  leader.exec(
    "CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (p REFERENCES parent(id))",
  );
  return leader;
}

function count(path: string): unknown {
  return readAll(openReader(path), "SELECT count(*) AS n FROM child")[0];
}

test("a key that is violated fails, then passes, then fails again, on every node", () => {
  const leader = family();
  expect(leader.fail(ORPHAN).code).toBe("SQLITE_CONSTRAINT_FOREIGNKEY");
  expect(leader.run(OFF)).toMatchObject({ changes: 0, rows: [] });
  leader.run(ORPHAN);
  expect(leader.all("PRAGMA foreign_keys")).toStrictEqual([{ foreign_keys: 0 }]);
  leader.run(ON);
  expect(leader.fail(ORPHAN).code).toBe("SQLITE_CONSTRAINT_FOREIGNKEY");
  leader.commit();
  // Alone, all in one go, and cut in the middle.
  for (const size of [1, 100, 2, 3]) expect(count(leader.follower(() => size))).toEqual({ n: 1 });
});

test("an entry of its own holds it, between transactions", () => {
  const leader = family();
  leader.run(OFF);
  const command = decodeCommand(leader.log.at(-1)?.payload ?? new Uint8Array(0));
  expect(command.setting).toStrictEqual({ name: "foreign_keys", value: "off" });
  // What ran before it is in SQLite; it is not, until its own commit.
  expect(leader.core.state.appliedIndex).toBe(1);
  expect(leader.core.state.settings.foreignKeys).toBe(true);
  leader.commit();
  expect(leader.core.state.settings.foreignKeys).toBe(false);
});

test("a leader that is lost with it takes it back", () => {
  const leader = family();
  leader.run(OFF);
  leader.core.close();
  leader.log.pop();
  leader.core = openCore({ path: leader.path });
  leader.core.apply(leader.log.slice(leader.core.state.appliedIndex));
  expect(leader.core.state.settings.foreignKeys).toBe(true);
  expect(leader.fail(ORPHAN).code).toBe("SQLITE_CONSTRAINT_FOREIGNKEY");
});

test("another writer finds it in the file", () => {
  const leader = family();
  leader.run(OFF);
  leader.commit();
  leader.reopen();
  leader.run(ORPHAN);
  leader.run("PRAGMA recursive_triggers = OFF");
  leader.commit();
  leader.reopen();
  expect(leader.all("PRAGMA recursive_triggers")).toStrictEqual([{ recursive_triggers: 0 }]);
});

test("triggers recurse or not, as it is set", () => {
  const leader = new TestLeader();
  leader.exec(`
    CREATE TABLE t (n);
    CREATE TRIGGER tr AFTER INSERT ON t WHEN new.n < 3 BEGIN INSERT INTO t VALUES (new.n + 1); END;
  `);
  leader.run("INSERT INTO t VALUES (1)");
  expect(leader.all("SELECT count(*) AS n FROM t")).toStrictEqual([{ n: 3 }]);
  leader.run("PRAGMA recursive_triggers = OFF");
  leader.run("INSERT INTO t VALUES (1)");
  expect(leader.all("SELECT count(*) AS n FROM t")).toStrictEqual([{ n: 5 }]);
  leader.commit();
  const reader = openReader(leader.follower(() => 100));
  expect(readAll(reader, "SELECT count(*) AS n FROM t")).toStrictEqual([{ n: 5 }]);
});

test("a reader tells the cluster's setting, also one that was opened before, and in a snapshot", () => {
  const leader = family();
  leader.commit();
  const reader = openReader(leader.path);
  expect(readAll(reader, "PRAGMA foreign_keys")).toStrictEqual([{ foreign_keys: 1 }]);
  reader.hold();
  readAll(reader, "SELECT * FROM parent");
  leader.run(OFF);
  leader.commit();
  expect(readAll(reader, "PRAGMA foreign_keys")).toStrictEqual([{ foreign_keys: 1 }]);
  reader.release();
  expect(readAll(reader, "PRAGMA foreign_keys")).toStrictEqual([{ foreign_keys: 0 }]);
  expect(readAll(reader, "PRAGMA recursive_triggers")).toStrictEqual([{ recursive_triggers: 1 }]);
  expect(() => readAll(reader, "SELECT * FROM pragma_foreign_keys")).toThrow(/PRAGMA foreign_keys/);
  expect(() => readAll(reader, OFF)).toThrow(/does not read/);
});

test("in a batch or a transaction it is refused, with the way out, and throws no switch", () => {
  const leader = family();
  const way = /send it alone/;
  const both = leader.batch([{ sql: OFF }, { sql: ORPHAN }]);
  expect(failureOf(both)).toMatchObject({ code: "REFUSED" });
  expect(failureOf(both).message).toMatch(way);
  expect(failureOf(leader.script(`${OFF}; ${ORPHAN}`)).message).toMatch(way);
  const going = leader.execute(encodeBatch([{ sql: OFF }, { sql: ORPHAN }], undefined, "continue"));
  expect(going.kind).toBe("answer");
  leader.commit();
  leader.transact("begin");
  expect(failureOf(leader.step(OFF)).message).toMatch(way);
  leader.step("INSERT INTO parent VALUES (1)");
  leader.transact("commit");
  expect(leader.all("PRAGMA foreign_keys")).toStrictEqual([{ foreign_keys: 1 }]);
  leader.commit();
  expect(count(leader.follower())).toEqual({ n: 0 });
});

test.each([
  ["PRAGMA foreign_keys(off)", 0],
  ["pragma main . \"foreign_keys\" = 'no'", 0],
  ["PRAGMA foreign_keys = 0;", 0],
  ["PRAGMA foreign_keys = false -- so", 0],
  ["PRAGMA foreign_keys = TRUE", 1],
])("%s", (sql, expected) => {
  const leader = family();
  leader.run(sql);
  expect(leader.all("PRAGMA foreign_keys")).toStrictEqual([{ foreign_keys: expected }]);
});

test.each(["PRAGMA foreign_keys = of", "PRAGMA foreign_keys = 2", "PRAGMA foreign_keys = -1"])(
  "%s is refused: SQLite would take it for another word",
  (sql) => {
    const leader = family();
    expect(leader.fail(sql)).toMatchObject({
      code: "REFUSED",
      message: expect.stringMatching(/takes ON or OFF/),
    });
  },
);

test("EXPLAIN of one is refused: SQLite throws the switch when it compiles it", () => {
  const leader = family();
  leader.commit();
  expect(leader.fail(`EXPLAIN ${OFF}`)).toMatchObject({ code: "REFUSED" });
  expect(leader.all("PRAGMA foreign_keys")).toStrictEqual([{ foreign_keys: 1 }]);
});

test("one that is so already needs no entry: drivers send it with every connection", () => {
  const leader = family();
  expect(leader.batch([{ sql: ON }]).kind).toBe("answer");
  expect(leader.log).toHaveLength(1);
});

test("in a session it is done once, however often it is sent", () => {
  const leader = family();
  const session = leader.openSession();
  const first = leader.batch([{ sql: OFF }], { session, sequence: 1 });
  leader.commit();
  leader.run(ON);
  leader.commit();
  const again = leader.batch([{ sql: OFF }], { session, sequence: 1 });
  expect(again).toMatchObject({ kind: "answer" });
  expect(first.kind === "proposal" && again.kind === "answer" && again.result).toEqual(
    first.kind === "proposal" && first.result,
  );
  expect(leader.all("PRAGMA foreign_keys")).toStrictEqual([{ foreign_keys: 1 }]);
  leader.follower();
});

test("a node stops at a setting that it does not know, and keeps what came before", () => {
  const leader = family();
  leader.run("INSERT INTO parent VALUES (1)");
  leader.run(OFF);
  const entry = leader.log.at(-1);
  const command = decodeCommand(entry?.payload ?? new Uint8Array(0));
  const strange = encodeCommand({ ...command, setting: { name: "page_colour", value: "blue" } });
  const log = [
    ...leader.log.slice(0, -1),
    { index: 3, term: 1, kind: "command", payload: strange },
  ];
  const core = openCore({ path: freshPath() });
  const { last, mismatch } = core.apply(log as typeof leader.log);
  expect(last.index).toBe(2);
  expect(mismatch).toMatchObject({
    index: 3,
    isUnknown: true,
    detail: expect.stringMatching(/page_colour.*newer/),
  });
});

test("a node stops at a command of a version that it does not know", () => {
  const leader = family();
  const payload = Buffer.from(leader.log[0]?.payload ?? []);
  // Field 1, the version, comes first.
  expect([payload[0], payload[1]]).toStrictEqual([8, 1]);
  payload[1] = 99;
  const log = [...leader.log, { index: 2, term: 1, kind: "command" as const, payload }];
  const core = openCore({ path: freshPath() });
  const { last, mismatch } = core.apply(log);
  expect(last.index).toBe(1);
  expect(mismatch).toMatchObject({
    index: 2,
    isUnknown: true,
    detail: expect.stringMatching(/version 99.*newer program/),
  });
});

test("a file of a program without settings opens; one with settings says so to such a program", () => {
  const leader = family();
  leader.commit();
  leader.core.close();
  const file = new Database(leader.path);
  expect(file.prepare("SELECT format_version FROM balsa_meta").pluck().get()).toBe(1);
  file.exec("ALTER TABLE balsa_meta DROP COLUMN settings");
  file.close();
  leader.core = openCore({ path: leader.path });
  leader.run(OFF);
  leader.commit();
  leader.core.close();
  const again = new Database(leader.path);
  expect(again.prepare("SELECT format_version FROM balsa_meta").pluck().get()).toBe(2);
  again.close();
  leader.core = openCore({ path: leader.path });
  leader.run(ORPHAN);
});

test("the fields of the header are exact in a batch that goes on, in savepoints and transactions", () => {
  const leader = family();
  const statements = [
    { sql: "PRAGMA user_version = 3" },
    { sql: ORPHAN },
    { sql: "PRAGMA application_id = 4" },
  ];
  leader.execute(encodeBatch(statements, undefined, "continue"));
  leader.commit();
  leader.transact("begin");
  leader.step("PRAGMA user_version = 5");
  leader.transact("savepoint");
  leader.step("PRAGMA user_version = 6");
  leader.step("PRAGMA application_id = 7");
  leader.transact("rollbackTo");
  leader.transact("commit");
  leader.commit();
  leader.transact("begin");
  leader.step("PRAGMA user_version = 8");
  leader.transact("rollback");
  expect(leader.batch([{ sql: "PRAGMA user_version = 9" }, { sql: ORPHAN }]).kind).toBe("failure");
  leader.run("INSERT INTO parent VALUES (1)");
  leader.commit();
  for (const path of [leader.path, leader.follower(() => 1), leader.follower(() => 100)]) {
    const reader = openReader(path);
    expect(readAll(reader, "PRAGMA user_version")).toStrictEqual([{ user_version: 5 }]);
    expect(readAll(reader, "PRAGMA application_id")).toStrictEqual([{ application_id: 4 }]);
  }
});

test("a writer of another machine version executes nothing, but applies, and may set the version", () => {
  const leader = family();
  leader.setMachineVersion("engine 1");
  leader.run("INSERT INTO parent VALUES (1)");
  leader.commit();
  leader.core.close();
  leader.core = openCore({ path: leader.path, machineVersion: "engine 2" });
  expect(leader.core.state.settings.machineVersion).toBe("engine 1");
  expect(leader.fail("INSERT INTO parent VALUES (2)")).toMatchObject({
    code: "NO_LEADER",
    outcome: "not-applied",
    message: expect.stringContaining("engine 2, the cluster engine 1"),
  });
  expect(leader.fail(OFF).code).toBe("NO_LEADER");
  expect(failureOf(leader.transact("begin")).code).toBe("NO_LEADER");
  leader.setMachineVersion("engine 2");
  leader.run("INSERT INTO parent VALUES (2)");
  leader.commit();
  expect(leader.core.state.settings.machineVersion).toBe("engine 2");
  const follower = openCore({ path: freshPath(), machineVersion: "engine 1" });
  expect(follower.apply(leader.log)).toMatchObject({ mismatch: null });
  expect(follower.state.settings.machineVersion).toBe("engine 2");
});
