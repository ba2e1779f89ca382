/** The traps of replication (D) that other implementations fell into: one test each. */

import { describe, expect, test } from "vitest";
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
  Subject,
  voted,
} from "./raft-harness.ts";

describe("D3: only entries of the own term are committed by counting", () => {
  test("an older entry on a majority stays uncommitted until one of this term is there", () => {
    const subject = aLeader({ log: [1, 2], voters: [1, 2, 3] });
    subject.hear(appended({ term: 5, index: 2 })).settle();
    expect(subject.status.commitIndex).toBe(0);
    subject.hear(appended({ term: 5, index: 3 })).settle();
    expect(subject.status.commitIndex).toBe(3);
  });
});

test("D4: a heartbeat never carries a commit index beyond what the follower has", () => {
  const subject = aLeader({ options: { heartbeatTicks: 1 } });
  subject.raft.propose([bytes("a"), bytes("b")]);
  subject.settle();
  subject.hear(appended({ term: 5, from: 2, index: 3 })).settle();
  subject.tick();
  const commits = ofKind(subject.settle(), "Heartbeat").map(({ to, leaderCommit }) => [
    to,
    leaderCommit,
  ]);
  expect(commits).toEqual([
    [2, 3],
    [3, 0],
  ]);
});

test("D5: a follower names the last place where its term is not above the leader's", () => {
  const subject = aFollower({ log: [1, 1, 2, 3, 3, 3] });
  const sent = subject.hear(append({ term: 5, prevLogIndex: 6, prevLogTerm: 2 })).settle();
  expect(sent).toMatchObject([{ index: 6, rejected: true, hintIndex: 3, hintTerm: 2 }]);
});

test("D5: a follower with a short log names its end", () => {
  const subject = aFollower({ log: [1, 2] });
  const sent = subject.hear(append({ term: 5, prevLogIndex: 9, prevLogTerm: 4 })).settle();
  expect(sent).toMatchObject([{ index: 9, rejected: true, hintIndex: 2, hintTerm: 2 }]);
});

test("D5: a leader skips its own newer terms below the hint", () => {
  const subject = aLeader({ log: [1, 1, 4, 4, 4, 4] });
  // The follower has seven entries of term 2 behind the two of term 1.
  subject.hear(appended({ term: 5, index: 6, rejected: true, hintIndex: 6, hintTerm: 2 }));
  const [message] = ofKind(subject.settle(), "AppendEntries");
  expect(message).toMatchObject({ to: 2, prevLogIndex: 2, prevLogTerm: 1 });
});

test("D6: an append behind the commit index is acknowledged there and changes nothing", () => {
  const subject = aFollower({ log: [1, 2, 3], commitIndex: 3 });
  const message = append({ term: 5, prevLogIndex: 1, prevLogTerm: 1, entries: [entry(2, 2)] });
  const sent = subject.hear(message).settle();
  expect(sent).toEqual([appended({ term: 5, from: 1, to: 2, index: 3 })]);
  expect(subject.log.lastIndex()).toBe(3);
});

test("D6: a late, shorter append does not cut what a newer one brought", () => {
  const subject = aFollower();
  const [first, second, third] = entriesOf(5, 5, 5);
  if (!first || !second || !third) throw new Error("three entries");
  subject.hear(append({ term: 5, entries: [first, second, third] })).settle();
  const sent = subject.hear(append({ term: 5, entries: [first] })).settle();
  expect(subject.log.lastIndex()).toBe(3);
  expect(sent).toMatchObject([{ kind: "AppendEntriesResult", index: 1, rejected: false }]);
});

test("D6: only from the conflict on is the log replaced", () => {
  const subject = aFollower({ log: [1, 2, 2] });
  subject.hear(append({ term: 5, entries: [...entriesOf(1), entry(2, 5)] }));
  const effects = subject.take();
  expect(effects?.persist?.entries.map(({ index, term }) => [index, term])).toEqual([[2, 5]]);
  subject.store();
  expect(subject.log.all().map(({ term }) => term)).toEqual([1, 5]);
});

test("D6: stored entries that are replaced are not durable any more", () => {
  const subject = aFollower({ log: [1, 2, 2] });
  const entries = [entry(2, 5), entry(3, 5)];
  subject.hear(append({ term: 5, prevLogIndex: 1, prevLogTerm: 1, entries, leaderCommit: 3 }));
  expect(subject.raft.stableIndex()).toBe(1);
  expect(subject.take()?.apply.map(({ index }) => index)).toEqual([1]);
  subject.store();
  expect(subject.take()?.apply.map(({ index, term }) => [index, term])).toEqual([
    [2, 5],
    [3, 5],
  ]);
});

test("D6: a committed entry is never replaced", () => {
  const subject = aFollower({ log: [1, 2], commitIndex: 1 });
  const message = append({ term: 5, prevLogIndex: 1, prevLogTerm: 1, entries: [entry(2, 5)] });
  subject.hear(message).settle();
  expect(() => new Subject({ term: 1, log: [1], commitIndex: 2 })).toThrow("committed to 2");
  const broken = aFollower({ log: [1, 2], commitIndex: 0 });
  broken.hear(append({ term: 5, prevLogIndex: 2, prevLogTerm: 2, leaderCommit: 2 })).settle();
  const rewrite = append({ term: 5, prevLogIndex: 1, prevLogTerm: 1, entries: [entry(2, 5)] });
  broken.hear(rewrite).settle();
  expect(broken.log.term(2)).toBe(2);
});

describe("D7: progress", () => {
  test("a rejection of what was overtaken is ignored", () => {
    const subject = aSettledLeader({ log: [1, 2] });
    subject.hear(appended({ term: 5, index: 2, rejected: true, hintIndex: 1, hintTerm: 1 }));
    expect(subject.settle()).toEqual([]);
    expect(subject.raft.progress()[1]).toMatchObject({ state: "replicate", matchIndex: 3 });
  });

  test("a probe is not moved by the answer to an earlier one", () => {
    const subject = aLeader({ log: [1, 1, 1, 1] });
    const refusal = { term: 5, rejected: true, hintIndex: 2, hintTerm: 1 };
    const sent = subject.hear(appended({ ...refusal, index: 4 })).settle();
    expect(sent).toMatchObject([{ kind: "AppendEntries", to: 2, prevLogIndex: 2 }]);
    const late = { ...refusal, index: 4, hintIndex: 1 };
    expect(subject.hear(appended(late)).settle()).toEqual([]);
    expect(subject.raft.progress()[1]).toMatchObject({ nextIndex: 3, isPaused: true });
  });

  test("a full window lets an empty append through after a heartbeat was answered", () => {
    const subject = aSettledLeader({ options: { maxInflightMessages: 2 } });
    for (const text of ["a", "b", "c"]) {
      subject.raft.propose([bytes(text)]);
      subject.settle();
    }
    expect(subject.raft.progress()[1]).toMatchObject({ isPaused: true, isInflightFull: true });
    subject.raft.propose([bytes("d")]);
    expect(ofKind(subject.settle(), "AppendEntries")).toEqual([]);
    const sent = subject.hear(heartbeatResult({ term: 5 })).settle();
    expect(sent).toMatchObject([{ kind: "AppendEntries", to: 2, prevLogIndex: 3, entries: [] }]);
  });

  test("the window is measured in bytes, too", () => {
    const subject = aSettledLeader({ options: { maxInflightBytes: 10 } });
    subject.raft.propose([bytes("0123456789")]);
    subject.settle();
    expect(subject.raft.progress()[1]).toMatchObject({ inflightCount: 1, isInflightFull: true });
    subject.hear(appended({ term: 5, index: 2 })).settle();
    expect(subject.raft.progress()[1]).toMatchObject({ inflightCount: 0, isPaused: false });
  });

  test("a probe that is caught up gets an empty append and replicates again", () => {
    const subject = aSettledLeader();
    subject.raft.step({ kind: "unreachable", peer: 2 });
    expect(subject.raft.progress()[1]?.state).toBe("probe");
    const sent = subject.hear(heartbeatResult({ term: 5 })).settle();
    expect(sent).toMatchObject([{ kind: "AppendEntries", to: 2, entries: [] }]);
    subject.hear(appended({ term: 5, index: 1 })).settle();
    expect(subject.raft.progress()[1]?.state).toBe("replicate");
  });

  test("a probe has one append under way until it is answered", () => {
    const subject = aLeader();
    subject.raft.propose([bytes("a")]);
    expect(ofKind(subject.settle(), "AppendEntries")).toEqual([]);
    const sent = subject.hear(appended({ term: 5, index: 1 })).settle();
    expect(ofKind(sent, "AppendEntries")).toMatchObject([{ to: 2, entries: [{ index: 2 }] }]);
  });

  test("a long log goes in messages of bounded size, as many as the window takes", () => {
    const subject = aSettledLeader({ options: { maxMessageBytes: 10, maxInflightMessages: 3 } });
    subject.raft.propose(Array.from({ length: 10 }, () => bytes("12345")));
    const sizes = ofKind(subject.settle(), "AppendEntries")
      .filter(({ to }) => to === 2)
      .map(({ entries }) => entries.length);
    expect(sizes).toEqual([2, 2, 2]);
    const sent = subject.hear(appended({ term: 5, index: 5 })).settle();
    const rest = ofKind(sent, "AppendEntries").filter(({ to }) => to === 2);
    expect(rest.map(({ entries }) => entries.length)).toEqual([2, 2]);
  });
});

describe("D8: a receiver batches", () => {
  test("many appends in one turn become one write and one acknowledgement of the last", () => {
    const subject = aFollower();
    for (const each of entriesOf(5, 5, 5, 5)) {
      const prevLogTerm = each.index === 1 ? 0 : 5;
      subject.hear(append({ term: 5, prevLogIndex: each.index - 1, prevLogTerm, entries: [each] }));
    }
    const effects = subject.take();
    expect(effects?.persist?.entries).toHaveLength(4);
    expect(effects?.persist?.thenSend).toEqual([appended({ term: 5, from: 1, to: 2, index: 4 })]);
    expect(subject.take()).toBeNull();
  });

  test("a refusal and an acknowledgement of one turn are both told", () => {
    const subject = aFollower();
    subject.hear(append({ term: 5, prevLogIndex: 7, prevLogTerm: 5 }));
    subject.hear(append({ term: 5, entries: [entry(1, 5)] }));
    subject.hear(append({ term: 5, prevLogIndex: 9, prevLogTerm: 5 }));
    expect(subject.take()?.persist?.thenSend).toMatchObject([
      { index: 7, rejected: true },
      { index: 1, rejected: false },
      { index: 9, rejected: true },
    ]);
  });

  test("what attests nothing new leaves at once when everything is stored", () => {
    const subject = aFollower({ log: [5] });
    subject.hear(append({ term: 5, prevLogIndex: 1, prevLogTerm: 5, leaderCommit: 1 }));
    const effects = subject.take();
    expect(effects?.persist).toBeNull();
    expect(effects?.send).toEqual([appended({ term: 5, from: 1, to: 2, index: 1 })]);
  });

  test("a leader sends what one turn proposed in one message", () => {
    const subject = aSettledLeader();
    for (const text of ["a", "b", "c"]) subject.raft.propose([bytes(text)]);
    const sent = ofKind(subject.settle(), "AppendEntries").filter(({ to }) => to === 2);
    expect(sent.map(({ entries }) => entries.length)).toEqual([3]);
  });

  test("an entry acknowledged to an old leader, but replaced before it was stored, is not attested", () => {
    const subject = aFollower();
    subject.hear(append({ term: 5, entries: [entry(1, 5)] }));
    subject.hear(append({ term: 6, from: 3, entries: [entry(1, 6)] }));
    expect(subject.take()?.persist?.thenSend).toEqual([
      appended({ term: 6, from: 1, to: 3, index: 1 }),
    ]);
  });
});

describe("D9: what a completed write attests", () => {
  test("nothing, if its entries were replaced since: another leader wrote the same index", () => {
    const subject = aFollower();
    subject.hear(append({ term: 5, entries: [entry(1, 5)] })).take();
    subject.hear(append({ term: 6, from: 3, entries: [entry(1, 6)], leaderCommit: 1 })).take();
    subject.store();
    expect(subject.raft.stableIndex()).toBe(0);
    expect(subject.take()).toBeNull();
    subject.store();
    expect(subject.raft.stableIndex()).toBe(1);
    expect(subject.take()?.apply).toMatchObject([{ index: 1, term: 6 }]);
  });

  test("nothing, if it is of the same term but ends with an entry that was replaced", () => {
    const subject = aFollower();
    subject.hear(append({ term: 5, entries: [entry(1, 5)] })).take();
    subject.hear(heartbeat({ term: 6, from: 3 })).take();
    subject.hear(append({ term: 6, from: 3, entries: [entry(1, 6)] })).take();
    subject.store();
    subject.store();
    expect(subject.raft.stableIndex()).toBe(0);
    subject.store();
    expect(subject.raft.stableIndex()).toBe(1);
  });

  test("every write attests the log's end anew, also one without entries", () => {
    const subject = aFollower();
    subject.hear(append({ term: 5, entries: [entry(1, 5)] })).take();
    const effects = subject.hear(heartbeat({ term: 6, from: 3 })).take();
    expect(effects?.persist).toMatchObject({ entries: [], last: { index: 1, term: 5 }, term: 6 });
    subject.store();
    expect(subject.raft.stableIndex()).toBe(0);
    subject.store();
    expect(subject.raft.stableIndex()).toBe(1);
  });

  test("completions come in order, once, and only of what was asked", () => {
    const subject = aFollower();
    const last = { index: 1, term: 5 };
    subject.hear(append({ term: 5, entries: [entry(1, 5)] }));
    const seq = subject.take()?.persist?.seq ?? 0;
    const complete = (at: number) =>
      subject.raft.step({ kind: "persisted", seq: at, last, term: 5 });
    expect(() => complete(seq + 1)).toThrow("never asked");
    complete(seq);
    expect(() => complete(seq)).toThrow("twice or out of order");
  });
});

describe("D10: only what is committed and on the own disk is applied", () => {
  test("a follower told of a commit applies when its own write is done", () => {
    const subject = aFollower();
    subject.hear(append({ term: 5, entries: entriesOf(5, 5), leaderCommit: 2 }));
    expect(subject.take()?.apply).toEqual([]);
    subject.store();
    expect(subject.take()?.apply).toHaveLength(2);
  });

  test("a leader that is the last to store applies last", () => {
    const subject = aSettledLeader();
    subject.raft.propose([bytes("a")]);
    subject.take();
    for (const from of [2, 3]) subject.hear(appended({ term: 5, from, index: 2 }));
    expect(subject.take()?.apply).toEqual([]);
    expect(subject.status.commitIndex).toBe(2);
    subject.store();
    expect(subject.take()?.apply).toMatchObject([{ index: 2 }]);
  });

  test("what is applied is offered once, and again only after a restart", () => {
    const log = logOf(1, 1, 1);
    const subject = new Subject({ term: 1, log, commitIndex: 2, appliedIndex: 1 });
    expect(subject.take()?.apply).toMatchObject([{ index: 2 }]);
    expect(subject.take()).toBeNull();
    const again = new Subject({ term: 1, log, commitIndex: 1, appliedIndex: 2 });
    expect(again.status.commitIndex).toBe(2);
    expect(again.take()).toBeNull();
  });

  test("what is offered and not yet applied is bounded", () => {
    const subject = new Subject({
      term: 1,
      log: logOf(1, 1, 1, 1),
      commitIndex: 4,
      options: { maxApplyBytes: 6 },
    });
    expect(subject.take()?.apply.map(({ index }) => index)).toEqual([1, 2]);
    expect(subject.take()).toBeNull();
    subject.raft.step({ kind: "applied", index: 2 });
    expect(subject.take()?.apply.map(({ index }) => index)).toEqual([3, 4]);
    expect(() => subject.raft.step({ kind: "applied", index: 5 })).toThrow("never offered");
  });
});

test("D10: a leader counts its own entries only as far as they are stored", () => {
  const subject = aSettledLeader();
  subject.raft.propose([bytes("a"), bytes("b")]);
  subject.take();
  subject.raft.propose([bytes("c")]);
  subject.take();
  // The first write is done; the one with the third entry is not.
  subject.store();
  expect(subject.raft.progress()[0]?.matchIndex).toBe(3);
  subject.hear(appended({ term: 5, index: 4 })).take();
  expect(subject.status.commitIndex).toBe(3);
  subject.store();
  expect(subject.status.commitIndex).toBe(4);
});

describe("D11: a role changes while a write is under way", () => {
  test("a deposed leader's completion neither commits nor fails", () => {
    const subject = aSettledLeader();
    subject.raft.propose([bytes("a")]);
    subject.take();
    subject.hear(
      append({ term: 6, from: 3, prevLogIndex: 1, prevLogTerm: 5, entries: [entry(2, 6)] }),
    );
    subject.take();
    subject.store();
    expect(subject.status).toMatchObject({ role: "follower", commitIndex: 1 });
    subject.settle();
    expect(subject.log.term(2)).toBe(6);
  });

  test("one that leads again does not count what it stored before", () => {
    const subject = aSettledLeader({ options: { preVote: false } });
    subject.raft.propose([bytes("a")]);
    subject.take();
    subject.hear(heartbeat({ term: 6, from: 3 })).take();
    subject.raft.step({ kind: "campaign" });
    subject.take();
    subject.hear(voted({ term: 7 }));
    subject.store();
    expect(subject.status.role).toBe("candidate");
    subject.settle();
    expect(subject.status.role).toBe("leader");
    expect(subject.raft.progress()[0]?.matchIndex).toBe(3);
  });
});

test("D13: proposals beyond the uncommitted bytes are refused, but never all", () => {
  const subject = aSettledLeader({ options: { maxUncommittedBytes: 10 } });
  expect(subject.raft.propose([bytes("much longer than ten")]).kind).toBe("accepted");
  expect(subject.raft.propose([bytes("x")])).toEqual({
    kind: "refused",
    reason: "tooMuchUncommitted",
  });
  subject.settle();
  subject.hear(appended({ term: 5, index: 2 })).settle();
  expect(subject.raft.propose([bytes("12345"), bytes("67890")])).toEqual({
    kind: "accepted",
    first: { index: 3, term: 5 },
    last: { index: 4, term: 5 },
  });
  expect(subject.raft.propose([bytes("x")]).kind).toBe("refused");
  expect(aFollower().raft.propose([bytes("x")])).toEqual({
    kind: "refused",
    reason: "notLeader",
  });
});
