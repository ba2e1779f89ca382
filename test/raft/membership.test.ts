/** Changes of the configuration: the rules, their bytes, and what a leader and its followers do with them. */

import { describe, expect, test } from "vitest";
import { type Configuration, votersOnly } from "../../src/raft/entry.ts";
import {
  type ChangeStep,
  changeConfiguration,
  decodeChange,
  encodeChange,
  LEAVE_JOINT,
  type Transition,
} from "../../src/raft/membership.ts";
import { describeConfiguration, parseSteps } from "./interaction-describe.ts";
import {
  aCandidate,
  aLeader,
  append,
  appended,
  aSettledLeader,
  ofKind,
  Subject,
  voted,
} from "./raft-harness.ts";

function change(base: Configuration, steps: string, transition: Transition = "auto"): string {
  const result = changeConfiguration(base, { transition, steps: parseSteps(steps) });
  return result.kind === "invalid" ? result.reason : describeConfiguration(result.configuration);
}

const three = votersOnly([1, 2, 3]);
const joint: Configuration = { ...votersOnly([1, 2, 3]), outgoing: [1, 4], autoLeave: true };

describe("a change", () => {
  test.each([
    ["v4", "auto", "voters=(1 2 3 4)"],
    ["r3", "auto", "voters=(1 2)"],
    ["l4", "auto", "voters=(1 2 3) learners=(4)"],
    ["l3", "auto", "voters=(1 2) learners=(3)"],
    ["v1", "auto", "voters=(1 2 3)"],
    ["r9", "auto", "voters=(1 2 3)"],
    ["v4 r3", "auto", "voters=(1 2 4)&&(1 2 3) autoleave"],
    ["v4", "implicit", "voters=(1 2 3 4)&&(1 2 3) autoleave"],
    ["v4", "explicit", "voters=(1 2 3 4)&&(1 2 3)"],
    ["l3 v4", "auto", "voters=(1 2 4)&&(1 2 3) learners_next=(3) autoleave"],
    ["l4 l5", "explicit", "voters=(1 2 3)&&(1 2 3) learners=(4 5)"],
    ["v4 r4", "auto", "voters=(1 2 3)&&(1 2 3) autoleave"],
    ["r1 r2 r3", "auto", "no voter would be left"],
    ["", "auto", "the configuration is not joint"],
    ["", "explicit", "voters=(1 2 3)&&(1 2 3)"],
  ] as const)("%s (%s) of voters 1 2 3: %s", (steps, transition, expected) => {
    expect(change(three, steps, transition)).toBe(expected);
  });

  test("a learner is promoted, a voter of the outgoing half becomes learner when that is left", () => {
    const withLearner = { ...three, learners: [4] };
    expect(change(withLearner, "v4")).toBe("voters=(1 2 3 4)");
    const leaving = { ...votersOnly([1, 4]), outgoing: [1, 2], learnersNext: [2] };
    expect(change(leaving, "")).toBe("voters=(1 4) learners=(2)");
  });

  test("nothing but leaving is possible in a joint configuration", () => {
    expect(change(joint, "v5")).toBe("the configuration is joint already");
    expect(change(joint, "v5", "implicit")).toBe("the configuration is joint already");
    expect(change(joint, "")).toBe("voters=(1 2 3)");
  });

  test("an empty cluster does not enter a joint configuration", () => {
    expect(change(votersOnly([]), "v1 v2")).toBe("no voters to leave behind");
    expect(change(votersOnly([]), "v1")).toBe("voters=(1)");
  });

  test("keeps a record of each member that a step brings one for, until it has left", () => {
    const record = { address: "10.0.0.4:4001", incarnation: "aa", awaitsVote: true };
    const add = changeConfiguration(three, {
      transition: "auto",
      steps: [{ kind: "addLearner", id: 4, record }],
    });
    if (add.kind === "invalid") throw new Error(add.reason);
    expect(add.configuration.records).toEqual([{ id: 4, ...record }]);
    const moved = { ...record, address: "10.0.0.5:4001" };
    const steps: ChangeStep[] = [
      { kind: "update", id: 4, record: moved },
      { kind: "update", id: 9, record },
    ];
    const update = changeConfiguration(add.configuration, { transition: "implicit", steps });
    if (update.kind === "invalid") throw new Error(update.reason);
    expect(update.configuration.records).toEqual([{ id: 4, ...moved }]);
    const gone = changeConfiguration(add.configuration, {
      transition: "auto",
      steps: [{ kind: "remove", id: 4 }],
    });
    expect(gone).toMatchObject({
      kind: "changed",
      configuration: { records: [], voters: [1, 2, 3] },
    });
  });

  test("bytes with records read back the same, and in exactly this form", () => {
    const record = { address: "a:1", incarnation: "0f", awaitsVote: true };
    const steps: ChangeStep[] = [
      { kind: "addLearner", id: 4, record },
      { kind: "remove", id: 3 },
      { kind: "update", id: 1, record: { ...record, awaitsVote: false } },
    ];
    const bytes = encodeChange({ transition: "auto", steps });
    expect(decodeChange(bytes)).toEqual({ transition: "auto", steps });
    for (let cut = 3; cut < bytes.length; cut += 1) {
      const part = decodeChange(bytes.subarray(0, cut));
      expect(part === null || part.steps.length < steps.length).toBe(true);
    }
    const golden = encodeChange({ transition: "auto", steps: steps.slice(0, 1) });
    const head = [2, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0, 3];
    expect([...golden]).toEqual([...head, 3, 0, 0x61, 0x3a, 0x31, 2, 0, 0x30, 0x66]);
  });

  test("its bytes read back the same, and in exactly this form", () => {
    const steps: ChangeStep[] = [
      { kind: "addVoter", id: 4 },
      { kind: "addLearner", id: 2 ** 40 },
      { kind: "remove", id: 1 },
    ];
    for (const transition of ["auto", "implicit", "explicit"] as const) {
      const bytes = encodeChange({ transition, steps });
      expect(decodeChange(bytes)).toEqual({ transition, steps });
    }
    const golden = encodeChange({ transition: "explicit", steps: [{ kind: "remove", id: 258 }] });
    expect([...golden]).toEqual([1, 2, 2, 2, 1, 0, 0, 0, 0, 0, 0]);
    expect(encodeChange(LEAVE_JOINT)).toHaveLength(0);
    expect(decodeChange(new Uint8Array(0))).toEqual(LEAVE_JOINT);
  });

  test("bytes that are no change are told apart", () => {
    const broken = [[1], [3, 0], [2, 0, 0], [1, 9], [1, 0, 0], [1, 0, 9, 1, 0, 0, 0, 0, 0, 0, 0]];
    broken.push([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for (const bytes of broken) expect(decodeChange(Uint8Array.from(bytes))).toBeNull();
  });
});

const steps = (text: string, transition: Transition = "auto") => ({
  transition,
  steps: parseSteps(text),
});

/** Everyone in `from` acknowledges everything. */
function ackAll(subject: Subject, ...from: readonly number[]): void {
  const { currentTerm: term, lastIndex: index } = subject.status;
  for (const id of from) subject.hear(appended({ term, from: id, index }));
}

describe("a leader", () => {
  test("follows a new member once the change is committed, not before", () => {
    const subject = aSettledLeader();
    expect(subject.raft.proposeConfiguration(steps("v4")).kind).toBe("accepted");
    subject.settle();
    expect(subject.status.configuration).toEqual(three);
    ackAll(subject, 2);
    const sent = subject.settle();
    expect(describeConfiguration(subject.status.configuration)).toBe("voters=(1 2 3 4)");
    expect(ofKind(sent, "AppendEntries").some(({ to }) => to === 4)).toBe(true);
    expect(subject.raft.progress().map(({ id }) => id)).toEqual([1, 2, 3, 4]);
  });

  test("C2: admits one change at a time", () => {
    const subject = aSettledLeader();
    subject.raft.proposeConfiguration(steps("v4"));
    const second = subject.raft.proposeConfiguration(steps("v5"));
    expect(second).toEqual({ kind: "refused", reason: "changePending" });
    subject.settle();
    ackAll(subject, 2);
    expect(subject.raft.proposeConfiguration(steps("v5")).kind).toBe("accepted");
  });

  test("C1: changes nothing before everything it found is known to be committed", () => {
    const subject = aLeader({ log: [1, 3] });
    const early = subject.raft.proposeConfiguration(steps("v4"));
    expect(early).toEqual({ kind: "refused", reason: "changePending" });
    ackAll(subject, 2);
    expect(subject.raft.proposeConfiguration(steps("v4")).kind).toBe("accepted");
  });

  test("refuses what does not fit", () => {
    const subject = aSettledLeader();
    const reason = "invalidChange";
    expect(subject.raft.proposeConfiguration(LEAVE_JOINT)).toEqual({ kind: "refused", reason });
    expect(subject.raft.proposeConfiguration(steps("r1 r2 r3"))).toEqual({
      kind: "refused",
      reason,
    });
    const follower = new Subject();
    expect(follower.raft.proposeConfiguration(steps("v4"))).toEqual({
      kind: "refused",
      reason: "notLeader",
    });
  });

  test("enters a joint configuration, needs both halves in it, and leaves it by itself", () => {
    const subject = aSettledLeader();
    subject.raft.proposeConfiguration(steps("v4 v5 r2 r3"));
    subject.settle();
    ackAll(subject, 2);
    subject.settle();
    expect(describeConfiguration(subject.status.configuration)).toBe(
      "voters=(1 4 5)&&(1 2 3) autoleave",
    );
    const leave = subject.status.lastIndex;
    ackAll(subject, 4, 5);
    subject.settle();
    expect(subject.status.commitIndex).toBeLessThan(leave);
    ackAll(subject, 3);
    const sent = subject.settle();
    expect(subject.status.commitIndex).toBe(leave);
    expect(describeConfiguration(subject.status.configuration)).toBe("voters=(1 4 5)");
    // Who left is told so.
    const told = ofKind(sent, "AppendEntries").filter(({ leaderCommit }) => leaderCommit === leave);
    expect(told.map(({ to }) => to)).toEqual(expect.arrayContaining([2, 3, 4, 5]));
  });

  test("an explicit joint configuration stays until it is asked to leave", () => {
    const subject = aSettledLeader();
    subject.raft.proposeConfiguration(steps("v4", "explicit"));
    subject.settle();
    ackAll(subject, 2, 3);
    subject.settle();
    ackAll(subject, 2, 3, 4);
    subject.settle();
    expect(subject.status.configuration.outgoing).toEqual([1, 2, 3]);
    expect(subject.raft.proposeConfiguration(LEAVE_JOINT).kind).toBe("accepted");
    subject.settle();
    ackAll(subject, 2, 3, 4);
    expect(describeConfiguration(subject.status.configuration)).toBe("voters=(1 2 3 4)");
  });

  test("C6: that finds a joint configuration leaves it once its own entry is committed", () => {
    const configuration = { ...votersOnly([1, 2, 3]), outgoing: [1, 2], autoLeave: true };
    const subject = aCandidate({ configuration });
    subject.hear(voted({ term: 5 })).settle();
    expect(subject.status.role).toBe("leader");
    ackAll(subject, 2);
    subject.settle();
    expect(subject.log.all().at(-1)).toMatchObject({ index: 2, kind: "configuration" });
    ackAll(subject, 2);
    expect(describeConfiguration(subject.status.configuration)).toBe("voters=(1 2 3)");
  });

  test("C5: that removes itself does not count itself, hands over and follows", () => {
    const subject = aSettledLeader();
    subject.raft.proposeConfiguration(steps("r1"));
    subject.settle();
    ackAll(subject, 3);
    const sent = subject.settle();
    expect(subject.status).toMatchObject({ role: "follower", leader: 0 });
    expect(describeConfiguration(subject.status.configuration)).toBe("voters=(2 3)");
    expect(ofKind(sent, "TimeoutNow").map(({ to }) => to)).toEqual([3]);
    expect(ofKind(sent, "AppendEntries").map(({ to, leaderCommit }) => [to, leaderCommit])).toEqual(
      [
        [2, 2],
        [3, 2],
      ],
    );
    subject.raft.step({ kind: "campaign" });
    expect(subject.status.role).toBe("follower");
  });

  test("counts a new member as active until the next check of the quorum", () => {
    const alone = aCandidate({ voters: [1] });
    expect(alone.status.role).toBe("leader");
    alone.raft.proposeConfiguration(steps("v2"));
    alone.settle();
    expect(describeConfiguration(alone.status.configuration)).toBe("voters=(1 2)");
    alone.tick(10);
    expect(alone.status.role).toBe("leader");
  });
});

describe("a follower", () => {
  const entry = (index: number, text: string) => ({
    index,
    term: 5,
    kind: "configuration" as const,
    payload: encodeChange(steps(text)),
  });

  test("takes a configuration over when it learns of the commit, before it is applied", () => {
    const subject = new Subject({ term: 5 });
    subject.hear(append({ term: 5, entries: [entry(1, "v4")] }));
    expect(subject.status.configuration).toEqual(three);
    subject.hear(append({ term: 5, prevLogIndex: 1, prevLogTerm: 5, leaderCommit: 1 }));
    expect(describeConfiguration(subject.status.configuration)).toBe("voters=(1 2 3 4)");
    expect(subject.applied).toEqual([]);
  });

  test("C3: forgets a change that was replaced before it was committed", () => {
    const subject = new Subject({ term: 5 });
    subject.hear(append({ term: 5, entries: [entry(1, "v4"), entry(2, "v5")] })).settle();
    const other = { ...entry(1, "r3"), term: 6 };
    subject.hear(append({ term: 6, from: 3, entries: [other], leaderCommit: 1 })).settle();
    expect(describeConfiguration(subject.status.configuration)).toBe("voters=(1 2)");
  });

  test("C3: does not leave a joint configuration by a change that was replaced", () => {
    const configuration = { ...three, outgoing: [1, 2] };
    const subject = new Subject({ term: 5, configuration });
    subject.hear(append({ term: 5, entries: [entry(1, "")] })).settle();
    const noop = { ...entry(1, ""), term: 6, kind: "noop" as const };
    subject.hear(append({ term: 6, from: 3, entries: [noop], leaderCommit: 1 })).settle();
    expect(subject.status).toMatchObject({ commitIndex: 1, configuration });
  });

  test("C3: finds after a restart what was committed above the machine's state", () => {
    const first = new Subject({ term: 5 });
    const entries = [entry(1, "v4"), entry(2, "v5"), entry(3, "r1")];
    first.hear(append({ term: 5, entries, leaderCommit: 2 })).settle();
    const again = new Subject({
      term: 5,
      log: first.log,
      commitIndex: 2,
      appliedIndex: 1,
      configuration: votersOnly([1, 2, 3, 4]),
    });
    expect(describeConfiguration(again.status.configuration)).toBe("voters=(1 2 3 4 5)");
    again.hear(append({ term: 5, prevLogIndex: 3, prevLogTerm: 5, leaderCommit: 3 }));
    expect(describeConfiguration(again.status.configuration)).toBe("voters=(2 3 4 5)");
  });

  test("C4, C5: learns from a refusal that the configuration which blocks it is past", () => {
    // It holds the removal of 2, but does not know that it is committed. 2 does, and has a longer log.
    const removal = entry(1, "r2");
    const left = new Subject({ term: 5, voters: [1, 2] });
    left.hear(append({ term: 5, entries: [removal] })).settle();
    const removed = new Subject({ id: 2, term: 5, voters: [1, 2] });
    const more = { index: 2, term: 5, kind: "noop" as const, payload: new Uint8Array(0) };
    const message = append({ term: 5, from: 1, to: 2, entries: [removal, more], leaderCommit: 1 });
    removed.hear(message).settle();
    removed.raft.step({ kind: "forgetLeader" });
    left.raft.step({ kind: "campaign" });
    for (const each of left.settle()) removed.hear(each);
    for (const each of removed.settle()) left.hear(each);
    expect(left.status.commitIndex).toBe(1);
    expect(describeConfiguration(left.status.configuration)).toBe("voters=(1)");
    left.raft.step({ kind: "campaign" });
    left.settle();
    expect(left.status).toMatchObject({ role: "leader", currentTerm: 6 });
  });

  test("C3: does not go back to a change that is older than what came with the database file", () => {
    // Node 3 has left for 4, jointly. The file knows; the stored commit index is behind.
    const log = new Subject({ term: 5 });
    const enter = { ...entry(1, "v4 r3"), payload: encodeChange(steps("v4 r3", "explicit")) };
    log.hear(append({ term: 5, entries: [enter, entry(2, "")] })).settle();
    const configuration = { ...votersOnly([1, 2, 4]), index: 2 };
    const subject = new Subject({ term: 5, log: log.log, commitIndex: 1, configuration });
    expect(subject.status.configuration).toEqual(configuration);
    subject.hear(append({ term: 5, prevLogIndex: 2, prevLogTerm: 5, leaderCommit: 2 })).settle();
    expect(subject.status.configuration).toEqual(configuration);
  });

  test("C5: learns that from a refusal in an older term, too", () => {
    // It stood once in a term that the removed node never heard of.
    const subject = new Subject({ term: 6, voters: [1, 2], log: [] });
    const removal = { ...entry(1, "r2"), term: 6 };
    subject.hear(append({ term: 6, entries: [removal] })).settle();
    subject.raft.step({ kind: "campaign" });
    subject.settle();
    const refusal = { from: 2, term: 5, preVote: true, rejected: true };
    subject.hear(voted({ ...refusal, commitIndex: 1, commitTerm: 6 })).settle();
    expect(subject.status).toMatchObject({ commitIndex: 1, currentTerm: 6 });
    expect(describeConfiguration(subject.status.configuration)).toBe("voters=(1)");
  });

  test("takes no commit index from a refusal if its own log has another entry there", () => {
    const subject = new Subject({ term: 5, log: [1, 2] });
    subject.raft.step({ kind: "campaign" });
    const refused = { term: 5, rejected: true, preVote: true };
    subject.hear(voted({ ...refused, commitIndex: 2, commitTerm: 3 }));
    subject.hear(voted({ ...refused, commitIndex: 9, commitTerm: 3 }));
    expect(subject.status.commitIndex).toBe(0);
    subject.hear(voted({ ...refused, commitIndex: 2, commitTerm: 2 }));
    expect(subject.status.commitIndex).toBe(2);
  });

  test("an entry that holds no change changes nothing", () => {
    const subject = new Subject({ term: 5 });
    const entries = [{ ...entry(1, ""), payload: Uint8Array.of(9, 9) }, entry(2, "r1 r2 r3")];
    subject.hear(append({ term: 5, entries, leaderCommit: 2 })).settle();
    expect(subject.status.configuration).toEqual(three);
    expect(subject.status.commitIndex).toBe(2);
  });
});
