/** More writes at once than a node admits: those beyond are refused in words, nobody stands for leader, and it is soon well. */

import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestCluster } from "../../src/testing/cluster.ts";
import { decodeExecuteResponse, encodeExecuteRequest } from "../../src/wire/sql-codec.ts";
import { encodeBatch } from "../../src/wire/statement-codec.ts";
import { fromGrpc } from "../../src/wire/status.ts";

const PENDING_MAX = 16;
const CALLERS = 400;
const INSERT = "INSERT INTO t(n) VALUES (?)";

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
