/** Elections among several nodes: partitions, old terms, nodes with and without pre-vote, and words that come late. */

import { describe, expect, test } from "vitest";
import { aCandidate, appended, aSettledLeader, bytes, Subject, voted } from "./raft-harness.ts";
import { SmallNetwork } from "./small-network.ts";

const options = { electionTicks: 10 };
const plain = { options: { ...options, preVote: false } };

describe("among three", () => {
  test("a node with a smaller term completes an election once the partition is over", () => {
    const net = SmallNetwork.of(3, { options });
    net.campaign(1).isolate(3);
    // It asks and asks, and its term stays where it was.
    for (let round = 0; round < 3; round += 1) net.campaign(3);
    expect(net.node(3).status).toMatchObject({ role: "preCandidate", currentTerm: 1 });
    // The others have another election.
    net.transfer(1, 2);
    expect(net.leader).toBe(2);
    // The leader dies; the two that are left find a leader, although one of them is terms behind.
    net.isolate(2).tick(30, 1, 3);
    const { leader } = net;
    expect([1, 3]).toContain(net.nodes.get(1)?.status.leader);
    expect(net.node(1).status.leader).toBe(net.node(3).status.leader);
    expect(leader).toBeGreaterThan(0);
  });

  test("a follower that was cut off deposes the leader without pre-vote, and does not with it", () => {
    for (const preVote of [false, true]) {
      const net = SmallNetwork.of(3, { options: { ...options, preVote } });
      net.campaign(1).tick(2).isolate(3).tick(20);
      const before = net.node(1).status.currentTerm;
      expect(net.leader).toBe(1);
      net.heal().tick(2);
      const { role, currentTerm } = net.node(1).status;
      if (preVote) expect([role, currentTerm]).toEqual(["leader", before]);
      else expect(currentTerm).toBeGreaterThan(before);
      // Either way there is a leader again, soon, and all follow it.
      net.tick(40);
      expect(new Set([1, 2, 3].map((id) => net.node(id).status.leader)).size).toBe(1);
    }
  });

  test("a node that may not lead does not stand, nor take over, votes on, and loses its belief in a silent leader", () => {
    const net = SmallNetwork.of(3, { options });
    net.campaign(1);
    net.node(2).raft.step({ kind: "eligible", mayLead: false });
    net.transfer(1, 2).tick(12);
    expect(net.leader).toBe(1);
    net.isolate(1).tick(25, 2);
    expect(net.node(2).status).toMatchObject({ role: "follower", leader: 0 });
    net.campaign(2);
    expect(net.node(2).status.role).toBe("follower");
    net.tick(30, 2, 3);
    expect(net.leader).toBe(3);
    // Told in the middle of standing, it stops; told that it may, it stands.
    net.isolate(3).campaign(2);
    net.node(2).raft.step({ kind: "eligible", mayLead: true });
    net.tick(30, 2);
    expect(net.node(2).status.role).toBe("preCandidate");
    net.node(2).raft.step({ kind: "eligible", mayLead: false });
    expect(net.node(2).status.role).toBe("follower");
  });

  test("nodes with pre-vote and one without find a leader together", () => {
    const net = new SmallNetwork([
      { id: 1, options: { ...options, preVote: true } },
      { id: 2, options: { ...options, preVote: true } },
      { id: 3, options: { ...options, preVote: false } },
    ]);
    net.campaign(1).propose(1, "a").isolate(3).propose(1, "b");
    // Its term runs ahead, its log stays behind.
    for (let round = 0; round < 4; round += 1) net.campaign(3);
    const { currentTerm } = net.node(3).status;
    expect(currentTerm).toBeGreaterThan(net.node(1).status.currentTerm + 2);
    // The leader is gone: {longest log, low term} and {short log, high term} are left.
    net.isolate(1);
    for (let round = 0; round < 3 && net.node(2).status.role !== "leader"; round += 1) {
      net.campaign(3).campaign(2);
    }
    expect(net.node(2).status).toMatchObject({ role: "leader" });
    expect(net.node(3).log.lastIndex()).toBe(net.node(2).log.lastIndex());
  });

  test("a pre-candidate that is stuck in an old term gets out of it when it hears of a newer one", () => {
    const net = SmallNetwork.of(3, { options });
    net.campaign(1).isolate(3).campaign(3).transfer(1, 2).transfer(2, 1).heal();
    expect(net.node(3).status).toMatchObject({ role: "preCandidate" });
    net.tick(2);
    expect(net.node(3).status).toMatchObject({ role: "follower", leader: 1 });
    expect(net.node(3).status.currentTerm).toBe(net.node(1).status.currentTerm);
  });

  test("two that campaign at once split the votes, and one of them wins later", () => {
    const net = SmallNetwork.of(4, plain);
    net.node(1).raft.step({ kind: "campaign" });
    net.node(2).raft.step({ kind: "campaign" });
    net.run();
    expect(net.leader).toBeLessThanOrEqual(2);
    net.campaign(2);
    expect(net.leader).toBeGreaterThan(0);
  });

  test("a majority beside a leader that was cut off elects another, and the old one gives up by itself", () => {
    const net = SmallNetwork.of(5, { options });
    net.campaign(1).isolate(1, 2).tick(40);
    expect([3, 4, 5]).toContain(net.leader);
    expect(net.node(1).status.role).not.toBe("leader");
    net.heal().tick(4);
    expect(net.node(1).status.leader).toBe(net.leader);
  });
});

describe("a word that comes late", () => {
  test("the candidate's own vote is stored after it has lost: it stays a follower", () => {
    const subject = new Subject({ term: 4, ...plain });
    subject.raft.step({ kind: "campaign" });
    subject.take();
    for (const from of [2, 3]) subject.hear(voted({ term: 5, from, rejected: true }));
    expect(subject.status.role).toBe("follower");
    subject.store();
    subject.settle();
    expect(subject.status).toMatchObject({ role: "follower", currentTerm: 5, votedFor: 1 });
  });

  test("the own vote of a lost election does not count for the next pre-vote", () => {
    const subject = new Subject({ term: 4, voters: [1, 2, 3, 4, 5], ...plain });
    subject.raft.step({ kind: "campaign" });
    subject.take();
    for (const from of [2, 3, 4]) subject.hear(voted({ term: 5, from, rejected: true }));
    subject.raft.step({ kind: "campaign" });
    subject.store();
    expect(subject.status).toMatchObject({ role: "candidate", currentTerm: 6 });
    subject.hear(voted({ term: 6, from: 2 })).hear(voted({ term: 6, from: 3 }));
    // Its vote in term 6 is not stored yet.
    expect(subject.status.role).toBe("candidate");
    subject.settle();
    expect(subject.status.role).toBe("leader");
  });

  test("what a leader has stored is told after its term is over: it neither counts nor halts", () => {
    const subject = aSettledLeader();
    subject.raft.propose([bytes("x")]);
    subject.take();
    const { lastIndex } = subject.status;
    subject.hear(voted({ term: 9, rejected: true })).take();
    subject.store();
    subject.hear(appended({ term: 5, index: lastIndex })).settle();
    expect(subject.status).toMatchObject({ role: "follower", currentTerm: 9, commitIndex: 1 });
  });

  test("a vote for an earlier election counts for none", () => {
    const subject = aCandidate({ voters: [1, 2, 3, 4, 5] });
    subject.raft.step({ kind: "campaign" });
    subject.settle();
    for (const from of [2, 3, 4]) subject.hear(voted({ term: 5, from }));
    expect(subject.status).toMatchObject({ role: "candidate", currentTerm: 6 });
  });
});
