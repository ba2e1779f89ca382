/** Learners: they get everything, count for nothing, vote all the same, and lead once they are promoted. */

import { expect, test } from "vitest";
import { votersOnly } from "../../src/raft/entry.ts";
import { encodeChange } from "../../src/raft/membership.ts";
import { parseSteps } from "./interaction-describe.ts";
import {
  aFollower,
  aLeader,
  append,
  appended,
  aSettledLeader,
  bytes,
  entry,
  heartbeat,
  heartbeatResult,
  ofKind,
  requestVote,
  Subject,
  voted,
} from "./raft-harness.ts";

const withLearner = { ...votersOnly([1, 2, 3]), learners: [4] };

test("what a learner acknowledges commits nothing", () => {
  const subject = aLeader({ configuration: { ...votersOnly([1, 2, 3]), learners: [4, 5] } });
  for (const from of [4, 5]) subject.hear(appended({ term: 5, from, index: 1 }));
  subject.settle();
  expect(subject.status.commitIndex).toBe(0);
  subject.hear(appended({ term: 5, from: 2, index: 1 }));
  expect(subject.status.commitIndex).toBe(1);
});

test("a learner gets appends and heartbeats like everyone", () => {
  const subject = aSettledLeader({ configuration: withLearner, options: { heartbeatTicks: 1 } });
  subject.hear(appended({ term: 5, from: 4, index: 1 })).settle();
  subject.raft.propose([bytes("x")]);
  const sent = subject.settle();
  expect(ofKind(sent, "AppendEntries").filter(({ to }) => to === 4)).toMatchObject([
    { prevLogIndex: 1, entries: [{ index: 2 }] },
  ]);
  subject.tick();
  expect(ofKind(subject.settle(), "Heartbeat").map(({ to }) => to)).toEqual([2, 3, 4]);
});

test("a learner stores and applies what it gets, and answers as a follower does", () => {
  const subject = aFollower({ id: 4, configuration: withLearner });
  const entries = [entry(1, 5, bytes("x"))];
  const sent = subject.hear(append({ term: 5, to: 4, entries, leaderCommit: 1 })).settle();
  expect(sent).toEqual([appended({ term: 5, from: 4, to: 2, index: 1 })]);
  expect(subject.applied).toMatchObject([{ index: 1 }]);
});

test("a learner never stands for election, however long it waits", () => {
  const subject = aFollower({ id: 4, configuration: withLearner });
  subject.tick(100);
  expect(subject.settle()).toEqual([]);
  expect(subject.status).toMatchObject({ role: "follower", currentTerm: 5 });
});

test("a candidate does not ask learners, and their votes do not elect it", () => {
  const subject = new Subject({ term: 5, configuration: withLearner, options: { preVote: false } });
  subject.raft.step({ kind: "campaign" });
  expect(ofKind(subject.settle(), "RequestVote").map(({ to }) => to)).toEqual([2, 3]);
  subject.hear(voted({ term: 6, from: 4 }));
  expect(subject.status.role).toBe("candidate");
  subject.hear(voted({ term: 6, from: 3 }));
  expect(subject.status.role).toBe("leader");
});

test("a learner that does not know yet that it is a voter votes", () => {
  const subject = new Subject({ id: 4, term: 5, configuration: withLearner });
  const ask = requestVote({ term: 6, to: 4, lastLogIndex: 1, lastLogTerm: 5 });
  expect(subject.hear(ask).settle()).toEqual([voted({ term: 6, from: 4, to: 2 })]);
});

test("a learner that was promoted stands for election", () => {
  const subject = aFollower({ id: 4, configuration: withLearner });
  const steps = [{ kind: "addVoter" as const, id: 4 }];
  const payload = encodeChange({ transition: "auto", steps });
  const change = { index: 1, term: 5, kind: "configuration" as const, payload };
  subject.hear(append({ term: 5, to: 4, entries: [change] })).settle();
  subject.raft.step({ kind: "campaign" });
  expect(subject.status.role).toBe("follower");
  subject.hear(heartbeat({ term: 5, to: 4, leaderCommit: 1 })).settle();
  subject.raft.step({ kind: "campaign" });
  expect(subject.status.role).toBe("preCandidate");
});

test("a learner's silence does not cost a leader its quorum, and its voice does not save it", () => {
  const subject = aSettledLeader({ configuration: withLearner, options: { electionTicks: 10 } });
  for (let round = 0; round < 3; round += 1) {
    subject.tick(10);
    subject.hear(heartbeatResult({ term: 5, from: 2 })).settle();
  }
  expect(subject.status.role).toBe("leader");
  const roles = new Set<string>();
  for (let tick = 0; tick < 20; tick += 1) {
    subject.hear(heartbeatResult({ term: 5, from: 4 })).tick();
    roles.add(subject.status.role);
  }
  expect([...roles].slice(0, 2)).toEqual(["leader", "follower"]);
});

test("a learner's answer confirms no read; a learner's read is answered", () => {
  const subject = aSettledLeader({ configuration: withLearner });
  subject.hear({ kind: "ReadIndex", from: 4, to: 1, term: 0, context: 9 }).settle();
  const early = subject.hear(heartbeatResult({ term: 5, from: 4, readPosition: 1 })).settle();
  expect(ofKind(early, "ReadIndexResult")).toEqual([]);
  const sent = subject.hear(heartbeatResult({ term: 5, from: 2, readPosition: 1 })).settle();
  expect(ofKind(sent, "ReadIndexResult")).toMatchObject([{ to: 4, context: 9, index: 1 }]);
});

test("a leader in no learner's log commits through what is left when one is removed", () => {
  const subject = aSettledLeader({ voters: [1, 2] });
  subject.raft.propose([bytes("x")]);
  subject.raft.proposeConfiguration({ transition: "auto", steps: parseSteps("r2") });
  subject.settle();
  expect(subject.status.commitIndex).toBe(1);
  // The removal needs the old majority; what comes after it needs only the new one.
  subject.hear(appended({ term: 5, index: 3 })).settle();
  expect(subject.status.configuration.voters).toEqual([1]);
  subject.raft.propose([bytes("y")]);
  subject.settle();
  expect(subject.status.commitIndex).toBe(4);
});
