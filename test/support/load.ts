/**
 * Clients at work on a cluster, and the record of what they did: rows of their own under contended keys, read through
 * every node, and lists that are appended to. It judges nothing; see linearizability.ts.
 */

import { setTimeout as pause } from "node:timers/promises";
import {
  BalsaError,
  type ConnectOptions,
  type Database,
  SqlError,
} from "../../src/client/index.ts";
import { History, type Pending } from "./history.ts";
import type { ListOperation, RegisterOperation } from "./linearizability-models.ts";
import { randomOf } from "./random.ts";

export interface LoadOptions {
  /** Default 12. A third of them know all nodes, the others one each. */
  readonly clients?: number;
  /** Rows in use at a time. Default 12. */
  readonly keys?: number;
  /** Operations on a row before others take its place, so that no history grows too long to judge. Default 400. */
  readonly operationsPerKey?: number;
  /** Longest pause of a client between two operations, in milliseconds. Default 20. */
  readonly paceMs?: number;
  /** After which a call fails. Default 2,500. */
  readonly deadlineMs?: number;
  /** How often each kind of operation comes, relative to the others. */
  readonly mix?: Mix;
  readonly seed?: number;
}

export interface LoadTarget {
  readonly ids: readonly number[];
  connect(options: Partial<ConnectOptions> & { readonly only?: number }): Database;
}

export type Mix = { readonly [kind in RegisterOperation["kind"] | "list"]: number };

const MIX: Mix = {
  read: 40,
  write: 18,
  insert: 13,
  delete: 7,
  "compare-and-set": 10,
  list: 12,
};

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS cell (k TEXT PRIMARY KEY, v INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS list (k TEXT PRIMARY KEY, items TEXT NOT NULL);
`;
const SQL = {
  read: "SELECT v FROM cell WHERE k = ?",
  write: "INSERT INTO cell VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v",
  insert: "INSERT INTO cell VALUES (?, ?)",
  "compare-and-set": "UPDATE cell SET v = ? WHERE k = ? AND v = ?",
  delete: "DELETE FROM cell WHERE k = ?",
  append: `INSERT INTO list VALUES (?, ?)
    ON CONFLICT (k) DO UPDATE SET items = items || ' ' || excluded.items`,
  readList: "SELECT items FROM list WHERE k = ?",
};

/** Of a list, before the next one: reading it costs as much as it is long. */
const APPENDS_PER_LIST = 60;

interface Start {
  readonly client: string;
  readonly key: string;
}

export class Load {
  readonly registers = new History<RegisterOperation>();
  readonly lists = new History<ListOperation>();
  /** Failures by code and outcome, for a human. */
  readonly failures = new Map<string, number>();
  /** What must never happen, whatever is done to the cluster. */
  readonly surprises: string[] = [];
  /** Operations that were answered. */
  answered = 0;
  readonly #options: Required<LoadOptions>;
  readonly #dice: () => number;
  readonly #databases: Database[] = [];
  #loops: Promise<void>[] = [];
  #isOver = false;
  #started = 0;
  #appended = 0;
  #value = 0;

  constructor(cluster: LoadTarget, options: LoadOptions = {}) {
    this.#options = {
      clients: 12,
      keys: 12,
      operationsPerKey: 400,
      paceMs: 20,
      deadlineMs: 2_500,
      mix: MIX,
      seed: 1,
      ...options,
    };
    this.#dice = randomOf(this.#options.seed);
    const { ids } = cluster;
    for (let at = 0; at < this.#options.clients; at += 1) {
      const only = at % 3 === 0 ? undefined : ids[Math.floor(at / 3) % ids.length];
      const { deadlineMs } = this.#options;
      const rest = { deadlineMs, connectTimeoutMs: 500, silenceMs: 500 };
      this.#databases.push(cluster.connect(only === undefined ? rest : { only, ...rest }));
    }
  }

  async start(): Promise<void> {
    await this.#databases[0]?.exec(SCHEMA, { deadlineMs: 30_000 });
    this.#isOver = false;
    this.#loops = this.#databases.map((db, at) => this.#work(db, `c${at}`));
  }

  /** Waits for the operations under way. The clients stay open: `start` goes on. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#loops);
  }

  /** Resolves when `count` operations more have been answered. */
  async progress(count: number, limitMs = 60_000): Promise<void> {
    const [from, began] = [this.answered, performance.now()];
    while (this.answered < from + count) {
      if (performance.now() - began > limitMs) {
        throw new Error(`only ${this.answered - from} of ${count} operations in ${limitMs} ms`);
      }
      await pause(10);
    }
  }

  /** Reads everything that was ever written, so that what is missing cannot go unseen. After `stop`. */
  async readAll(): Promise<void> {
    const db = this.#databases[0] as Database;
    const client = "last reads";
    const cells = new Set(this.registers.operations().map(({ key }) => key));
    const lists = new Set(this.lists.operations().map(({ key }) => key));
    await Promise.all([
      ...[...cells].map((key) => this.#readCell(db, { client, key }, new Map())),
      ...[...lists].map((key) => this.#readList(db, { client, key })),
    ]);
  }

  /** Throws if anything happened that must never happen. */
  expectNoSurprise(): void {
    const all = [...new Set(this.surprises)];
    if (all.length > 0) throw new Error(`clients were surprised:\n${all.slice(0, 10).join("\n")}`);
  }

  async #work(db: Database, client: string): Promise<void> {
    const seen = new Map<string, number>();
    while (!this.#isOver) {
      this.#started += 1;
      const kind = this.#draw();
      if (kind === "list") await this.#workOnList(db, client);
      else await this.#workOnCell(kind, db, client, seen);
      if (this.#options.paceMs > 0) await pause(this.#dice() * this.#options.paceMs);
    }
  }

  #draw(): keyof Mix {
    const { mix } = this.#options;
    const kinds = Object.keys(mix) as (keyof Mix)[];
    const total = kinds.reduce((sum, kind) => sum + mix[kind], 0);
    let left = this.#dice() * total;
    for (const kind of kinds) {
      left -= mix[kind];
      if (left < 0) return kind;
    }
    return "read";
  }

  async #workOnCell(
    kind: RegisterOperation["kind"],
    db: Database,
    client: string,
    seen: Map<string, number>,
  ): Promise<void> {
    const { keys, operationsPerKey } = this.#options;
    const age = Math.floor(this.#started / (keys * operationsPerKey));
    const key = `k${Math.floor(this.#dice() * keys)}.${age}`;
    const input = ++this.#value;
    const start = { client, key };
    switch (kind) {
      case "read":
        return this.#readCell(db, start, seen);
      case "write": {
        const pending = this.registers.invoke({ ...start, kind, input });
        return this.#settle(pending, async () => {
          await db.prepare(SQL.write).run([key, input]);
          return "ok";
        });
      }
      case "insert": {
        const pending = this.registers.invoke({ ...start, kind, input });
        return this.#settle(pending, () => insert(db, key, input));
      }
      case "delete": {
        const pending = this.registers.invoke({ ...start, kind, input: null });
        return this.#settle(pending, async () => {
          const { changes } = await db.prepare(SQL.delete).run([key]);
          return changes === 1 ? "ok" : "absent";
        });
      }
      case "compare-and-set": {
        const swap = { expected: seen.get(key) ?? 0, next: input };
        const pending = this.registers.invoke({ ...start, kind, input: swap });
        return this.#settle(pending, async () => {
          const { changes } = await db.prepare(SQL[kind]).run([input, key, swap.expected]);
          return changes === 1 ? "ok" : "differs";
        });
      }
    }
  }

  async #readCell(db: Database, start: Start, seen: Map<string, number>): Promise<void> {
    const pending = this.registers.invoke({ ...start, kind: "read", input: null });
    await this.#settle(pending, async () => {
      const row = await db.prepare<{ v: number }>(SQL.read).get([start.key]);
      if (row !== undefined) seen.set(start.key, row.v);
      return { value: row?.v ?? null };
    });
  }

  async #readList(db: Database, start: Start): Promise<void> {
    const pending = this.lists.invoke({ ...start, kind: "read", input: null });
    await this.#settle(pending, async () => {
      const row = await db.prepare<{ items: string }>(SQL.readList).get([start.key]);
      return { values: row === undefined ? [] : row.items.split(" ").map(Number) };
    });
  }

  async #workOnList(db: Database, client: string): Promise<void> {
    const key = `l${Math.floor(this.#appended / APPENDS_PER_LIST)}`;
    if (this.#dice() < 0.4) return this.#readList(db, { client, key });
    this.#appended += 1;
    const input = ++this.#value;
    const pending = this.lists.invoke({ client, key, kind: "append", input });
    await this.#settle(pending, async () => {
      await db.prepare(SQL.append).run([key, `${input}`]);
      return "ok";
    });
  }

  async #settle<Op extends RegisterOperation | ListOperation>(
    pending: Pending<Op>,
    call: () => Promise<NonNullable<Op["output"]>>,
  ): Promise<void> {
    try {
      pending.returned(await call());
      this.answered += 1;
    } catch (error) {
      this.#fail(pending, error);
    }
  }

  #fail(pending: Pending<never>, error: unknown): void {
    if (!(error instanceof BalsaError)) {
      this.surprises.push(
        error instanceof SqlError ? `${error.code} ${error.message}` : `${error}`,
      );
      return;
    }
    const what = `${error.code} ${error.outcome}`;
    this.failures.set(what, (this.failures.get(what) ?? 0) + 1);
    if (["INTERNAL", "PROTOCOL", "INVALID_ARGUMENT", "REFUSED"].includes(error.code)) {
      this.surprises.push(`${error.code} ${error.message}`);
    }
    if (error.outcome === "not-applied") pending.nothing();
    if (error.outcome === "applied") pending.applied();
  }
}

async function insert(db: Database, key: string, value: number): Promise<"ok" | "exists"> {
  try {
    await db.prepare(SQL.insert).run([key, value]);
    return "ok";
  } catch (error) {
    if (error instanceof SqlError && error.code === "SQLITE_CONSTRAINT_PRIMARYKEY") return "exists";
    throw error;
  }
}
