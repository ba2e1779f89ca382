/**
 * A simulated client's session: it is opened, writes in it are numbered, and each is repeated under its number until it has a
 * definite answer, as the client library does; or given up when every attempt was answered with "not applied". What is
 * written, those who have one decide.
 */

import type { NodeService } from "../../src/node/service.ts";
import { isBalsaCode } from "../../src/sql/errors.ts";
import { decodeOpenSessionResponse } from "../../src/wire/sql-codec.ts";
import type { Coverage } from "./coverage.ts";
import type { Prng } from "./prng.ts";
import type { Scheduler } from "./scheduler.ts";

export interface SessionParts {
  readonly scheduler: Scheduler;
  readonly dice: Prng;
  readonly coverage: Coverage;
  /** Running nodes; the list changes. */
  nodes(): readonly NodeService[];
  /** A violation or any other error stops the run. */
  fail(error: unknown): void;
}

/** Answers that another try, perhaps elsewhere, may change. */
export const RETRY = new Set([
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

export interface Write {
  readonly batch: Uint8Array;
  readonly sequence: number;
  /** Every attempt so far was answered, and the answer was that nothing was applied. */
  isDefinite: boolean;
  attempts: number;
  /** With an encoded balsa.v1.BatchResult. */
  done(result: Uint8Array): void;
  /** Never applied, and not tried again; `bySql`: SQLite refused it. */
  refused(bySql: boolean): void;
  /** Its session has expired: nobody knows. */
  lost?(): void;
}

export abstract class SimSession {
  protected readonly parts: SessionParts;
  protected isStopped = false;
  #session = 0;
  #sequence = 0;
  /** Set while a write has no definite answer yet. */
  busy = false;

  constructor(parts: SessionParts) {
    this.parts = parts;
  }

  /** Its session is open, for the first time or anew. */
  protected abstract opened(): void;
  /** Time for something else. */
  protected abstract next(): void;

  start(): void {
    this.later(10, () => this.#openSession());
  }

  /** Finishes what is under way, then rests. */
  stop(): void {
    this.isStopped = true;
  }

  protected later(delayMs: number, run: () => void): void {
    this.parts.scheduler.after(delayMs * (0.5 + this.parts.dice.next()), () => {
      try {
        run();
      } catch (error) {
        this.parts.fail(error);
      }
    });
  }

  /** An answer may never come: the process may die, or the way back may be lost. Then `lost` runs, once. */
  protected ask(
    send: (node: NodeService, once: (then: () => void) => void) => void,
    lost: () => void,
  ): void {
    const { dice, coverage } = this.parts;
    const nodes = this.parts.nodes();
    const node = nodes.length === 0 ? null : dice.pick(nodes);
    let open = true;
    const settle = (then: () => void): void => {
      if (!open) return;
      open = false;
      try {
        then();
      } catch (error) {
        this.parts.fail(error);
      }
    };
    // The answer is lost on its way now and then.
    const isLost = dice.chance(0.01);
    const once = (then: () => void): void => {
      if (!isLost) settle(then);
      else coverage.add("lost answers");
    };
    this.later(1_500, () => settle(lost));
    if (node !== null) send(node, once);
  }

  #openSession(): void {
    if (this.isStopped) return;
    const again = (): void => this.later(50, () => this.#openSession());
    this.ask((node, once) => {
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
            this.opened();
          }),
        failed: () => once(again),
      });
    }, again);
  }

  protected numbered(
    batch: Uint8Array,
    done: Write["done"],
    refused: (bySql: boolean) => void,
  ): Write {
    this.#sequence += 1;
    return { batch, sequence: this.#sequence, isDefinite: true, attempts: 0, done, refused };
  }

  protected send(write: Write, mayGiveUp: boolean): void {
    const { dice, coverage } = this.parts;
    const again = (): void => {
      coverage.add("retries");
      this.later(30, () => this.send(write, mayGiveUp));
    };
    const finish = (then: () => void): void => {
      this.busy = false;
      then();
      this.later(5, () => this.next());
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
    this.ask((node, once) => {
      node.execute(call, {
        done: (result) => once(() => finish(() => write.done(result))),
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
    this.parts.coverage.add("sessions expired");
    this.busy = false;
    if (isOfRow && write.isDefinite) write.refused(false);
    else write.lost?.();
    this.#session = 0;
    this.#sequence = 0;
    this.#openSession();
  }
}
