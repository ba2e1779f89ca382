/**
 * Interactive transactions on a real cluster: isolated, undone as a whole or in part, in nobody's way for longer than they
 * may be; and through kills of leaders and clients each is applied once, whole, or not at all, as its caller was told.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { BalsaError, type Database, type Transaction } from "../../src/client/index.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import { HarshCluster } from "../support/cluster.ts";
import { gate } from "../support/gate.ts";
import { randomOf } from "../support/random.ts";

const ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c)";
const CLIENT = join(import.meta.dirname, "../../dist/client/index.js");

function caught(call: Promise<unknown>): Promise<BalsaError> {
  return call.then(
    () => Promise.reject(new Error("it should have failed")),
    (error: BalsaError) => error,
  );
}

describe("a transaction", () => {
  let cluster: TestCluster;
  let db: Database;

  beforeAll(async () => {
    cluster = await TestCluster.start({ args: ["--write-deadline-ms", "1500"] });
    await cluster.ready();
    db = cluster.connect();
    await db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, k UNIQUE, v)");
  });

  beforeEach(() => db.exec("DELETE FROM t; DELETE FROM sqlite_sequence"));
  afterAll(() => cluster.stop());

  const insertInto = (tx: Transaction, k: unknown) =>
    tx.prepare("INSERT INTO t(k) VALUES (?)").run(k as number);
  const keys = async () =>
    (await db.prepare("SELECT k FROM t ORDER BY id").all()).map(({ k }) => k);

  it("sees its own writes, and nobody else does before it commits", async () => {
    const outside = cluster.connect();
    const seen = await db.transaction(async (tx) => {
      await insertInto(tx, "a");
      const before = await outside.prepare("SELECT count(*) AS n FROM t").get();
      const own = await tx.prepare("SELECT k FROM t").all();
      return [before, own];
    });
    expect(seen).toEqual([{ n: 0 }, [{ k: "a" }]]);
    await expect(outside.prepare("SELECT count(*) AS n FROM t").get()).resolves.toEqual({ n: 1 });
  });

  it("leaves nothing when its function throws; nested, only what is in there", async () => {
    const failure = new Error("changed my mind");
    const failed = db.transaction(async (tx) => {
      await insertInto(tx, "lost");
      throw failure;
    });
    await expect(failed).rejects.toBe(failure);
    await db.transaction(async (tx) => {
      await insertInto(tx, 1);
      await caught(
        tx.transaction(async (inner) => {
          await insertInto(inner, 2);
          await inner.transaction((third) => insertInto(third, 3));
          throw failure;
        }),
      );
      await tx.transaction((inner) => insertInto(inner, 4));
      await expect(insertInto(tx, 1)).rejects.toMatchObject({ code: "SQLITE_CONSTRAINT_UNIQUE" });
    });
    expect(await keys()).toEqual([1, 4]);
  });

  it("cannot be used when it is over, nor db instead of tx inside it", async () => {
    let kept: Transaction | null = null;
    await db.transaction(async (tx) => {
      kept = tx;
      const write = db.prepare("INSERT INTO t(k) VALUES (1)").run();
      await expect(write).rejects.toMatchObject({ code: "NESTED_CALL" });
      await expect(db.exec("DELETE FROM t")).rejects.toMatchObject({ code: "NESTED_CALL" });
      const nested = db.transaction(async () => {});
      await expect(nested).rejects.toMatchObject({ code: "NESTED_CALL" });
      // A read waits for nobody: it sees what was before.
      expect(await db.prepare("SELECT count(*) AS n FROM t").get()).toEqual({ n: 0 });
    });
    const late = (kept as unknown as Transaction).exec("DELETE FROM t");
    await expect(late).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await db.prepare("INSERT INTO t(k) VALUES (1)").run();
  });

  it("finds db instead of tx wherever the function's own calls lead", async () => {
    const write = () => db.prepare("INSERT INTO t(k) VALUES (1)").run();
    const emitter = new EventEmitter();
    let heard: Promise<unknown> = Promise.resolve();
    emitter.on("event", () => {
      heard = write();
    });
    const ways: { readonly [name: string]: (tx: Transaction) => Promise<unknown> } = {
      all: (tx) => Promise.all([insertInto(tx, 2), write()]),
      timer: () => pause(5).then(write),
      immediate: () => new Promise((done, fail) => setImmediate(() => write().then(done, fail))),
      "a listener registered before": () => {
        emitter.emit("event");
        return heard;
      },
      "another view of the client": () =>
        db.with({ deadlineMs: 500 }).exec("INSERT INTO t(k) VALUES (1)"),
      batch: () => db.batch([{ sql: "INSERT INTO t(k) VALUES (1)" }]),
      rows: () => db.prepare("INSERT INTO t(k) VALUES (1) RETURNING k").iterate().next(),
      blob: () => db.blob.write("x", Buffer.from("x")),
      "inside a nested one": (tx) => tx.transaction(() => write()),
    };
    for (const [name, way] of Object.entries(ways)) {
      const error = await caught(db.transaction(way));
      expect([name, error.code]).toEqual([name, "NESTED_CALL"]);
    }
    // Behind the end, what the function has begun is as free as anybody.
    let late: Promise<unknown> = Promise.resolve();
    const over = gate();
    await db.transaction(async () => {
      late = over.opened.then(write);
    });
    over.open();
    await late;
    expect(await keys()).toEqual([1]);
    // A read-only one keeps nobody waiting, and so is no place where db is wrong.
    await db.transaction(() => db.exec("DELETE FROM t"), { readOnly: true });
    expect(await db.transaction(() => db.transaction(() => keys(), { readOnly: true }))).toEqual(
      [],
    );
  });

  it("takes no options for a step, which would be believed to hold", async () => {
    const list = [{ sql: "INSERT INTO t(k) VALUES (1)" }];
    const goOn = { onError: "continue" } as never;
    const steps: ((tx: Transaction) => Promise<unknown>)[] = [
      (tx) => tx.batch(list, goOn),
      (tx) => tx.exec("SELECT 1", goOn),
      (tx) => tx.transaction(async () => {}, goOn),
    ];
    for (const run of steps) {
      expect(await caught(db.transaction(run))).toMatchObject({ code: "INVALID_ARGUMENT" });
    }
    expect(await keys()).toEqual([]);
  });

  it("that is given up by its caller lets the others in at once", async () => {
    const giveUp = new AbortController();
    const begun = gate();
    const end = gate();
    const held = caught(
      db.transaction(
        async (tx) => {
          await insertInto(tx, "held");
          begun.open();
          await end.opened;
        },
        { signal: giveUp.signal },
      ),
    );
    await begun.opened;
    const waiting = db.prepare("INSERT INTO t(k) VALUES ('after')").run();
    giveUp.abort(new Error("enough"));
    await waiting;
    end.open();
    expect(await held).toMatchObject({ code: "CANCELLED", outcome: "not-applied" });
    expect(await keys()).toEqual(["after"]);
  });

  it("that does nothing for too long, or lasts too long, is rolled back, and the others go on", async () => {
    for (const limit of [{ idleMs: 200 }, { totalMs: 300 }]) {
      const done = gate();
      const slow = caught(
        db.transaction(async (tx) => {
          await insertInto(tx, "slow");
          const until = performance.now() + ("idleMs" in limit ? 0 : 60_000);
          while (performance.now() < until) {
            await tx.prepare("SELECT 1").get();
            await pause(20);
          }
          await done.opened;
          await insertInto(tx, "late");
        }, limit),
      );
      // Waits for its turn, which comes when the other is rolled back.
      await db.prepare("INSERT INTO t(k) VALUES (?)").run(JSON.stringify(limit));
      done.open();
      const error = await slow;
      expect(error).toMatchObject({ code: "TRANSACTION_TIMEOUT", outcome: "not-applied" });
      expect(error.message).toContain(Object.keys(limit)[0]);
    }
    expect(await keys()).toEqual(['{"idleMs":200}', '{"totalMs":300}']);
  });

  it("whose statement never ends is stopped with it", async () => {
    const error = await caught(
      db.transaction(async (tx) => {
        await insertInto(tx, 1);
        await tx.exec(`INSERT INTO t(k) ${ENDLESS} SELECT -n FROM c WHERE n < 0`);
      }),
    );
    expect(error).toMatchObject({ outcome: "not-applied" });
    expect(error.code).toMatch(/^(DEADLINE_EXCEEDED|TRANSACTION_ABORTED)$/);
    expect(await keys()).toEqual([]);
  });

  it("keeps others waiting in order", async () => {
    const other = cluster.connect();
    await other.prepare("INSERT INTO t(k) VALUES ('warm')").run();
    const begun = gate();
    const held = gate();
    const first = db.transaction(async (tx) => {
      await insertInto(tx, "first");
      begun.open();
      await held.opened;
    });
    await begun.opened;
    const rest: Promise<unknown>[] = [];
    for (let n = 0; n < 10; n += 1) {
      rest.push(other.prepare("INSERT INTO t(k) VALUES (?)").run(`write ${n}`));
      rest.push(other.transaction((tx) => insertInto(tx, `transaction ${n}`)));
    }
    held.open();
    await Promise.all([first, ...rest]);
    const expected = Array.from({ length: 10 }, (_, n) => [`write ${n}`, `transaction ${n}`]);
    expect(await keys()).toEqual(["warm", "first", ...expected.flat()]);
  });

  it("is serializable: counters that are read and written lose nothing", async () => {
    await db.prepare("INSERT INTO t(k, v) VALUES ('counter', 0)").run();
    const clients = [db, cluster.connect(), cluster.connect()];
    const increment = (client: Database) =>
      client.transaction(async (tx) => {
        const row = await tx.prepare("SELECT v FROM t WHERE k = 'counter'").get();
        await tx.prepare("UPDATE t SET v = ? WHERE k = 'counter'").run(Number(row?.["v"]) + 1);
      });
    const all = clients.flatMap((client) => Array.from({ length: 30 }, () => increment(client)));
    await Promise.all(all);
    expect(await db.prepare("SELECT v FROM t").get()).toEqual({ v: 90 });
  });

  it("ends with its client, killed in the middle", async () => {
    const script = `
      import { connect } from ${JSON.stringify(CLIENT)};
      const db = connect({ endpoints: ${JSON.stringify(cluster.endpoints)} });
      await db.transaction(async (tx) => {
        await tx.exec("INSERT INTO t(k) VALUES ('orphan')");
        console.log("open");
        await new Promise(() => setInterval(() => {}, 1000));
      }, { idleMs: 30000, totalMs: 30000 });`;
    const child: ChildProcess = spawn(process.execPath, ["--input-type=module", "-e", script]);
    if (child.stdout === null) throw new Error("no output");
    const [line] = await once(child.stdout, "data");
    expect(String(line)).toBe("open\n");
    const waiting = db.prepare("INSERT INTO t(k) VALUES ('next')").run();
    child.kill("SIGKILL");
    // Sooner than the transaction's own limits.
    await waiting;
    expect(await keys()).toEqual(["next"]);
  });

  it("leaves the same on all nodes: failures, nested rollbacks and new tables included", async () => {
    await db.transaction(async (tx) => {
      await tx.exec(
        "CREATE TABLE made (x, r DEFAULT (random())); CREATE VIRTUAL TABLE f USING fts5(t)",
      );
      await tx.exec("INSERT INTO f VALUES ('one'); INSERT INTO made(x) VALUES (1)");
      await caught(tx.exec("INSERT INTO f VALUES ('two'); INSERT INTO nosuch VALUES (1)"));
    });
    await db.transaction(async (tx) => {
      await caught(
        tx.transaction(async (inner) => {
          await inner.exec("INSERT INTO f VALUES ('three')");
          throw new Error("undone");
        }),
      );
      await tx.exec("INSERT INTO f VALUES ('four'); INSERT INTO made(x) VALUES (2)");
    });
    const undone = db.transaction(async (tx) => {
      await tx.exec("CREATE TABLE never (x); ANALYZE");
      throw new Error("undone");
    });
    await expect(undone).rejects.toThrow("undone");
    const results = await db.batch(
      [
        { sql: "INSERT INTO made(x) VALUES (3) RETURNING x" },
        { sql: "INSERT INTO never VALUES (1)" },
        { sql: "SELECT count(*) AS n FROM made" },
      ],
      { onError: "continue" },
    );
    expect(results.map(({ rows, error }) => error?.code ?? rows)).toEqual([
      [{ x: 3 }],
      "SQLITE_ERROR",
      [{ n: 3 }],
    ]);
    await cluster.caughtUp(30_000);
    const states = (await cluster.status()).nodes.map(({ status }) => status?.trouble);
    expect(states).toEqual(["", "", ""]);
    const texts: unknown[] = [];
    for (const endpoint of cluster.endpoints) {
      const one = cluster.connect({ endpoints: [endpoint], discover: false });
      const all = one.with({ consistency: "stale" }).prepare("SELECT x, r FROM made ORDER BY x");
      texts.push(await all.all());
    }
    expect(texts[1]).toEqual(texts[0]);
    expect(texts[2]).toEqual(texts[0]);
  });
});

describe("a read-only transaction", () => {
  let cluster: TestCluster;
  let db: Database;

  beforeAll(async () => {
    cluster = await TestCluster.start();
    await cluster.ready();
    db = cluster.connect();
    await db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, k UNIQUE)");
  });
  afterAll(() => cluster.stop());

  const readOnly = { readOnly: true } as const;
  const count = async (tx: Transaction) =>
    (await tx.prepare("SELECT count(*) AS n FROM t").get())?.["n"];

  it.each(["linearizable", "session", "stale"] as const)(
    "sees one moment on every node, while others write: %s",
    async (consistency) => {
      await db.exec("DELETE FROM t; INSERT INTO t(k) VALUES (1)");
      await cluster.caughtUp();
      for (const endpoint of cluster.endpoints) {
        const one = cluster.connect({ endpoints: [endpoint], discover: false, consistency });
        const counts = await one.transaction(async (tx) => {
          const before = await count(tx);
          // Nobody waits for it, the writer of this very client included.
          await db.prepare("INSERT INTO t(k) VALUES (?)").run(endpoint);
          const [nested] = await tx.transaction((inner) =>
            inner.batch([{ sql: "SELECT count(*) AS n FROM t" }]),
          );
          return [before, nested?.rows[0]?.["n"], await count(tx)];
        }, readOnly);
        expect(new Set(counts).size).toBe(1);
        await cluster.caughtUp();
      }
      const after = await db.transaction(count, readOnly);
      expect(after).toBe(1 + cluster.endpoints.length);
    },
  );

  it("writes nothing, and goes on behind an error", async () => {
    await db.transaction(async (tx) => {
      const insert = tx.prepare("INSERT INTO t(k) VALUES ('no')").run();
      await expect(insert).rejects.toMatchObject({ code: "REFUSED" });
      const wrong = tx.prepare("SELECT nosuch FROM t").all();
      await expect(wrong).rejects.toMatchObject({ code: "SQLITE_ERROR" });
      expect(await tx.prepare("SELECT ? AS x").all(7)).toEqual([{ x: 7 }]);
    }, readOnly);
  });

  it("ends when it is idle for too long", async () => {
    const idle = db.transaction(
      async (tx) => {
        await pause(500);
        return count(tx);
      },
      { ...readOnly, idleMs: 100 },
    );
    expect(await caught(idle)).toMatchObject({ code: "TRANSACTION_TIMEOUT" });
  });

  it("serves more of them than there are readers", async () => {
    const all = Array.from({ length: 30 }, () =>
      db.transaction(async (tx) => [await count(tx), await count(tx)], readOnly),
    );
    for (const [first, second] of await Promise.all(all)) expect(second).toBe(first);
  });
});

describe("a bank, whose leaders are killed", () => {
  let cluster: HarshCluster;

  beforeAll(async () => {
    cluster = await HarshCluster.start();
  });
  afterEach((context) => cluster.finish(context));

  it("keeps its total; each transfer is applied once, whole, or as its caller was told", async () => {
    const ACCOUNTS = 10;
    const db = cluster.connect();
    await db.exec(`
      CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0));
      CREATE TABLE transfer (id TEXT PRIMARY KEY, amount INTEGER);
    `);
    const accounts = Array.from({ length: ACCOUNTS }, (_, id) => ({
      sql: "INSERT INTO account VALUES (?, 1000)",
      args: [id],
    }));
    await db.batch(accounts);

    const told = new Map<string, "applied" | "not-applied" | "unknown">();
    const tally = { applied: 0, "not-applied": 0, unknown: 0 };
    let stopping = false;
    async function work(worker: number): Promise<void> {
      const dice = randomOf(worker + 1);
      const client = cluster.connect({ deadlineMs: 8_000 });
      for (let n = 0; !stopping; n += 1) {
        const id = `${worker}/${n}`;
        const from = Math.floor(dice() * ACCOUNTS);
        const to = Math.floor(dice() * ACCOUNTS);
        const outcome = await transfer(client, id, from, to, Math.floor(dice() * 400)).then(
          () => "applied" as const,
          (error: unknown) => {
            if (!(error instanceof Error)) throw error;
            // SQLite's own no, here: the balance would be negative.
            return error instanceof BalsaError ? error.outcome : ("not-applied" as const);
          },
        );
        told.set(id, outcome);
        tally[outcome] += 1;
      }
    }
    const workers = Promise.all(Array.from({ length: 6 }, (_, n) => work(n)));
    for (let kills = 0; kills < 4; kills += 1) {
      const before = tally.applied;
      const limit = performance.now() + 60_000;
      while (tally.applied < before + 15) {
        if (performance.now() > limit) throw new Error(`no progress: ${JSON.stringify(tally)}`);
        await pause(20);
      }
      const leader = await cluster.leader();
      await cluster.kill(leader);
      await cluster.restart(leader);
      await cluster.recovered();
    }
    stopping = true;
    await workers;

    await cluster.recovered();
    await cluster.caughtUp();
    const total = await db.prepare("SELECT sum(balance) AS total FROM account").get();
    expect(total).toEqual({ total: ACCOUNTS * 1000 });
    const rows = await db.prepare("SELECT id FROM transfer").all();
    const found = new Set(rows.map((row) => String(row["id"])));
    for (const [id, outcome] of told) {
      if (outcome !== "unknown") expect([id, found.has(id)]).toEqual([id, outcome === "applied"]);
    }
    const [first, ...others] = await cluster.contents();
    for (const other of others) expect(other).toBe(first);
    process.stderr.write(`transfers under four kills: ${JSON.stringify(tally)}\n`);
  });

  async function transfer(
    db: Database,
    id: string,
    from: number,
    to: number,
    amount: number,
  ): Promise<void> {
    await db.transaction(async (tx) => {
      const read = tx.prepare("SELECT balance FROM account WHERE id = ?");
      const write = tx.prepare("UPDATE account SET balance = ? WHERE id = ?");
      const source = Number((await read.get(from))?.["balance"]);
      await write.run(source - amount, from);
      const target = Number((await read.get(to))?.["balance"]);
      await write.run(target + amount, to);
      await tx.prepare("INSERT INTO transfer VALUES (?, ?)").run(id, amount);
    });
  }
});
