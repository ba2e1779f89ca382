/**
 * Who has the writer for himself: an interactive transaction, from its turn among the writes until it ends. While one
 * has it, only its own steps go to the writer; whatever came before it is in SQLite already (DESIGN D2). Runs nothing.
 */

import type { Failure } from "../sql/errors.ts";
import type { Deque } from "./deque.ts";
import { failure, type WriteRequest } from "./write-request.ts";

/** An interactive transaction, as the writer's driver sees it. */
export interface HoldingTransaction {
  /** Its steps that wait for the writer. */
  readonly waiting: Deque<WriteRequest>;
  /** It must end; the writer can still roll it back. */
  abort(why: Failure): void;
  /** It has ended with the writer or the leadership: nothing of it was proposed. */
  lost(why: Failure): void;
}

export class WriterHold {
  #holder: HoldingTransaction | null = null;

  get isHeld(): boolean {
    return this.#holder !== null;
  }

  /** What goes to the writer next. `isClean`: the cycle has ended, as it must before a transaction or a setting. */
  next(waiting: Deque<WriteRequest>, isClean: boolean): WriteRequest | undefined {
    if (this.#holder !== null) {
      const step = this.#holder.waiting.shift();
      if (step?.call.verb === "commit") this.#holder = null;
      return step;
    }
    const first = waiting.first();
    const isBegin = first?.call.verb === "begin";
    if (first?.stage === "waiting" && (isBegin || first.isApart)) {
      if (!isClean) return undefined;
      if (isBegin) this.#holder = first.transaction;
    }
    return waiting.shift();
  }

  /** False if it is not this one that has the writer. */
  release(transaction: HoldingTransaction): boolean {
    if (this.#holder !== transaction) return false;
    this.#holder = null;
    return true;
  }

  abort(reason: string): void {
    this.#holder?.abort(aborted(reason));
  }

  lose(reason: string): void {
    const holder = this.#holder;
    this.#holder = null;
    holder?.lost(aborted(reason));
  }
}

/** Nothing of the transaction was applied, and nothing will be. */
export function aborted(reason: string): Failure {
  const message = `the transaction was rolled back: ${reason}; it may be run again`;
  return failure("TRANSACTION_ABORTED", message, "not-applied", { reason });
}
