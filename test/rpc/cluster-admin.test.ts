/** Operators' calls over a real port: the client's ClusterAdmin, the service, and a node that only writes down. */

import { afterEach, beforeEach, expect, test } from "vitest";
import { ClusterAdmin } from "../../src/client/index.ts";
import { formatAddress } from "../../src/rpc/addresses.ts";
import { FakeNode, failure, serve } from "./fake-node.ts";
import { closeEverything, closeLater } from "./loopback.ts";

let node: FakeNode;
let admin: ClusterAdmin;

async function startNode(id: number): Promise<{ node: FakeNode; endpoint: string }> {
  const fake = new FakeNode();
  const endpoint = formatAddress((await serve(fake)).address);
  fake.current = { ...fake.current, id, address: endpoint, members: [] };
  return { node: fake, endpoint };
}

beforeEach(async () => {
  const leader = await startNode(1);
  node = leader.node;
  node.current = { ...node.current, role: "leader", leader: 1 };
  admin = new ClusterAdmin({ endpoints: [leader.endpoint], deadlineMs: 5_000 });
  closeLater(async () => admin.close());
});

afterEach(closeEverything);

test("a change arrives with its steps, and its answer comes back", async () => {
  const steps = [
    { kind: "add", id: 4, address: "[::1]:4004", learner: true },
    { kind: "remove", id: 2 },
  ] as const;
  expect(await admin.changeMembers({ steps, expected: 7 })).toBe(9);
  expect(node.changes).toMatchObject([
    {
      expected: 7,
      steps: [
        { kind: "add", id: 4, address: "[::1]:4004", isLearner: true },
        { kind: "remove", id: 2, address: "", isLearner: false },
      ],
    },
  ]);
  expect(node.changes[0]?.timeoutMs).toBeGreaterThan(0);
  await admin.changeMembers({ steps: [{ kind: "promote", id: 4 }] });
  expect(node.changes[1]?.expected).toBeNull();
});

test.each([
  [{ kind: "demote", id: 4 }, /"demote" is no step/],
  [{ kind: "remove", id: 0 }, /0 is no node's id/],
  [{ kind: "add", id: 4, address: "here" }, /not HOST:PORT/],
])("%j is no change", async (step, message) => {
  const change = admin.changeMembers({ steps: [step as { kind: "add"; id: number }] });
  await expect(change).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    message: expect.stringMatching(message),
  });
  expect(node.changes).toEqual([]);
});

test("a refusal comes back whole", async () => {
  node.onChange = (_call, sink) => sink.failed(failure("REFUSED", "node 4 has not caught up"));
  const change = admin.changeMembers({ steps: [{ kind: "promote", id: 4 }] });
  const whole = { code: "REFUSED", message: "node 4 has not caught up", outcome: "not-applied" };
  await expect(change).rejects.toMatchObject(whole);
});

test("the leadership is handed to whom it should be", async () => {
  expect(await admin.transferLeadership(3)).toBe(3);
});

test("the leader is found, also when it was another one a moment ago", async () => {
  const second = await startNode(2);
  second.node.current = { ...second.node.current, role: "follower", leader: 1, term: 3 };
  const endpoints = [second.endpoint, node.current.address];
  const both = new ClusterAdmin({ endpoints, deadlineMs: 5_000 });
  closeLater(async () => both.close());
  node.onTransfer = (_call, sink) => {
    // It has just lost the leadership to the other one.
    node.current = { ...node.current, role: "follower", leader: 2, term: 4 };
    second.node.current = { ...second.node.current, role: "leader", leader: 2, term: 4 };
    sink.failed(failure("NOT_LEADER", "node 2 leads"));
  };
  second.node.onTransfer = (_call, sink) => sink.done(2);
  expect(await both.transferLeadership()).toBe(2);
});

test("without a leader it says who is what, and without a node that nobody answers", async () => {
  node.current = { ...node.current, role: "candidate", leader: 0 };
  const { address } = node.current;
  const hasty = new ClusterAdmin({ endpoints: [address], deadlineMs: 300 });
  closeLater(async () => hasty.close());
  await expect(hasty.leader()).rejects.toMatchObject({
    code: "NO_LEADER",
    message: expect.stringMatching(/node 1 is candidate/),
  });
  await closeEverything();
  const nobody = new ClusterAdmin({ endpoints: [address], deadlineMs: 300 });
  await expect(nobody.leader()).rejects.toMatchObject({ code: "UNAVAILABLE" });
  nobody.close();
  expect(() => new ClusterAdmin({ endpoints: [] })).toThrow(/at least one node/);
});
