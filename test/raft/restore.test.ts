/** Snapshots among several nodes, and what a node is after it has one: its configuration, its role, its log. */

import { describe, expect, test } from "vitest";
import { type Configuration, votersOnly } from "../../src/raft/entry.ts";
import { aFollower, append, entry, ofKind, Subject } from "./raft-harness.ts";
import { SmallNetwork } from "./small-network.ts";

function restored(configuration: Configuration, id = 1, before = votersOnly([1, 2, 3])): Subject {
  const subject = aFollower({ id, configuration: before });
  subject.raft.step({ kind: "snapshotReady", snapshot: { index: 11, term: 5, configuration } });
  subject.take();
  subject.log.reset(11, 5);
  subject.settle();
  return subject;
}

describe("a node that has taken a snapshot", () => {
  test("has nothing but what the snapshot says: index, term, members", () => {
    const subject = restored(votersOnly([1, 2, 3, 4]));
    expect(subject.status).toMatchObject({ lastIndex: 11, lastTerm: 5, commitIndex: 11 });
    expect(subject.status.configuration.voters).toEqual([1, 2, 3, 4]);
    expect(subject.log.all()).toEqual([]);
    expect(subject.raft.stableIndex()).toBe(11);
  });

  test("goes on from there: what follows is appended, what came before is acknowledged", () => {
    const subject = restored(votersOnly([1, 2, 3]));
    const old = append({ term: 5, prevLogIndex: 4, prevLogTerm: 4, entries: [entry(5, 4)] });
    expect(subject.hear(old).settle()).toMatchObject([{ index: 11, rejected: false }]);
    const next = append({ term: 5, prevLogIndex: 11, prevLogTerm: 5, entries: [entry(12, 5)] });
    expect(subject.hear(next).settle()).toMatchObject([{ index: 12, rejected: false }]);
    expect(subject.status.lastIndex).toBe(12);
  });

  test("in which it is a learner does not stand for election", () => {
    const subject = restored({ ...votersOnly([2, 3]), learners: [1] });
    subject.tick(50);
    expect(subject.status.role).toBe("follower");
  });

  test("in which it is a voter stands for election, although it was a learner", () => {
    const subject = restored(votersOnly([1, 2, 3]), 1, { ...votersOnly([2, 3]), learners: [1] });
    subject.tick(50);
    expect(subject.status.role).not.toBe("follower");
  });

  test("that is joint needs both halves", () => {
    const subject = restored({ ...votersOnly([1, 2, 3]), outgoing: [1, 4, 5] });
    subject.raft.step({ kind: "campaign" });
    const asked = ofKind(subject.settle(), "RequestVote").map(({ to }) => to);
    expect(asked).toEqual([2, 3, 4, 5]);
  });

  test("older than what it has committed has changed nothing", () => {
    const subject = aFollower({ log: [1, 2, 3], commitIndex: 3, appliedIndex: 3 });
    const { configuration } = subject.status;
    const mark = { index: 3, term: 3, configuration: votersOnly([7, 8, 9]) };
    subject.raft.step({ kind: "snapshotReady", snapshot: mark });
    subject.settle();
    expect(subject.status).toMatchObject({ lastIndex: 3, configuration });
  });

  test("while it stands for election has not taken it", () => {
    const subject = new Subject({ term: 5 });
    subject.raft.step({ kind: "campaign" });
    const mark = { index: 11, term: 5, configuration: votersOnly([1, 2, 3]) };
    subject.raft.step({ kind: "snapshotReady", snapshot: mark });
    expect(subject.status).toMatchObject({ role: "preCandidate", lastIndex: 0 });
  });
});

describe("a node that is too far behind", () => {
  /** Node 3 lacks entries that the others have dropped. */
  function behind(): SmallNetwork {
    const net = SmallNetwork.of(3).campaign(1).propose(1, "a").isolate(3);
    for (const text of ["b", "c", "d"]) net.propose(1, text);
    for (const id of [1, 2]) net.node(id).log.compact(net.node(id).status.commitIndex);
    return net.propose(1, "e");
  }

  const texts = (net: SmallNetwork, id: number) =>
    net
      .node(id)
      .log.all()
      .map(({ payload }) => new TextDecoder().decode(payload));

  test("gets a snapshot and then the rest of the log", () => {
    const net = behind().heal().tick(4).propose(1, "f");
    expect(net.node(3).status.commitIndex).toBe(net.node(1).status.commitIndex);
    expect(net.node(3).log.firstIndex()).toBeGreaterThan(1);
    expect(net.delivered.filter(({ kind }) => kind === "InstallSnapshot")).toHaveLength(1);
    expect(texts(net, 3).at(-1)).toBe("f");
  });

  test("and whose own end was never committed gets the others' instead", () => {
    const net = SmallNetwork.of(3).campaign(3).propose(3, "a").isolate(3);
    for (const text of ["lost", "lost too"]) net.propose(3, text);
    net.campaign(1);
    // The one that was cut off is no leader for these.
    net.node(2).raft.step({ kind: "forgetLeader" });
    net.campaign(1);
    expect(net.node(1).status.role).toBe("leader");
    for (const text of ["b", "c", "d", "e"]) net.propose(1, text);
    for (const id of [1, 2]) net.node(id).log.compact(net.node(id).status.commitIndex);
    net.heal().tick(4).propose(1, "f").tick(2);
    expect(texts(net, 3).filter((text) => text.startsWith("lost"))).toEqual([]);
    expect(net.node(3).status.lastIndex).toBe(net.node(1).status.lastIndex);
  });

  test("gets none from a leader that has not applied what it has dropped", () => {
    const net = behind();
    const leader = net.node(1);
    // What it would offer is what its machine holds.
    net.heal().tick(1);
    const offers = net.delivered.filter(({ kind }) => kind === "InstallSnapshot");
    for (const offer of offers) {
      if (offer.kind !== "InstallSnapshot") continue;
      expect(offer.lastIncludedIndex).toBeGreaterThanOrEqual(leader.log.firstIndex() - 1);
      expect(offer.lastIncludedIndex).toBeLessThanOrEqual(leader.status.commitIndex);
    }
  });

  test("holds up nobody: the others commit meanwhile", () => {
    const net = behind();
    // The offer arrives; the file never does.
    net.lose(({ kind, to }) => kind === "InstallSnapshot" && to === 3).tick(3);
    const before = net.node(1).status.commitIndex;
    net.propose(1, "meanwhile");
    expect(net.node(1).status.commitIndex).toBe(before + 1);
    expect(net.node(2).status.lastIndex).toBe(before + 1);
  });
});
