/**
 * Transactions of several steps inside the open SQLite transaction: on the leader step by step, as their caller asks, each
 * step noted for the log; on followers from those notes. Also batches that go on behind a failed statement, which are the same
 * without a caller in between. A step that fails leaves nothing; what it left in memory is made the same everywhere.
 * It never begins or commits SQLite's own transaction and knows no session.
 */

import { crc32 } from "node:zlib";
import type { Database, Statement } from "better-sqlite3";
import { BalsaError, type Failure } from "../sql/errors.ts";
import { invariant } from "../sql/invariant.ts";
import type { Limits } from "../sql/limits.ts";
import { BatchResultWriter } from "../wire/result-codec.ts";
import { type BoundBatch, type BoundStatement, decodeBatch } from "../wire/statement-codec.ts";
import type { FailedStatement, LoggedStep } from "../wire/transaction-codec.ts";
import { MachineFault, toStatementFailure } from "./machine-fault.ts";
import type { RequestExecutor, RequestOutcome } from "./request-executor.ts";
import type { TransactionProgress } from "./request-progress.ts";

export interface StepBounds {
  readonly limits: Limits;
  readonly resultBytesMax: number;
}

/** How it ended, or why it is gone. */
export type Ending =
  | { readonly kind: "done"; readonly wrote: boolean; readonly digest: number }
  /** It was rolled back. */
  | { readonly kind: "failure"; readonly failure: Failure }
  /** It was rolled back, and the connection is not what a fresh one would be. */
  | { readonly kind: "broken"; readonly failure: Failure };

/** What a batch that goes on came to. */
export type BatchEnding =
  | (Extract<Ending, { kind: "done" }> & {
      readonly result: Buffer;
      readonly failed: readonly FailedStatement[];
    })
  | Exclude<Ending, { kind: "done" }>;

interface Open extends TransactionProgress {
  wrote: boolean;
  inspected: boolean;
  digest: number;
  readonly steps: LoggedStep[];
  /** Of the noted steps, about. */
  bytes: number;
  /** Did the schema change? For the transaction, and for each nested one that is open. */
  readonly levels: boolean[];
}

/** What a noted step takes beside its batch. */
const STEP_BYTES = 32;
const NESTED_MAX = 100;
const NOTHING = Buffer.alloc(0);
const NESTED_CODES = { savepoint: 1, release: 2, rollbackTo: 3 } as const;

const OPEN = "SAVEPOINT balsa_transaction";
const RELEASE = "RELEASE balsa_transaction";
const ROLLBACK = "ROLLBACK TO balsa_transaction; RELEASE balsa_transaction";
const SQL = {
  savepoint: "SAVEPOINT balsa_nested",
  release: "RELEASE balsa_nested",
  rollbackTo: "ROLLBACK TO balsa_nested; RELEASE balsa_nested",
} as const;

export class TransactionExecutor {
  readonly #database: Database;
  readonly #requests: RequestExecutor;
  readonly #results = new BatchResultWriter();
  readonly #begin: Statement;
  #open: Open | null = null;

  constructor(database: Database, requests: RequestExecutor) {
    this.#database = database;
    this.#requests = requests;
    this.#begin = database.prepare(OPEN);
  }

  get isOpen(): boolean {
    return this.#open !== null;
  }

  /** What the log needs of it. */
  get steps(): readonly LoggedStep[] {
    return this.#current().steps;
  }

  /** The deterministic functions were told its time and seed. */
  begin(): void {
    invariant(this.#open === null, "one transaction at a time");
    this.#begin.run();
    this.#requests.beginConnectionState(0n);
    this.#open = {
      statement: 0,
      rowid: 0n,
      changedSchema: false,
      wrote: false,
      inspected: false,
      digest: 0,
      steps: [],
      bytes: 0,
      levels: [false],
    };
  }

  /** Leader: runs an encoded balsa.v1.Batch, all of it or nothing, and notes it. */
  run(batch: Uint8Array, bounds: StepBounds): RequestOutcome {
    const open = this.#current();
    let bound: BoundBatch;
    try {
      bound = decodeBatch(batch);
      refuseGoOn(bound);
      this.#checkSize(open, batch.length, bounds.limits);
    } catch (error) {
      return { kind: "failure", failure: toStatementFailure(error, 0), guarded: false };
    }
    const { statement } = open;
    const outcome = this.#step(bound, batch.length, bounds);
    if (outcome.kind === "broken") return outcome;
    if (outcome.kind === "failure" && !isSqlite(outcome.failure)) this.#reset(!outcome.guarded);
    // The batch lies in a frame whose room is used again.
    const isRead = outcome.kind === "done" && !outcome.wrote;
    const kept = isRead ? NOTHING : Buffer.from(batch);
    this.#note(open, { kind: "run", batch: kept, statement, failed: "" }, outcome);
    return outcome;
  }

  /** Follower: runs a step as the leader noted it. Null, or how it differs. */
  replay(step: LoggedStep, bounds: StepBounds): string | null {
    const open = this.#current();
    if (step.kind !== "run") {
      const failure = this.nest(step.kind);
      return failure === null ? null : describe(failure);
    }
    open.statement = step.statement;
    if (step.batch.length === 0) {
      if (step.failed === "") this.#requests.touchSavepoint();
      else this.#reset(true);
      this.#keep(open, step, 0);
      return null;
    }
    const outcome = this.#step(decodeBatch(step.batch), step.batch.length, bounds);
    if (outcome.kind === "broken" && outcome.exhausted) throw exhausted(outcome.failure);
    const code = outcome.kind === "done" ? "" : outcome.failure.code;
    if (outcome.kind === "broken" || code !== step.failed) {
      return differing(step.failed, outcome);
    }
    this.#note(open, step, outcome);
    return null;
  }

  /** Begins or ends a nested transaction. Null, or why it cannot be; if none is open then, the connection is broken. */
  nest(kind: keyof typeof NESTED_CODES): Failure | null {
    const open = this.#current();
    const { levels } = open;
    if (kind === "savepoint" && levels.length > NESTED_MAX) {
      const facts = { limit: "nested", value: String(NESTED_MAX) };
      const message = `transactions may be nested ${NESTED_MAX} deep`;
      return refusal(new BalsaError("LIMIT_EXCEEDED", message, { facts }));
    }
    if (kind !== "savepoint" && levels.length === 1) {
      return refusal(new BalsaError("INVALID_ARGUMENT", "no nested transaction is open"));
    }
    this.#database.exec(SQL[kind]);
    if (kind === "savepoint") levels.push(false);
    else {
      const changed = levels.pop() === true;
      if (kind === "rollbackTo" && changed) return this.#lost();
      if (changed) levels[levels.length - 1] = true;
    }
    this.#keep(open, { kind }, NESTED_CODES[kind]);
    return null;
  }

  /** Ends it: all of it stays in SQLite's open transaction, or nothing. */
  finish(): Ending {
    const open = this.#current();
    try {
      if (open.levels.length > 1) {
        throw new BalsaError("INVALID_ARGUMENT", "a nested transaction is still open");
      }
      if (open.wrote) this.#requests.checkDeferredKeys();
    } catch (error) {
      const failure = toStatementFailure(error, 0);
      return this.rollback() === "clean"
        ? { kind: "failure", failure }
        : { kind: "broken", failure };
    }
    this.#database.exec(RELEASE);
    this.#open = null;
    return { kind: "done", wrote: open.wrote, digest: open.digest };
  }

  /** `spoiled`: the connection is not what a fresh one would be. */
  rollback(): "clean" | "spoiled" {
    const open = this.#current();
    this.#open = null;
    this.#database.exec(ROLLBACK);
    return open.levels.includes(true) ? "spoiled" : "clean";
  }

  /**
   * A batch that goes on behind statements that fail. `expected`: those that failed on the leader, as it noted them; null
   * on the leader itself.
   */
  runBatch(
    batch: BoundBatch,
    batchBytes: number,
    bounds: StepBounds,
    expected: readonly FailedStatement[] | null,
  ): BatchEnding {
    this.begin();
    const open = this.#current();
    const failed: FailedStatement[] = [];
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for (const [index, statement] of batch.statements.entries()) {
      const known = expected?.find((each) => each.index === index) ?? null;
      open.statement = index;
      const outcome = this.#runOne(statement, batchBytes, bounds, known);
      if (outcome.kind === "broken") {
        if (expected !== null && outcome.exhausted) throw exhausted(outcome.failure);
        return { kind: "broken", failure: { ...outcome.failure, statementIndex: index } };
      }
      if (outcome.kind === "done") {
        open.wrote ||= outcome.wrote;
        open.inspected ||= outcome.inspected;
        parts.push(outcome.result);
      } else {
        const { code, message } = known ?? outcome.failure;
        failed.push({ index, code, message, savepoint: outcome.guarded });
        parts.push(this.#failedResult(code as Failure["code"], message));
      }
      bytes += parts.at(-1)?.length ?? 0;
      if (bytes > bounds.resultBytesMax) return this.#abandon(tooLarge(bounds.resultBytesMax));
    }
    if (open.wrote && open.inspected) return this.#abandon(mixed());
    const ending = this.finish();
    if (ending.kind !== "done") return ending;
    const result = Buffer.concat(parts);
    return { ...ending, digest: crc32(result), result, failed };
  }

  /** What only Balsa refused is not tried again on followers: it is a matter of the leader's limits. */
  #runOne(
    statement: BoundStatement,
    batchBytes: number,
    bounds: StepBounds,
    known: FailedStatement | null,
  ): RequestOutcome {
    if (known !== null && !known.code.startsWith("SQLITE_")) {
      this.#reset(known.savepoint);
      const failure = refusalOf(known.code as Failure["code"], known.message);
      return { kind: "failure", failure, guarded: known.savepoint };
    }
    const batch = { statements: [statement], script: false, goOn: false };
    const outcome = this.#step(batch, batchBytes, bounds);
    if (outcome.kind === "failure" && !isSqlite(outcome.failure)) this.#reset(false);
    return outcome;
  }

  #step(batch: BoundBatch, bytes: number, bounds: StepBounds): RequestOutcome {
    const open = this.#current();
    open.changedSchema = false;
    const outcome = this.#requests.run(batch, bytes, bounds, open);
    if (outcome.kind === "broken") this.#open = null;
    else if (open.changedSchema) open.levels[open.levels.length - 1] = true;
    return outcome;
  }

  /** What a step leaves that Balsa refused, before it ran or in the middle. */
  #reset(savepoint: boolean): void {
    if (savepoint) this.#requests.touchSavepoint();
    this.#requests.beginConnectionState(this.#current().rowid);
  }

  #failedResult(code: Failure["code"], message: string): Buffer {
    this.#results.start();
    this.#results.failed(refusalOf(code, message));
    return this.#results.finish();
  }

  #abandon(error: BalsaError): BatchEnding {
    const failure = toStatementFailure(error, 0);
    return this.rollback() === "clean" ? { kind: "failure", failure } : { kind: "broken", failure };
  }

  #current(): Open {
    invariant(this.#open !== null, "a transaction is open");
    return this.#open;
  }

  #checkSize(open: Open, bytes: number, limits: Limits): void {
    if (open.bytes + bytes + STEP_BYTES <= limits.requestBytes) return;
    const { requestBytes } = limits;
    const message =
      `the transaction's statements have more than requestBytes allows (${requestBytes}): ` +
      "they become one log entry; split the transaction";
    const facts = { limit: "requestBytes", value: String(requestBytes) };
    throw new BalsaError("LIMIT_EXCEEDED", message, { facts });
  }

  /** Reads are not noted, unless a savepoint stood around them. */
  #note(
    open: Open,
    step: Extract<LoggedStep, { kind: "run" }>,
    outcome: Exclude<RequestOutcome, { kind: "broken" }>,
  ): void {
    if (outcome.kind === "failure") {
      const { code } = outcome.failure;
      const batch = isSqlite(outcome.failure) ? step.batch : NOTHING;
      return this.#keep(open, { ...step, batch, failed: code }, batch.length > 0 ? crc32(code) : 0);
    }
    if (outcome.wrote) {
      open.wrote = true;
      return this.#keep(open, step, outcome.digest);
    }
    if (outcome.guarded) this.#keep(open, { ...step, batch: NOTHING }, 0);
  }

  #keep(open: Open, step: LoggedStep, digest: number): void {
    open.steps.push(step);
    open.bytes += STEP_BYTES + (step.kind === "run" ? step.batch.length : 0);
    open.digest = crc32(String(digest), open.digest);
  }

  #lost(): Failure {
    this.#open = null;
    const message = "a nested transaction that changed the schema was rolled back, and all with it";
    return { ...refusalOf("TRANSACTION_ABORTED", message), facts: { reason: "schema" } };
  }
}

function refuseGoOn({ goOn }: BoundBatch): void {
  if (!goOn) return;
  const message =
    "inside a transaction each statement that fails leaves nothing anyway: run them one by one";
  throw new BalsaError("INVALID_ARGUMENT", message);
}

function refusal(error: BalsaError): Failure {
  return toStatementFailure(error, 0);
}

function refusalOf(code: Failure["code"], message: string): Failure {
  return { code, message, outcome: "not-applied", statementIndex: 0, facts: {} };
}

function tooLarge(bytesMax: number): BalsaError {
  const message = `the results have more than resultBytes allows (${bytesMax}): split the batch`;
  const facts = { limit: "resultBytes", value: String(bytesMax) };
  return new BalsaError("LIMIT_EXCEEDED", message, { facts });
}

function mixed(): BalsaError {
  const message =
    "EXPLAIN and PRAGMAs that tell of one node are not allowed in a request that writes";
  return new BalsaError("REFUSED", `${message}; send them alone`);
}

function describe(failure: Failure): string {
  return `${failure.code}: ${failure.message}`;
}

function differing(expected: string, outcome: RequestOutcome): string {
  const found = outcome.kind === "done" ? "it succeeded" : describe(outcome.failure);
  return expected === "" ? found : `${found}; the leader's failed with ${expected}`;
}

function isSqlite(failure: Failure): boolean {
  return failure.code.startsWith("SQLITE_");
}

/** Another node may fare otherwise. */
function exhausted({ code, message }: Failure): MachineFault {
  return new MachineFault(message, { code });
}
