/** Log time over leaderships and restarts: what 'now' in a write goes by. What a leader holds it to: node/log-clock.test.ts. */

import { describe, expect, test } from "vitest";
import { freshPath, openCore, TestLeader } from "./support/machine-harness.ts";

function leaderWith(schema: string): TestLeader {
  const leader = new TestLeader();
  leader.exec(schema);
  return leader;
}

describe("log time", () => {
  const HOUR_MS = 3_600_000;

  test("never runs backwards: not within a leadership, nor with the next leader, nor behind a restart", () => {
    const leader = leaderWith("CREATE TABLE t (at, ms)");
    const insert = "INSERT INTO t VALUES (unixepoch(), strftime('%f', 'now')) RETURNING at";
    const at = () => Number(leader.all(insert)[0]?.["at"]);
    const start = at();
    leader.timeMs -= HOUR_MS;
    expect(at()).toBe(start);
    leader.commit();
    leader.reopen();
    expect(at()).toBe(start);
    leader.openSession(leader.timeMs);
    leader.transact("begin");
    leader.step(insert);
    leader.transact("commit");
    expect(at()).toBe(start);
    leader.timeMs += 2 * HOUR_MS;
    expect(at()).toBe(start + HOUR_MS / 1000);
    // A leader that knows the log only as a follower.
    const next = openCore({ path: leader.follower() });
    expect(next.state.timeMs).toBe(leader.core.state.timeMs);
  });

  test("an entry that runs back is not applied", () => {
    const leader = leaderWith("CREATE TABLE t (at)");
    leader.run("INSERT INTO t VALUES (unixepoch())");
    const early = new TestLeader();
    early.timeMs = leader.timeMs - HOUR_MS;
    early.exec("CREATE TABLE t (at)");
    const [entry] = early.log;
    if (entry === undefined) throw new Error("no entry");
    const follower = openCore({ path: freshPath() });
    expect(follower.apply(leader.log).mismatch).toBeNull();
    const { last, mismatch } = follower.apply([{ ...entry, index: 3 }]);
    expect(last.index).toBe(2);
    expect(mismatch?.detail).toMatch(/log time runs back/);
  });
});
