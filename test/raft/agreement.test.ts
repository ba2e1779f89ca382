/**
 * How two logs come to agree: for every pair of small logs that could arise, how many questions it takes, and that nothing
 * that agrees is sent again from too early or too late. And messages that overtake each other.
 */

import { expect, test } from "vitest";
import {
  aCandidate,
  aFollower,
  append,
  bytes,
  entry,
  logOf,
  Subject,
  voted,
} from "./raft-harness.ts";
import { SmallNetwork } from "./small-network.ts";

/** All logs of up to `length` entries with terms that never fall. */
function* logs(length: number, terms: number, from: readonly number[] = []): Generator<number[]> {
  yield [...from];
  if (from.length === length) return;
  for (let term = from.at(-1) ?? 1; term <= terms; term += 1)
    yield* logs(length, terms, [...from, term]);
}

/** Two logs of one cluster: where index and term agree, all before agrees (§5.3). */
function canMeet(left: readonly number[], right: readonly number[]): boolean {
  let hasDiffered = false;
  for (let at = 0; at < Math.min(left.length, right.length); at += 1) {
    if (left[at] !== right[at]) hasDiffered = true;
    else if (hasDiffered) return false;
  }
  return true;
}

test("a leader and any follower agree after one question for each term that differs, at most", () => {
  let pairs = 0;
  for (const mine of logs(4, 3)) {
    for (const theirs of logs(4, 3)) {
      if (!canMeet(mine, theirs)) continue;
      pairs += 1;
      const leader = aCandidate({ term: 7, log: mine });
      const follower = new Subject({ id: 2, term: 7, log: logOf(...theirs) });
      leader.hear(voted({ term: 8, from: 3 }));
      let refusals = 0;
      for (let sent = leader.settle(); sent.length > 0; sent = leader.settle()) {
        for (const message of sent) if (message.to === 2) follower.hear(message);
        for (const message of follower.settle()) {
          if (message.kind === "AppendEntriesResult" && message.rejected) refusals += 1;
          leader.hear(message);
        }
      }
      const terms = (subject: Subject) => subject.log.all().map(({ term }) => term);
      expect(terms(follower), `${mine} on ${theirs}`).toEqual([...mine, 8]);
      const differing = new Set([...mine, ...theirs]).size;
      expect(refusals, `${mine} on ${theirs}`).toBeLessThanOrEqual(differing);
    }
  }
  expect(pairs).toBeGreaterThan(300);
});

test("a probe that answers a hint starts where the logs may agree, and not before", () => {
  // Entries 1 to 3 agree. The follower has more of term 1; the leader has term 4 there.
  const leader = aCandidate({ term: 6, log: [1, 1, 1, 4, 4, 4, 5] });
  const follower = new Subject({ id: 2, term: 6, log: logOf(1, 1, 1, 1, 1, 1, 1, 1) });
  leader.hear(voted({ term: 7, from: 3 }));
  const [first] = leader.settle().filter(({ to }) => to === 2);
  expect(first).toMatchObject({ prevLogIndex: 7, prevLogTerm: 5 });
  if (first !== undefined) follower.hear(first);
  for (const message of follower.settle()) leader.hear(message);
  const [second] = leader.settle().filter(({ to }) => to === 2);
  expect(second).toMatchObject({ prevLogIndex: 3, prevLogTerm: 1 });
});

test("appends that overtake each other leave the log that the leader has", () => {
  const entries = [entry(1, 5, bytes("a")), entry(2, 5, bytes("b")), entry(3, 5, bytes("c"))];
  const messages = [
    append({ term: 5, entries: entries.slice(0, 1) }),
    append({
      term: 5,
      prevLogIndex: 1,
      prevLogTerm: 5,
      entries: entries.slice(1, 2),
      leaderCommit: 1,
    }),
    append({
      term: 5,
      prevLogIndex: 2,
      prevLogTerm: 5,
      entries: entries.slice(2),
      leaderCommit: 2,
    }),
  ];
  const orders = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
  ];
  for (const order of orders) {
    const subject = aFollower();
    for (const at of order) subject.hear(messages[at]!).settle();
    const held = subject.status.lastIndex;
    // What was refused is sent again, and then it is whole; what was taken stays.
    for (const message of messages) subject.hear(message).settle();
    expect(
      subject.log.all().map(({ index }) => index),
      `${order}`,
    ).toEqual([1, 2, 3]);
    expect(held).toBeGreaterThanOrEqual(1);
    expect(subject.status.commitIndex).toBe(2);
  }
});

test("the leader's pipeline survives a loss in its middle", () => {
  const net = SmallNetwork.of(3).campaign(1);
  let lost = 0;
  net.lose((message) => {
    if (message.kind !== "AppendEntries" || message.to !== 2 || lost >= 3) return false;
    lost += 1;
    return true;
  });
  for (const text of ["a", "b", "c", "d"]) net.propose(1, text);
  net.tick(4);
  expect(lost).toBe(3);
  expect(
    net
      .node(2)
      .log.all()
      .map(({ index }) => index),
  ).toEqual([1, 2, 3, 4, 5]);
});

test("reads that were answered make room for others, however many come", () => {
  const net = SmallNetwork.of(3, { options: { maxPendingReads: 2 } }).campaign(1);
  for (let context = 1; context <= 50; context += 1) {
    for (const id of [1, 3]) expect(net.node(id).raft.readIndex(context)).toBe("accepted");
    net.run();
  }
  for (const id of [1, 3]) {
    expect(net.node(id).reads.map(({ context }) => context)).toEqual(
      Array.from({ length: 50 }, (_, at) => at + 1),
    );
  }
});
