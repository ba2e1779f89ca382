/** A statement of an interactive transaction: the verbs of `Statement`, each executed where the transaction is. */

import { BalsaError } from "../sql/errors.ts";
import type { RunResult, StatementResult } from "../sql/result.ts";
import type { Statement as StatementInput } from "../sql/statement.ts";
import type { Row } from "../sql/value.ts";
import { type Given, toArgs } from "./args.ts";
import { routeOf } from "./sql-text.ts";

/** Made by `tx.prepare`. Results are whole: an open cursor would keep the transaction from writing. */
export class TransactionStatement<R extends object = Row> {
  /** The text of the statement. */
  readonly source: string;
  readonly #execute: (statement: StatementInput) => Promise<StatementResult>;

  /** Made by `Transaction.prepare`. */
  constructor(source: string, execute: (statement: StatementInput) => Promise<StatementResult>) {
    if (typeof source !== "string") {
      throw new BalsaError("INVALID_ARGUMENT", `a statement is a string, not ${typeof source}`);
    }
    this.source = source;
    this.#execute = execute;
  }

  /** Executes it and says what it changed; `index` is 0, since nothing is in the log before the commit. */
  async run(...args: Given): Promise<RunResult> {
    const { changes, lastInsertRowid } = await this.#result(args);
    return { changes, lastInsertRowid, index: 0 };
  }

  /** The first row, or undefined if there is none. A write must have a RETURNING clause. */
  async get(...args: Given): Promise<R | undefined> {
    return (await this.all(...args))[0];
  }

  /** All rows, up to the node's limit resultBytes. A write must have a RETURNING clause. */
  async all(...args: Given): Promise<R[]> {
    if (routeOf(this.source) === "write") {
      const message = "this statement writes and returns no rows: use run(), or add RETURNING";
      throw new BalsaError("REFUSED", message);
    }
    // What the caller says of the rows' type is taken on trust.
    return (await this.#result(args)).rows as unknown as R[];
  }

  /** The rows one by one; they are read as a whole before the first. */
  async *iterate(...args: Given): AsyncIterableIterator<R> {
    yield* await this.all(...args);
  }

  async #result(args: Given): Promise<StatementResult> {
    return this.#execute({ sql: this.source, args: toArgs(args) });
  }
}
