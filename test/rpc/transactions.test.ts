/** Transactions on a stream, as another language's client speaks them: whole on the wire, and over when the stream is. */

import type { ClientDuplexStream } from "@grpc/grpc-js";
import { afterEach, expect, test } from "vitest";
import { decode, FakeNode, failure, type Loose, serve, sqlClient } from "./fake-node.ts";
import { closeEverything, eventually } from "./loopback.ts";

afterEach(closeEverything);

const RUN = { transaction: 1, kind: "RUN", batch: { statements: [{ sql: "SELECT 1" }] } };
const BEGIN = {
  session: 9,
  sequence: 4,
  acknowledged_through: 2,
  timeout_ms: 100,
  idle_ms: 200,
  total_ms: 300,
  read_only: true,
  consistency: "CONSISTENCY_STALE",
  at_least: 7,
  max_staleness_ms: 50,
};

async function open() {
  const node = new FakeNode();
  const server = await serve(node);
  const responses: Loose[] = [];
  const call: ClientDuplexStream<object, Loose> = sqlClient(server.address).Connect();
  call.on("data", (frame) => responses.push(...frame.responses));
  call.on("error", () => {});
  const send = (...requests: object[]) => call.write({ requests });
  const of = (id: number) => responses.filter((response) => response.id === id);
  return { node, call, send, of };
}

test("a beginning and its steps arrive as they were sent, and are answered by their ids", async () => {
  const { node, send, of } = await open();
  send({ id: 1, begin: BEGIN });
  await eventually(() => expect(of(1)[0]?.begin).toEqual({ node: 1, index: 10 }));
  expect(node.transactions[0]).toMatchObject({
    session: 9,
    sequence: 4,
    acknowledgedThrough: 2,
    timeoutMs: 100,
    idleMs: 200,
    totalMs: 300,
    readOnly: true,
    consistency: "stale",
    atLeast: 7,
    maxStalenessMs: 50,
  });
  const kinds = ["SAVEPOINT", "RELEASE", "ROLLBACK_TO", "COMMIT"];
  const rest = kinds.map((kind, at) => ({ id: 3 + at, step: { transaction: 1, kind } }));
  send({ id: 2, step: { ...RUN, timeout_ms: 40 } }, ...rest);
  await eventually(() => expect(of(6)).toHaveLength(1));
  const steps = node.transactions[0]?.steps ?? [];
  expect(steps.map(({ verb }) => verb)).toEqual([
    "run",
    "savepoint",
    "release",
    "rollbackTo",
    "commit",
  ]);
  expect(decode("Batch", steps[0]?.batch ?? new Uint8Array())).toMatchObject(RUN.batch);
  expect(steps[0]?.timeoutMs).toBe(40);
  expect(of(2)[0].execute).toBeDefined();
});

test("a cancel of its id rolls it back; a step of one that is not open is told", async () => {
  const { node, send, of } = await open();
  send({ id: 1, begin: {} });
  await eventually(() => expect(of(1)).toHaveLength(1));
  send({ id: 1, cancel: {} }, { id: 2, step: RUN });
  await eventually(() => expect(of(2)[0]?.failure.code).toBe("TRANSACTION_ABORTED"));
  expect(node.transactions[0]).toMatchObject({ cancelled: true, steps: [] });
});

test("one that the node ends is told under its own id, once", async () => {
  const { node, send, of } = await open();
  send({ id: 1, begin: {} });
  await eventually(() => expect(of(1)).toHaveLength(1));
  node.transactions[0]?.sink.failed(failure("TRANSACTION_TIMEOUT"));
  await eventually(() => expect(of(1)[1]?.failure.code).toBe("TRANSACTION_TIMEOUT"));
  // The id is free again.
  send({ id: 1, begin: {} });
  await eventually(() => expect(of(1)).toHaveLength(3));
});

test.each(["breaks off", "ends its side"])(
  "a client that %s has rolled back what it had open",
  async (how) => {
    const { node, call, send, of } = await open();
    send({ id: 1, begin: {} }, { id: 2, begin: {} });
    await eventually(() => expect(of(2)).toHaveLength(1));
    if (how === "breaks off") call.cancel();
    else call.end();
    await eventually(() => {
      expect(node.transactions.map(({ cancelled }) => cancelled)).toEqual([true, true]);
    });
  },
);

test("a question about a commit is a write of its own", async () => {
  const { node, send, of } = await open();
  send({ id: 1, execute: { session: 3, sequence: 8, settle: true } });
  await eventually(() => expect(of(1)).toHaveLength(1));
  expect(node.executes[0]).toMatchObject({ session: 3, sequence: 8, verb: "settle" });
});
