/**
 * The database as a service sees it: what `connect` returns. It checks and encodes what it is given and leaves the rest
 * to the client behind it, which all views of one connection share.
 */

import { BalsaError, type SqlError, toError } from "../sql/errors.ts";
import type { RunResult, StatementResult } from "../sql/result.ts";
import type { Statement as StatementInput } from "../sql/statement.ts";
import type { Row } from "../sql/value.ts";
import { encodeBatch, encodeScript } from "../wire/statement-codec.ts";
import { BlobStore } from "./blob.ts";
import { Client } from "./client.ts";
import {
  type BatchOptions,
  type CallOptions,
  type ConnectOptions,
  type ResolvedCallOptions,
  resolveBatchOptions,
  resolveCallOptions,
  resolveConnectOptions,
  resolveTransactionOptions,
  type TransactionOptions,
} from "./options.ts";
import { decodeResults, Statement } from "./statement.ts";
import type { ClusterStatus } from "./status.ts";
import { runTransaction, type Transaction } from "./transaction.ts";

/** One statement's part of a batch. */
export interface BatchStatementResult extends StatementResult {
  /** Log index at which the batch took effect; the same for all its statements. */
  readonly index: number;
  /** Of a batch with `onError: "continue"`: why this statement failed. */
  readonly error?: BalsaError | SqlError;
}

/**
 * A client of a cluster. Returns at once: connections are opened when they are needed, and a cluster that cannot be
 * reached fails the first call, not this one. Once connected, it keeps the process alive until `close`.
 *
 * @throws BalsaError INVALID_ARGUMENT naming a bad or misspelt option.
 */
export function connect(options: ConnectOptions): Database {
  const { client, call } = resolveConnectOptions(options);
  return new Database(new Client(client), call);
}

/** A client of a cluster; see `connect`. */
export class Database {
  readonly #client: Client;
  readonly #options: ResolvedCallOptions;

  /** Made by `connect` and `with`. */
  constructor(client: Client, options: ResolvedCallOptions) {
    this.#client = client;
    this.#options = options;
  }

  /**
   * The same client with other options for its calls. It shares connections, the session and what session reads have
   * seen; closing either closes both. Throws INVALID_ARGUMENT naming a bad option.
   */
  with(options: CallOptions): Database {
    return new Database(this.#client, resolveCallOptions(this.#options, options));
  }

  /** A statement to execute as often as wanted. Nothing is sent yet: SQL that does not parse fails when executed. */
  prepare<R extends object = Row>(sql: string): Statement<R> {
    return new Statement<R>(this.#client, sql, this.#options);
  }

  /**
   * Executes a script, statements separated by semicolons and without parameters, as one atomic write: all of it takes
   * effect, or nothing. Returns the changes of all statements together and the rowid of the last insert.
   */
  async exec(sql: string, options: CallOptions = {}): Promise<RunResult> {
    const resolved = resolveCallOptions(this.#options, options);
    const response = await this.#client.write(
      encodeScript(sql, this.#client.requestLimits),
      resolved,
    );
    let changes = 0;
    let lastInsertRowid: number | bigint = resolved.integers === "bigint" ? 0n : 0;
    for (const result of decodeResults(response, resolved)) {
      changes += result.changes;
      if (Number(result.lastInsertRowid) !== 0) lastInsertRowid = result.lastInsertRowid;
    }
    return { changes, lastInsertRowid, index: response.index };
  }

  /**
   * Executes statements with their parameters as one atomic write in one round trip, and returns a result each. Reads
   * among them see the writes before them. With `onError: "continue"` a statement that fails leaves nothing, and the
   * others take effect together: its result then holds the error.
   */
  async batch(
    statements: readonly StatementInput[],
    options: BatchOptions = {},
  ): Promise<BatchStatementResult[]> {
    const { call: resolved, onError } = resolveBatchOptions(this.#options, options);
    if (!Array.isArray(statements)) {
      throw new BalsaError("INVALID_ARGUMENT", "batch() takes a list of { sql, args }");
    }
    if (statements.length === 0) return [];
    const batch = encodeBatch(statements, this.#client.requestLimits, onError);
    const { index, result } = await this.#client.write(batch, resolved);
    return decodeResults({ index, result }, resolved).map(
      ({ failure, ...each }, statementIndex) => {
        if (failure === undefined) return { ...each, index };
        return { ...each, index, error: toError({ ...failure, statementIndex }) };
      },
    );
  }

  /**
   * Runs the function in a transaction: reads and writes through the `tx` it is given see each other, on the leader, and
   * nobody else's; when it has returned, all of it takes effect, as one write. If it throws, nothing does, and its error is
   * thrown on. Nested calls of `tx.transaction` can be undone alone. Other writes wait meanwhile: keep it short.
   *
   * Fails with TRANSACTION_TIMEOUT if it is open or idle for too long, TRANSACTION_ABORTED if the leader or the connection was
   * lost before its commit (nothing was applied), and with outcome `unknown` only if after a lost answer no node could be
   * asked what became of the commit. NESTED_CALL: `db` was to write inside the function, which would wait for itself.
   *
   * With `readOnly` it reads one moment, on any node, and nobody waits for it.
   */
  async transaction<T>(
    run: (tx: Transaction) => Promise<T>,
    options: TransactionOptions = {},
  ): Promise<T> {
    return runTransaction(this.#client, run, resolveTransactionOptions(this.#options, options));
  }

  /**
   * Values too large for a request, hundreds of megabytes: streamed in and out, visible whole or not at all, kept in the ordinary
   * tables `db_blob`, `db_blob_content` and `db_blob_chunk` (docs/SQL.md).
   */
  get blob(): BlobStore {
    return new BlobStore(this.#client, this.#options);
  }

  /** Resolves when the cluster serves: a linearizable read was answered, which takes a leader and a majority. */
  async ready(options: CallOptions = {}): Promise<void> {
    const resolved = resolveCallOptions(this.#options, options);
    await new Statement(this.#client, "SELECT 1", resolved)
      .with({ consistency: "linearizable" })
      .get();
  }

  /** What every known node says of itself; one that does not answer is listed with the error. */
  async status(options: CallOptions = {}): Promise<ClusterStatus> {
    return this.#client.status(resolveCallOptions(this.#options, options));
  }

  /**
   * The highest log index this client was told of. Given as `atLeast` to a session read of another client, it makes
   * that one see what this one has seen.
   */
  get seenIndex(): number {
    return this.#client.seenIndex;
  }

  /** Ends all connections. What is pending fails with CLOSED, and so does everything after it. */
  async close(): Promise<void> {
    await this.#client.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
