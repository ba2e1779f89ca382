/** The unary methods, through clients made from the .proto files as other languages make them. */

import { setImmediate as turn } from "node:timers/promises";
import { status as Code, Metadata } from "@grpc/grpc-js";
import { afterEach, describe, expect, test } from "vitest";
import { fromGrpc } from "../../src/wire/status.ts";
import {
  ask,
  clusterClient,
  decode,
  FakeNode,
  failure,
  type Loose,
  refusal,
  serve,
  settled,
  sqlClient,
} from "./fake-node.ts";
import { closeEverything, eventually } from "./loopback.ts";

afterEach(closeEverything);

const INSERT = { statements: [{ sql: "INSERT INTO t VALUES (?)", args: [{ integer: 5 }] }] };

async function one() {
  const node = new FakeNode();
  const server = await serve(node);
  return { node, server, client: sqlClient(server.address) };
}

describe("Execute", () => {
  test("passes the batch on undecoded and the result back", async () => {
    const { node, client } = await one();
    const request = {
      batch: INSERT,
      session: 9,
      sequence: 4,
      acknowledged_through: 3,
      timeout_ms: 1234,
    };
    const response = await ask((answer) => client.Execute(request, answer));
    expect(response.index).toBe(1);
    expect(response.result.results[0]).toMatchObject({ changes: 1, last_insert_rowid: 7 });
    const [seen] = node.executes;
    expect(seen).toMatchObject({ session: 9, sequence: 4, acknowledgedThrough: 3 });
    expect(seen).toMatchObject({ timeoutMs: 1234, openSession: false });
    expect(decode("Batch", seen?.batch ?? new Uint8Array())).toEqual(INSERT);
  });

  test("the deadline is the earlier of the request's and gRPC's", async () => {
    const { node, client } = await one();
    const within = (deadlineMs: number, timeout: object) => {
      const options = { deadline: Date.now() + deadlineMs };
      return ask((answer) => {
        client.Execute({ batch: INSERT, ...timeout }, new Metadata(), options, answer);
      });
    };
    await within(60_000, { timeout_ms: 500 });
    await within(5_000, { timeout_ms: 50_000 });
    await within(5_000, {});
    const [first, second, third] = node.executes.map(({ timeoutMs }) => timeoutMs);
    expect(first).toBe(500);
    for (const timeoutMs of [second, third]) {
      expect(timeoutMs).toBeGreaterThan(1_000);
      expect(timeoutMs).toBeLessThanOrEqual(5_000);
    }
  });

  test("a caller that goes away cancels its write; one that was answered does not", async () => {
    const { node, client } = await one();
    await ask((answer) => client.Execute({ batch: INSERT }, answer));
    node.onExecute = () => {};
    const call = client.Execute({ batch: INSERT }, () => {}) as Loose;
    await eventually(() => expect(node.executes).toHaveLength(2));
    call.cancel();
    await eventually(() => expect(node.executes[1]?.cancelled).toBe(true));
    expect(node.executes[0]?.cancelled).toBe(false);
  });

  test.each([
    [failure("SQLITE_CONSTRAINT_UNIQUE", "UNIQUE constraint failed: t.id"), "FAILED_PRECONDITION"],
    [failure("SQLITE_ERROR", "no such table: t"), "INVALID_ARGUMENT"],
    [failure("SQLITE_IOERR", "disk I/O error"), "INTERNAL"],
    [failure("NO_LEADER"), "UNAVAILABLE"],
    [failure("OVERLOADED"), "RESOURCE_EXHAUSTED"],
    [failure("NO_SPACE"), "RESOURCE_EXHAUSTED"],
    [failure("LEADERSHIP_LOST", "deposed", "unknown"), "ABORTED"],
    [failure("UNAVAILABLE", "lost", "unknown"), "ABORTED"],
    [failure("DEADLINE_EXCEEDED", "late", "unknown"), "DEADLINE_EXCEEDED"],
    [failure("SESSION_EXPIRED"), "FAILED_PRECONDITION"],
  ] as const)("a failure %o has status %s and travels whole", async (failed, status) => {
    const { node, client } = await one();
    const whole = { ...failed, statementIndex: 3, facts: { why: "łódź" } };
    node.onExecute = (_call, sink) => sink.failed(whole);
    const error = await refusal(ask((answer) => client.Execute({ batch: INSERT }, answer)));
    expect(Code[error.code]).toBe(status);
    expect(error.details).toBe(`${failed.code}: ${failed.message}`);
    expect(fromGrpc(error, "unknown")).toEqual(whole);
  });

  test("a message that no header could carry is shortened", async () => {
    const { node, client } = await one();
    const message = `near "${"x".repeat(100_000)}\ud800": syntax error`;
    const facts = { text: "y".repeat(100_000) };
    node.onExecute = (_call, sink) => {
      sink.failed(failure("SQLITE_ERROR", message, "not-applied", facts));
    };
    const error = await refusal(ask((answer) => client.Execute({ batch: INSERT }, answer)));
    expect(error.code).toBe(Code.INVALID_ARGUMENT);
    expect(fromGrpc(error, "unknown").message).toMatch(/^near "xxx.*…$/);
  });

  test("a request over the limit is refused with its name and value", async () => {
    const { node, client } = await one();
    const blob = Buffer.alloc(7 * 1024 * 1024 + 1);
    const batch = { statements: [{ sql: "INSERT INTO t VALUES (?)", args: [{ blob }] }] };
    const error = await refusal(ask((answer) => client.Execute({ batch }, answer)));
    const refused = fromGrpc(error, "unknown");
    expect(refused.code).toBe("LIMIT_EXCEEDED");
    expect(refused.outcome).toBe("not-applied");
    expect(refused.facts).toMatchObject({ limit: "requestBytes", value: "7340032" });
    expect(node.executes).toEqual([]);
  });

  test("a blob of 100 MB is a typed error, and the node goes on", async () => {
    const { node, client, server } = await one();
    const blob = Buffer.alloc(100 * 1024 * 1024);
    const batch = { statements: [{ sql: "INSERT INTO t VALUES (?)", args: [{ blob }] }] };
    const error = await refusal(ask((answer) => client.Execute({ batch }, answer)));
    expect(error.code).toBe(Code.RESOURCE_EXHAUSTED);
    expect(error.details).toMatch(/larger than max/);
    expect(fromGrpc(error, "not-applied").code).toBe("LIMIT_EXCEEDED");
    const other = sqlClient(server.address);
    await ask((answer) => other.Execute({ batch: INSERT }, answer));
    expect(node.executes).toHaveLength(1);
  });

  test("bytes that are no request are a PROTOCOL failure", async () => {
    const { client } = await one();
    const same = (bytes: Buffer) => bytes;
    const error = await refusal(
      ask((answer) => {
        const path = "/balsa.v1.Sql/Execute";
        const junk = Buffer.from([10, 200, 1]);
        client.makeUnaryRequest(path, same, same, junk, answer as Loose);
      }),
    );
    expect(error.code).toBe(Code.INVALID_ARGUMENT);
    expect(fromGrpc(error, "unknown").code).toBe("PROTOCOL");
  });
});

describe("OpenSession", () => {
  test("answers with the session", async () => {
    const { node, client } = await one();
    const response = await ask((answer) => client.OpenSession({ timeout_ms: 9 }, answer));
    expect(response).toEqual({ session: 77, index: 5 });
    expect(node.executes[0]).toMatchObject({ openSession: true, timeoutMs: 9 });
  });
});

describe("Query", () => {
  const SELECT = { statement: { sql: "SELECT 1" } };

  test("streams the chunks in order, with who served them", async () => {
    const { node, client } = await one();
    node.chunks = 20;
    const responses: Loose[] = [];
    const asked = {
      ...SELECT,
      consistency: "CONSISTENCY_SESSION",
      at_least: 8,
      max_staleness_ms: 5,
    };
    for await (const response of client.Query(asked)) responses.push(response);
    expect(responses.map(({ chunk }) => chunk.rows[0].values[0].integer)).toEqual(
      Array.from({ length: 20 }, (_, at) => at + 1),
    );
    expect(responses.map(({ done }) => done === true).indexOf(true)).toBe(19);
    expect(responses[0]).toMatchObject({ node: 1, index: 10, chunk: { columns: ["n", "b"] } });
    expect(node.queries[0]).toMatchObject({ consistency: "session", atLeast: 8 });
    expect(node.queries[0]).toMatchObject({ maxStalenessMs: 5, cancelled: false });
  });

  test("a client that does not read stops the reader; when it goes, the read is cancelled", async () => {
    const { node, client } = await one();
    node.chunks = 100_000;
    node.chunkBytes = 50_000;
    const stream = client.Query(SELECT);
    stream.on("error", () => {});
    // One read first: until then grpc-js itself takes whatever comes.
    stream.once("data", () => stream.pause());
    await eventually(() => expect(node.queries[0]?.produced).toBeGreaterThan(4));
    const before = await settled(() => node.queries[0]?.produced ?? 0);
    // Two windows of HTTP/2, what sockets hold, and four chunks: far below the 5 GB that were asked for.
    expect(before).toBeLessThan(500);
    stream.cancel();
    await eventually(() => expect(node.queries[0]?.cancelled).toBe(true));
  });

  test("a failure after some rows ends the stream with it", async () => {
    const { node, client } = await one();
    node.chunks = 100;
    const stream = client.Query(SELECT);
    const error = await new Promise<Loose>((resolve) => {
      stream.on("error", resolve);
      stream.on("data", () => {
        node.queryFailure = failure("SNAPSHOT_TOO_OLD");
      });
    });
    expect(fromGrpc(error, "unknown").code).toBe("SNAPSHOT_TOO_OLD");
  });
});

describe("the cluster", () => {
  test("Status tells what the node tells", async () => {
    const node = new FakeNode();
    const { address } = await serve(node);
    const status = await ask((answer) => clusterClient(address).Status({}, answer));
    expect(status).toMatchObject({ id: 1, role: "leader", term: 3, last_index: 12 });
    expect(status).toMatchObject({ database_bytes: 4096, pid: process.pid, version: "0.1.0" });
    expect(status.members).toMatchObject([{ id: 1, address: "127.0.0.1:4001", role: "voter" }]);
    expect(status).toMatchObject({ configuration_index: 7 });
    node.current = { ...node.current, lagMs: -1 };
    const fresh = await ask((answer) => clusterClient(address).Status({}, answer));
    expect(fresh.lag_ms).toBe(Number.MAX_SAFE_INTEGER);
  });
});

describe("stopping", () => {
  test("calls under way finish, the port is free, and later calls find nobody", async () => {
    const { node, client, server } = await one();
    let finish = () => {};
    node.onExecute = (_call, sink) => {
      finish = () => sink.done(new Uint8Array(0), 3);
    };
    const answered = ask((answer) => client.Execute({ batch: INSERT }, answer));
    await eventually(() => expect(node.executes).toHaveLength(1));
    await turn();
    const stopped = server.stop(5_000);
    finish();
    expect((await answered).index).toBe(3);
    await stopped;
    const late = sqlClient(server.address);
    const error = await refusal(ask((answer) => late.Execute({ batch: INSERT }, answer)));
    expect(error.code).toBe(Code.UNAVAILABLE);
    await serve(new FakeNode(), { listen: server.address });
  });

  test("what does not finish in time is cut off", async () => {
    const { node, client, server } = await one();
    node.onExecute = () => {};
    const refused = refusal(ask((answer) => client.Execute({ batch: INSERT }, answer)));
    await eventually(() => expect(node.executes).toHaveLength(1));
    await server.stop(10);
    expect([Code.UNAVAILABLE, Code.CANCELLED]).toContain((await refused).code);
  });
});
