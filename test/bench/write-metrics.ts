/** Metrics of writes: single rows from one client and from eight, random keys, batches, and without our client. */

import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import type { Database } from "../../src/client/index.ts";
import { decodeExecuteResponse, encodeExecuteRequest } from "../../src/wire/sql-codec.ts";
import { encodeBatch } from "../../src/wire/statement-codec.ts";
import { type Bed, INSERT, TEXT } from "./bed.ts";
import { closedLoop, windows } from "./measure.ts";

const INSTANCES = 8;
const LARGE_TABLE_ROWS = 1_000_000;
const BATCH_ROWS = 100;
/** Random keys: few meet one that is taken. */
const KEYS = 2 ** 50;

/** 100-byte rows under ascending keys, each acknowledged by itself, from one client. */
export async function write(bed: Bed): Promise<void> {
  const insert = bed.db.prepare(INSERT);
  const call = () => insert.run(bed.key(), TEXT);
  await closedLoop(64, bed.settings.warmup, call);
  const meter = await bed.meter();
  for (const callers of bed.settings.callers) {
    const figure = await windows(bed.settings, callers, call, meter);
    bed.print({ metric: "write", clients: callers, ...figure });
  }
}

/** The same from eight clients, so eight connections. */
export async function writeInstances(bed: Bed): Promise<void> {
  const clients = Array.from({ length: INSTANCES }, () => bed.cluster.connect().prepare(INSERT));
  const call = async (caller: number) => {
    await clients[caller % INSTANCES]?.run(bed.key(), TEXT);
  };
  await closedLoop(64, bed.settings.warmup, call);
  const meter = await bed.meter();
  for (const callers of bed.settings.callers.filter((count) => count >= INSTANCES)) {
    const figure = await windows(bed.settings, callers, call, meter);
    bed.print({ metric: "writeInstances", clients: callers, instances: INSTANCES, ...figure });
  }
}

/** Random keys in a table of a million rows. */
export async function writeRandom(bed: Bed): Promise<void> {
  await bed.db.exec("CREATE TABLE random (id INTEGER PRIMARY KEY, value TEXT)");
  const sql = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
    INSERT OR IGNORE INTO random SELECT abs(random()) % ${KEYS}, '${TEXT}' FROM n`;
  for (let rows = 0; rows < LARGE_TABLE_ROWS; rows += 10_000) await bed.db.exec(sql);
  const insert = bed.db.prepare("INSERT INTO random VALUES (?, ?)");
  const call = () => insert.run(Math.floor(Math.random() * KEYS), TEXT);
  await closedLoop(64, bed.settings.warmup, call);
  const meter = await bed.meter();
  for (const callers of bed.settings.callers) {
    const figure = await windows(bed.settings, callers, call, meter);
    bed.print({ metric: "writeRandom", clients: callers, rows: LARGE_TABLE_ROWS, ...figure });
  }
}

/** A hundred rows a request. */
export async function writeBatch(bed: Bed): Promise<void> {
  const call = async () => {
    const statements = Array.from({ length: BATCH_ROWS }, () => {
      return { sql: INSERT, args: [bed.key(), TEXT] };
    });
    await bed.db.batch(statements);
  };
  await closedLoop(16, bed.settings.warmup, call);
  const meter = await bed.meter();
  for (const callers of bed.settings.callers) {
    const figure = await windows(bed.settings, callers, call, meter);
    bed.print({ metric: "writeBatch", clients: callers, rowsEach: BATCH_ROWS, ...figure });
  }
}

/** Plain unary calls of gRPC, as any other language's client would make them. */
export async function unaryWrite(bed: Bed): Promise<void> {
  const leader = await bed.cluster.leader();
  const client = new Client(leader.endpoint, credentials.createInsecure());
  const call = () => {
    const batch = encodeBatch([{ sql: INSERT, args: [bed.key(), TEXT] }]);
    const numbers = { session: 0, sequence: 0, acknowledgedThrough: 0, timeoutMs: 10_000 };
    const request = { batch, ...numbers, noForward: true };
    return new Promise<void>((resolve, reject) => {
      const done = (error: ServiceError | null) => (error === null ? resolve() : reject(error));
      const path = "/balsa.v1.Sql/Execute";
      client.makeUnaryRequest(path, encodeExecuteRequest, decodeExecuteResponse, request, done);
    });
  };
  try {
    await closedLoop(64, bed.settings.warmup, call);
    const figure = await windows(bed.settings, 64, call, await bed.meter());
    bed.print({ metric: "unaryWrite", clients: 64, ...figure });
  } finally {
    client.close();
  }
}

/** Nine reads by key for a write, linearizable, through all nodes. */
export async function mixed(bed: Bed): Promise<void> {
  await bed.fill(10_000);
  const insert = bed.db.prepare(INSERT);
  const get = linearizable(bed.db);
  const call = (caller: number, turn: number): Promise<unknown> => {
    if ((caller + turn) % 10 === 0) return insert.run(bed.key(), TEXT);
    return get.get(((caller * 7919 + turn) % 10_000) + 1);
  };
  await closedLoop(64, bed.settings.warmup, call);
  const meter = await bed.meter();
  for (const callers of bed.settings.callers) {
    const figure = await windows(bed.settings, callers, call, meter);
    bed.print({ metric: "mixed", clients: callers, readPercent: 90, ...figure });
  }
}

function linearizable(db: Database): ReturnType<Database["prepare"]> {
  return db.with({ consistency: "linearizable" }).prepare("SELECT value FROM bench WHERE id = ?");
}
