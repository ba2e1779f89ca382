/**
 * Runs one request inside a transaction that is open: all its statements, or none of them. The same on the leader and on
 * followers, to the byte. It never begins, commits or rolls back that transaction, and knows neither log nor session.
 */

import type { Database, RunResult, Statement } from "better-sqlite3";
import { BalsaError, type Failure } from "../sql/errors.ts";
import { invariant } from "../sql/invariant.ts";
import type { Limits } from "../sql/limits.ts";
import type { Setting } from "../sql/settings.ts";
import { BatchResultWriter } from "../wire/result-codec.ts";
import type { BoundArgs, BoundBatch } from "../wire/statement-codec.ts";
import { DeferredKeyProbe } from "./deferred-key-probe.ts";
import type { DeterministicFunctions } from "./deterministic-functions.ts";
import { digestOfEffects } from "./effect-digest.ts";
import { settingOf } from "./gate.ts";
import { LargestRowid } from "./largest-rowid.ts";
import { toExhaustion, toStatementFailure } from "./machine-fault.ts";
import { NodeTables, refuseOverNodeTable } from "./node-tables.ts";
import { PlainWrites } from "./plain-writes.ts";
import {
  bindArguments,
  type JudgedStatement,
  type PreparedStatement,
  StatementCache,
} from "./prepared-statement.ts";
import { explain, lostTransaction, resultTooLarge } from "./request-failures.ts";
import { checkCount, checkParameters, checkRequest } from "./request-limits.ts";
import {
  beginProgress,
  mayLeaveRows,
  type Progress,
  type TransactionProgress,
} from "./request-progress.ts";
import { type RowidRule, rowidRule } from "./rowid-rule.ts";
import { SchemaReader } from "./schema-facts.ts";
import { scriptStatements } from "./split-text.ts";
import {
  COUNTED_VERBS,
  mayFailHalfway,
  SCHEMA_VERBS,
  tellsFullText,
  usesConnectionState,
  walksSchema,
} from "./statement-rules.ts";
import type { UndeclaredNames } from "./undeclared-names.ts";

export type RequestOutcome =
  | {
      readonly kind: "done";
      /** Encoded balsa.v1.BatchResult. */
      readonly result: Buffer;
      /** Of its effects (D5). */
      readonly digest: number;
      /**
       * It belongs into the log. Also when no row changed: a sequence of AUTOINCREMENT moves for a row that is
       * ignored, and whether anything moved cannot be seen from here.
       */
      readonly wrote: boolean;
      /** It had rows that may differ between nodes. */
      readonly inspected: boolean;
      /** A savepoint stood around it: virtual tables have written what they had gathered. */
      readonly guarded: boolean;
    }
  | {
      readonly kind: "failure";
      readonly failure: Failure;
      readonly guarded: boolean;
      /** It stood alone: what it asks is done between transactions. */
      readonly setting?: Setting;
    }
  /** The transaction is gone, or this connection is no longer what a fresh one would be. */
  | {
      readonly kind: "broken";
      readonly failure: Failure;
      /** Space or memory ran out: another node may fare otherwise. */
      readonly exhausted: boolean;
    };

/** A statement of a request, before its turn. */
interface Step {
  readonly text: string;
  readonly judged: JudgedStatement;
  readonly args: BoundArgs;
}

const NO_ARGS: BoundArgs = { kind: "positional", values: [] };
/** SQLite forgets the schema that it knows when a change of it is undone, and reads it anew. */
const RELOAD_SCHEMA = `
  SAVEPOINT balsa_reload;
  CREATE TEMP TABLE balsa_reload(value);
  ROLLBACK TO balsa_reload;
  RELEASE balsa_reload;
`;

export interface ExecutorParts {
  readonly functions: DeterministicFunctions;
  /** Writes into the transaction whatever is only in memory. */
  readonly flush: () => void;
  readonly preparedStatements: number;
  readonly undeclared: UndeclaredNames | null;
}

export class RequestExecutor {
  readonly #database: Database;
  readonly #functions: DeterministicFunctions;
  readonly #flush: () => void;
  readonly #cache: StatementCache;
  readonly #schema: SchemaReader;
  readonly #probe: DeferredKeyProbe;
  readonly #writer = new BatchResultWriter();
  readonly #savepoint: Statement;
  readonly #release: Statement;
  readonly #rollbackTo: Statement;
  readonly #totalChanges: Statement<unknown[], number>;
  readonly #state: Statement<unknown[], [changes: bigint, rowid: bigint]>;
  readonly #setRowid: Statement;
  readonly #resetChanges: Statement;
  /** SQLite's total_changes(), as far as only requests have run since it was asked; null otherwise. */
  #total: number | null = null;
  /** Which statement of a request is being judged. */
  #judging = 0;
  readonly #largest: LargestRowid;
  readonly #nodeTables: NodeTables;
  readonly #plain: PlainWrites;

  constructor(database: Database, parts: ExecutorParts) {
    this.#database = database;
    this.#functions = parts.functions;
    this.#flush = parts.flush;
    database.exec("CREATE TEMP TABLE balsa_scratch(value)");
    this.#cache = new StatementCache(database, "write", {
      size: parts.preparedStatements,
      undeclared: parts.undeclared,
    });
    this.#schema = new SchemaReader(database);
    this.#probe = new DeferredKeyProbe(database);
    this.#largest = new LargestRowid(database);
    this.#nodeTables = new NodeTables(database);
    this.#savepoint = database.prepare("SAVEPOINT balsa_request");
    this.#release = database.prepare("RELEASE balsa_request");
    this.#rollbackTo = database.prepare("ROLLBACK TO balsa_request");
    this.#totalChanges = database
      .prepare<unknown[], number>("SELECT total_changes()")
      .pluck(true)
      .safeIntegers(false);
    this.#state = database
      .prepare<unknown[], [bigint, bigint]>("SELECT changes(), last_insert_rowid()")
      .raw(true);
    this.#setRowid = database.prepare(
      "INSERT OR REPLACE INTO temp.balsa_scratch(rowid, value) VALUES (?, NULL)",
    );
    this.#resetChanges = database.prepare("DELETE FROM temp.balsa_scratch WHERE 0");
    this.#plain = new PlainWrites({
      cache: this.#cache,
      largest: this.#largest,
      lastRowid: () => this.#lastRowid(),
    });
  }

  /** A request has run, and nothing since: the transaction is open, without asking SQLite, which costs more than it seems. */
  get isOpen(): boolean {
    return this.#total !== null;
  }

  /** Something other than a request has written on this connection, or ended its transaction. */
  disturbed(): void {
    this.#total = null;
  }

  /** As `run`, of a request that is one plain write whose text was run before. Null: it is not; nothing was done. */
  runPlain(batch: Uint8Array, limits: Limits, resultBytesMax: number): RequestOutcome | null {
    const { known: facts } = this.#schema;
    const prepared = this.#plain.find(batch, limits, resultBytesMax, facts);
    if (prepared === null || facts === null) return null;
    const before = this.#total ?? this.#totalChanges.get() ?? 0;
    this.#total = null;
    try {
      const { changes, result } = this.#plain.run(prepared, facts);
      this.#total = before + changes;
      const digest = digestOfEffects(result, changes, 1);
      return { kind: "done", result, digest, wrote: true, inspected: false, guarded: false };
    } catch (error) {
      const progress = beginProgress([prepared], null, limits);
      progress.wrote = true;
      return this.#undo(error, progress, false, before);
    }
  }

  /**
   * `functions` was told the request's time and seed. `resultBytes` of the limits bounds the answer of a read,
   * `resultBytesMax` that of a write.
   */
  run(
    batch: BoundBatch,
    batchBytes: number,
    bounds: { readonly limits: Limits; readonly resultBytesMax: number },
    transaction: TransactionProgress | null = null,
  ): RequestOutcome {
    let steps: Step[];
    this.#judging = 0;
    try {
      checkRequest(batch, batchBytes, bounds.limits);
      steps = this.#judge(batch, bounds.limits);
    } catch (error) {
      return { kind: "failure", failure: toStatementFailure(error, this.#judging), guarded: false };
    }
    const setting = steps.find(({ judged }) => judged.verdict === "setting");
    if (setting !== undefined) return notHere(setting, steps.length === 1 && transaction === null);
    if (steps.some(({ judged }) => walksSchema(judged))) {
      this.#settle();
      if (transaction !== null) {
        transaction.changedSchema = true;
        this.beginConnectionState(transaction.rowid);
      }
    }
    const { facts } = this.#schema;
    const native =
      transaction !== null ||
      facts.usesConnectionState ||
      steps.some(({ judged }) => usesConnectionState(judged));
    const judged = steps.map((step) => step.judged);
    const progress = beginProgress(judged, transaction, bounds.limits, native);
    const guarded =
      steps.length > 1 ||
      facts.needsSavepoint ||
      steps.some(({ judged }) => mayFailHalfway(judged, facts));
    if (guarded || transaction !== null) this.#total = null;
    // Here virtual tables write what they gathered, which counts as inserts and changes.
    if (guarded) this.#savepoint.run();
    if (transaction === null && progress.native) this.beginConnectionState(0n);
    const outcome = this.#runSteps(steps, progress, guarded, bounds.resultBytesMax);
    if (transaction !== null) this.#endStep(transaction, steps.length, progress, outcome);
    return outcome;
  }

  /** last_insert_rowid() is told, changes() is 0. */
  beginConnectionState(rowid: bigint): void {
    this.#total = null;
    this.#setRowid.run(rowid);
    this.#resetChanges.run();
  }

  /** In the place of a request that left nothing but its savepoint. */
  touchSavepoint(): void {
    this.#total = null;
    this.#savepoint.run();
    this.#release.run();
  }

  /** At the end of a transaction. @throws SqlError if a deferred foreign key is violated. */
  checkDeferredKeys(): void {
    if (this.#schema.facts.deferrable) this.#probe.check();
  }

  #endStep(
    transaction: TransactionProgress,
    statements: number,
    progress: Progress,
    outcome: RequestOutcome,
  ): void {
    transaction.statement += statements;
    this.#total = null;
    if (outcome.kind === "done") {
      transaction.rowid = progress.rowid;
      transaction.changedSchema ||= progress.changedSchema;
    } else if (outcome.kind === "failure") this.beginConnectionState(transaction.rowid);
  }

  /** All texts are judged before the first one runs: a refusal leaves nothing to undo. */
  #judge({ statements, script }: BoundBatch, limits: Limits): Step[] {
    if (!script) {
      return statements.map(({ sql, args }, index) => {
        this.#judging = index;
        const judged = this.#cache.find(sql);
        checkParameters(judged.shape.parameters.count, limits);
        return { text: sql, judged, args };
      });
    }
    const splits = scriptStatements(statements[0]?.sql ?? "");
    checkCount(splits.length, limits);
    return splits.map((split, index) => {
      this.#judging = index;
      return { text: split.text, judged: this.#cache.judge(split), args: NO_ARGS };
    });
  }

  /**
   * ANALYZE and REINDEX walk over all tables, Balsa's own too, in the order of a hash table that depends on how this
   * connection came to know them. Both are made the same everywhere: what a fresh connection would find.
   */
  #settle(): void {
    this.#total = null;
    this.#flush();
    this.#database.exec(RELOAD_SCHEMA);
  }

  #runSteps(
    steps: readonly Step[],
    progress: Progress,
    guarded: boolean,
    resultBytesMax: number,
  ): RequestOutcome {
    const before = this.#total ?? this.#totalChanges.get() ?? 0;
    this.#total = null;
    this.#writer.start();
    try {
      for (const step of steps) {
        this.#runStep(step, progress);
        if (!this.#database.inTransaction) throw lostTransaction();
        progress.index += 1;
      }
      if (progress.wrote) this.#checkWrite(progress, resultBytesMax);
    } catch (error) {
      return this.#undo(error, progress, guarded, before);
    }
    // Before the savepoint ends: whether FTS5 writes then what it gathered depends on when SQLite last committed.
    const after = this.#totalAfter(before, progress, guarded);
    if (guarded) this.#release.run();
    if (progress.changedSchema) this.#database.exec(RELOAD_SCHEMA);
    if (!guarded && !progress.changedSchema) this.#total = after;
    const changes = after - before;
    const result = this.#writer.finish();
    const digest = digestOfEffects(result, changes, steps.length);
    const { wrote, inspected } = progress;
    return { kind: "done", result, digest, wrote, inspected, guarded };
  }

  /** SQLite's total_changes(). After plain statements, where nothing else can have changed a row, it need not be asked. */
  #totalAfter(before: number, progress: Progress, guarded: boolean): number {
    const { counted, ownChanges, transaction } = progress;
    const isPlain = !guarded && transaction === null && ownChanges === 0;
    if (isPlain && counted !== null && this.#schema.facts.plain) return before + counted;
    return this.#totalChanges.get() ?? 0;
  }

  /** What only the whole request shows. */
  #checkWrite(progress: Progress, resultBytesMax: number): void {
    progress.index -= 1;
    if (progress.inspected) {
      throw new BalsaError(
        "REFUSED",
        "EXPLAIN, PRAGMAs and tables that tell of one node are not allowed in a request that " +
          "writes; send them alone",
      );
    }
    if (this.#writer.length > resultBytesMax) throw resultTooLarge(resultBytesMax);
    if (progress.transaction === null) this.checkDeferredKeys();
  }

  #runStep(step: Step, progress: Progress): void {
    const number = (progress.transaction?.statement ?? 0) + progress.index;
    if (number > 0) this.#functions.beginStatement(number);
    const prepared = this.#cache.prepare(step.text, step.judged);
    const args = bindArguments(prepared, step.args);
    const { facts } = this.#schema;
    const inspects =
      prepared.class === "inspection" || this.#nodeTables.check(prepared, args, facts);
    if (inspects) progress.inspected = true;
    const changesSchema = SCHEMA_VERBS.has(prepared.shape.verb) && !prepared.shape.explain;
    if (changesSchema || tellsFullText(prepared, facts)) progress.changedSchema = true;
    if (prepared.class === "replicated") progress.wrote = true;
    const rowid = progress.native ? "native" : rowidRule(prepared, facts);
    if (rowid === "ask") progress.ownChanges += this.#setRowid.run(progress.rowid).changes;
    // Only a schema with triggers or foreign keys pays for the question.
    const before = facts.sideTables.length === 0 ? null : this.#totalChanges.get();
    const changes =
      prepared.columns === null
        ? this.#runSilent(prepared, args, progress, rowid)
        : this.#runRows(prepared, prepared.columns, args, progress, rowid);
    if (prepared.class === "replicated" && !changesSchema) {
      this.#plain.learn(prepared, facts);
      const after = before === null ? null : this.#totalChanges.get();
      const totalChanges = after == null || before == null ? changes : after - before;
      const { shape } = prepared;
      this.#largest.check({ shape, changes, totalChanges, rowid: progress.rowid }, facts);
    }
    if (changesSchema) {
      this.#cache.clear();
      this.#largest.clear();
      this.#nodeTables.clear();
      this.#schema.invalidate();
      refuseOverNodeTable(this.#schema.facts);
    }
  }

  #runSilent(
    prepared: PreparedStatement,
    args: readonly unknown[],
    progress: Progress,
    rowid: RowidRule,
  ): number {
    const info = prepared.statement.run(...args);
    const isCounted = COUNTED_VERBS.has(prepared.shape.verb) && progress.counted !== null;
    progress.counted = isCounted ? (progress.counted ?? 0) + info.changes : null;
    // Of a statement that inserts nothing SQLite would show what an earlier request inserted.
    const inserted = rowid === "inserts" ? info.changes > 0 : rowid !== "keeps";
    if (inserted) progress.rowid = this.#rowidOf(info);
    this.#writer.beginResult([]);
    this.#writer.endResult(info.changes, progress.rowid);
    return info.changes;
  }

  #rowidOf({ lastInsertRowid }: RunResult): bigint {
    return Number.isSafeInteger(lastInsertRowid) ? BigInt(lastInsertRowid) : this.#lastRowid();
  }

  #lastRowid(): bigint {
    return this.#state.get()?.[1] ?? 0n;
  }

  #runRows(
    prepared: PreparedStatement,
    columns: readonly string[],
    args: readonly unknown[],
    progress: Progress,
    rowid: RowidRule,
  ): number {
    const { resultBytes } = progress;
    progress.counted = null;
    const before = this.#totalChanges.get();
    this.#writer.beginResult(columns);
    for (const row of prepared.statement.iterate(...args)) {
      this.#writer.row(row);
      if (this.#writer.length > resultBytes) throw resultTooLarge(resultBytes);
    }
    let changes = 0n;
    if (prepared.class === "replicated") {
      const [found, lastRowid] = this.#state.get() ?? [0n, 0n];
      if (this.#totalChanges.get() !== before) changes = found;
      const inserted = rowid === "inserts" ? changes > 0n : rowid !== "keeps";
      if (inserted) progress.rowid = lastRowid;
    }
    this.#writer.endResult(changes, progress.rowid);
    return Number(changes);
  }

  #undo(error: unknown, progress: Progress, guarded: boolean, before: number): RequestOutcome {
    const { inTransaction } = this.#database;
    const exhaustion = toExhaustion(error, progress.index);
    if (exhaustion !== null) return { kind: "broken", failure: exhaustion, exhausted: true };
    const failure = explain(toStatementFailure(error, progress.index));
    if (inTransaction && guarded) {
      this.#rollbackTo.run();
      this.#release.run();
    }
    // Without a savepoint only another connection is rid of what is left.
    const moved = this.#totalChanges.get() !== before + progress.ownChanges;
    const lost = moved || mayLeaveRows(failure, progress, this.#schema.facts);
    const left = lost && progress.wrote && !guarded;
    if (!inTransaction || progress.changedSchema || left) {
      return { kind: "broken", failure, exhausted: false };
    }
    return { kind: "failure", failure, guarded };
  }
}

/** A setting takes effect between transactions, so it is nothing to do in one. */
function notHere({ judged: { shape } }: Step, isAlone: boolean): RequestOutcome {
  const { pragma } = shape;
  invariant(pragma !== null, "a setting is a pragma");
  const message =
    `PRAGMA ${pragma.name} = … sets it for the whole cluster, between transactions: send it alone, with run() or ` +
    "exec(), not in a batch or transaction with others";
  const failure = toStatementFailure(new BalsaError("REFUSED", message), 0);
  const outcome = { kind: "failure", failure, guarded: false } as const;
  return isAlone ? { ...outcome, setting: settingOf(pragma) } : outcome;
}
