/** A write at a follower: passed on once, with what is left of its deadline, and honest when the leader goes away. */

import { createServer, type Server } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import type { ExecuteSink } from "../../src/node/service.ts";
import { formatAddress } from "../../src/rpc/addresses.ts";
import type { ServerOptions } from "../../src/rpc/server.ts";
import type { Failure } from "../../src/sql/errors.ts";
import { fromGrpc } from "../../src/wire/status.ts";
import {
  ask,
  decode,
  EMPTY_RESULT,
  FakeNode,
  failure,
  type Loose,
  refusal,
  serve,
  sqlClient,
} from "./fake-node.ts";
import { bindListener, closeEverything, closeLater, eventually } from "./loopback.ts";

afterEach(closeEverything);

const BATCH = { statements: [{ sql: "INSERT INTO t VALUES (1)" }] };

/** A leader, a follower that knows it, and a client of the follower. */
async function pair(options: Partial<ServerOptions> = {}) {
  const leader = new FakeNode();
  const follower = new FakeNode();
  const leading = await serve(leader);
  const following = await serve(follower, options);
  leader.become({ address: formatAddress(leading.address) });
  follower.become({ address: formatAddress(following.address) });
  follower.follow(formatAddress(leading.address));
  return { leader, follower, leading, following, client: sqlClient(following.address) };
}

function execute(client: Loose, request: object): Promise<Loose> {
  return ask((answer) => client.Execute({ batch: BATCH, ...request }, answer));
}

async function failed(answer: Promise<unknown>): Promise<Failure> {
  return fromGrpc(await refusal(answer), "unknown");
}

describe("a write at a follower", () => {
  test("goes to the leader with its session and the rest of its deadline", async () => {
    const { leader, follower, client } = await pair();
    const numbers = { session: 3, sequence: 8, acknowledged_through: 7 };
    const response = await execute(client, { ...numbers, timeout_ms: 9_000 });
    expect(response.index).toBe(1);
    expect(response.result.results[0]).toMatchObject({ last_insert_rowid: 7 });
    const [seen] = leader.executes;
    expect(seen).toMatchObject({ session: 3, sequence: 8, acknowledgedThrough: 7 });
    expect(decode("Batch", seen?.batch ?? Buffer.alloc(0))).toEqual(BATCH);
    expect(seen?.timeoutMs).toBeGreaterThan(5_000);
    expect(seen?.timeoutMs).toBeLessThanOrEqual(9_000);
    expect(follower.executes).toHaveLength(0);
  });

  test("without a deadline gets the default", async () => {
    const { leader, client } = await pair({ writeTimeoutMs: 7_000 });
    await execute(client, {});
    expect(leader.executes[0]?.timeoutMs).toBe(7_000);
  });

  test("of a node that took itself for the leader until then goes there with what is left of its time", async () => {
    const { leader, leading, follower, client } = await pair({ writeTimeoutMs: 7_000 });
    follower.become({ role: "leader", leaderAddress: "" });
    for (const request of [{ timeout_ms: 9_000 }, {}]) {
      expect((await execute(client, request)).index).toBeGreaterThan(0);
    }
    expect(follower.executes).toHaveLength(2);
    const [named, bare] = leader.executes.map(({ timeoutMs }) => timeoutMs);
    expect(named).toBeGreaterThan(5_000);
    expect(named).toBeLessThanOrEqual(9_000);
    expect(bare).toBeGreaterThan(5_000);
    expect(bare).toBeLessThanOrEqual(7_000);
    expect(leading.connections()).toBe(1);
  });

  test("so does the opening of a session, and a write on the stream", async () => {
    const { leader, client } = await pair();
    const opened = await ask((answer) => client.OpenSession({}, answer));
    expect(opened).toEqual({ session: 77, index: 5 });
    const stream = client.Connect();
    const responses: Loose[] = [];
    stream.on("data", (frame) => responses.push(...frame.responses));
    stream.on("error", () => {});
    const execute = { batch: BATCH };
    stream.write({
      requests: [
        { id: 4, execute },
        { id: 5, open_session: {} },
      ],
    });
    await eventually(() => expect(responses).toHaveLength(2));
    const byId = new Map(responses.map((response) => [response.id, response]));
    expect(byId.get(4).execute.index).toBeGreaterThan(0);
    expect(byId.get(5).open_session.session).toBe(77);
    expect(leader.executes).toHaveLength(3);
  });

  test("is refused with the leader's address if it says no_forward", async () => {
    const { leader, leading, client } = await pair();
    const refused = await failed(execute(client, { no_forward: true }));
    expect(refused.code).toBe("NOT_LEADER");
    expect(refused.facts).toEqual({ leader: formatAddress(leading.address) });
    expect(leader.executes).toEqual([]);
  });

  test("many share one connection, and each gets its own answer", async () => {
    const { leader, leading, client } = await pair();
    leader.onExecute = (call, sink) => sink.done(EMPTY_RESULT, call.sequence * 10);
    const writes = Array.from({ length: 200 }, (_, at) => {
      return execute(client, { session: 1, sequence: at + 1 });
    });
    const indexes = (await Promise.all(writes)).map(({ index }) => index);
    expect(indexes).toEqual(Array.from({ length: 200 }, (_, at) => (at + 1) * 10));
    expect(leading.connections()).toBe(1);
  });

  test("gets the leader's failure unchanged", async () => {
    const { leader, client } = await pair();
    const whole: Failure = {
      ...failure("SQLITE_CONSTRAINT_CHECK", "CHECK constraint failed: x > 0"),
      statementIndex: 2,
      facts: { a: "b" },
    };
    leader.onExecute = (_call, sink) => sink.failed(whole);
    expect(await failed(execute(client, {}))).toEqual(whole);
  });

  test("two followers that take each other for the leader do not send it round", async () => {
    const { leader: other, follower, following, client } = await pair();
    other.follow(formatAddress(following.address));
    const refused = await failed(execute(client, {}));
    expect(refused.code).toBe("NOT_LEADER");
    expect(refused.outcome).toBe("not-applied");
    expect(follower.executes).toHaveLength(0);
    expect(other.executes).toHaveLength(1);
  });

  test("a node that takes itself for the leader's address does not call itself", async () => {
    const { follower, following, client } = await pair();
    follower.follow(formatAddress(following.address));
    expect((await failed(execute(client, {}))).code).toBe("NOT_LEADER");
    expect(follower.executes).toHaveLength(1);
  });
});

describe("a leader that goes away", () => {
  test("while it has the write: the outcome is unknown, numbered or not", async () => {
    const { leader, leading, client } = await pair();
    leader.onExecute = () => {};
    const numbered = failed(execute(client, { session: 1, sequence: 1 }));
    const bare = failed(execute(client, {}));
    await eventually(() => expect(leader.executes).toHaveLength(2));
    await leading.stop(0);
    for (const lost of [await numbered, await bare]) {
      expect(lost).toMatchObject({ code: "UNAVAILABLE", outcome: "unknown" });
      expect(lost.facts).toEqual({ leader: formatAddress(leading.address) });
    }
  });

  test("though its connection stands: the write is not left with it when another one leads", async () => {
    const { leader, follower, leading, client } = await pair();
    leader.onExecute = () => {};
    const hung = failed(execute(client, { timeout_ms: 60_000 }));
    await eventually(() => expect(leader.executes).toHaveLength(1));
    const next = new FakeNode();
    follower.follow(formatAddress((await serve(next)).address));
    expect(await hung).toMatchObject({
      code: "UNAVAILABLE",
      outcome: "unknown",
      facts: { leader: formatAddress(leading.address) },
    });
    expect((await execute(client, {})).index).toBe(1);
    expect(next.executes).toHaveLength(1);
  });

  test("before it could be reached: not applied", async () => {
    const { follower, client } = await pair();
    const free = await bindListener();
    await free.close();
    follower.follow(formatAddress(free.address));
    const lost = await failed(execute(client, {}));
    expect(lost).toMatchObject({ code: "UNAVAILABLE", outcome: "not-applied" });
  });

  test("and answers again is found again", async () => {
    const { leader, leading, client } = await pair();
    await execute(client, {});
    await leading.stop(0);
    await failed(execute(client, {}));
    await serve(leader, { listen: leading.address });
    await eventually(
      async () => expect((await execute(client, {})).index).toBeGreaterThan(0),
      5000,
    );
  });

  test("is given up at the deadline: unknown if it had the write", async () => {
    const { leader, client } = await pair();
    leader.onExecute = () => {};
    const late = await failed(execute(client, { timeout_ms: 30 }));
    expect(late).toMatchObject({ code: "DEADLINE_EXCEEDED", outcome: "unknown" });
    await eventually(() => expect(leader.executes[0]?.cancelled).toBe(true));
  });

  test("is given up at the deadline: not applied if it never took the write", async () => {
    const { follower, client } = await pair();
    // Accepts connections and says nothing.
    const mute: Server = createServer(() => {});
    await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
    closeLater(async () => {
      mute.close();
    });
    const bound = mute.address();
    follower.follow(`127.0.0.1:${typeof bound === "object" ? bound?.port : 0}`);
    const late = await failed(execute(client, { timeout_ms: 30 }));
    expect(late).toMatchObject({ code: "DEADLINE_EXCEEDED", outcome: "not-applied" });
  });
});

test("a caller that gives up is no longer waited for at the leader", async () => {
  const { leader, client } = await pair();
  leader.onExecute = () => {};
  const call = client.Execute({ batch: BATCH }, () => {});
  await eventually(() => expect(leader.executes).toHaveLength(1));
  call.cancel();
  await eventually(() => expect(leader.executes[0]?.cancelled).toBe(true));
});

test("too many writes on a stream for the way to the leader are refused, and it rests; another one does not", async () => {
  const { leader, follower, client } = await pair({
    limits: { pendingWrites: 5 },
    bounds: { refusalsPerSecond: 1, restMs: 3_600_000 },
  });
  const sinks: ExecuteSink[] = [];
  leader.onExecute = (_call, sink) => sinks.push(sink);
  const open = () => {
    const stream = client.Connect();
    const responses: Loose[] = [];
    stream.on("data", (frame) => responses.push(...frame.responses));
    stream.on("error", () => {});
    return { stream, responses };
  };
  const { stream, responses } = open();
  const execute = { batch: BATCH };
  const requests = (from: number, count: number) => {
    return { requests: Array.from({ length: count }, (_, at) => ({ id: from + at, execute })) };
  };
  for (let id = 1; id <= 5; id += 1) stream.write(requests(id, 1));
  await eventually(() => expect(sinks).toHaveLength(5));
  const here = { id: 200, execute: { ...execute, no_forward: true } };
  stream.write({ requests: [...requests(100, 70).requests, here] });
  await eventually(() => expect(responses).toHaveLength(71));
  for (const { id, failure } of responses) {
    expect(failure.code).toBe(id === 200 ? "NOT_LEADER" : "OVERLOADED");
  }
  expect(follower.executes).toHaveLength(1);
  leader.onExecute = (_call, sink) => sink.done(EMPTY_RESULT, 1);
  for (const sink of sinks) sink.done(EMPTY_RESULT, 1);
  await eventually(() => expect(responses).toHaveLength(76));
  // The first may have been on its way when the stream began to rest.
  for (const id of [301, 302]) stream.write(requests(id, 1));
  const other = open();
  for (let id = 1; id <= 20; id += 1) {
    other.stream.write(requests(id, 1));
    await eventually(() => expect(other.responses).toHaveLength(id));
  }
  expect(other.responses.every(({ execute }) => execute?.index === 1)).toBe(true);
  expect(responses.find(({ id }) => id === 302)).toBeUndefined();
});

test("a client that goes away withdraws all that waits for the leader, and what it has", async () => {
  const { leader, leading, follower, client } = await pair();
  leader.onExecute = () => {};
  const kept = execute(client, { sequence: 1 });
  await eventually(() => expect(leader.executes).toHaveLength(1));
  const stream = client.Connect();
  stream.on("error", () => {});
  // Less than half of what may be under way on a stream: beyond, the leader reads on when some are done, and none will be.
  const requests = Array.from({ length: 1_500 }, (_, at) => {
    return { id: at + 1, execute: { batch: BATCH, sequence: at + 2 } };
  });
  stream.write({ requests });
  await eventually(() => expect(leader.executes.length).toBeGreaterThan(1));
  stream.cancel();
  await eventually(() => {
    const left = leader.executes.filter(({ cancelled }) => !cancelled);
    expect(left.map(({ sequence }) => sequence)).toEqual([1]);
  });
  expect(follower.executes).toHaveLength(0);
  await leading.stop(0);
  await failed(kept);
});

test("what waits for the leader is bounded", async () => {
  const { leader, client } = await pair({ limits: { pendingWrites: 5 } });
  const sinks: ExecuteSink[] = [];
  leader.onExecute = (_call, sink) => sinks.push(sink);
  const writes = Array.from({ length: 6 }, () => execute(client, {}).catch((error) => error));
  const refused = await Promise.race(writes);
  expect(fromGrpc(refused, "unknown")).toMatchObject({
    code: "OVERLOADED",
    outcome: "not-applied",
  });
  await eventually(() => expect(sinks).toHaveLength(5));
  for (const sink of sinks) sink.done(EMPTY_RESULT, 1);
  const answers = await Promise.all(writes);
  expect(answers.filter(({ index }) => index === 1)).toHaveLength(5);
});
