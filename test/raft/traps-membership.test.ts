/**
 * The traps of membership (C), of a node that lost its disk (A12), and of a disk that hangs (D1): what the core itself
 * does against them, one test each.
 */

import { expect, test } from "vitest";
import { votersOnly } from "../../src/raft/entry.ts";
import { type ConfigurationChange, changeConfiguration } from "../../src/raft/membership.ts";
import { describeConfiguration, parseSteps } from "./interaction-describe.ts";
import {
  aLeader,
  append,
  appended,
  aSettledLeader,
  entriesOf,
  heartbeat,
  heartbeatResult,
  ofKind,
  requestVote,
  Subject,
  voted,
} from "./raft-harness.ts";

function steps(text: string): ConfigurationChange {
  return { transition: "auto", steps: parseSteps(text) };
}

const readmission = (incarnation: string): ConfigurationChange => ({
  transition: "auto",
  steps: [{ kind: "addLearner", id: 3, record: { address: "c:1", incarnation, awaitsVote: true } }],
});

/** Node 2 acknowledges everything. */
function ackAll(subject: Subject, ...from: readonly number[]): void {
  const { currentTerm: term, lastIndex: index } = subject.status;
  for (const id of from) subject.hear(appended({ term, from: id, index }));
  subject.settle();
}

const strict = { promoteUncaught: false };

test("C1: changes nothing before its own no-op is committed, also when all before it is", () => {
  const subject = aLeader({ log: [1, 3], commitIndex: 2, appliedIndex: 2 });
  const early = subject.raft.proposeConfiguration(steps("l4"));
  expect(early).toEqual({ kind: "refused", reason: "changePending" });
  ackAll(subject, 2);
  expect(subject.raft.proposeConfiguration(steps("l4")).kind).toBe("accepted");
});

test("C1: a simple change moves one voter at most, so that neighbours' majorities meet", () => {
  const three = votersOnly([1, 2, 3]);
  for (const text of ["v4 v5", "r2 r3", "v4 r3"]) {
    const draft = changeConfiguration(three, { transition: "auto", steps: parseSteps(text) });
    const joint = draft.kind === "changed" && draft.configuration.outgoing.length > 0;
    expect([text, joint]).toEqual([text, true]);
  }
  const one = changeConfiguration(three, { transition: "auto", steps: parseSteps("v4") });
  expect(one).toMatchObject({ configuration: { voters: [1, 2, 3, 4], outgoing: [] } });
});

test("C6: a joint configuration that a transfer kept is left when that is given up", () => {
  const subject = aSettledLeader({ options: { checkQuorum: false } });
  subject.raft.proposeConfiguration(steps("v4 r3"));
  subject.settle();
  subject.raft.step({ kind: "transferLeadership", to: 3 });
  ackAll(subject, 2);
  // While it hands over it proposes nothing, not even this.
  expect(subject.status.configuration.outgoing).toEqual([1, 2, 3]);
  expect(subject.status.commitIndex).toBe(subject.status.lastIndex);
  subject.tick(10);
  subject.settle();
  ackAll(subject, 2, 3, 4);
  expect(describeConfiguration(subject.status.configuration)).toBe("voters=(1 2 4)");
});

test("C9: who stays keeps its progress, its window and its place", () => {
  const subject = aSettledLeader();
  subject.raft.proposeConfiguration(steps("l4"));
  subject.settle();
  const before = subject.raft.progress()[2];
  expect(before).toMatchObject({ id: 3, state: "replicate", matchIndex: 1, inflightCount: 1 });
  ackAll(subject, 2);
  expect(subject.raft.progress().map(({ id }) => id)).toEqual([1, 2, 3, 4]);
  expect(subject.raft.progress()[2]).toMatchObject({
    state: "replicate",
    matchIndex: 1,
    nextIndex: 3,
  });
  // Forgotten, it would have to be probed again, and the commit index could not move meanwhile.
  subject.raft.propose([new Uint8Array(1)]);
  const [next] = ofKind(subject.settle(), "AppendEntries").filter(({ to }) => to === 3);
  expect(next).toMatchObject({ prevLogIndex: 2, entries: [{ index: 3 }] });
});

test("C10: a change is over when the joint configuration is left by commit, not before", () => {
  const subject = aSettledLeader();
  const phase = () => describeConfiguration(subject.status.configuration);
  subject.raft.proposeConfiguration(steps("v4 v5 r2 r3"));
  subject.settle();
  expect(phase()).toBe("voters=(1 2 3)");
  ackAll(subject, 2);
  expect(phase()).toBe("voters=(1 4 5)&&(1 2 3) autoleave");
  // The new half has the entry that leaves it. The old one could still elect a leader that has not.
  ackAll(subject, 4, 5);
  expect(phase()).toBe("voters=(1 4 5)&&(1 2 3) autoleave");
  ackAll(subject, 2);
  expect(phase()).toBe("voters=(1 4 5)");
  expect(subject.status.configuration.index).toBe(subject.status.commitIndex);
});

test("C7: a change meant for another configuration is refused", () => {
  const subject = aSettledLeader();
  expect(subject.raft.proposeConfiguration(steps("l4"), 0).kind).toBe("accepted");
  subject.settle();
  ackAll(subject, 2);
  const { index } = subject.status.configuration;
  expect(index).toBe(subject.status.lastIndex);
  const late = subject.raft.proposeConfiguration(steps("l5"), 0);
  expect(late).toEqual({ kind: "refused", reason: "configurationMoved" });
  expect(subject.raft.proposeConfiguration(steps("l5"), index).kind).toBe("accepted");
});

test("C8: a node gets a vote only as a learner that has caught up", () => {
  const subject = aSettledLeader({ options: strict });
  const refused = { kind: "refused", reason: "notCaughtUp" };
  expect(subject.raft.proposeConfiguration(steps("v4"))).toEqual(refused);
  subject.raft.proposeConfiguration(steps("l4"));
  subject.settle();
  ackAll(subject, 2);
  expect(subject.raft.proposeConfiguration(steps("v4"))).toEqual(refused);
  ackAll(subject, 4);
  expect(subject.raft.proposeConfiguration(steps("v4")).kind).toBe("accepted");
  subject.settle();
  ackAll(subject, 2, 3);
  expect(describeConfiguration(subject.status.configuration)).toBe("voters=(1 2 3 4)");
});

test("C8: a learner that needs longer than an election timeout for a round has not caught up", () => {
  const subject = aSettledLeader({ options: strict });
  subject.raft.proposeConfiguration(steps("l4"));
  subject.settle();
  ackAll(subject, 2);
  const { currentTerm: term } = subject.status;
  const round = (ticks: number): boolean => {
    const target = subject.status.lastIndex;
    subject.raft.propose([new Uint8Array(1)]);
    subject.settle();
    for (let tick = 0; tick < ticks; tick += 1) {
      for (const from of [2, 3, 4]) subject.hear(heartbeatResult({ term, from }));
      subject.tick();
    }
    subject.hear(appended({ term, from: 4, index: target })).settle();
    return subject.raft.progress().find(({ id }) => id === 4)?.isCaughtUp === true;
  };
  subject.hear(appended({ term, from: 4, index: 1 })).settle();
  expect(round(11)).toBe(false);
  expect(round(10)).toBe(true);
  expect(round(11)).toBe(false);
});

test("C8: a learner that has fallen silent has not caught up", () => {
  const subject = aSettledLeader({ options: strict });
  subject.raft.proposeConfiguration(steps("l4"));
  subject.settle();
  ackAll(subject, 2, 3, 4);
  const { currentTerm: term } = subject.status;
  for (let tick = 0; tick < 20; tick += 1) {
    for (const from of [2, 3]) subject.hear(heartbeatResult({ term, from }));
    subject.tick();
  }
  const refused = { kind: "refused", reason: "notCaughtUp" };
  expect(subject.raft.proposeConfiguration(steps("v4"))).toEqual(refused);
});

test("A12: of another incarnation the leader knows nothing", () => {
  const subject = aSettledLeader();
  subject.raft.proposeConfiguration(readmission("new"));
  subject.settle();
  ackAll(subject, 2);
  expect(describeConfiguration(subject.status.configuration)).toBe("voters=(1 2) learners=(3)");
  const fresh = subject.raft.progress().find(({ id }) => id === 3);
  expect(fresh).toMatchObject({ matchIndex: 0, state: "probe", isLearner: true });
  // The same one again keeps what it has.
  ackAll(subject, 3);
  const { lastIndex } = subject.status;
  subject.raft.proposeConfiguration(steps("v3"));
  subject.settle();
  ackAll(subject, 2);
  const kept = subject.raft.progress().find(({ id }) => id === 3);
  expect(kept).toMatchObject({ matchIndex: lastIndex, isLearner: false });
});

test("A12: what is known of a peer is forgotten when another node answers there", () => {
  const subject = aSettledLeader();
  const { currentTerm: term, lastIndex } = subject.status;
  subject.raft.step({ kind: "peerReset", peer: 3 });
  const reset = subject.raft.progress().find(({ id }) => id === 3);
  expect(reset).toMatchObject({ matchIndex: 0, isActive: false, state: "probe" });
  subject.raft.propose([new Uint8Array(1)]);
  subject.settle();
  // It refuses from an empty log, and is sent everything.
  const refusal = { rejected: true, index: lastIndex, hintIndex: 0, hintTerm: 0 };
  subject.hear(appended({ term, from: 3, ...refusal }));
  const sent = ofKind(subject.settle(), "AppendEntries").filter(({ to }) => to === 3);
  expect(sent[0]).toMatchObject({ prevLogIndex: 0 });
  expect(sent[0]?.entries.map(({ index }) => index)).toEqual([1, 2]);
});

test("A12: a node that begins anew neither votes nor stands before it has committed its admission", () => {
  const subject = new Subject({ votesFrom: 3 });
  subject.hear(requestVote({ term: 6, lastLogIndex: 9, lastLogTerm: 5 }));
  subject.hear(requestVote({ term: 7, preVote: true, lastLogIndex: 9, lastLogTerm: 5 }));
  expect(ofKind(subject.settle(), "RequestVoteResult")).toEqual([]);
  subject.tick(30);
  subject.raft.step({ kind: "campaign" });
  subject.hear({ kind: "TimeoutNow", from: 2, to: 1, term: 6 });
  expect(subject.status.role).toBe("follower");
  const entries = entriesOf(5, 5, 5);
  subject.hear(append({ term: 6, entries, leaderCommit: 2 })).settle();
  subject.tick(30);
  expect(subject.status.role).toBe("follower");
  subject.hear(heartbeat({ term: 6, leaderCommit: 3 })).settle();
  subject.hear(requestVote({ term: 7, lastLogIndex: 9, lastLogTerm: 5, transfer: true }));
  const [answer] = ofKind(subject.settle(), "RequestVoteResult");
  expect(answer).toMatchObject({ term: 7, rejected: false });
});

test("A12: a deposed leader's word to its predecessor does not halt a node that begins anew", () => {
  const subject = new Subject({ votesFrom: 3 });
  subject.hear(heartbeat({ term: 4, leaderCommit: 67 })).settle();
  expect(subject.status).toMatchObject({ commitIndex: 0, currentTerm: 4 });
  subject.hear(append({ term: 6, entries: entriesOf(5, 5, 5), leaderCommit: 3 })).settle();
  expect(() => subject.hear(heartbeat({ term: 6, leaderCommit: 4 }))).toThrow(/told to commit 4/);
});

test("D1: a leader whose disk does not answer gives up, and stands again only when it has answered", () => {
  const subject = aSettledLeader();
  const { currentTerm: term } = subject.status;
  const live = (ticks: number) => {
    for (let tick = 0; tick < ticks; tick += 1) {
      if (subject.status.role === "leader") {
        for (const from of [2, 3]) subject.hear(heartbeatResult({ term, from }));
      }
      subject.tick();
      subject.take();
    }
  };
  subject.raft.propose([new Uint8Array(1)]);
  subject.take();
  live(19);
  expect(subject.status).toMatchObject({ role: "leader", isStalled: false });
  subject.sent.length = 0;
  live(1);
  expect(subject.status).toMatchObject({ role: "follower", leader: 0, isStalled: true });
  expect(ofKind(subject.sent, "TimeoutNow").map(({ to }) => to)).toEqual([2]);
  live(40);
  subject.raft.step({ kind: "campaign" });
  expect(subject.status.role).toBe("follower");
  subject.store();
  live(1);
  expect(subject.status.isStalled).toBe(false);
  subject.raft.step({ kind: "campaign" });
  expect(subject.status.role).toBe("candidate");
});

test("D1: writes that take long, but return, cost no leadership", () => {
  const subject = aSettledLeader();
  const { currentTerm: term } = subject.status;
  for (let round = 0; round < 10; round += 1) {
    subject.raft.propose([new Uint8Array(1)]);
    subject.take();
    for (let tick = 0; tick < 15; tick += 1) {
      for (const from of [2, 3]) subject.hear(heartbeatResult({ term, from }));
      subject.tick();
    }
    subject.settle();
  }
  expect(subject.status.role).toBe("leader");
});

test("D1: a candidate with a hung disk gets no term from others' votes", () => {
  const subject = new Subject({ term: 5, options: { preVote: false } });
  subject.raft.step({ kind: "campaign" });
  subject.take();
  subject.hear(voted({ term: 6 }));
  subject.tick(30).take();
  expect(subject.status.role).not.toBe("leader");
  expect(subject.status.isStalled).toBe(true);
});

test("a leader whose machine is not fit to lead leaves, stands for nothing, and holds nobody off", () => {
  const subject = aSettledLeader();
  subject.raft.step({ kind: "abstain", isAbstaining: true });
  subject.take();
  expect(subject.status).toMatchObject({ role: "follower", leader: 0 });
  subject.raft.step({ kind: "campaign" });
  subject.tick(60);
  expect(subject.status.role).toBe("follower");
  const { currentTerm: term } = subject.status;
  subject.hear({
    kind: "Heartbeat",
    from: 2,
    to: 1,
    term: term + 1,
    leaderCommit: 0,
    readPosition: 0,
  });
  expect(subject.status.leader).toBe(2);
  subject.tick(60);
  expect(subject.status).toMatchObject({ role: "follower", leader: 0 });
  subject.raft.step({ kind: "abstain", isAbstaining: false });
  subject.raft.step({ kind: "campaign" });
  expect(subject.status.role).toBe("candidate");
});
