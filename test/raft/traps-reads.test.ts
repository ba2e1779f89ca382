/** The traps of reads (B) that other implementations fell into: one test each. */

import { expect, test } from "vitest";
import { votersOnly } from "../../src/raft/entry.ts";
import type { Message } from "../../src/raft/message.ts";
import {
  aCandidate,
  aFollower,
  aLeader,
  appended,
  aSettledLeader,
  bytes,
  heartbeat,
  heartbeatResult,
  ofKind,
  Subject,
  voted,
} from "./raft-harness.ts";

/** The position that the last round of heartbeats carried. */
function lastPosition(messages: readonly Message[]): number {
  return ofKind(messages, "Heartbeat").at(-1)?.readPosition ?? 0;
}

test("B1: before the leader's first commit in its term a read waits, and starts no round", () => {
  const subject = aLeader({ log: [1, 3] });
  expect(subject.raft.readIndex(7)).toBe("accepted");
  expect(ofKind(subject.settle(), "Heartbeat")).toEqual([]);
  subject.hear(appended({ term: 5, index: 3 }));
  const sent = subject.settle();
  expect(lastPosition(sent)).toBe(1);
  subject.hear(heartbeatResult({ term: 5, readPosition: 1 })).settle();
  expect(subject.reads).toEqual([{ context: 7, index: 3 }]);
});

test("B2: a retried context is a new read: the answer to the first does not confirm it", () => {
  const subject = aSettledLeader();
  subject.raft.readIndex(7);
  const first = lastPosition(subject.settle());
  subject.raft.propose([bytes("x")]);
  subject.hear(appended({ term: 5, index: 2 })).settle();
  subject.raft.readIndex(7);
  const second = lastPosition(subject.settle());
  expect(second).toBeGreaterThan(first);
  subject.hear(heartbeatResult({ term: 5, readPosition: first })).settle();
  expect(subject.reads).toEqual([{ context: 7, index: 1 }]);
  subject.hear(heartbeatResult({ term: 5, readPosition: second })).settle();
  expect(subject.reads.at(-1)).toEqual({ context: 7, index: 2 });
});

test("B2: positions of an earlier term, or never announced, confirm nothing", () => {
  const subject = aSettledLeader();
  subject.raft.readIndex(7);
  subject.settle();
  subject.hear(heartbeatResult({ term: 4, readPosition: 1 }));
  subject.hear(heartbeatResult({ term: 5, readPosition: 99 }));
  subject.settle();
  expect(subject.reads).toEqual([]);
  subject.hear(heartbeatResult({ term: 5, readPosition: 1 })).settle();
  expect(subject.reads).toHaveLength(1);
});

test("B2: a follower's contexts differ from those of its earlier run", () => {
  const asked = (draw: number) => {
    const subject = aFollower({ options: { random: () => draw } });
    subject.raft.readIndex(1);
    return ofKind(subject.settle(), "ReadIndex")[0]?.context;
  };
  expect(asked(0.25)).not.toBe(asked(0.75));
  const subject = aFollower({ options: { random: () => 0.75 } });
  subject.raft.readIndex(1);
  subject.settle();
  // The answer to the earlier run's read arrives now.
  subject.hear({
    kind: "ReadIndexResult",
    from: 2,
    to: 1,
    term: 0,
    context: asked(0.25) ?? 0,
    index: 1,
  });
  expect(subject.take()).toBeNull();
});

test("B3: a read asked after a round was sent waits for the next round", () => {
  const subject = aSettledLeader();
  subject.raft.readIndex(1);
  const first = lastPosition(subject.settle());
  subject.raft.readIndex(2);
  subject.hear(heartbeatResult({ term: 5, readPosition: first }));
  const sent = subject.settle();
  expect(subject.reads).toEqual([{ context: 1, index: 1 }]);
  subject.hear(heartbeatResult({ term: 5, readPosition: lastPosition(sent) })).settle();
  expect(subject.reads).toHaveLength(2);
});

test("B3: all reads of one turn share one round", () => {
  const subject = aSettledLeader();
  for (let context = 0; context < 100; context++) subject.raft.readIndex(context);
  const sent = ofKind(subject.settle(), "Heartbeat");
  expect(sent.map(({ to }) => to)).toEqual([2, 3]);
  subject.hear(heartbeatResult({ term: 5, readPosition: 1 })).settle();
  expect(subject.reads).toHaveLength(100);
});

test("B3: a regular heartbeat asks again for reads that still wait", () => {
  const subject = aSettledLeader({ options: { heartbeatTicks: 1 } });
  subject.raft.readIndex(1);
  subject.settle();
  subject.tick();
  expect(lastPosition(subject.settle())).toBe(1);
  subject.hear(heartbeatResult({ term: 5, readPosition: 1 })).settle();
  subject.tick();
  expect(lastPosition(subject.settle())).toBe(0);
});

test("B3: in a joint configuration both halves must confirm", () => {
  const configuration = { ...votersOnly([1, 2, 3]), outgoing: [1, 4, 5] };
  const subject = new Subject({ configuration, term: 4, options: { preVote: false } });
  subject.raft.step({ kind: "campaign" });
  subject.settle();
  for (const from of [2, 4]) {
    subject.hear(voted({ term: 5, from }));
  }
  subject.settle();
  for (const from of [2, 4]) subject.hear(appended({ term: 5, from, index: 1 }));
  subject.settle();
  subject.raft.readIndex(7);
  subject.settle();
  for (const from of [2, 3]) subject.hear(heartbeatResult({ term: 5, from, readPosition: 1 }));
  subject.settle();
  expect(subject.reads).toEqual([]);
  subject.hear(heartbeatResult({ term: 5, from: 5, readPosition: 1 })).settle();
  expect(subject.reads).toHaveLength(1);
});

test("B4: a single voter answers only once an entry of its term is committed", () => {
  const subject = new Subject({ voters: [1], term: 1, log: [1, 1], commitIndex: 1 });
  subject.raft.step({ kind: "campaign" });
  subject.take();
  subject.store();
  subject.raft.readIndex(7);
  subject.take();
  expect(subject.reads).toEqual([]);
  subject.store();
  subject.take();
  expect(subject.reads).toEqual([{ context: 7, index: 3 }]);
});

test("B5: a leader answers no read before a majority has answered its heartbeat", () => {
  const subject = aCandidate({ voters: [1, 2, 3, 4, 5] });
  for (const from of [2, 3]) subject.hear(voted({ term: 5, from }));
  subject.settle();
  for (const from of [2, 3]) subject.hear(appended({ term: 5, from, index: 1 }));
  subject.settle();
  const { commitIndex: index } = subject.status;
  expect(index).toBe(1);
  subject.hear({ kind: "ReadIndex", from: 4, to: 1, term: 0, context: 9 });
  subject.raft.readIndex(7);
  expect(ofKind(subject.settle(), "ReadIndexResult")).toEqual([]);
  const none = subject.hear(heartbeatResult({ term: 5, from: 2, readPosition: 1 })).settle();
  expect(ofKind(none, "ReadIndexResult")).toEqual([]);
  expect(subject.reads).toEqual([]);
  // A second answer of the same node is no second node.
  subject.hear(heartbeatResult({ term: 5, from: 2, readPosition: 1 })).settle();
  expect(subject.reads).toEqual([]);
  const sent = subject.hear(heartbeatResult({ term: 5, from: 3, readPosition: 1 })).settle();
  expect(ofKind(sent, "ReadIndexResult")).toMatchObject([{ to: 4, context: 9, index }]);
  expect(subject.reads).toEqual([{ context: 7, index }]);
});

test("B6: after a restart nothing is served before this term's commit is known", () => {
  const subject = new Subject({ term: 5, log: [1, 5, 5], commitIndex: 1 });
  expect(subject.raft.readIndex(1)).toBe("refused");
  subject.hear(heartbeat({ term: 5, leaderCommit: 1 })).settle();
  expect(subject.raft.readIndex(1)).toBe("accepted");
  expect(ofKind(subject.settle(), "ReadIndex")).toHaveLength(1);
});

test("reads that wait are dropped when the leader is deposed", () => {
  const subject = aLeader();
  subject.raft.readIndex(1);
  subject.hear(appended({ term: 5, index: 1 })).settle();
  subject.raft.readIndex(2);
  subject.hear({ kind: "ReadIndex", from: 3, to: 1, term: 0, context: 3 });
  subject.settle();
  subject.hear(heartbeat({ term: 6 })).settle();
  expect(subject.dropped).toEqual([1, 2]);
  expect(subject.reads).toEqual([]);
});

test("a follower's reads are dropped when its leader changes, is forgotten or does not answer", () => {
  const changed = aFollower();
  changed.raft.readIndex(1);
  changed.hear(heartbeat({ term: 6, from: 3 })).settle();
  expect(changed.dropped).toEqual([1]);

  const forgotten = aFollower();
  forgotten.raft.readIndex(2);
  forgotten.raft.step({ kind: "forgetLeader" });
  forgotten.settle();
  expect(forgotten.dropped).toEqual([2]);

  const silent = aFollower({ options: { electionTicks: 10 } });
  silent.raft.readIndex(3);
  for (let i = 0; i < 10; i++)
    silent
      .tick()
      .hear(heartbeat({ term: 5 }))
      .settle();
  expect(silent.dropped).toEqual([3]);
});

test("D13: reads beyond the limit are refused, on a leader and on a follower", () => {
  const options = { maxPendingReads: 2 };
  for (const subject of [
    aLeader({ options }),
    aSettledLeader({ options }),
    aFollower({ options }),
  ]) {
    const answers = [1, 2, 3].map((context) => subject.raft.readIndex(context));
    expect(answers).toEqual(["accepted", "accepted", "refused"]);
  }
});

test("a leader answers a follower by the follower's own context", () => {
  const subject = aSettledLeader();
  subject.hear({ kind: "ReadIndex", from: 2, to: 1, term: 0, context: 42 });
  subject.hear({ kind: "ReadIndex", from: 3, to: 1, term: 0, context: 42 });
  subject.settle();
  const sent = subject.hear(heartbeatResult({ term: 5, readPosition: 1 })).settle();
  expect(ofKind(sent, "ReadIndexResult")).toEqual([
    { kind: "ReadIndexResult", from: 1, to: 2, term: 0, context: 42, index: 1 },
    { kind: "ReadIndexResult", from: 1, to: 3, term: 0, context: 42, index: 1 },
  ]);
});
