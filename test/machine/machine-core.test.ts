/** The state machine from the outside: requests, the log they make, and what followers make of it. */

import { expect, test } from "vitest";
import { openReader, readAll, TestLeader } from "./support/machine-harness.ts";

test("a write is proposed, committed, and read by a reader", () => {
  const leader = new TestLeader();
  leader.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); CREATE INDEX i ON t(v)");
  const { changes, lastInsertRowid } = leader.run("INSERT INTO t(v) VALUES (?)", ["Lisboa"]);
  expect([changes, lastInsertRowid]).toStrictEqual([1, 1]);
  leader.commit();
  const reader = openReader(leader.path);
  expect(readAll(reader, "SELECT * FROM t WHERE id = ?", [1])).toStrictEqual([
    { id: 1, v: "Lisboa" },
  ]);
  expect(leader.core.state).toMatchObject({ appliedIndex: 2, appliedTerm: 1 });
});

test("a follower applies what the leader proposed", () => {
  const leader = new TestLeader();
  leader.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)");
  for (let i = 0; i < 10; i++) leader.run("INSERT INTO t(v) VALUES (?)", [`n${i}`]);
  const reader = openReader(leader.follower());
  expect(readAll(reader, "SELECT count(*) AS n FROM t")).toStrictEqual([{ n: 10 }]);
});
