/**
 * Every limit of a request, at every entry: the client's verbs, batches that stop and that go on, transactions, gRPC's unary
 * methods, the command line. Each is refused with a typed error that names the limit and its value, and leaves nothing.
 */

import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BalsaError, Database } from "../../src/client/index.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { encodeExecuteRequest, encodeQueryRequest } from "../../src/wire/sql-codec.ts";
import { encodeBatch, encodeStatement } from "../../src/wire/statement-codec.ts";
import { fromGrpc } from "../../src/wire/status.ts";
import { RunningCommand } from "../cli/command.ts";

const LIMITS = {
  requestBytes: 200_000,
  valueBytes: 100_000,
  statementBytes: 5_000,
  statements: 10,
  parameters: 20,
  resultBytes: 300_000,
};
type Limit = keyof typeof LIMITS;

const flagOf = (limit: string) =>
  `--max-${limit.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
const FLAGS = Object.entries(LIMITS).flatMap(([limit, value]) => [flagOf(limit), String(value)]);

/** One beyond each limit of a single statement. */
const BEYOND: readonly (readonly [Limit, string, readonly (number | Buffer)[]])[] = [
  ["statementBytes", `SELECT '${"x".repeat(6_000)}'`, []],
  ["parameters", `SELECT ${Array(21).fill("?").join()}`, Array(21).fill(1)],
  ["valueBytes", "SELECT length(?)", [Buffer.alloc(150_000)]],
  [
    "requestBytes",
    "SELECT length(?), length(?), length(?)",
    [1, 2, 3].map(() => Buffer.alloc(90_000)),
  ],
  ["resultBytes", "SELECT zeroblob(400000)", []],
];

type Args = readonly (number | Buffer)[];
type Entry = (db: Database, sql: string, args: Args) => Promise<unknown>;
const FIRST = { sql: "INSERT INTO t VALUES (1)" };

/** Each resolves to what came of the statement, or fails with it. */
const ENTRIES: { readonly [name: string]: Entry } = {
  get: (db, sql, args) => db.prepare(sql).get(...args),
  all: (db, sql, args) => db.prepare(sql).all(...args),
  query: (db, sql, args) => db.prepare(sql).query(...args),
  iterate: (db, sql, args) =>
    db
      .prepare(sql)
      .iterate(...args)
      .next(),
  run: (db, sql, args) => db.prepare(sql).run(...args),
  batch: (db, sql, args) => db.batch([FIRST, { sql, args }]),
  "tx.all": (db, sql, args) => db.transaction((tx) => tx.prepare(sql).all(...args)),
  "tx.batch": (db, sql, args) => db.transaction((tx) => tx.batch([FIRST, { sql, args }])),
  "a read-only tx": (db, sql, args) =>
    db.transaction((tx) => tx.prepare(sql).all(...args), { readOnly: true }),
};

describe("what is beyond a limit", () => {
  let cluster: TestCluster;
  let db: Database;
  let unary: Client;

  beforeAll(async () => {
    cluster = await TestCluster.start({ args: FLAGS });
    await cluster.ready();
    db = cluster.connect();
    await db.exec("CREATE TABLE t (n)");
    unary = new Client((await cluster.leader()).endpoint, credentials.createInsecure());
  });

  afterAll(async () => {
    unary.close();
    await cluster.stop();
  });

  const refused = (limit: Limit) => ({
    code: "LIMIT_EXCEEDED",
    outcome: "not-applied",
    facts: { limit, value: String(LIMITS[limit]) },
  });
  const named = (limit: Limit) => new RegExp(`${limit}.*\\b${LIMITS[limit]}\\b`);
  const failureOf = (call: Promise<unknown>): Promise<BalsaError> =>
    call.then(
      (value) => Promise.reject(new Error(`it should have failed: ${JSON.stringify(value)}`)),
      (error: BalsaError) => error,
    );

  for (const [limit, sql, args] of BEYOND) {
    for (const [name, entry] of Object.entries(ENTRIES)) {
      it(`${limit}, through ${name}`, async () => {
        const error = await failureOf(entry(db, sql, args));
        expect(error).toMatchObject(refused(limit));
        const isPart = limit !== "requestBytes" && name.endsWith("batch");
        expect(error.statementIndex).toBe(isPart ? 1 : 0);
      });
    }

    it(`${limit}, in a batch that goes on`, async () => {
      const batch = db.batch([FIRST, { sql, args }, FIRST], { onError: "continue" });
      if (limit === "statementBytes" || limit === "valueBytes" || limit === "requestBytes") {
        // The request itself is not admitted.
        return expect(await failureOf(batch)).toMatchObject(refused(limit));
      }
      const results = await batch;
      expect(results.map(({ error }) => error?.code)).toEqual([
        undefined,
        "LIMIT_EXCEEDED",
        undefined,
      ]);
      expect(results[1]?.error).toMatchObject({ statementIndex: 1 });
      expect(results[1]?.error?.message).toMatch(named(limit));
    });

    it(`${limit}, through gRPC's unary methods`, async () => {
      const same = (bytes: Buffer) => bytes;
      const numbers = { session: 0, sequence: 0, acknowledgedThrough: 0, timeoutMs: 5_000 };
      const batch = encodeBatch([{ sql, args }], { ...HUGE });
      const request = encodeExecuteRequest({ batch, ...numbers, noForward: true });
      const written = await new Promise<ServiceError | null>((resolve) => {
        unary.makeUnaryRequest("/balsa.v1.Sql/Execute", same, same, request, resolve);
      });
      expect(written && fromGrpc(written, "unknown")).toMatchObject(refused(limit));
      const statement = encodeStatement({ sql, args }, { ...HUGE });
      const read = encodeQueryRequest({
        ...{ statement, consistency: "linearizable", atLeast: 0, maxStalenessMs: 0 },
        ...{ timeoutMs: 5_000, window: 1 },
      });
      const call = unary.makeServerStreamRequest("/balsa.v1.Sql/Query", same, same, read);
      const error = await new Promise<ServiceError>((resolve) => {
        call.on("data", () => {}).once("error", (reason) => resolve(reason as ServiceError));
      });
      expect(fromGrpc(error, "unknown")).toMatchObject(refused(limit));
    });
  }

  it("statements, through a batch, a script and a transaction", async () => {
    const list = Array(11).fill({ sql: "SELECT 1" });
    const script = list.map(({ sql }) => sql).join(";");
    for (const call of [
      () => db.batch(list),
      () => db.batch(list, { onError: "continue" }),
      () => db.exec(script),
      () => db.transaction((tx) => tx.batch(list)),
      () => db.transaction((tx) => tx.exec(script)),
      () => db.transaction((tx) => tx.batch(list), { readOnly: true }),
      () => db.transaction((tx) => tx.exec(script), { readOnly: true }),
    ]) {
      expect(await failureOf(call())).toMatchObject(refused("statements"));
    }
  });

  it("a whole transaction is one log entry, and the step that is too much says so", async () => {
    let steps = 0;
    const grown = db.transaction(async (tx) => {
      for (; steps < 5; steps += 1) {
        await tx.prepare("INSERT INTO t VALUES (?)").run(Buffer.alloc(90_000));
      }
    });
    expect(await failureOf(grown)).toMatchObject(refused("requestBytes"));
    expect(steps).toBe(2);
  });

  it("on the command line, with the statement of a script that is to blame", async () => {
    const endpoints = ["--endpoints", cluster.endpoints.join(",")];
    const balsa = async (sql: string) => {
      const command = new RunningCommand(["sql", sql, ...endpoints]);
      expect((await command.ended).code).toBe(1);
      return command.err;
    };
    for (const [limit, sql, args] of BEYOND) {
      if (args.length === 0) expect(await balsa(sql)).toMatch(named(limit));
    }
    expect(await balsa(Array(11).fill("SELECT 1").join(";"))).toMatch(named("statements"));
    expect(await balsa("INSERT INTO t VALUES (7); SELECT nosuch")).toContain(
      "SQLITE_ERROR: statement 2: no such column: nosuch",
    );
    expect(await balsa("INSERT INTO t VALUES (7); VACUUM")).toContain("REFUSED: statement 2: VACU");
  });

  it("leaves nothing of its request, and all nodes the same", async () => {
    // What the batches wrote that go on, and nothing else.
    const goOn = BEYOND.length - 3;
    expect(await db.prepare("SELECT count(*) AS n FROM t").get()).toEqual({ n: 2 * goOn });
    await cluster.caughtUp();
    const troubles = (await cluster.status()).nodes.map(({ status }) => status?.trouble);
    expect(troubles).toEqual(["", "", ""]);
  });
});

/** Of a sender that is not our client. */
const HUGE = {
  ...{ requestBytes: 1e9, valueBytes: 1e9, statementBytes: 1e9, statements: 1e9 },
  ...{ parameters: 1e9, resultBytes: 1e9, pendingWrites: 1, pendingReads: 1, pendingBytes: 1 },
};
