/** Handing the leadership over, among several nodes: who leads afterwards, and what becomes of it when something intervenes. */

import { describe, expect, test } from "vitest";
import { parseSteps } from "./interaction-describe.ts";
import { bytes, requestVote } from "./raft-harness.ts";
import { SmallNetwork } from "./small-network.ts";

const led = (given = {}) => SmallNetwork.of(3, given).campaign(1);

describe("the leadership", () => {
  test("goes to who has everything, in the next term", () => {
    const net = led();
    const { currentTerm } = net.node(1).status;
    net.transfer(1, 3);
    expect(net.leader).toBe(3);
    expect(net.node(3).status.currentTerm).toBe(currentTerm + 1);
    expect(net.node(1).status).toMatchObject({ role: "follower", leader: 3 });
  });

  test("goes although the others still hear from the leader and would refuse anybody else", () => {
    const net = led({ options: { electionTicks: 10 } }).tick(2);
    net.node(3).raft.step({ kind: "campaign" });
    net.run();
    expect(net.leader).toBe(1);
    net.tick(2).transfer(1, 3);
    expect(net.leader).toBe(3);
  });

  test("goes there and back again", () => {
    const net = led().transfer(1, 2).transfer(2, 1);
    expect(net.leader).toBe(1);
  });

  test("goes to a slow node once it has what it lacks", () => {
    const net = led().isolate(3).propose(1, "a").propose(1, "b").heal();
    expect(net.node(3).status.lastIndex).toBeLessThan(net.node(1).status.lastIndex);
    net.transfer(1, 3);
    expect(net.leader).toBe(3);
    expect(
      net
        .node(3)
        .log.all()
        .map(({ index }) => index),
    ).toEqual([1, 2, 3, 4]);
  });

  test("goes to a node that needs a snapshot first", () => {
    const net = led().isolate(3).propose(1, "a").propose(1, "b");
    net.node(1).log.compact(net.node(1).status.commitIndex);
    net.heal().tick(3).transfer(1, 3).tick(4);
    expect(net.leader).toBe(3);
    expect(net.node(3).log.firstIndex()).toBeGreaterThan(1);
  });

  test("stays when a follower is asked to give it away", () => {
    const net = led().transfer(2, 3);
    expect(net.leader).toBe(1);
  });

  test("stays, and takes proposals again, when the target does not answer in time", () => {
    const net = led({ options: { electionTicks: 10, checkQuorum: false } });
    net.isolate(3).transfer(1, 3);
    expect(net.node(1).raft.propose([bytes("x")]).kind).toBe("refused");
    net.tick(10, 1);
    expect(net.leader).toBe(1);
    expect(net.node(1).raft.propose([bytes("x")]).kind).toBe("accepted");
  });

  test("asked for a second time, for the same node, gets no more time", () => {
    const net = led({ options: { electionTicks: 10, checkQuorum: false } });
    net.isolate(3).transfer(1, 3).tick(6, 1).transfer(1, 3).tick(4, 1);
    expect(net.node(1).raft.transferee()).toBe(0);
  });

  test("asked for a second time, for another node, goes there", () => {
    const net = led().isolate(3).transfer(1, 3).transfer(1, 2);
    expect(net.leader).toBe(2);
  });

  test("is not waited for any more when the leader follows somebody else", () => {
    const net = led({ options: { checkQuorum: false, preVote: false } });
    net.isolate(3).transfer(1, 3);
    net
      .node(1)
      .hear(requestVote({ term: 9, from: 2, lastLogIndex: 99, lastLogTerm: 8, transfer: true }));
    expect(net.node(1).status).toMatchObject({ role: "follower", currentTerm: 9 });
    expect(net.node(1).raft.transferee()).toBe(0);
  });

  test.each([
    ["removed", "r3"],
    ["made a learner", "l3"],
  ])("is not given to a node that is %s meanwhile", (_how, text) => {
    const net = led({ options: { checkQuorum: false } });
    // The change is under way when the transfer begins.
    net.isolate(3);
    const steps = parseSteps(text);
    net.node(1).raft.proposeConfiguration({ transition: "auto", steps });
    net.node(1).raft.step({ kind: "transferLeadership", to: 3 });
    net.run();
    expect(net.node(1).status.configuration.voters).toEqual([1, 2]);
    expect(net.node(1).raft.transferee()).toBe(0);
    expect(net.node(1).raft.propose([bytes("x")]).kind).toBe("accepted");
  });

  test("is not taken by a node that was removed before it was told to take over", () => {
    const net = led();
    net.node(1).raft.proposeConfiguration({ transition: "auto", steps: parseSteps("r3") });
    net.run();
    const { currentTerm: term } = net.node(1).status;
    net.node(3).hear({ kind: "TimeoutNow", from: 1, to: 3, term });
    net.run();
    expect(net.leader).toBe(1);
    expect(net.node(3).status.role).toBe("follower");
  });

  test("lost on the way leaves nobody without a leader for longer than an election", () => {
    const net = led({ options: { electionTicks: 10 } });
    net
      .lose(({ kind }) => kind === "TimeoutNow")
      .transfer(1, 2)
      .heal()
      .tick(10);
    expect(net.leader).toBe(1);
    net.propose(1);
    expect(net.node(2).status.commitIndex).toBe(net.node(1).status.commitIndex);
  });
});
