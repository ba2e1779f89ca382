/** Answers that come together: given out in groups, each followed at once by what its callers ask next, and none is lost. */

import { afterEach, beforeEach, expect, test } from "vitest";
import { Call, type CallOwner, type Receipt } from "../../src/client/call.ts";
import { Connection } from "../../src/client/connection.ts";
import { connect } from "../../src/client/index.ts";
import { BalsaError } from "../../src/sql/errors.ts";
import { RowChunkWriter } from "../../src/wire/result-codec.ts";
import {
  encodeServerFrame,
  type RequestBody,
  type ResponseBody,
} from "../../src/wire/sql-codec.ts";
import { encodeStatement } from "../../src/wire/statement-codec.ts";
import { FakeCluster, type FakeNode, type FakeStream, until } from "./fake-cluster.ts";

let cluster: FakeCluster;
let node: FakeNode;

beforeEach(async () => {
  cluster = new FakeCluster();
  await cluster.start(1);
  node = cluster.node(0);
});

afterEach(() => {
  cluster.stop();
});

const STATEMENT = encodeStatement({ sql: "SELECT 1" });

function answer(): ResponseBody {
  const writer = new RowChunkWriter();
  writer.start(["one"]);
  writer.row([1n]);
  return { kind: "query", chunk: writer.finish(), done: true, node: 1, index: 1, lagMs: 0 };
}

/** Keeps the first `count` requests and then answers them in one frame; later ones as they come. */
function answerTogether(count: number, more: (stream: FakeStream) => void = () => {}): void {
  const ids: number[] = [];
  node.script = ({ id }, stream) => {
    if (ids.length >= count) return false;
    ids.push(id);
    if (ids.length < count) return true;
    stream.raw(encodeServerFrame(ids.map((each) => ({ id: each, body: answer() }))));
    more(stream);
    return true;
  };
}

test("half of many answers are given out, and what their callers ask next is sent before the rest", async () => {
  for (const [callers, groups] of [
    [20, [20]],
    [64, [32, 32]],
    [200, [100, 100]],
  ] as const) {
    const db = connect({ endpoints: cluster.endpoints, discover: false });
    const get = db.with({ consistency: "stale" }).prepare("SELECT 1");
    cluster.columns = ["one"];
    cluster.rows = [[1n]];
    node.script = () => false;
    await get.get();
    answerTogether(callers);
    node.received.length = 0;
    node.requestsOfFrames.length = 0;
    const twice = async () => {
      expect(await get.get()).toEqual({ one: 1 });
      expect(await get.get()).toEqual({ one: 1 });
    };
    await Promise.all(Array.from({ length: callers }, twice));
    expect(node.requestsOfFrames).toEqual([callers, ...groups]);
    await db.close();
  }
});

class TestCall extends Call {
  readonly kind = "read";
  readonly #receive: () => Receipt;

  constructor(owner: CallOwner, receive: () => Receipt) {
    const now = performance.now();
    super(owner, { now, deadlineMs: 5_000, signal: undefined, bytes: 0 });
    this.#receive = receive;
  }

  body(): RequestBody {
    const terms = { consistency: "stale", atLeast: 0, maxStalenessMs: 0, timeoutMs: 0 } as const;
    return { kind: "query", statement: STATEMENT, window: 1, ...terms };
  }

  receive(): Receipt {
    return this.#receive();
  }

  fail(): void {}
}

/** Sends as many calls; the one at `unreadable` cannot read its answer. Told of what becomes of each. */
async function sendMany(
  count: number,
  {
    unreadable = -1,
    received = () => {},
  }: { unreadable?: number; received?: (at: number) => void },
): Promise<{ connection: Connection; ends: string[]; errors: BalsaError[] }> {
  const ends: string[] = [];
  const errors: BalsaError[] = [];
  const connection = new Connection(
    node.address,
    { connectionReady() {}, connectionLost: (_lost, error) => errors.push(error) },
    5_000,
  );
  connection.open();
  await until(() => connection.isReady);
  const owner: CallOwner = {
    answered: () => ends.push("answered"),
    refused: () => ends.push("refused"),
    lost: (_call, _error, sent) => ends.push(`lost, ${sent}`),
    abandon() {},
    rescheduled() {},
    saw() {},
    isForwarding: false,
  };
  for (let at = 0; at < count; at += 1) {
    const receive = (): Receipt => {
      received(at);
      if (at === unreadable) throw new BalsaError("PROTOCOL", "scripted nonsense");
      return "last";
    };
    connection.send(new TestCall(owner, receive));
  }
  return { connection, ends, errors };
}

const closed = new BalsaError("CLOSED", "the test closes it");

test("answers that have come are given out though the connection ends before their turn", async () => {
  answerTogether(64);
  const sent = await sendMany(64, {
    received: (at) => {
      if (at === 31) process.nextTick(() => sent.connection.close(closed));
    },
  });
  await until(() => sent.errors.length > 0);
  expect(sent.ends).toEqual(Array.from({ length: 64 }, () => "answered"));
});

test("one that cannot be read ends the connection, whichever turn it has; those behind it are lost", async () => {
  for (const at of [0, 40]) {
    answerTogether(64);
    const { ends, errors } = await sendMany(64, { unreadable: at });
    await until(() => errors.length > 0);
    expect(errors.map(({ code }) => code)).toEqual(["PROTOCOL"]);
    const answered = Array.from({ length: at }, () => "answered");
    expect(ends).toEqual([...answered, ...Array.from({ length: 64 - at }, () => "lost, sent")]);
  }
});

test("one that cannot be read and has not had its turn when the connection ends is lost with it", async () => {
  answerTogether(64);
  const sent = await sendMany(64, {
    unreadable: 40,
    received: (at) => {
      if (at === 31) process.nextTick(() => sent.connection.close(closed));
    },
  });
  await until(() => sent.errors.length > 0);
  expect(sent.errors).toEqual([closed]);
  const answered = Array.from({ length: 40 }, () => "answered");
  expect(sent.ends).toEqual([...answered, ...Array.from({ length: 24 }, () => "lost, sent")]);
});
