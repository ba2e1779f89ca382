/**
 * Simulated clients. Each sends numbered writes one after another, looks for the leader, and repeats a write until it has a
 * definite answer or gives it up (see sim-session.ts). In between it reads, linearizably, anywhere.
 */

import { decodeRowChunk } from "../../src/wire/result-codec.ts";
import { encodeBatch, encodeStatement } from "../../src/wire/statement-codec.ts";
import type { ClientHistory } from "./client-history.ts";
import { RETRY, type SessionParts, SimSession } from "./sim-session.ts";
import type { Trace } from "./trace.ts";

export const SCHEMA = [
  "CREATE TABLE IF NOT EXISTS ledger (row INTEGER, counter INTEGER, noise INTEGER, at TEXT)",
  "CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)",
];

export interface WorkloadParts extends SessionParts {
  readonly history: ClientHistory;
  readonly trace: Trace;
  /** Numbers that no other write has. */
  nextRow(): number;
}

export class SimClient extends SimSession {
  readonly #parts: WorkloadParts;
  readonly #keys: number;
  readonly #id: number;

  constructor(parts: WorkloadParts, id: number, keys: number) {
    super(parts);
    this.#parts = parts;
    this.#id = id;
    this.#keys = keys;
  }

  protected opened(): void {
    const batch = encodeBatch(SCHEMA.map((sql) => ({ sql })));
    const failed = (): void => {
      throw new Error("the tables could not be made");
    };
    this.send(
      this.numbered(batch, () => {}, failed),
      false,
    );
  }

  protected next(): void {
    if (this.isStopped) return;
    if (this.#parts.dice.chance(0.4)) this.#read();
    else this.#write();
  }

  #write(): void {
    const { history, dice, trace, coverage } = this.#parts;
    const row = this.#parts.nextRow();
    const key = dice.below(this.#keys);
    const fails = dice.chance(0.1);
    const insert = "INSERT INTO ledger VALUES (?, ?, random(), datetime('now'))";
    const raise =
      "INSERT INTO counter VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET value = value + 1";
    const statements = [
      { sql: insert, args: [row, key] },
      { sql: raise, args: [key] },
    ];
    // A request that fails half-way must leave nothing.
    if (fails) statements.push({ sql: "INSERT INTO counter VALUES (?, NULL)", args: [-1] });
    const counter = fails ? -1 : key;
    history.attempt(counter, row);
    this.busy = true;
    const done = (): void => {
      if (fails) throw new Error(`row ${row} should have failed`);
      trace.event("done", row);
      history.acknowledge(counter, row);
    };
    const refused = (bySql: boolean): void => {
      if (bySql && !fails) throw new Error(`row ${row} should not have failed`);
      if (!bySql) coverage.add("refused for good");
      history.refuse(counter, row);
    };
    this.send(this.numbered(encodeBatch(statements), done, refused), true);
  }

  #read(): void {
    const { history, dice, trace } = this.#parts;
    const key = dice.below(this.#keys);
    const ticket = history.beginRead(key);
    const next = (): void => this.later(5, () => this.next());
    this.ask((node, once) => {
      const call = {
        statement: encodeStatement({ sql: "SELECT value FROM counter WHERE id = ?", args: [key] }),
        consistency: "linearizable" as const,
        atLeast: 0,
        maxStalenessMs: 0,
        timeoutMs: 1_000,
        window: 0,
      };
      node.query(call, {
        chunk: (bytes) =>
          once(() => {
            const value = Number(decodeRowChunk(bytes, "number").rows[0]?.[0] ?? 0);
            trace.event("read", this.#id, key, value);
            history.endRead(ticket, value);
            next();
          }),
        failed: ({ code, message }) =>
          once(() => {
            if (!RETRY.has(code)) throw new Error(`a read failed with ${code}: ${message}`);
            next();
          }),
      });
    }, next);
  }
}
