/**
 * A leader is lost before its write is executed, appended, committed or answered: sent again to the next one, a batch gives its
 * first answer, and what became of a transaction's commit can be asked.
 */

import { describe, expect, test } from "vitest";
import type { ExecuteOutcome } from "../../src/node/ports.ts";
import { NOT_APPLIED } from "../../src/wire/result-codec.ts";
import { encodeBatch } from "../../src/wire/statement-codec.ts";
import { expectAgreement, leaderWith } from "./support/agreement.ts";
import { resultsOf, TestLeader } from "./support/machine-harness.ts";

describe("a leader that is lost at any point of the write path", () => {
  const RETURNING = [{ sql: "INSERT INTO a(k) VALUES (?) RETURNING id, k", args: ["x"] }];
  // Whether the next leader has the entry in its log.
  const POINTS: readonly (readonly [string, boolean])[] = [
    ["before it is executed", false],
    ["executed, before it is appended", false],
    ["appended, before it is committed", true],
    ["committed, before SQLite's COMMIT and the answer", true],
    ["answered", true],
  ];

  /** The next leader, and the first answer if there was one. */
  function fail(at: string, hasEntry: boolean, write: (leader: TestLeader) => ExecuteOutcome) {
    const old = leaderWith();
    const session = old.openSession();
    old.commit();
    const before = old.log.length;
    const first = at === "before it is executed" ? null : write(old);
    if (at === "answered") old.commit();
    const next = new TestLeader();
    next.log.push(...old.log.slice(0, hasEntry ? old.log.length : before));
    next.core.apply(next.log);
    next.timeMs = old.timeMs + 5_000;
    return { next, session, first, index: before + 1 };
  }

  test.each(POINTS)("a batch: %s", (at, hasEntry) => {
    for (const onError of ["stop", "continue"] as const) {
      const request = { session: 1, sequence: 1 };
      const write = (leader: TestLeader) =>
        leader.execute(encodeBatch(RETURNING, undefined, onError), request);
      const { next, session, first, index } = fail(at, hasEntry, write);
      expect(session).toBe(1);
      const retried = write(next);
      expect(retried.kind).toBe(hasEntry ? "answer" : "proposal");
      if (first !== null) expect(resultsOf(retried)).toEqual(resultsOf(first));
      if (retried.kind === "answer") expect(retried.index).toBe(index);
      expect(resultsOf(retried)[0]?.rows).toEqual([{ id: 1, k: "x" }]);
      expect(next.all("SELECT count(*) AS n FROM a")).toEqual([{ n: 1 }]);
      const late = write(next);
      expect(resultsOf(late)).toEqual(resultsOf(retried));
      expectAgreement(next);
    }
  });

  test.each(POINTS)("a transaction's commit: %s", (at, hasEntry) => {
    const request = { session: 1, sequence: 1 };
    const write = (leader: TestLeader) => {
      leader.transact("begin", new Uint8Array(), request);
      leader.step("INSERT INTO a(k) VALUES ('x')");
      return leader.transact("commit");
    };
    const { next } = fail(at, hasEntry, write);
    const settled = next.transact("settle", new Uint8Array(), request);
    expect(settled.kind).toBe(hasEntry ? "answer" : "proposal");
    const result = settled.kind === "answer" || settled.kind === "proposal" ? settled.result : null;
    expect(Buffer.from(result ?? [])).toEqual(Buffer.from(hasEntry ? [] : NOT_APPLIED));
    // And so it stays, whoever asks, and whatever comes late.
    const again = next.transact("settle", new Uint8Array(), request);
    expect(again.kind === "answer" && Buffer.from(again.result)).toEqual(Buffer.from(result ?? []));
    expect(next.transact("begin", new Uint8Array(), request).kind).toBe("failure");
    expect(next.all("SELECT count(*) AS n FROM a")).toEqual([{ n: hasEntry ? 1 : 0 }]);
    expectAgreement(next);
  });
});
