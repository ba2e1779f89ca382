/**
 * Simulated clients. Each sends numbered writes one after another, looks for the leader, and repeats a write under the
 * same number until it has a definite answer, as the client library does. In between it reads, linearizably, anywhere.
 */

import type { NodeService } from "../../src/node/service.ts";
import { isBalsaCode } from "../../src/sql/errors.ts";
import { decodeRowChunk } from "../../src/wire/result-codec.ts";
import { decodeOpenSessionResponse } from "../../src/wire/sql-codec.ts";
import { encodeBatch, encodeStatement } from "../../src/wire/statement-codec.ts";
import type { ClientHistory } from "./checkers/client-history.ts";
import type { Prng } from "./prng.ts";
import type { Scheduler } from "./scheduler.ts";

export const SCHEMA = [
  "CREATE TABLE IF NOT EXISTS ledger (row INTEGER, counter INTEGER, noise INTEGER, at TEXT)",
  "CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)",
];

export interface WorkloadParts {
  readonly scheduler: Scheduler;
  readonly dice: Prng;
  readonly history: ClientHistory;
  /** Numbers that no other write has. */
  nextRow(): number;
  /** Running nodes; the list changes. */
  nodes(): readonly NodeService[];
  /** A violation or any other error stops the run. */
  fail(error: unknown): void;
}

/** Answers that leave no doubt that nothing was applied, and that another try may change. */
const RETRY = new Set([
  "NOT_LEADER",
  "NO_LEADER",
  "LEADERSHIP_LOST",
  "UNAVAILABLE",
  "OVERLOADED",
  "DEADLINE_EXCEEDED",
  "CLOSED",
  "NOT_SERVING",
]);

export class SimClient {
  readonly #parts: WorkloadParts;
  readonly #keys: number;
  #session = 0;
  #sequence = 0;
  #stopped = false;
  /** Set while a write has no definite answer yet. */
  busy = false;

  constructor(parts: WorkloadParts, keys: number) {
    this.#parts = parts;
    this.#keys = keys;
  }

  start(): void {
    this.#later(10, () => this.#openSession());
  }

  /** Finishes what is under way, then rests. */
  stop(): void {
    this.#stopped = true;
  }

  #later(delayMs: number, run: () => void): void {
    this.#parts.scheduler.after(delayMs * (0.5 + this.#parts.dice.next()), () => {
      try {
        run();
      } catch (error) {
        this.#parts.fail(error);
      }
    });
  }

  #node(): NodeService | null {
    const nodes = this.#parts.nodes();
    return nodes.length === 0 ? null : this.#parts.dice.pick(nodes);
  }

  /** An answer may never come: the process may die. Then `lost` runs, once. */
  #ask(
    send: (node: NodeService, once: (then: () => void) => void) => void,
    lost: () => void,
  ): void {
    const node = this.#node();
    let open = true;
    const once = (then: () => void) => {
      if (!open) return;
      open = false;
      try {
        then();
      } catch (error) {
        this.#parts.fail(error);
      }
    };
    this.#later(1_500, () => once(lost));
    if (node !== null) send(node, once);
  }

  #openSession(): void {
    if (this.#stopped) return;
    const again = () => this.#later(50, () => this.#openSession());
    this.#ask((node, once) => {
      const call = {
        batch: new Uint8Array(0),
        openSession: true,
        session: 0,
        sequence: 0,
        acknowledgedThrough: 0,
        timeoutMs: 1_000,
      };
      node.execute(call, {
        done: (result) =>
          once(() => {
            this.#session = decodeOpenSessionResponse(result).session;
            this.#makeTables();
          }),
        failed: () => once(again),
      });
    }, again);
  }

  #makeTables(): void {
    this.#sequence += 1;
    const batch = encodeBatch(SCHEMA.map((sql) => ({ sql })));
    const failed = () => {
      throw new Error("the tables could not be made");
    };
    this.#send(batch, this.#sequence, { done: () => {}, failed });
  }

  #next(): void {
    if (this.#stopped) return;
    if (this.#parts.dice.chance(0.4)) this.#read();
    else this.#write();
  }

  #write(): void {
    const row = this.#parts.nextRow();
    const key = this.#parts.dice.below(this.#keys);
    const fails = this.#parts.dice.chance(0.1);
    this.#sequence += 1;
    const insert = "INSERT INTO ledger VALUES (?, ?, random(), datetime('now'))";
    const raise =
      "INSERT INTO counter VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET value = value + 1";
    const statements = [
      { sql: insert, args: [row, key] },
      { sql: raise, args: [key] },
    ];
    // A request that fails half-way must leave nothing.
    if (fails) statements.push({ sql: "INSERT INTO counter VALUES (?, NULL)", args: [-1] });
    const batch = encodeBatch(statements);
    if (fails) this.#parts.history.attempt(-1, row);
    else this.#parts.history.attempt(key, row);
    this.busy = true;
    this.#send(batch, this.#sequence, {
      done: () => {
        if (fails) throw new Error(`row ${row} should have failed`);
        this.#parts.history.acknowledge(key, row);
      },
      failed: () => this.#parts.history.refuse(row),
    });
  }

  #send(batch: Uint8Array, sequence: number, end: { done(): void; failed(): void }): void {
    const again = () => this.#later(30, () => this.#send(batch, sequence, end));
    const finish = (then: () => void) => {
      this.busy = false;
      then();
      this.#later(5, () => this.#next());
    };
    this.#ask((node, once) => {
      const call = {
        batch,
        openSession: false,
        session: this.#session,
        sequence,
        acknowledgedThrough: sequence - 1,
        timeoutMs: 1_000,
      };
      node.execute(call, {
        done: () => once(() => finish(end.done)),
        failed: ({ code, message }) =>
          once(() => {
            if (!isBalsaCode(code)) finish(end.failed);
            else if (RETRY.has(code)) again();
            else throw new Error(`unexpected failure ${code}: ${message}`);
          }),
      });
    }, again);
  }

  #read(): void {
    const key = this.#parts.dice.below(this.#keys);
    const ticket = this.#parts.history.beginRead(key);
    const next = () => this.#later(5, () => this.#next());
    this.#ask((node, once) => {
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
            const value = decodeRowChunk(bytes, "number").rows[0]?.[0] ?? 0;
            this.#parts.history.endRead(ticket, Number(value));
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
