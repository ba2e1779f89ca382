import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Client, credentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, type Database } from "../../src/client/index.ts";
import { TestCluster } from "../../src/testing/cluster.ts";

/** What BalsaError and SqlError have between them. */
interface Caught extends Error {
  readonly code: string;
  readonly facts: object;
}

/** How a call fails; a call that succeeds is the test's failure. */
async function failure(call: Promise<unknown>): Promise<Caught> {
  const outcome = await call.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if ("error" in outcome) return outcome.error as Caught;
  throw new Error(`it should have failed, but gave ${JSON.stringify(outcome.value)}`);
}

describe("bad input", () => {
  let cluster: TestCluster;
  let db: Database;

  beforeAll(async () => {
    cluster = await TestCluster.start();
    await cluster.ready();
    db = cluster.connect();
    await db.exec(`
      CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INTEGER CHECK (n > 0));
      CREATE TABLE parent (id INTEGER PRIMARY KEY);
      CREATE TABLE child (parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
      CREATE TABLE big (id INTEGER PRIMARY KEY, data BLOB);
    `);
    await db.prepare("INSERT INTO t VALUES (1, 'one', 1)").run();
  });

  afterAll(() => cluster.stop());

  const rows = () => db.prepare("SELECT * FROM t ORDER BY id").all();
  const one = [{ id: 1, name: "one", n: 1 }];

  it("SQL that does not parse, and an unknown table, are SQLite's own errors", async () => {
    const syntax = await failure(db.prepare("INSRT INTO t VALUES (2)").run());
    expect(syntax).toMatchObject({ name: "SqlError", code: "SQLITE_ERROR" });
    expect(syntax.message).toContain("syntax error");
    const unknown = await failure(db.prepare("SELECT * FROM missing").all());
    expect(unknown).toMatchObject({ name: "SqlError", code: "SQLITE_ERROR" });
    expect(unknown.message).toContain("no such table: missing");
  });

  it("an empty query in another language's words is refused at once, and holds no reader", async () => {
    const client = new Client(cluster.node(1).endpoint, credentials.createInsecure());
    const bytes = (message: Buffer) => message;
    const empty = Buffer.alloc(0);
    const call = client.makeServerStreamRequest("/balsa.v1.Sql/Query", bytes, bytes, empty);
    call.on("data", () => {});
    const error = await new Promise<Error>((resolve) => call.once("error", resolve));
    expect(error.message).toContain("the statement is empty");
    client.close();
  });

  it("a constraint has its extended code, and leaves nothing of its batch", async () => {
    const error = await failure(
      db.batch([
        { sql: "INSERT INTO t VALUES (2, 'two', 2)" },
        { sql: "INSERT INTO t VALUES (3, 'one', 3)" },
      ]),
    );
    expect(error).toMatchObject({ code: "SQLITE_CONSTRAINT_UNIQUE", statementIndex: 1 });
    const check = await failure(db.prepare("INSERT INTO t VALUES (4, 'four', -4)").run());
    expect(check.code).toBe("SQLITE_CONSTRAINT_CHECK");
    expect(await rows()).toEqual(one);
  });

  it("the wrong number or name of parameters says how many or which", async () => {
    const insert = db.prepare("INSERT INTO t VALUES (?, ?, ?)");
    for (const args of [[5], [5, "five", 5, 6]]) {
      const error = await failure(insert.run(...args));
      expect(error).toMatchObject({ code: "INVALID_ARGUMENT", outcome: "not-applied" });
      expect(error.message).toMatch(/3/);
    }
    const named = await failure(db.prepare("SELECT :id").get({ ID: 1 }));
    expect(named.code).toBe("INVALID_ARGUMENT");
    expect(named.message).toContain("id");
  });

  it("a value of an unsupported type is named before anything is sent", async () => {
    for (const value of [undefined, () => 1, Symbol("x"), {}, [1], 2n ** 64n]) {
      const error = await failure(db.prepare("SELECT ?").get([1, value as never].slice(1)));
      expect(error).toMatchObject({ code: "INVALID_ARGUMENT", outcome: "not-applied" });
    }
  });

  it("large statements, blobs and results name the limit and its value", async () => {
    const comment = `SELECT 1 -- ${"x".repeat(10 * 1024 * 1024)}`;
    const statement = await failure(db.prepare(comment).get());
    expect(statement).toMatchObject({ code: "LIMIT_EXCEEDED" });
    expect(statement.facts).toMatchObject({ limit: "statementBytes" });
    const insert = db.prepare("INSERT INTO big(data) VALUES (?)");
    const blob = await failure(insert.run(new Uint8Array(100 * 1024 * 1024)));
    expect(blob).toMatchObject({ code: "LIMIT_EXCEEDED", outcome: "not-applied" });
    expect(blob.facts).toMatchObject({ limit: "valueBytes" });
    expect(await insert.run(new Uint8Array(5 * 1024 * 1024))).toMatchObject({ changes: 1 });
    const made = "INSERT INTO big(data) VALUES (zeroblob(1000000)) RETURNING data";
    expect(((await db.prepare(made).get()) as { data: Uint8Array }).data).toHaveLength(1_000_000);
  });

  it("a million rows stream; collecting them hits the limit with the way out", async () => {
    const sql =
      "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000) " +
      "SELECT n, printf('%080d', n) AS text FROM c";
    let count = 0;
    for await (const row of db.prepare<{ n: number }>(sql).iterate()) {
      count += 1;
      if (row.n !== count) throw new Error(`row ${count} is ${row.n}`);
    }
    expect(count).toBe(1_000_000);
    const error = await failure(db.prepare(sql).all());
    expect(error.code).toBe("LIMIT_EXCEEDED");
    expect(error.message).toContain("iterate");
  });

  const refused = [
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ATTACH 'x.db' AS x",
    "DETACH x",
    "VACUUM",
    "PRAGMA journal_mode=DELETE",
    "CREATE TEMP TABLE x (y)",
    "DELETE FROM balsa_session",
  ];
  for (const sql of refused) {
    it(`${sql} is refused, alone and in a script`, async () => {
      const alone = await failure(db.prepare(sql).run());
      expect(alone).toMatchObject({ code: "REFUSED", outcome: "not-applied" });
      expect(alone.message.length).toBeGreaterThan(20);
      const script = await failure(db.exec(`INSERT INTO t VALUES (9, 'nine', 9); ${sql}`));
      expect(script.code).toBe("REFUSED");
      expect(await rows()).toEqual(one);
    });
  }

  it("INSERT OR ROLLBACK that fails undoes its own request only", async () => {
    const neighbours = Array.from({ length: 50 }, (_, at) =>
      db.prepare("INSERT INTO big(id) VALUES (?)").run(1_000 + at),
    );
    const error = await failure(db.prepare("INSERT OR ROLLBACK INTO t VALUES (1, 'x', 1)").run());
    expect(error.code).toContain("SQLITE_CONSTRAINT");
    await Promise.all(neighbours);
    const kept = await db.prepare("SELECT count(*) AS n FROM big WHERE id >= 1000").get();
    expect(kept).toEqual({ n: 50 });
    expect(await rows()).toEqual(one);
  });

  it("a deferred foreign key that fails at the end fails the request", async () => {
    const error = await failure(db.exec("INSERT INTO child VALUES (77)"));
    expect(error.code).toBe("SQLITE_CONSTRAINT_FOREIGNKEY");
    await db.exec("INSERT INTO child VALUES (78); INSERT INTO parent VALUES (78);");
    expect(await db.prepare("SELECT parent FROM child").all()).toEqual([{ parent: 78 }]);
  });

  it("a write through get() is an error, with RETURNING it works", async () => {
    const error = await failure(db.prepare("INSERT INTO big(id) VALUES (5000)").get());
    expect(error.message).toContain("run()");
    const row = await db.prepare("INSERT INTO big(id) VALUES (5000) RETURNING id").get();
    expect(row).toEqual({ id: 5000 });
  });

  it("several statements where one is meant, and none at all", async () => {
    expect((await failure(db.prepare("SELECT 1; SELECT 2").all())).code).toBe("INVALID_ARGUMENT");
    expect((await failure(db.prepare("  -- nothing").run())).code).toBe("INVALID_ARGUMENT");
  });

  it("a closed client says so", async () => {
    const closed = cluster.connect();
    await closed.close();
    expect((await failure(closed.prepare("SELECT 1").get())).code).toBe("CLOSED");
  });

  it("an endpoint where something else listens is named", async () => {
    const server = createServer((_, response) => response.end("hello"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const endpoint = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const stray = connect({ endpoints: [endpoint], deadlineMs: 3_000 });
    const error = await failure(stray.prepare("SELECT 1").get());
    expect(["PROTOCOL", "UNAVAILABLE", "DEADLINE_EXCEEDED"]).toContain(error.code);
    expect(error.message).toContain(endpoint);
    await stray.close();
    const both = connect({ endpoints: [endpoint, ...cluster.endpoints] });
    expect(await both.prepare("SELECT 1 AS one").get()).toEqual({ one: 1 });
    await both.close();
    await new Promise((resolve) => server.close(resolve));
  });

  it("after all this the nodes agree and nobody was deposed", async () => {
    await cluster.caughtUp();
    const { nodes } = await cluster.status();
    expect(nodes.map(({ status }) => status?.trouble)).toEqual(["", "", ""]);
    expect(new Set(nodes.map(({ status }) => status?.term)).size).toBe(1);
  });
});
