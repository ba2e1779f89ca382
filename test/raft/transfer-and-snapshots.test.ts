/** Handing the leadership over (D12), and snapshots as the core sees them (E). */

import { describe, expect, test } from "vitest";
import { votersOnly } from "../../src/raft/entry.ts";
import { MemoryLog } from "./interaction-node.ts";
import {
  aFollower,
  aLeader,
  append,
  appended,
  aSettledLeader,
  bytes,
  entriesOf,
  entry,
  heartbeat,
  heartbeatResult,
  logOf,
  ofKind,
  type Subject,
} from "./raft-harness.ts";

const transfer = (subject: Subject, to: number) =>
  subject.raft.step({ kind: "transferLeadership", to });

describe("a transfer", () => {
  test("to who has everything starts at once", () => {
    const subject = aSettledLeader();
    transfer(subject, 2);
    expect(ofKind(subject.settle(), "TimeoutNow").map(({ to }) => to)).toEqual([2]);
    expect(subject.raft.transferee()).toBe(2);
  });

  test("to who lags waits until it has everything, and proposals are refused meanwhile", () => {
    const subject = aSettledLeader();
    subject.raft.propose([bytes("x")]);
    subject.settle();
    transfer(subject, 2);
    expect(ofKind(subject.settle(), "TimeoutNow")).toEqual([]);
    expect(subject.raft.propose([bytes("y")])).toEqual({
      kind: "refused",
      reason: "transferring",
    });
    const sent = subject.hear(appended({ term: 5, index: 2 })).settle();
    expect(ofKind(sent, "TimeoutNow").map(({ to }) => to)).toEqual([2]);
  });

  test("D12: is given up after an election timeout", () => {
    const subject = aSettledLeader({ options: { electionTicks: 10, checkQuorum: false } });
    subject.tick(5);
    transfer(subject, 2);
    subject.tick(9);
    expect(subject.raft.transferee()).toBe(2);
    subject.tick();
    expect(subject.raft.transferee()).toBe(0);
    expect(subject.raft.propose([bytes("x")]).kind).toBe("accepted");
  });

  test("to itself, to a stranger, to a learner or of a follower does nothing", () => {
    const configuration = { ...votersOnly([1, 2, 3]), learners: [4] };
    const subject = aSettledLeader({ configuration });
    for (const to of [1, 4, 9]) transfer(subject, to);
    expect(subject.raft.transferee()).toBe(0);
    const follower = aFollower();
    transfer(follower, 3);
    expect(follower.take()).toBeNull();
  });

  test("another target replaces the first", () => {
    const subject = aSettledLeader();
    transfer(subject, 2);
    transfer(subject, 3);
    expect(ofKind(subject.settle(), "TimeoutNow").map(({ to }) => to)).toEqual([2, 3]);
    expect(subject.raft.transferee()).toBe(3);
  });

  test("to itself calls off the one under way, and what waited for it goes on", () => {
    const configuration = { ...votersOnly([1, 2, 3]), outgoing: [1, 2], autoLeave: true };
    const subject = aLeader({ configuration });
    subject.settle();
    transfer(subject, 2);
    subject.hear(appended({ term: 5, index: 1 })).settle();
    expect(subject.status.configuration.outgoing).toEqual([1, 2]);
    transfer(subject, 1);
    expect(subject.raft.transferee()).toBe(0);
    expect(subject.raft.propose([bytes("x")]).kind).toBe("accepted");
    subject.settle();
    expect(subject.log.all()[1]).toMatchObject({ index: 2, kind: "configuration" });
  });

  test("the target asks for votes at once, and says that a leader sent it", () => {
    const subject = aFollower();
    subject.hear({ kind: "TimeoutNow", from: 2, to: 1, term: 5 });
    expect(ofKind(subject.settle(), "RequestVote")).toMatchObject([
      { to: 2, term: 6, preVote: false, transfer: true },
      { to: 3, term: 6, preVote: false, transfer: true },
    ]);
  });
});

/** A log that begins after `index`. */
function compacted(index: number, term: number, ...terms: readonly number[]): MemoryLog {
  const log = new MemoryLog(index, term);
  log.write(terms.map((each, at) => entry(index + 1 + at, each)));
  return log;
}

function aCompactedLeader(): Subject {
  const subject = aLeader({ log: compacted(10, 4, 4), appliedIndex: 10, commitIndex: 10 });
  subject.hear(appended({ term: 5, from: 3, index: 12 })).settle();
  return subject;
}

const refusal = { term: 5, rejected: true, index: 11, hintIndex: 2, hintTerm: 1 };
const mark = (index: number, term: number) => ({
  index,
  term,
  configuration: votersOnly([1, 2, 3, 4]),
});

describe("a leader whose log is compacted", () => {
  test("offers a snapshot of what is applied to who needs it, and waits", () => {
    const subject = aCompactedLeader();
    const sent = subject.hear(appended(refusal)).settle();
    expect(sent).toEqual([
      {
        kind: "InstallSnapshot",
        from: 1,
        to: 2,
        term: 5,
        lastIncludedIndex: 12,
        lastIncludedTerm: 5,
      },
    ]);
    subject.raft.propose([bytes("x")]);
    expect(ofKind(subject.settle(), "AppendEntries").map(({ to }) => to)).toEqual([3]);
  });

  test("E3: any answer that reconnects to the log ends the wait, also an older one", () => {
    const subject = aCompactedLeader();
    subject.hear(appended(refusal)).settle();
    const sent = subject.hear(appended({ term: 5, index: 11 })).settle();
    expect(subject.raft.progress()[1]).toMatchObject({ state: "replicate", matchIndex: 11 });
    expect(ofKind(sent, "AppendEntries")).toMatchObject([{ to: 2, prevLogIndex: 11 }]);
  });

  test("repeats an offer that may have been lost, once in an election timeout", () => {
    const subject = aCompactedLeader();
    subject.hear(appended(refusal)).settle();
    const options = subject.tick(9).settle();
    expect(ofKind(options, "InstallSnapshot")).toEqual([]);
    expect(ofKind(subject.tick().settle(), "InstallSnapshot")).toMatchObject([{ to: 2 }]);
    subject.hear(appended({ term: 5, from: 3, index: 12 })).tick(10);
    expect(ofKind(subject.settle(), "InstallSnapshot")).toEqual([]);
  });

  test("E4: offers none to who is not heard of", () => {
    const subject = aCompactedLeader();
    // The check of the quorum comes between the refusal and what it would have sent.
    subject.hear(appended(refusal)).tick(10);
    expect(subject.raft.progress()[1]?.isActive).toBe(false);
    expect(ofKind(subject.settle(), "InstallSnapshot")).toEqual([]);
    subject.hear(heartbeatResult({ term: 5 }));
    expect(ofKind(subject.settle(), "InstallSnapshot")).toHaveLength(1);
  });

  test.each([
    ["taken", 13],
    ["failed", 1],
  ] as const)("when it was %s, probes from %i after a sign of life", (outcome, nextIndex) => {
    const subject = aCompactedLeader();
    subject.hear(appended(refusal)).settle();
    subject.raft.step({ kind: "snapshotEnded", peer: 2, outcome });
    expect(subject.raft.progress()[1]).toMatchObject({ state: "probe", nextIndex, isPaused: true });
    subject.hear(heartbeatResult({ term: 5 }));
    const kind = outcome === "taken" ? "AppendEntries" : "InstallSnapshot";
    expect(ofKind(subject.settle(), kind)).toHaveLength(1);
  });
});

const offer = (index: number, term: number) => ({
  kind: "InstallSnapshot" as const,
  from: 2,
  to: 1,
  term: 5,
  lastIncludedIndex: index,
  lastIncludedTerm: term,
});

describe("a follower that is offered a snapshot", () => {
  test("E5: asks for it and changes nothing; it goes on voting and following", () => {
    const subject = aFollower({ log: [1, 2] });
    const effects = subject.hear(offer(9, 4)).take();
    expect(effects?.fetchSnapshot).toEqual({ from: 2, index: 9, term: 4 });
    expect(effects?.persist).toBeNull();
    subject.hear(heartbeat({ term: 5, leaderCommit: 1 })).settle();
    expect(subject.status).toMatchObject({ lastIndex: 2, commitIndex: 1 });
  });

  test("once it is here: drops its log, takes the configuration, answers when it is installed", () => {
    const subject = aFollower({ log: [1, 2] });
    subject.hear(offer(9, 4)).settle();
    subject.raft.step({ kind: "snapshotReady", snapshot: mark(9, 4) });
    const effects = subject.take();
    expect(effects?.send).toEqual([]);
    expect(effects?.apply).toEqual([]);
    expect(effects?.persist).toMatchObject({
      snapshot: { index: 9, term: 4 },
      entries: [],
      last: { index: 9, term: 4 },
      thenSend: [{ kind: "AppendEntriesResult", to: 2, index: 9, rejected: false }],
    });
    expect(subject.status).toMatchObject({ lastIndex: 9, lastTerm: 4, commitIndex: 9 });
    expect(subject.status.configuration).toEqual(votersOnly([1, 2, 3, 4]));
    expect(subject.raft.stableIndex()).toBe(8);
    // Entries after it may come before it is installed.
    subject.log.reset(9, 4);
    const more = [entry(10, 5)];
    subject.hear(
      append({ term: 5, prevLogIndex: 9, prevLogTerm: 4, entries: more, leaderCommit: 10 }),
    );
    subject.settle();
    expect(subject.applied).toMatchObject([{ index: 10 }]);
    expect(subject.log.lastIndex()).toBe(10);
  });

  test("E1: whose log conflicts with it drops the whole log", () => {
    const subject = aFollower({ log: [1, 1, 1, 1] });
    subject.raft.step({ kind: "snapshotReady", snapshot: mark(3, 2) });
    expect(subject.status).toMatchObject({ lastIndex: 3, lastTerm: 2 });
  });

  test("E1: whose log has it commits up to it and keeps what follows", () => {
    const subject = aFollower({ log: [1, 1, 1, 1] });
    const effects = subject.hear(offer(3, 1)).take();
    expect(effects?.fetchSnapshot).toBeNull();
    expect(subject.status).toMatchObject({ lastIndex: 4, commitIndex: 3 });
    expect(ofKind(effects?.send ?? [], "AppendEntriesResult")).toMatchObject([{ index: 3 }]);
  });

  test("E2: answers an old one with its commit index", () => {
    const subject = aFollower({ log: [1, 1, 1], commitIndex: 3 });
    const sent = subject.hear(offer(2, 1)).settle();
    expect(sent).toEqual([appended({ term: 5, from: 1, to: 2, index: 3 })]);
  });

  test("E6: two that arrive close together install the newer", () => {
    const subject = aFollower();
    subject.raft.step({ kind: "snapshotReady", snapshot: mark(9, 4) });
    subject.take();
    subject.raft.step({ kind: "snapshotReady", snapshot: mark(12, 4) });
    subject.raft.step({ kind: "snapshotReady", snapshot: mark(10, 4) });
    const effects = subject.take();
    expect(effects?.persist?.snapshot).toMatchObject({ index: 12 });
    expect(subject.status.lastIndex).toBe(12);
    for (const index of [9, 12]) {
      subject.log.reset(index, 4);
      subject.store();
    }
    expect(subject.raft.stableIndex()).toBe(12);
    expect(subject.take()).toBeNull();
  });

  test("E7: the snapshot's term is not the node's", () => {
    for (const term of [3, 5]) {
      const subject = aFollower({ votedFor: 3 });
      subject.raft.step({ kind: "snapshotReady", snapshot: mark(9, term) });
      expect(subject.status).toMatchObject({ lastTerm: term, currentTerm: 5, votedFor: 3 });
    }
    // Nor is one refused that was made in a term of which this node knows nothing yet: the log's end may not be above it.
    const behind = aFollower();
    expect(() => {
      behind.hear({ ...offer(9, 4), term: 6 });
      behind.raft.step({ kind: "snapshotReady", snapshot: mark(9, 6) });
    }).not.toThrow();
    expect(behind.status).toMatchObject({ lastTerm: 6, currentTerm: 6 });
  });

  test("the machine's late word on what the snapshot overtook is ignored", () => {
    const subject = aFollower({ log: logOf(1, 1), commitIndex: 2 });
    expect(subject.applied).toHaveLength(2);
    subject.raft.step({ kind: "snapshotReady", snapshot: mark(9, 4) });
    subject.raft.step({ kind: "applied", index: 2 });
    expect(subject.status.commitIndex).toBe(9);
    expect(entriesOf(1)).toHaveLength(1);
  });
});
