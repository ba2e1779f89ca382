/**
 * Runs queries on one read-only connection, one at a time, and cuts their rows into chunks. SQLite's functions are its
 * own here: a read may look at the clock. It never waits and knows no deadline: its process is killed at that.
 */

import Database from "better-sqlite3";
import { BalsaError, SqlError } from "../sql/errors.ts";
import type { Extension } from "../sql/extension.ts";
import { invariant } from "../sql/invariant.ts";
import { DEFAULT_LIMITS, type Limits } from "../sql/limits.ts";
import { RowChunkWriter } from "../wire/result-codec.ts";
import { type BoundStatement, decodeStatement } from "../wire/statement-codec.ts";
import type { SqliteValue } from "../wire/value-codec.ts";
import { loadExtensions } from "./extension-loading.ts";
import { isSqliteError } from "./machine-fault.ts";
import {
  bindArguments,
  columnNames,
  type PreparedStatement,
  StatementCache,
} from "./prepared-statement.ts";
import { ReadPlans } from "./read-plans.ts";
import { ReadSnapshot } from "./read-snapshot.ts";
import { checkParameters, checkStatement } from "./request-limits.ts";

export interface ReadExecutorOptions {
  readonly path: string;
  readonly limits?: Limits;
  /** A chunk ends with the row that reaches this many bytes. Default 64 KiB. */
  readonly chunkBytes?: number;
  /** Loaded into the connection. Default none. */
  readonly extensions?: readonly Extension[];
}

export interface ReadChunk {
  /** Encoded balsa.v1.RowChunk; the columns are in the first. */
  readonly bytes: Buffer;
  readonly done: boolean;
}

const CHUNK_BYTES = 64 * 1024;
const BUSY_TIMEOUT_MS = 1000;

/** All errors are the query's: BalsaError or SqlError. */
export class ReadExecutor {
  readonly #database: Database.Database;
  readonly #cache: StatementCache;
  readonly #plans: ReadPlans;
  readonly #limits: Limits;
  readonly #chunkBytes: number;
  readonly #writer = new RowChunkWriter();
  readonly #begin: Database.Statement;
  readonly #end: Database.Statement;
  #rows: Iterator<SqliteValue[]> | null = null;
  #snapshot: ReadSnapshot | null = null;
  /** The connection is in the transaction that `hold` began. Noted here: to ask SQLite costs a tenth of a read. */
  #isHeld = false;
  /** The plans are of the snapshot that is held. */
  #isPlanned = false;

  private constructor(options: ReadExecutorOptions) {
    this.#limits = options.limits ?? DEFAULT_LIMITS;
    this.#chunkBytes = options.chunkBytes ?? CHUNK_BYTES;
    this.#database = new Database(options.path, { readonly: true, timeout: BUSY_TIMEOUT_MS });
    loadExtensions(this.#database, options.extensions ?? []);
    this.#database.defaultSafeIntegers(true);
    this.#database.pragma("query_only = ON");
    this.#cache = new StatementCache(this.#database, "read");
    this.#plans = new ReadPlans(this.#database);
    this.#begin = this.#database.prepare("BEGIN");
    this.#end = this.#database.prepare("COMMIT");
  }

  /** The file must have been made by a writer. */
  static open(options: ReadExecutorOptions): ReadExecutor {
    return new ReadExecutor(options);
  }

  /** Begins a query; its snapshot is taken now. The query before must be done or stopped. */
  start(statement: Uint8Array): ReadChunk {
    invariant(this.#rows === null && this.#snapshot === null, "one query at a time");
    try {
      if (statement.length === 0) return this.#openSnapshot();
      const bound = decodeStatement(statement);
      const prepared = this.#prepare(bound, statement.length);
      const args = bindArguments(prepared, bound.args);
      if (!this.#isHeld) return this.#first(prepared, args);
      if (!this.#isPlanned) this.#plans.renew();
      this.#isPlanned = true;
      const plan = this.#plans.find(prepared);
      if (plan?.isSingleRow === true) return this.#single(prepared, args, plan.columns);
      const chunk = this.#first(prepared, args, plan?.columns);
      if (plan === undefined && chunk.done) this.#plans.ran(prepared, args);
      return chunk;
    } catch (error) {
      throw this.#failed(error);
    }
  }

  #first(
    prepared: PreparedStatement,
    args: readonly unknown[],
    columns?: readonly string[],
  ): ReadChunk {
    const rows = prepared.statement.iterate(...args);
    this.#rows = rows;
    // The first step sees whether the schema has changed since; only then are the columns those of now.
    const first = rows.next();
    this.#writer.start(columns ?? columnNames(prepared.statement));
    return this.#fill(rows, first);
  }

  /** One call instead of an iterator's four. */
  #single(
    prepared: PreparedStatement,
    args: readonly unknown[],
    columns: readonly string[],
  ): ReadChunk {
    const row = prepared.statement.get(...args);
    this.#writer.start(columns);
    if (row !== undefined) this.#writer.row(row);
    if (this.#writer.length >= this.#chunkBytes) this.#checkRow();
    return { bytes: this.#writer.finish(), done: true };
  }

  /** The next rows of the query that is not done. */
  next(step?: Uint8Array): ReadChunk {
    if (step !== undefined) {
      invariant(this.#snapshot !== null, "a snapshot is held");
      return { bytes: this.#snapshot.run(step), done: false };
    }
    const rows = this.#rows;
    invariant(rows !== null, "a query is under way");
    try {
      this.#writer.start([]);
      return this.#fill(rows, rows.next());
    } catch (error) {
      throw this.#failed(error);
    }
  }

  /** Ends the query under way, if any, and lets its snapshot go, unless that is held. */
  stop(): void {
    this.#rows?.return?.();
    this.#rows = null;
    if (this.#snapshot?.isOwn === true) this.#end.run();
    this.#snapshot = null;
    // What fails badly may end the transaction.
    this.#isHeld &&= this.#database.inTransaction;
  }

  /**
   * Opens a transaction: taking a snapshot and letting it go costs as much as three reads by key, and queries that have
   * all arrived may as well see the same one.
   */
  hold(): void {
    if (!this.#database.inTransaction) this.#begin.run();
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    this.#isPlanned = false;
    if (this.#database.inTransaction) this.#end.run();
  }

  close(): void {
    this.stop();
    this.release();
    this.#database.close();
  }

  /** Everything read until `stop` is of this moment. */
  #openSnapshot(): ReadChunk {
    const isOwn = !this.#database.inTransaction;
    if (isOwn) this.#begin.run();
    // SQLite takes it at the first look at the file.
    this.#database.prepare("SELECT count(*) FROM sqlite_schema").get();
    this.#snapshot = new ReadSnapshot(this.#cache, this.#limits, isOwn);
    return { bytes: Buffer.alloc(0), done: false };
  }

  #prepare(bound: BoundStatement, bytes: number): PreparedStatement {
    const { statementBytes, valueBytes } = this.#limits;
    if (bytes > Math.min(statementBytes, valueBytes)) checkStatement(bound, this.#limits);
    const prepared = this.#cache.known(bound.sql) ?? this.#prepareNew(bound.sql);
    if (prepared.class === "replicated" && !prepared.shape.explain) {
      throw new BalsaError("REFUSED", "the statement writes: use run(), batch() or exec()");
    }
    if (prepared.columns === null) {
      throw new BalsaError("REFUSED", "the statement gives no rows: use run(), batch() or exec()");
    }
    return prepared;
  }

  #prepareNew(text: string): PreparedStatement {
    const judged = this.#cache.find(text);
    checkParameters(judged.shape.parameters.count, this.#limits);
    return this.#cache.prepare(text, judged);
  }

  #fill(rows: Iterator<SqliteValue[]>, first: IteratorResult<SqliteValue[]>): ReadChunk {
    let { done, value } = first;
    while (done !== true) {
      this.#writer.row(value);
      if (this.#writer.length >= this.#chunkBytes) {
        this.#checkRow();
        return { bytes: this.#writer.finish(), done: false };
      }
      ({ done, value } = rows.next());
    }
    this.#rows = null;
    return { bytes: this.#writer.finish(), done: true };
  }

  /** A chunk ends with its row, however large: the node would be busy with it for longer than its peers wait. */
  #checkRow(): void {
    const { resultBytes } = this.#limits;
    if (this.#writer.length <= resultBytes + this.#chunkBytes) return;
    const message =
      `one row has more than resultBytes allows (${resultBytes}); ` +
      "select fewer columns, or a part of a large value with substr()";
    const facts = { limit: "resultBytes", value: String(resultBytes) };
    throw new BalsaError("LIMIT_EXCEEDED", message, { facts });
  }

  #failed(error: unknown): unknown {
    this.stop();
    return isSqliteError(error) ? new SqlError(error.code, error.message) : error;
  }
}
