/**
 * A statement to be executed as often as wanted, in better-sqlite3's verbs, awaited. Encodes, chooses between the way
 * of writes and the way of reads, and decodes; nothing is kept on a node between executions.
 */

import { BalsaError } from "../sql/errors.ts";
import type { RunResult, StatementResult } from "../sql/result.ts";
import type { Row } from "../sql/value.ts";
import { type DecodedResult, decodeBatchResult } from "../wire/result-codec.ts";
import type { ExecuteResponse } from "../wire/sql-codec.ts";
import { encodeBatch, encodeStatement } from "../wire/statement-codec.ts";
import { type Given, toArgs } from "./args.ts";
import type { Client } from "./client.ts";
import { type CallOptions, type ResolvedCallOptions, resolveCallOptions } from "./options.ts";
import type { Served } from "./served.ts";
import { type Route, routeOf } from "./sql-text.ts";

/** Rows of a read, with who served them. */
export interface QueryResult<R> extends Served {
  readonly columns: readonly string[];
  readonly rows: R[];
}

/** Rows one by one. */
export interface RowIterator<R> extends AsyncIterableIterator<R> {
  /** Who serves them and of which moment they are: from the first row on. Null of a write. */
  readonly served: Served | null;
}

/**
 * One SQL statement. Parameters are given by position, `run(1, "a")` or `run([1, "a"])`, or by name, `run({ id: 1 })`.
 *
 * Every call may fail with `SqlError` (SQLite refused the statement; nothing took effect) or `BalsaError` (it could not
 * be served; for a write `outcome` says what became of it).
 */
export class Statement<R extends object = Row> {
  /** The text of the statement. */
  readonly source: string;
  readonly #client: Client;
  readonly #options: ResolvedCallOptions;
  #route: Route | null = null;

  /** Made by `Database.prepare`. */
  constructor(client: Client, source: string, options: ResolvedCallOptions) {
    if (typeof source !== "string") {
      throw new BalsaError("INVALID_ARGUMENT", `a statement is a string, not ${typeof source}`);
    }
    this.source = source;
    this.#client = client;
    this.#options = options;
  }

  /** The same statement with other options. Throws INVALID_ARGUMENT naming a bad one. */
  with(options: CallOptions): Statement<R> {
    return new Statement<R>(this.#client, this.source, resolveCallOptions(this.#options, options));
  }

  /** Executes it on the leader, once, and says what it changed. Rows it returns are dropped. */
  async run(...args: Given): Promise<RunResult> {
    const response = await this.#client.write(this.#encodeWrite(args), this.#options);
    const { changes, lastInsertRowid } = decodeOnly(response, this.#options);
    return { changes, lastInsertRowid, index: response.index };
  }

  /** The first row, or undefined if there is none. A write must have a RETURNING clause. */
  get(...args: Given): Promise<R | undefined> {
    // Not async: most reads are this one, and another promise would be a tenth of what the client does for it.
    try {
      if (this.#isWrite("get")) return this.#writtenRows(args).then(([row]) => row);
      const row = this.#client.readFirst(this.#encode(args), this.#options);
      // What the caller says of the row's type is taken on trust.
      return row as Promise<object | undefined> as Promise<R | undefined>;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * All rows. A write must have a RETURNING clause. Fails with LIMIT_EXCEEDED beyond `limits.resultBytes`: a result of
   * any size can be had from `iterate`.
   */
  async all(...args: Given): Promise<R[]> {
    if (this.#isWrite("all")) return this.#writtenRows(args);
    const rows = await this.#client.read(this.#encode(args), this.#options).promise;
    return rows as R[];
  }

  /** As `all`, with the names of the columns, and with who served it and how fresh it is. Of reads alone. */
  async query(...args: Given): Promise<QueryResult<R>> {
    if (routeOf(this.source) !== "read") {
      const message = "query() reads: use run(), all() or batch(); their results have the index";
      throw new BalsaError("REFUSED", message);
    }
    const call = this.#client.read(this.#encode(args), this.#options);
    const rows = (await call.promise) as R[];
    if (call.served === null) throw new BalsaError("PROTOCOL", "rows without their source");
    return { columns: call.columns, rows, ...call.served };
  }

  /**
   * The rows one by one, read as they are consumed: the node runs a few chunks ahead and then waits. To leave the loop
   * ends the reading. All rows are of one moment; a consumer that holds that moment for too long fails with
   * SNAPSHOT_TOO_OLD. A connection that breaks after the first row fails with UNAVAILABLE. Can be iterated once.
   */
  iterate(...args: Given): RowIterator<R> {
    if (this.#isWrite("iterate"))
      return Object.assign(this.#iterateWritten(args), { served: null });
    const rows = this.#client.stream(this.#encode(args), this.#options);
    return rows as RowIterator<unknown> as RowIterator<R>;
  }

  async *#iterateWritten(args: Given): AsyncIterableIterator<R> {
    yield* await this.#writtenRows(args);
  }

  #encode(args: Given): Uint8Array {
    const statement = { sql: this.source, args: toArgs(args) };
    return encodeStatement(statement, this.#client.requestLimits);
  }

  #encodeWrite(args: Given): Uint8Array {
    const statement = { sql: this.source, args: toArgs(args) };
    return encodeBatch([statement], this.#client.requestLimits);
  }

  async #writtenRows(args: Given): Promise<R[]> {
    const response = await this.#client.write(this.#encodeWrite(args), this.#options);
    // What the caller says of the rows' type is taken on trust, here as in get, all and iterate.
    return decodeOnly(response, this.#options).rows as unknown as R[];
  }

  /** Whether it goes the way of writes. Throws REFUSED for a write that has no rows to give. */
  #isWrite(method: string): boolean {
    this.#route ??= routeOf(this.source);
    if (this.#route === "read") return false;
    if (this.#route === "returning") return true;
    const message = `this statement writes and returns no rows: use run() instead of ${method}(), or add RETURNING`;
    throw new BalsaError("REFUSED", message);
  }
}

/** The result of an executed request of one statement. */
function decodeOnly(response: ExecuteResponse, options: ResolvedCallOptions): StatementResult {
  const [result] = decodeResults(response, options);
  if (result === undefined) throw new BalsaError("PROTOCOL", "an answer without a result");
  return result;
}

/** The results of an executed request, a statement each. */
export function decodeResults(
  response: ExecuteResponse,
  options: ResolvedCallOptions,
): DecodedResult[] {
  try {
    return decodeBatchResult(response.result, options.integers);
  } catch (error) {
    if (!(error instanceof BalsaError)) throw error;
    // The write stands; only its answer cannot be given in the form that was asked for.
    const { code, message, facts } = error;
    throw new BalsaError(code, message, { outcome: "applied", facts, cause: error });
  }
}
