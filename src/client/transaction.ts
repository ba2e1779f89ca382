/**
 * An interactive transaction as its function sees it: the database's own verbs, each a step sent at once and in order. What
 * becomes of the whole is told by `runTransaction`, once: committed, or an error that says that it was not, or that it is
 * not known. A transaction is run again only where its caller has asked for that.
 */

import { BalsaError, SqlError } from "../sql/errors.ts";
import type { RunResult, StatementResult } from "../sql/result.ts";
import type { Statement as StatementInput } from "../sql/statement.ts";
import type { StepKind } from "../sql/transaction.ts";
import type { Row } from "../sql/value.ts";
import { decodeBatchResult, NOT_APPLIED } from "../wire/result-codec.ts";
import type { ExecuteResponse } from "../wire/sql-codec.ts";
import { encodeBatch, encodeScript } from "../wire/statement-codec.ts";
import type { Client } from "./client.ts";
import type { ResolvedTransactionOptions } from "./options.ts";
import type { Served } from "./served.ts";
import { abortedBy, type BeginCall } from "./transaction-call.ts";
import { refuseInside, runInScope } from "./transaction-scope.ts";
import { TransactionStatement } from "./transaction-statement.ts";

const NO_BATCH = new Uint8Array(0);

/** What all transactions nested in one share. */
interface Shared {
  readonly client: Client;
  readonly begin: BeginCall;
  readonly options: ResolvedTransactionOptions;
  /** Why it has ended by itself; null while it has not. */
  ended: BalsaError | null;
}

/**
 * Given to the function of `db.transaction`. It is used as the database is, but what it does takes effect when the
 * function has returned, all together or not at all. A statement that fails leaves nothing; the transaction goes on,
 * unless its error is thrown out of the function.
 */
export class Transaction {
  readonly #shared: Shared;
  #state: "open" | "over" = "open";
  /** A nested transaction is open, and the only one to be used. */
  #isNesting = false;

  /** Made by `Database.transaction`. */
  constructor(shared: Shared) {
    this.#shared = shared;
  }

  /** Which node it runs on, and how fresh what it reads is; of one that writes, the leader. */
  get served(): Served {
    return this.#shared.begin.served;
  }

  /** A statement to execute as often as wanted, in this transaction. */
  prepare<R extends object = Row>(sql: string): TransactionStatement<R> {
    return new TransactionStatement<R>(sql, (statement) => this.#only(statement));
  }

  /** Executes a script. It takes effect as a whole or fails as a whole; the transaction goes on in either case. */
  async exec(sql: string, ...beside: readonly never[]): Promise<RunResult> {
    refuseOptions("exec", beside);
    const results = await this.#run(encodeScript(sql, this.#shared.client.requestLimits));
    const { integers } = this.#shared.options.call;
    let changes = 0;
    let lastInsertRowid: number | bigint = integers === "bigint" ? 0n : 0;
    for (const result of results) {
      changes += result.changes;
      if (Number(result.lastInsertRowid) !== 0) lastInsertRowid = result.lastInsertRowid;
    }
    return { changes, lastInsertRowid, index: 0 };
  }

  /** Executes statements in one round trip, and returns a result each. If one fails, none of them leaves anything. */
  async batch(
    statements: readonly StatementInput[],
    ...beside: readonly never[]
  ): Promise<StatementResult[]> {
    refuseOptions("batch", beside);
    if (!Array.isArray(statements)) {
      throw new BalsaError("INVALID_ARGUMENT", "batch() takes a list of { sql, args }");
    }
    if (statements.length === 0) return [];
    return this.#run(encodeBatch(statements, this.#shared.client.requestLimits));
  }

  /** A transaction inside this one: if the function throws, what it did is undone, and this one goes on. */
  async transaction<T>(
    run: (tx: Transaction) => Promise<T>,
    ...beside: readonly never[]
  ): Promise<T> {
    checkFunction(run);
    refuseOptions("transaction", beside);
    this.#check();
    this.#isNesting = true;
    const inner = new Transaction(this.#shared);
    try {
      await this.#step("savepoint", NO_BATCH);
      let result: T;
      try {
        result = await inner.enter(run);
      } catch (error) {
        if (this.#shared.ended === null) await this.#step("rollbackTo", NO_BATCH);
        throw error;
      }
      await this.#step("release", NO_BATCH);
      return result;
    } finally {
      this.#isNesting = false;
    }
  }

  /** For `runTransaction` alone: runs the function, after which nothing more can be done here. */
  async enter<T>(run: (tx: Transaction) => Promise<T>): Promise<T> {
    const { client, options } = this.#shared;
    const call = async (): Promise<T> => run(this);
    try {
      const result = await (options.readOnly ? call() : runInScope(client, call));
      if (!this.#isNesting) return result;
    } finally {
      this.#state = "over";
    }
    throw new BalsaError("INVALID_ARGUMENT", "a nested transaction was not awaited");
  }

  async #only(statement: StatementInput): Promise<StatementResult> {
    const [result] = await this.#run(encodeBatch([statement], this.#shared.client.requestLimits));
    if (result === undefined) throw new BalsaError("PROTOCOL", "an answer without a result");
    return result;
  }

  async #run(batch: Uint8Array): Promise<StatementResult[]> {
    this.#check();
    const { result } = await this.#step("run", batch);
    return decodeBatchResult(result, this.#shared.options.call.integers);
  }

  #check(): void {
    if (this.#shared.ended !== null) throw this.#shared.ended;
    if (this.#state === "over") {
      throw new BalsaError("INVALID_ARGUMENT", "the transaction is over: await what it does");
    }
    if (!this.#isNesting) return;
    const message = "a nested transaction is open: use the tx that its function is given";
    throw new BalsaError("INVALID_ARGUMENT", message);
  }

  async #step(kind: StepKind, batch: Uint8Array): Promise<ExecuteResponse> {
    const { client, begin, options } = this.#shared;
    // A nested transaction that only reads has nothing to undo.
    if (options.readOnly && kind !== "run") return { result: NO_BATCH, index: 0 };
    const call = client.step(begin, { kind, batch }, options.call);
    try {
      return await call.promise;
    } catch (error) {
      // A step that was given up, or lost, has taken the transaction with it.
      if (call.uncertain || hasEnded(error)) end(this.#shared, error);
      throw this.#shared.ended ?? error;
    }
  }
}

/** The node says so before it says the same of the transaction itself. */
function hasEnded(error: unknown): boolean {
  return error instanceof BalsaError && error.code.startsWith("TRANSACTION_");
}

/** The first reason counts. */
function end(shared: Shared, error: unknown): void {
  if (error instanceof BalsaError || error instanceof SqlError) shared.ended ??= abortedBy(error);
}

/** Runs the function in a transaction, and again as often as `retries` allows where nothing of it was applied. */
export async function runTransaction<T>(
  client: Client,
  run: (tx: Transaction) => Promise<T>,
  options: ResolvedTransactionOptions,
): Promise<T> {
  checkFunction(run);
  if (!options.readOnly) refuseInside(client, "a transaction");
  for (let left = options.retries; ; left -= 1) {
    try {
      return await runOnce(client, run, options);
    } catch (error) {
      const isAborted = error instanceof BalsaError && error.code === "TRANSACTION_ABORTED";
      if (!isAborted || left === 0) throw error;
    }
  }
}

async function runOnce<T>(
  client: Client,
  run: (tx: Transaction) => Promise<T>,
  options: ResolvedTransactionOptions,
): Promise<T> {
  const begin = client.begin(options);
  const shared: Shared = { client, begin, options, ended: null };
  begin.onEnd = (error) => end(shared, error);
  try {
    await begin.opened;
    const tx = new Transaction(shared);
    const result = await tx.enter(run);
    await commit(shared);
    return result;
  } finally {
    client.endTransaction(begin);
  }
}

async function commit(shared: Shared): Promise<void> {
  const { client, begin, options } = shared;
  if (shared.ended !== null) throw shared.ended;
  if (options.readOnly) return;
  const call = client.step(begin, { kind: "commit", batch: NO_BATCH }, options.call);
  try {
    await call.promise;
  } catch (error) {
    const isOpen = call.uncertain || (error instanceof BalsaError && error.outcome === "unknown");
    if (isOpen) return settle(shared, error);
    // SQLite's own no, of a deferred key: nothing is to be said in other words.
    if (error instanceof SqlError) throw error;
    throw error instanceof BalsaError ? abortedBy(error) : error;
  }
}

/** The answer to the commit is lost: the nodes know whether it was applied, and see to it that it stays so. */
async function settle({ client, begin, options }: Shared, cause: unknown): Promise<void> {
  let response: ExecuteResponse;
  try {
    response = await client.settle(begin, options.call);
  } catch (error) {
    if (!(error instanceof BalsaError)) throw error;
    const message = `the transaction's commit has no answer, and what became of it is not known: ${error.message}`;
    const { code, facts } = error;
    throw new BalsaError(code, message, { outcome: "unknown", facts, cause: error });
  }
  if (!Buffer.from(NOT_APPLIED).equals(response.result)) return;
  const failed = cause instanceof Error ? cause.message : String(cause);
  const message = `the transaction was rolled back: ${failed}; it may be run again`;
  throw new BalsaError("TRANSACTION_ABORTED", message, { cause });
}

/** Passed over, they would be believed to hold. */
function refuseOptions(method: string, beside: readonly unknown[]): void {
  if (beside.every((one) => one === undefined)) return;
  const message =
    `tx.${method}() takes no options: those of db.transaction hold for all of it. ` +
    "A statement that fails leaves nothing: catch its error to go on, or let it out to roll back";
  throw new BalsaError("INVALID_ARGUMENT", message);
}

function checkFunction(run: unknown): void {
  if (typeof run === "function") return;
  throw new BalsaError("INVALID_ARGUMENT", "transaction() takes a function of one argument, tx");
}
