/** The commit index as news: held back for the next entry, told alone only when it is asked for, and never lost. */

import { describe, expect, test } from "vitest";
import { parseSteps } from "./interaction-describe.ts";
import { appended, aSettledLeader, bytes, ofKind, type Subject } from "./raft-harness.ts";

const options = { holdCommitNews: true };

/** Entry 2 is committed by 2's answer, and nobody was told. */
function aLeaderWithNews(): Subject {
  const subject = aSettledLeader({ options });
  subject.raft.step({ kind: "tellCommit" });
  subject.settle();
  subject.raft.propose([bytes("a")]);
  subject.settle();
  subject.hear(appended({ term: 5, from: 2, index: 2 }));
  return subject;
}

/** Who was told, and with how many entries. */
function told(subject: Subject): readonly (readonly number[])[] {
  const appends = ofKind(subject.settle(), "AppendEntries");
  return appends.map(({ to, leaderCommit, entries }) => [to, leaderCommit, entries.length]);
}

describe("news of the commit index", () => {
  test("wait for the next entry, which brings them", () => {
    const subject = aLeaderWithNews();
    expect(told(subject)).toEqual([]);
    expect([subject.status.commitIndex, subject.raft.owesCommit()]).toEqual([2, true]);
    subject.raft.propose([bytes("b")]);
    expect(told(subject)).toEqual([
      [2, 2, 1],
      [3, 2, 1],
    ]);
    expect(subject.raft.owesCommit()).toBe(false);
  });

  test("wait also for who acknowledges after the entry was committed", () => {
    const subject = aLeaderWithNews();
    subject.hear(appended({ term: 5, from: 3, index: 2 }));
    expect(told(subject)).toEqual([]);
    expect(subject.raft.owesCommit()).toBe(true);
  });

  test("are told without an entry when they are due", () => {
    const subject = aLeaderWithNews();
    subject.raft.step({ kind: "tellCommit" });
    expect(told(subject)).toEqual([
      [2, 2, 0],
      [3, 2, 0],
    ]);
    expect(subject.raft.owesCommit()).toBe(false);
  });

  test("are not told again after a heartbeat has told them", () => {
    const subject = aLeaderWithNews();
    subject.hear(appended({ term: 5, from: 3, index: 2 }));
    subject.tick(2);
    const beats = ofKind(subject.settle(), "Heartbeat");
    expect(beats.map(({ to, leaderCommit }) => [to, leaderCommit])).toEqual([
      [2, 2],
      [3, 2],
    ]);
    subject.raft.step({ kind: "tellCommit" });
    expect(told(subject)).toEqual([]);
    expect(subject.raft.owesCommit()).toBe(false);
  });

  test("are owed by nobody who does not lead", () => {
    const subject = aLeaderWithNews();
    subject.hear(appended({ term: 6, from: 2 }));
    expect(subject.status.role).toBe("follower");
    expect(subject.raft.owesCommit()).toBe(false);
    subject.raft.step({ kind: "tellCommit" });
    expect(told(subject)).toEqual([]);
  });

  test("of a change of the members do not wait", () => {
    const subject = aSettledLeader({ options });
    subject.raft.proposeConfiguration({ transition: "auto", steps: parseSteps("r3") });
    subject.settle();
    subject.hear(appended({ term: 5, from: 2, index: 2 }));
    expect(told(subject)).toEqual([
      [2, 2, 0],
      [3, 2, 0],
    ]);
  });

  test("do not wait when the leader leaves its office", () => {
    const subject = aSettledLeader({ options });
    subject.raft.proposeConfiguration({ transition: "auto", steps: parseSteps("r1") });
    subject.settle();
    for (const from of [2, 3]) subject.hear(appended({ term: 5, from, index: 2 }));
    expect(told(subject)).toEqual([
      [2, 2, 0],
      [3, 2, 0],
    ]);
    expect(subject.status.role).toBe("follower");
  });
});
