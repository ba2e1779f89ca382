/** The traps of elections, terms and votes (A) that other implementations fell into: one test each. */

import { expect, test } from "vitest";
import { votersOnly } from "../../src/raft/entry.ts";
import { encodeChange } from "../../src/raft/membership.ts";
import {
  aCandidate,
  aFollower,
  aLeader,
  aPreCandidate,
  append,
  appended,
  aSettledLeader,
  heartbeat,
  ofKind,
  requestVote,
  Subject,
  voted,
} from "./raft-harness.ts";

const upToDate = { lastLogIndex: 9, lastLogTerm: 4 };

test("A1: a vote leaves only with the write that holds it", () => {
  const subject = new Subject({ term: 1 });
  subject.hear(requestVote({ term: 2, ...upToDate }));
  const effects = subject.take();
  expect(effects?.send).toEqual([]);
  expect(effects?.persist?.hardState).toEqual({ currentTerm: 2, votedFor: 2, commitIndex: 0 });
  expect(effects?.persist?.thenSend).toEqual([voted({ term: 2, from: 1, to: 2 })]);
});

test("A1: a repeated vote waits for the write under way, too", () => {
  const subject = new Subject({ term: 1 });
  subject.hear(requestVote({ term: 2, ...upToDate })).take();
  subject.hear(requestVote({ term: 2, ...upToDate }));
  const effects = subject.take();
  expect(effects?.send).toEqual([]);
  expect(effects?.persist?.hardState).toBeNull();
  expect(effects?.persist?.thenSend).toHaveLength(1);
});

test("A1: an acknowledgement leaves only with the write that holds its entries", () => {
  const subject = aFollower();
  subject.hear(
    append({ term: 5, entries: [{ index: 1, term: 5, kind: "noop", payload: new Uint8Array() }] }),
  );
  const effects = subject.take();
  expect(effects?.send).toEqual([]);
  expect(effects?.persist?.entries).toHaveLength(1);
  expect(effects?.persist?.thenSend).toEqual([appended({ term: 5, from: 1, to: 2, index: 1 })]);
});

test("A1: a candidate leads only once its own vote is stored, whoever else votes for it", () => {
  const subject = new Subject({ term: 1, options: { preVote: false } });
  subject.raft.step({ kind: "campaign" });
  subject.take();
  subject.hear(voted({ term: 2, from: 2 })).hear(voted({ term: 2, from: 3 }));
  expect(subject.status.role).toBe("candidate");
  subject.store();
  expect(subject.status.role).toBe("leader");
});

test("A1: its own vote of an earlier term does not count", () => {
  const subject = new Subject({ term: 1, options: { preVote: false } });
  subject.raft.step({ kind: "campaign" });
  subject.take();
  subject.raft.step({ kind: "campaign" });
  subject.take();
  subject.hear(voted({ term: 3, from: 2 })).hear(voted({ term: 3, from: 3 }));
  subject.store();
  expect(subject.status).toMatchObject({ role: "candidate", currentTerm: 3 });
  subject.store();
  expect(subject.status).toMatchObject({ role: "leader", currentTerm: 3 });
});

test("A2: a node without log or configuration stores its vote like any other", () => {
  const subject = new Subject({ configuration: votersOnly([]) });
  subject.hear(requestVote({ term: 1 }));
  expect(subject.take()?.persist?.hardState).toMatchObject({ currentTerm: 1, votedFor: 2 });
});

test("A3: the answer to a pre-vote is not a vote", () => {
  const subject = aCandidate();
  subject.hear(voted({ term: 5, preVote: true })).hear(voted({ term: 5, preVote: true, from: 3 }));
  expect(subject.status.role).toBe("candidate");
});

test("A3: asking for and granting pre-votes stores nothing", () => {
  const asking = new Subject({ term: 5, votedFor: 3 });
  asking.raft.step({ kind: "campaign" });
  expect(asking.take()?.persist).toBeNull();
  expect(asking.status).toMatchObject({ currentTerm: 5, votedFor: 3 });
  const granting = new Subject({ term: 5, votedFor: 3 });
  granting.hear(requestVote({ term: 6, preVote: true, ...upToDate }));
  const effects = granting.take();
  expect(effects?.persist).toBeNull();
  expect(effects?.send).toEqual([voted({ term: 6, preVote: true, from: 1, to: 2 })]);
  expect(granting.status).toMatchObject({ currentTerm: 5, votedFor: 3 });
});

test("A4: a granted pre-vote echoes the term that was asked for", () => {
  const subject = new Subject({ term: 3 });
  const [result] = ofKind(
    subject.hear(requestVote({ term: 9, preVote: true, ...upToDate })).settle(),
    "RequestVoteResult",
  );
  expect(result).toMatchObject({ term: 9, rejected: false });
});

test("A4: a pre-vote of an older term is answered with our term, not dropped", () => {
  const subject = new Subject({ term: 7 });
  const sent = subject.hear(requestVote({ term: 3, preVote: true, ...upToDate })).settle();
  expect(sent).toEqual([voted({ term: 7, from: 1, to: 2, preVote: true, rejected: true })]);
});

test("A5: a refused pre-candidate moves to the term of who refused it", () => {
  const subject = aPreCandidate({ term: 2, log: [1, 2] });
  subject.hear(voted({ term: 7, preVote: true, rejected: true }));
  expect(subject.status).toMatchObject({ role: "follower", currentTerm: 7 });
});

test("A5: {longest log, low term} and {short log, high term} do not block each other", () => {
  const long = new Subject({ id: 1, term: 2, log: [1, 2, 2] });
  const short = new Subject({ id: 2, term: 9, log: [1] });
  long.raft.step({ kind: "campaign" });
  for (const message of long.settle()) if (message.to === 2) short.hear(message);
  for (const message of short.settle()) long.hear(message);
  expect(long.status).toMatchObject({ role: "follower", currentTerm: 9 });
  long.raft.step({ kind: "campaign" });
  for (const message of long.settle()) if (message.to === 2) short.hear(message);
  for (const message of short.settle()) long.hear(message);
  expect(long.status).toMatchObject({ role: "candidate", currentTerm: 10 });
});

test("A5: a leader of an older term is told of ours, else it could never be replaced", () => {
  const subject = new Subject({ term: 7 });
  for (const message of [append({ term: 3 }), heartbeat({ term: 3 })]) {
    expect(subject.hear(message).settle()).toEqual([appended({ term: 7, from: 1, to: 2 })]);
  }
});

test("A6: granting a pre-vote does not postpone our own election", () => {
  const subject = new Subject({ term: 5, options: { electionTicks: 10 } });
  subject.tick(9);
  subject.hear(requestVote({ term: 6, preVote: true, ...upToDate })).settle();
  subject.tick();
  expect(subject.status.role).toBe("preCandidate");
});

test("A6: a granted vote does postpone it", () => {
  const subject = new Subject({ term: 5, options: { electionTicks: 10 } });
  subject.tick(9);
  subject.hear(requestVote({ term: 6, ...upToDate })).settle();
  subject.tick(9);
  expect(subject.status.role).toBe("follower");
});

test("A6: so does a vote in a term that was known before", () => {
  const subject = new Subject({ term: 5, options: { electionTicks: 10 } });
  subject.tick(9);
  subject.hear(requestVote({ term: 5, ...upToDate })).settle();
  subject.tick(9);
  expect(subject.status).toMatchObject({ role: "follower", votedFor: 2 });
});

test("A6: the pre-vote of the very leader we believe in is granted: it no longer leads", () => {
  const ask = requestVote({ term: 6, preVote: true, ...upToDate });
  const result = ofKind(aFollower().hear(ask).settle(), "RequestVoteResult");
  expect(result).toMatchObject([{ rejected: false, term: 6 }]);
  // Anyone else's is ignored while that leader is heard of.
  expect(
    aFollower()
      .hear({ ...ask, from: 3 })
      .settle(),
  ).toEqual([]);
});

test("A7: becoming a pre-candidate starts a new count and forgets the leader", () => {
  const again = aPreCandidate({ voters: [1, 2, 3, 4, 5] });
  again.hear(voted({ term: 6, from: 2, preVote: true }));
  again.raft.step({ kind: "campaign" });
  again.hear(voted({ term: 6, from: 3, preVote: true }));
  expect(again.status).toMatchObject({ role: "preCandidate", leader: 0 });
  again.hear(voted({ term: 6, from: 4, preVote: true }));
  expect(again.status.role).toBe("candidate");
});

test("A7: who stops hearing of its leader and asks for pre-votes believes in nobody", () => {
  const subject = aFollower({ options: { electionTicks: 10 } });
  expect(subject.status.leader).toBe(2);
  subject.tick(10);
  expect(subject.status).toMatchObject({ role: "preCandidate", leader: 0, currentTerm: 5 });
  // Else it would refuse others' pre-votes for the sake of that leader.
  const ask = requestVote({ term: 6, from: 3, preVote: true, ...upToDate });
  expect(ofKind(subject.settle().concat(subject.hear(ask).settle()), "RequestVoteResult")).toEqual([
    voted({ term: 6, from: 1, to: 3, preVote: true }),
  ]);
});

test("A7: a late answer to the pre-vote means nothing to a candidate", () => {
  const subject = aCandidate();
  subject.hear(voted({ term: 5, preVote: true, rejected: true }));
  subject.hear(voted({ term: 5, preVote: true, rejected: true, from: 3 }));
  expect(subject.status.role).toBe("candidate");
});

test("A8: a leader that hears from no quorum for an election timeout steps down", () => {
  const subject = aSettledLeader({ options: { electionTicks: 10 } });
  subject.tick(10);
  expect(subject.status.role).toBe("leader");
  subject.tick(10);
  expect(subject.status).toMatchObject({ role: "follower", leader: 0, currentTerm: 5 });
});

test("A8: both are on unless somebody says otherwise: asking first, and checking the quorum", () => {
  const subject = new Subject({ term: 5, options: { electionTicks: 10 } });
  subject.tick(10);
  expect(subject.status).toMatchObject({ role: "preCandidate", currentTerm: 5 });
  subject.settle();
  subject.hear(voted({ term: 6, preVote: true })).settle();
  subject.hear(voted({ term: 6 })).settle();
  expect(subject.status.role).toBe("leader");
  subject.tick(10);
  expect(subject.status.role).toBe("follower");
});

test("A8: any sign of life of one of two followers keeps it", () => {
  const subject = aSettledLeader({ options: { electionTicks: 10 } });
  for (let round = 0; round < 5; round++) {
    subject.tick(10);
    subject.hear({ kind: "HeartbeatResult", from: 3, to: 1, term: 5, readPosition: 0 });
  }
  expect(subject.status.role).toBe("leader");
});

test("A9: a removed server's higher term disturbs nobody", () => {
  const subject = aSettledLeader();
  subject.hear(requestVote({ term: 30, from: 9, ...upToDate }));
  subject.hear(appended({ term: 30, from: 9 }));
  subject.hear({ kind: "HeartbeatResult", from: 9, to: 1, term: 30, readPosition: 0 });
  expect(subject.status).toMatchObject({ role: "leader", currentTerm: 5 });
});

test("A10: who is a learner, or no member at all, still votes", () => {
  const learner = { ...votersOnly([2, 3]), learners: [1] };
  for (const configuration of [learner, votersOnly([2, 3]), votersOnly([])]) {
    const subject = new Subject({ configuration, term: 1 });
    const [result] = ofKind(
      subject.hear(requestVote({ term: 2, ...upToDate })).settle(),
      "RequestVoteResult",
    );
    expect(result).toMatchObject({ term: 2, rejected: false });
  }
});

test("A10: who is a learner or no member never stands for election", () => {
  const subject = new Subject({
    configuration: votersOnly([2, 3]),
    options: { electionTicks: 10 },
  });
  subject.raft.step({ kind: "campaign" });
  subject.tick(50);
  subject.hear({ kind: "TimeoutNow", from: 2, to: 1, term: 0 });
  expect(subject.status.role).toBe("follower");
});

test("A11: a candidate stands with the configuration that is committed, applied or not", () => {
  const subject = new Subject({ term: 5, options: { electionTicks: 10 } });
  const steps = [{ kind: "addVoter" as const, id: 4 }];
  const payload = encodeChange({ transition: "auto", steps });
  const entries = [{ index: 1, term: 5, kind: "configuration" as const, payload }];
  subject.hear(append({ term: 5, entries })).settle();
  subject.hear(heartbeat({ term: 5, leaderCommit: 1 }));
  // The machine is slow: nothing is applied.
  subject.tick(10);
  const asked = ofKind(subject.take()?.send ?? [], "RequestVote").map(({ to }) => to);
  expect(asked).toEqual([2, 3, 4]);
  expect(subject.applied).toHaveLength(1);
});

test("A12: a node whose disk lost what it had acknowledged halts when told to commit it", () => {
  const subject = new Subject({ term: 5, log: [1] });
  expect(() => subject.hear(heartbeat({ term: 5, leaderCommit: 9 }))).toThrow(
    "told to commit 9, but the log ends at 1",
  );
});

test("A13: the only dice are the injected ones", () => {
  const timeouts = (draws: readonly number[]) => {
    let at = 0;
    const random = () => draws[at++ % draws.length] ?? 0;
    const subject = new Subject({ options: { electionTicks: 10, random } });
    let ticks = 0;
    while (subject.status.role === "follower" && ticks < 100) {
      subject.tick();
      ticks++;
    }
    return ticks;
  };
  expect(timeouts([0])).toBe(10);
  expect(timeouts([0.5])).toBe(15);
  expect(timeouts([0.999])).toBe(19);
});

test("D8 of the design: who forgets its leader grants a pre-vote at once", () => {
  const subject = aFollower();
  const ask = requestVote({ term: 6, preVote: true, from: 3, ...upToDate });
  expect(subject.hear(ask).settle()).toEqual([]);
  subject.raft.step({ kind: "forgetLeader" });
  expect(ofKind(subject.hear(ask).settle(), "RequestVoteResult")).toHaveLength(1);
  // A heartbeat restores the belief.
  subject.hear(heartbeat({ term: 5 })).settle();
  expect(subject.hear(ask).settle()).toEqual([]);
  const leader = aLeader();
  leader.raft.step({ kind: "forgetLeader" });
  expect(leader.status.leader).toBe(1);
});

test("a transfer's vote ignores the lease on the old leader", () => {
  const subject = aFollower();
  const ask = requestVote({ term: 6, from: 3, transfer: true, ...upToDate });
  expect(ofKind(subject.hear(ask).settle(), "RequestVoteResult")).toMatchObject([
    { rejected: false },
  ]);
});

test("a single voter elects itself and commits alone, each only when stored", () => {
  const subject = new Subject({ voters: [1] });
  subject.raft.step({ kind: "campaign" });
  expect(subject.status.role).toBe("candidate");
  subject.take();
  subject.store();
  expect(subject.status.role).toBe("leader");
  subject.take();
  expect(subject.status.commitIndex).toBe(0);
  subject.store();
  expect(subject.status.commitIndex).toBe(1);
});
