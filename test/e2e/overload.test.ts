/** More writes at once than a node admits: those beyond are refused in words, nobody stands for leader, and it is soon well. */

import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestCluster } from "../../src/testing/cluster.ts";
import {
  type ClientRequest,
  decodeExecuteResponse,
  decodeServerFrame,
  encodeClientFrame,
  encodeExecuteRequest,
} from "../../src/wire/sql-codec.ts";
import { encodeBatch } from "../../src/wire/statement-codec.ts";
import { fromGrpc } from "../../src/wire/status.ts";

const PENDING_MAX = 16;
const CALLERS = 400;
const INSERT = "INSERT INTO t(n) VALUES (?)";

const same = (bytes: Buffer): Buffer => bytes;

/** Sends so many writes at once on one stream, and again and again those that are refused, until `enough` of them were served. */
function flood(endpoint: string, writes: number, enough: number) {
  const client = new Client(endpoint, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
  });
  const path = "/balsa.v1.Sql/Connect";
  const stream = client.makeBidiStreamRequest(path, same, same, new Metadata(), {});
  const codes = new Set<string>();
  let nextId = 1;
  let served = 0;
  let refused = 0;
  const send = (count: number): void => {
    const batch = encodeBatch([{ sql: INSERT, args: [0] }]);
    const numbers = { session: 0, sequence: 0, acknowledgedThrough: 0, timeoutMs: 100_000 };
    const requests = Array.from({ length: count }, (_, at): ClientRequest => {
      return { id: nextId + at, body: { kind: "execute", batch, ...numbers, noForward: true } };
    });
    nextId += count;
    stream.write(encodeClientFrame(requests));
  };
  return new Promise<{ served: number; refused: number; codes: Set<string> }>((resolve, reject) => {
    stream.on("error", reject);
    stream.on("data", (frame: Buffer) => {
      let again = 0;
      for (const { body } of decodeServerFrame(frame)) {
        if (body.kind === "execute") served += 1;
        else if (body.kind === "failure") {
          codes.add(`${body.failure.code} ${body.failure.outcome}`);
          again += 1;
        }
      }
      refused += again;
      if (served < enough) {
        if (again > 0) send(again);
      } else if (served + refused === nextId - 1) {
        stream.removeListener("error", reject).on("error", () => {});
        stream.cancel();
        client.close();
        resolve({ served, refused, codes });
      }
    });
    send(writes);
  });
}

describe("too many writes at once", () => {
  let cluster: TestCluster;

  beforeAll(async () => {
    cluster = await TestCluster.start({ args: ["--max-pending-writes", String(PENDING_MAX)] });
    await cluster.ready();
    await cluster.connect().exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)");
  });

  afterAll(() => cluster.stop());

  const terms = async () => (await cluster.status()).nodes.map(({ status }) => status?.term);

  it("what is refused is OVERLOADED and did not happen, and nobody stands for leader", async () => {
    const before = await terms();
    const { endpoint } = await cluster.leader();
    const client = new Client(endpoint, credentials.createInsecure());
    const once = (n: number) => {
      const batch = encodeBatch([{ sql: INSERT, args: [n] }]);
      const numbers = { session: 0, sequence: 0, acknowledgedThrough: 0, timeoutMs: 60_000 };
      return new Promise<"applied" | ServiceError>((resolve) => {
        client.makeUnaryRequest(
          "/balsa.v1.Sql/Execute",
          encodeExecuteRequest,
          decodeExecuteResponse,
          { batch, ...numbers, noForward: true },
          (error: ServiceError | null) => resolve(error ?? "applied"),
        );
      });
    };
    // Until some have met the bound: how many come together is the machine's affair.
    let applied = 0;
    let refused = 0;
    while (refused === 0) {
      const answers = await Promise.all(Array.from({ length: CALLERS }, (_, n) => once(n)));
      for (const answer of answers) {
        if (answer === "applied") {
          applied += 1;
          continue;
        }
        const { code, outcome, facts } = fromGrpc(answer, "unknown");
        expect({ code, outcome }).toEqual({ code: "OVERLOADED", outcome: "not-applied" });
        expect(facts).toMatchObject({ limit: "pendingWrites", value: String(PENDING_MAX) });
        refused += 1;
      }
    }
    client.close();
    const count = cluster.connect().prepare("SELECT count(*) AS n FROM t");
    expect(await count.get()).toEqual({ n: applied });
    expect(await terms()).toEqual(before);
  });

  it("floods on streams are refused where they arrive; what is served is there, others get their turn", async () => {
    const before = await terms();
    const { endpoint } = await cluster.leader();
    const db = cluster.connect({ deadlineMs: 100_000 });
    await db.exec("DELETE FROM t");
    const floods = Promise.all([1, 2, 3].map(() => flood(endpoint, 5_000, 500)));
    const beside = db.prepare("INSERT INTO t(n) VALUES (1)");
    let own = 0;
    let over = false;
    const ended = floods.finally(() => {
      over = true;
    });
    do {
      await beside.run();
      own += 1;
    } while (!over);
    const done = await ended;
    for (const { refused, codes } of done) {
      expect(refused).toBeGreaterThan(0);
      expect([...codes]).toEqual(["OVERLOADED not-applied"]);
    }
    const applied = done.reduce((sum, { served }) => sum + served, own);
    expect(await db.prepare("SELECT count(*) AS n FROM t").get()).toEqual({ n: applied });
    expect(await terms()).toEqual(before);
  });

  it("our client waits and tries again: in the end all its writes are there", async () => {
    const before = await terms();
    const db = cluster.connect({ deadlineMs: 100_000 });
    await db.exec("DELETE FROM t");
    const insert = db.prepare(INSERT);
    await Promise.all(Array.from({ length: CALLERS }, (_, n) => insert.run(n)));
    expect(await db.prepare("SELECT count(*) AS n FROM t").get()).toEqual({ n: CALLERS });
    expect(await terms()).toEqual(before);
  });
});
