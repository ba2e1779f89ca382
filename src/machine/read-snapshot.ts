/**
 * What a read-only transaction reads, step by step, on the connection that holds its snapshot. A step that fails is an
 * answer like another, and leaves the snapshot as it is. It begins and ends no transaction itself.
 */

import { BalsaError, SqlError, toFailure } from "../sql/errors.ts";
import type { Limits } from "../sql/limits.ts";
import { encodeFailure } from "../wire/failure-codec.ts";
import { BatchResultWriter } from "../wire/result-codec.ts";
import { type BoundStatement, decodeBatch } from "../wire/statement-codec.ts";
import { isSqliteError } from "./machine-fault.ts";
import { bindArguments, columnNames, type StatementCache } from "./prepared-statement.ts";
import { checkCount, checkParameters, checkRequest } from "./request-limits.ts";
import { scriptStatements } from "./split-text.ts";
import { STEP_ANSWER } from "./step-answer.ts";

export class ReadSnapshot {
  /** It began the connection's transaction, and its end ends that. */
  readonly isOwn: boolean;
  readonly #cache: StatementCache;
  readonly #limits: Limits;
  readonly #writer = new BatchResultWriter();
  #index = 0;

  constructor(cache: StatementCache, limits: Limits, isOwn: boolean) {
    this.#cache = cache;
    this.#limits = limits;
    this.isOwn = isOwn;
  }

  /** @param batch an encoded balsa.v1.Batch. @throws what is neither SQLite's nor the caller's fault. */
  run(batch: Uint8Array): Buffer {
    this.#index = 0;
    try {
      return Buffer.concat([Uint8Array.of(STEP_ANSWER.result), this.#read(batch)]);
    } catch (error) {
      const known = isSqliteError(error)
        ? new SqlError(error.code, error.message, this.#index)
        : error;
      if (!(known instanceof SqlError || known instanceof BalsaError)) throw error;
      const failure = toFailure(known);
      const statementIndex = failure.statementIndex || this.#index;
      const bytes = encodeFailure({ ...failure, statementIndex });
      return Buffer.concat([Uint8Array.of(STEP_ANSWER.failure), bytes]);
    }
  }

  #read(bytes: Uint8Array): Buffer {
    const batch = decodeBatch(bytes);
    checkRequest(batch, bytes.length, this.#limits);
    const statements = batch.script
      ? scriptStatements(batch.statements[0]?.sql ?? "").map(({ text }) => withoutArgs(text))
      : batch.statements;
    checkCount(statements.length, this.#limits);
    this.#writer.start();
    for (const statement of statements) {
      this.#readOne(statement);
      this.#index += 1;
    }
    return this.#writer.finish();
  }

  #readOne({ sql, args }: BoundStatement): void {
    const judged = this.#cache.find(sql);
    checkParameters(judged.shape.parameters.count, this.#limits);
    const prepared = this.#cache.prepare(sql, judged);
    if (prepared.columns === null || (prepared.class === "replicated" && !prepared.shape.explain)) {
      throw new BalsaError(
        "REFUSED",
        "the transaction is read-only, and the statement does not read",
      );
    }
    const rows = prepared.statement.iterate(...bindArguments(prepared, args));
    let next = rows.next();
    this.#writer.beginResult(columnNames(prepared.statement));
    for (; next.done !== true; next = rows.next()) {
      this.#writer.row(next.value);
      if (this.#writer.length > this.#limits.resultBytes) {
        rows.return?.();
        throw tooLarge(this.#limits.resultBytes);
      }
    }
    this.#writer.endResult(0, 0);
  }
}

function withoutArgs(sql: string): BoundStatement {
  return { sql, args: { kind: "positional", values: [] } };
}

function tooLarge(bytesMax: number): BalsaError {
  const message = `the rows have more than resultBytes allows (${bytesMax}): read with LIMIT, or outside of the transaction`;
  const facts = { limit: "resultBytes", value: String(bytesMax) };
  return new BalsaError("LIMIT_EXCEEDED", message, { facts });
}
