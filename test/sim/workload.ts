/**
 * Simulated clients. Each sends numbered writes one after another, looks for the leader, and repeats a write under the
 * same number until it has a definite answer, as the client library does; or gives it up when every attempt was
 * answered with "not applied". In between it reads, linearizably, anywhere.
 */

import type { NodeService } from "../../src/node/service.ts";
import { isBalsaCode } from "../../src/sql/errors.ts";
import { decodeRowChunk } from "../../src/wire/result-codec.ts";
import { decodeOpenSessionResponse } from "../../src/wire/sql-codec.ts";
import { encodeBatch, encodeStatement } from "../../src/wire/statement-codec.ts";
import type { ClientHistory } from "./client-history.ts";
import type { Coverage } from "./coverage.ts";
import type { Prng } from "./prng.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Trace } from "./trace.ts";

export const SCHEMA = [
  "CREATE TABLE IF NOT EXISTS ledger (row INTEGER, counter INTEGER, noise INTEGER, at TEXT)",
  "CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)",
];

export interface WorkloadParts {
  readonly scheduler: Scheduler;
  readonly dice: Prng;
  readonly history: ClientHistory;
  readonly coverage: Coverage;
  readonly trace: Trace;
  /** Numbers that no other write has. */
  nextRow(): number;
  /** Running nodes; the list changes. */
  nodes(): readonly NodeService[];
  /** A violation or any other error stops the run. */
  fail(error: unknown): void;
}

/** Answers that another try, perhaps elsewhere, may change. */
const RETRY = new Set([
  "NOT_LEADER",
  "NO_LEADER",
  "LEADERSHIP_LOST",
  "UNAVAILABLE",
  "OVERLOADED",
  "NO_SPACE",
  "DEADLINE_EXCEEDED",
  "CLOSED",
  "NOT_SERVING",
  "NO_SPACE",
]);

interface Write {
  readonly batch: Uint8Array;
  readonly sequence: number;
  /** Every attempt so far was answered, and the answer was that nothing was applied. */
  isDefinite: boolean;
  attempts: number;
  done(): void;
  /** Never applied, and not tried again; `bySql`: SQLite refused it. */
  refused(bySql: boolean): void;
}

export class SimClient {
  readonly #parts: WorkloadParts;
  readonly #keys: number;
  readonly #id: number;
  #session = 0;
  #sequence = 0;
  #stopped = false;
  /** Set while a write has no definite answer yet. */
  busy = false;

  constructor(parts: WorkloadParts, id: number, keys: number) {
    this.#parts = parts;
    this.#id = id;
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

  /** An answer may never come: the process may die, or the way back may be lost. Then `lost` runs, once. */
  #ask(
    send: (node: NodeService, once: (then: () => void) => void) => void,
    lost: () => void,
  ): void {
    const { dice, coverage } = this.#parts;
    const nodes = this.#parts.nodes();
    const node = nodes.length === 0 ? null : dice.pick(nodes);
    let open = true;
    const settle = (then: () => void): void => {
      if (!open) return;
      open = false;
      try {
        then();
      } catch (error) {
        this.#parts.fail(error);
      }
    };
    // The answer is lost on its way now and then.
    const isLost = dice.chance(0.01);
    const once = (then: () => void): void => {
      if (!isLost) settle(then);
      else coverage.add("lost answers");
    };
    this.#later(1_500, () => settle(lost));
    if (node !== null) send(node, once);
  }

  #openSession(): void {
    if (this.#stopped) return;
    const again = (): void => this.#later(50, () => this.#openSession());
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
    const batch = encodeBatch(SCHEMA.map((sql) => ({ sql })));
    const failed = (): void => {
      throw new Error("the tables could not be made");
    };
    this.#send(
      this.#numbered(batch, () => {}, failed),
      false,
    );
  }

  #numbered(batch: Uint8Array, done: () => void, refused: (bySql: boolean) => void): Write {
    this.#sequence += 1;
    return { batch, sequence: this.#sequence, isDefinite: true, attempts: 0, done, refused };
  }

  #next(): void {
    if (this.#stopped) return;
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
    this.#send(this.#numbered(encodeBatch(statements), done, refused), true);
  }

  #send(write: Write, mayGiveUp: boolean): void {
    const { dice, coverage } = this.#parts;
    const again = (): void => {
      coverage.add("retries");
      this.#later(30, () => this.#send(write, mayGiveUp));
    };
    const finish = (then: () => void): void => {
      this.busy = false;
      then();
      this.#later(5, () => this.#next());
    };
    const { batch, sequence } = write;
    const session = this.#session;
    const acknowledgedThrough = sequence - 1;
    const call = {
      batch,
      openSession: false,
      session,
      sequence,
      acknowledgedThrough,
      timeoutMs: 1_000,
    };
    write.attempts += 1;
    const lost = (): void => {
      write.isDefinite = false;
      again();
    };
    this.#ask((node, once) => {
      node.execute(call, {
        done: () => once(() => finish(() => write.done())),
        failed: ({ code, message, outcome }) =>
          once(() => {
            if (!isBalsaCode(code)) return finish(() => write.refused(true));
            if (code === "SESSION_EXPIRED") return this.#beginAnew(write, mayGiveUp);
            if (!RETRY.has(code)) throw new Error(`unexpected failure ${code}: ${message}`);
            if (outcome !== "not-applied") {
              coverage.add("unknown outcomes");
              write.isDefinite = false;
            }
            if (mayGiveUp && write.isDefinite && dice.chance(0.03))
              finish(() => write.refused(false));
            else again();
          }),
      });
    }, lost);
  }

  /** What was tried under the old session is not tried again: nobody knows any more whether it was applied. */
  #beginAnew(write: Write, isOfRow: boolean): void {
    this.#parts.coverage.add("sessions expired");
    this.busy = false;
    if (isOfRow && write.isDefinite) write.refused(false);
    this.#session = 0;
    this.#sequence = 0;
    this.#openSession();
  }

  #read(): void {
    const { history, dice, trace } = this.#parts;
    const key = dice.below(this.#keys);
    const ticket = history.beginRead(key);
    const next = (): void => this.#later(5, () => this.#next());
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
