/** Transactions as the client drives them: what is sent once, what is asked when an answer is lost, what the caller is told. */

import { afterEach, beforeEach, expect, test } from "vitest";
import { connect, type Database, type Transaction } from "../../src/client/index.ts";
import { BatchResultWriter, NOT_APPLIED } from "../../src/wire/result-codec.ts";
import type { ClientRequest } from "../../src/wire/sql-codec.ts";
import { FakeCluster, type FakeNode, type FakeStream, type Script, until } from "./fake-cluster.ts";

const EMPTY = Buffer.alloc(0);
let cluster: FakeCluster;
let db: Database;
let leader: FakeNode;

beforeEach(async () => {
  cluster = new FakeCluster();
  await cluster.start(3);
  leader = cluster.node(0);
  for (const node of cluster.nodes) node.script = serve;
  db = connect({ endpoints: cluster.endpoints });
});

afterEach(async () => {
  await db.close();
  cluster.stop();
});

/** Opens every transaction of the leader's, and does every step. */
const serve: Script = ({ id, body }, stream) => {
  if (body.kind === "begin") {
    if (stream.node === cluster.leader) {
      stream.send(id, { kind: "begin", node: stream.node.id, index: 1, lagMs: 0 });
    } else {
      stream.fail(id, "NOT_LEADER", { facts: { leader: cluster.leader?.address ?? "" } });
    }
    return true;
  }
  if (body.kind !== "step") return false;
  const writer = new BatchResultWriter();
  writer.start();
  writer.beginResult(["n"]);
  writer.row([7n]);
  writer.endResult(1, 5);
  stream.send(id, { kind: "execute", result: writer.finish(), index: 0 });
  return true;
};

/** As `serve`, but for what the test does itself. */
function but(own: (request: ClientRequest, stream: FakeStream) => boolean): Script {
  return (request, stream) => own(request, stream) || serve(request, stream);
}

const isCommit = ({ body }: ClientRequest) => body.kind === "step" && body.step === "commit";
const isSettle = ({ body }: ClientRequest) => body.kind === "execute" && body.settle === true;
const steps = () => cluster.nodes.flatMap((node) => node.of("step").map(({ step }) => step));
const settles = () => cluster.nodes.flatMap((node) => node.received.filter(isSettle));
const insert = (tx: Transaction) => tx.prepare("INSERT INTO t VALUES (?)").run(1);

test("steps follow each other in its connection, and the commit comes last", async () => {
  const result = await db.transaction(async (tx) => {
    expect(await insert(tx)).toEqual({ changes: 1, lastInsertRowid: 5, index: 0 });
    expect(await tx.prepare("SELECT n FROM t").get()).toEqual({ n: 7 });
    await tx.transaction((inner) => insert(inner));
    return "mine";
  });
  expect(result).toBe("mine");
  expect(steps()).toEqual(["run", "run", "savepoint", "run", "release", "commit"]);
  const [begin] = leader.of("begin");
  expect(begin).toMatchObject({ sequence: 1, idleMs: 5_000, totalMs: 30_000, readOnly: false });
  expect(settles()).toEqual([]);
});

test("an error of the function goes to its caller; the node is told, and no commit is sent", async () => {
  const failure = new Error("no");
  const failed = db.transaction(async (tx) => {
    await tx
      .transaction(async (inner) => {
        await insert(inner);
        throw failure;
      })
      .catch(() => {});
    throw failure;
  });
  await expect(failed).rejects.toBe(failure);
  await until(() => leader.of("cancel").length === 1);
  expect(steps()).toEqual(["savepoint", "run", "rollbackTo"]);
});

test("a beginning goes where the leader is, and is repeated under its number when it is lost", async () => {
  let lost = 0;
  leader.script = but(({ body }, stream) => {
    if (body.kind !== "begin" || lost > 0) return false;
    lost += 1;
    stream.drop();
    return true;
  });
  await db.transaction(insert);
  const begins = cluster.nodes.flatMap((node) => node.of("begin"));
  expect(begins.map(({ sequence }) => sequence)).toEqual([1, 1]);
  cluster.lead(cluster.node(1));
  await db.transaction(insert);
  expect(cluster.node(1).of("begin").at(-1)?.sequence).toBe(2);
});

test("a connection that is lost before the commit has taken the transaction with it", async () => {
  let broken = 0;
  leader.script = but(({ body }, stream) => {
    if (body.kind !== "step" || broken > 0) return false;
    broken += 1;
    stream.drop();
    return true;
  });
  let runs = 0;
  const body = async (tx: Transaction) => {
    runs += 1;
    await insert(tx);
  };
  await expect(db.transaction(body)).rejects.toMatchObject({
    code: "TRANSACTION_ABORTED",
    outcome: "not-applied",
    facts: { reason: "UNAVAILABLE" },
  });
  expect([runs, settles().length, steps()]).toEqual([1, 0, ["run"]]);
  broken = 0;
  await db.transaction(body, { retries: 1 });
  expect(runs).toBe(3);
});

test("a commit without an answer is asked for, under its number, and found", async () => {
  leader.script = but((request, stream) => {
    if (!isCommit(request)) return false;
    stream.drop();
    return true;
  });
  const settle: Script = but((request, stream) => {
    if (!isSettle(request)) return false;
    stream.send(request.id, { kind: "execute", result: EMPTY, index: 9 });
    return true;
  });
  for (const node of cluster.nodes.slice(1)) node.script = settle;
  const running = db.transaction(insert);
  await until(() => steps().includes("commit"));
  cluster.lead(cluster.node(1));
  await running;
  const [begin] = leader.of("begin");
  const [asked] = settles();
  expect(asked?.body).toMatchObject({ session: begin?.session, sequence: begin?.sequence });
  expect(steps().filter((step) => step === "commit")).toHaveLength(1);
  expect(db.seenIndex).toBe(9);
});

test.each([
  ["UNAVAILABLE", "unknown"],
  ["LEADERSHIP_LOST", "unknown"],
] as const)(
  "a commit that failed with %s, %s, was not applied if the nodes say so",
  async (code, outcome) => {
    leader.script = but((request, stream) => {
      if (isCommit(request)) stream.fail(request.id, code, { outcome });
      else if (!isSettle(request)) return false;
      else stream.send(request.id, { kind: "execute", result: Buffer.from(NOT_APPLIED), index: 3 });
      return true;
    });
    await expect(db.transaction(insert)).rejects.toMatchObject({
      code: "TRANSACTION_ABORTED",
      outcome: "not-applied",
    });
    expect(settles()).toHaveLength(1);
  },
);

test("a commit that is refused without a trace needs no question", async () => {
  leader.script = but((request, stream) => {
    if (!isCommit(request)) return false;
    stream.fail(request.id, "SQLITE_CONSTRAINT_FOREIGNKEY");
    return true;
  });
  await expect(db.transaction(insert)).rejects.toMatchObject({
    name: "SqlError",
    code: "SQLITE_CONSTRAINT_FOREIGNKEY",
  });
  expect(settles()).toEqual([]);
});

test("what became of a commit stays unknown only if nobody can be asked, or the session is gone", async () => {
  leader.script = but((request, stream) => {
    if (isCommit(request)) stream.fail(request.id, "LEADERSHIP_LOST", { outcome: "unknown" });
    else if (isSettle(request)) stream.fail(request.id, "SESSION_EXPIRED");
    else return false;
    return true;
  });
  const gone = db.transaction(insert);
  await expect(gone).rejects.toMatchObject({ code: "SESSION_EXPIRED", outcome: "unknown" });
  leader.script = but((request, stream) => {
    if (isCommit(request)) stream.fail(request.id, "LEADERSHIP_LOST", { outcome: "unknown" });
    return isCommit(request) || isSettle(request);
  });
  const late = db.transaction(insert, { deadlineMs: 300 });
  await expect(late).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED", outcome: "unknown" });
});

test("a node that ends it is believed: nothing more is sent, and the caller learns why", async () => {
  let begun = 0;
  leader.script = but(({ id, body }, stream) => {
    if (body.kind === "begin") begun = id;
    if (body.kind !== "step") return false;
    stream.fail(id, "TRANSACTION_TIMEOUT", { facts: { limit: "totalMs" } });
    stream.fail(begun, "TRANSACTION_TIMEOUT", { facts: { limit: "totalMs" } });
    return true;
  });
  const failed = db.transaction(async (tx) => {
    await insert(tx).catch(() => {});
    await expect(insert(tx)).rejects.toMatchObject({ code: "TRANSACTION_TIMEOUT" });
    return "as if nothing had happened";
  });
  await expect(failed).rejects.toMatchObject({
    code: "TRANSACTION_TIMEOUT",
    outcome: "not-applied",
    facts: { limit: "totalMs" },
  });
  expect(steps()).toEqual(["run"]);
});

test("answers up to its number are not acknowledged before its fate is known", async () => {
  await db.prepare("INSERT INTO t VALUES (0)").run();
  await db.transaction(async () => {
    // Another piece of the program: nothing of it runs inside.
    const outside = connect({ endpoints: cluster.endpoints });
    await outside.close();
  });
  await db.prepare("INSERT INTO t VALUES (1)").run();
  expect(leader.of("begin")[0]).toMatchObject({ sequence: 2, acknowledgedThrough: 1 });
  expect(leader.of("execute").at(-1)).toMatchObject({ sequence: 3, acknowledgedThrough: 2 });
});

test("db inside of the function is refused where it would wait for the transaction, and only there", async () => {
  let detached: Promise<unknown> = Promise.resolve();
  const ended = new Promise<void>((resolve) => {
    detached = db
      .transaction(async () => {
        for (const call of [
          db.prepare("INSERT INTO t VALUES (1)").run(),
          db.prepare("INSERT INTO t VALUES (1) RETURNING n").get(),
          db.exec("DELETE FROM t"),
          db.batch([{ sql: "DELETE FROM t" }]),
          db.with({ deadlineMs: 50 }).transaction(async () => {}),
        ]) {
          await expect(call).rejects.toMatchObject({ code: "NESTED_CALL" });
        }
        await db.prepare("SELECT 1").get();
        setTimeout(resolve, 0);
      })
      .then(() => db.exec("DELETE FROM t"));
  });
  await ended;
  await detached;
  expect(leader.of("execute")).toHaveLength(1);
});

test("an abort of its signal ends it", async () => {
  const controller = new AbortController();
  const aborted = db.transaction(
    async (tx) => {
      await insert(tx);
      controller.abort(new Error("enough"));
      await insert(tx);
    },
    { signal: controller.signal },
  );
  await expect(aborted).rejects.toMatchObject({ code: "CANCELLED", outcome: "not-applied" });
  await until(() => leader.of("cancel").length > 0);
  expect(steps()).toEqual(["run"]);
});

test("one nested transaction at a time, and all awaited", async () => {
  await db.transaction(async (tx) => {
    const first = tx.transaction(insert);
    await expect(tx.transaction(insert)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(insert(tx)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await first;
    await insert(tx);
  });
  const careless = db.transaction(async (tx) => {
    void tx.transaction(insert).catch(() => {});
  });
  await expect(careless).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});

test("bad options and arguments are named", async () => {
  const of = (options: object) => db.transaction(insert, options);
  await expect(of({ idleMS: 1 })).rejects.toThrow('did you mean "idleMs"');
  await expect(of({ totalMs: 0 })).rejects.toThrow("totalMs");
  await expect(of({ readOnly: 1 })).rejects.toThrow("readOnly");
  await expect(of({ retries: 101 })).rejects.toThrow("retries");
  await expect(db.transaction(null as never)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(db.batch([], { onError: "ignore" as never })).rejects.toThrow("onError");
});
