/**
 * The replicated state machine over one SQLite connection (DESIGN D1, D2, D5, D6). In leader mode it runs requests in an
 * open transaction before they are in the log; in follower mode it runs what the log holds. Both ways lead to the same
 * content. Synchronous; it starts no process, no timer, and never decides when to commit.
 */

import type { Database } from "better-sqlite3";
import type {
  DigestMismatch,
  ExecuteJob,
  ExecuteOutcome,
  MachineState,
  TransactionVerb,
} from "../node/ports.ts";
import type { Configuration, Entry, EntryId } from "../raft/entry.ts";
import { BalsaError, type Failure } from "../sql/errors.ts";
import type { KnownExtension } from "../sql/extension.ts";
import { invariant } from "../sql/invariant.ts";
import { DEFAULT_LIMITS, type Limits } from "../sql/limits.ts";
import { type AutoVacuum, MACHINE_VERSION, type Setting } from "../sql/settings.ts";
import { decodeConfiguration, encodeConfiguration } from "../wire/configuration-codec.ts";
import { type Command, decodeCommand, encodeCommand } from "../wire/log-codec.ts";
import { NOT_APPLIED, SETTING_DONE } from "../wire/result-codec.ts";
import { encodeOpenSessionResponse } from "../wire/sql-codec.ts";
import { type BoundBatch, decodeBatch } from "../wire/statement-codec.ts";
import type { FailedStatement, LoggedTransaction } from "../wire/transaction-codec.ts";
import { DeterministicFunctions } from "./deterministic-functions.ts";
import { ALREADY_ENDED, InteractiveTransactions } from "./interactive-transactions.ts";
import { digestOf, encodeSettings, KeptSettings } from "./kept-settings.ts";
import { MachineFault, toStatementFailure } from "./machine-fault.ts";
import { MachineMeta } from "./machine-meta.ts";
import { RangeChecksums } from "./range-checksum.ts";
import { RequestExecutor, type RequestOutcome } from "./request-executor.ts";
import { checkRequest, UNBOUNDED } from "./request-limits.ts";
import { DEFAULT_SESSION_LIMITS, type SessionLimits, Sessions } from "./sessions.ts";
import { TransactionExecutor } from "./transaction-executor.ts";
import { undeclaredNames } from "./undeclared-names.ts";
import { type Checkpoint, WalState } from "./wal-state.ts";
import { commandOf, unknownEntry, type Work, workOf } from "./work.ts";
import { openWriterConnection } from "./writer-connection.ts";

export interface MachineCoreOptions {
  /** The database file, made if missing; `:memory:` for tests. */
  readonly path: string;
  readonly limits?: Limits;
  readonly sessionLimits?: SessionLimits;
  /** What this node runs; it executes nothing for a cluster of another. Empty: for any. Default empty. */
  readonly machineVersion?: string;
  /** Of a file that is made now. Default none. What the tables hold does not depend on it. */
  readonly autoVacuum?: AutoVacuum;
  /** Statements kept prepared. Default 500. What the file holds does not depend on it. */
  readonly preparedStatements?: number;
  /** Loaded into the connection. Default none. */
  readonly extensions?: readonly KnownExtension[];
}

export interface Applied {
  /** Committed up to here. */
  readonly last: EntryId;
  readonly mismatch: DigestMismatch | null;
}

const EMPTY = Buffer.alloc(0);
const PREPARED_STATEMENTS = 500;

/** A request's outcome, and what failed in it without stopping it. */
type RunOutcome =
  | (Pick<Extract<RequestOutcome, { kind: "done" }>, "kind" | "result" | "digest" | "wrote"> & {
      readonly failed?: readonly FailedStatement[];
    })
  | { readonly kind: "failure"; readonly failure: Failure; readonly setting?: Setting }
  | Extract<RequestOutcome, { kind: "broken" }>;

/** What is not done to the one transaction that is open. */
const OUTSIDE: ReadonlySet<TransactionVerb> = new Set(["begin", "settle", "checksum"]);

/** Throws MachineFault when the file or the machine fails: it must then not be used any more. */
export class MachineCore {
  readonly #options: MachineCoreOptions;
  readonly #limits: Limits;
  readonly #sessionLimits: SessionLimits;
  #database: Database;
  #meta: MachineMeta;
  #settings: KeptSettings;
  #sessions: Sessions;
  #functions: DeterministicFunctions;
  #requests: RequestExecutor;
  #interactive: InteractiveTransactions;
  #ranges: RangeChecksums;
  #wal: WalState;
  #applied: EntryId = { index: 0, term: 0 };
  #timeMs = 0;
  #nextSession = 1;
  /** As in the file, or to be in it with the next commit. */
  #configuration: Configuration | null = null;
  /** The open transaction holds what is not in the log yet. */
  #leading = false;
  /** Why it cannot be used any more; empty while it can. */
  #broken = "";

  private constructor(options: MachineCoreOptions) {
    this.#options = options;
    this.#limits = options.limits ?? DEFAULT_LIMITS;
    this.#sessionLimits = options.sessionLimits ?? DEFAULT_SESSION_LIMITS;
    this.#database = openWriterConnection(options.path, options);
    this.#meta = new MachineMeta(this.#database);
    this.#settings = new KeptSettings(this.#database);
    this.#sessions = new Sessions(this.#database, this.#sessionLimits);
    this.#functions = new DeterministicFunctions();
    this.#requests = this.#connectRequests();
    this.#interactive = this.#connectTransactions();
    this.#ranges = this.#connectRanges();
    this.#wal = new WalState(this.#database);
    this.#load();
  }

  /** Opens the file and takes it over from the writer before. */
  static open(options: MachineCoreOptions): MachineCore {
    return new MachineCore(options);
  }

  get state(): MachineState {
    const { index, term } = this.#applied;
    const [timeMs, configuration] = [this.#timeMs, this.#configuration];
    const { stored: settings } = this.#settings;
    return { appliedIndex: index, appliedTerm: term, timeMs, configuration, settings };
  }

  /** Leader mode: in the open transaction, which is opened if none is. */
  execute(job: ExecuteJob): ExecuteOutcome {
    const work = workOf(job, Math.max(job.timeMs, this.#timeMs));
    const { verb } = job;
    const no =
      verb === "machineVersion"
        ? null
        : this.#settings.otherMachine(this.#options.machineVersion ?? "");
    if (no !== null) return { kind: "failure", failure: no };
    if (verb === "setting" || verb === "machineVersion") return this.#executeApart(verb, work);
    this.#begin();
    this.#leading = true;
    if (verb !== undefined && !OUTSIDE.has(verb)) return this.#continueTransaction(job);
    invariant(!this.#interactive.isOpen, "a transaction has the writer for itself");
    if (verb === "checksum") {
      const { command, result } = this.#ranges.propose(work);
      return this.#propose(command, result);
    }
    if (job.openSession) return this.#proposeSession(work);
    if (job.session !== 0) {
      const known = this.#known(work);
      if (known?.kind === "answer" && verb === "begin") return ALREADY_ENDED;
      if (known !== null) return known;
    }
    if (verb === "begin") return this.#interactive.begin(work);
    if (verb === "settle") return this.#settleTransaction(work);
    const outcome = this.#runRequest(work, this.#limits);
    if (outcome.kind === "broken") {
      this.#broken = outcome.failure.message;
      return { kind: "broken", failure: outcome.failure };
    }
    if (outcome.kind === "failure") return this.#unlessSetting(outcome);
    const { result, digest, wrote, failed } = outcome;
    if (!wrote) return { kind: "answer", result, index: 0 };
    const command = commandOf(work, digest);
    return this.#propose(failed === undefined ? command : { ...command, failed }, result);
  }

  /** A setting that would change something is done between transactions; one that is as asked for is done already. */
  #unlessSetting({ failure, setting }: Extract<RunOutcome, { kind: "failure" }>): ExecuteOutcome {
    if (setting === undefined) return { kind: "failure", failure };
    return this.#settings.has(setting)
      ? { kind: "answer", result: SETTING_DONE, index: 0 }
      : { kind: "apart" };
  }

  /** Between transactions: the next one begins with it. */
  #executeApart(verb: "setting" | "machineVersion", work: Work): ExecuteOutcome {
    const known = work.session === 0 ? null : this.#known(work);
    if (known !== null) return known;
    let setting: Setting | undefined;
    if (verb === "setting") {
      const outcome = this.#runRequest(work, this.#limits);
      invariant(outcome.kind === "failure", "a setting is no ordinary request");
      setting = outcome.setting;
      if (setting === undefined) return { kind: "failure", failure: outcome.failure };
    } else setting = { name: MACHINE_VERSION, value: Buffer.from(work.batch).toString() };
    const isKnown = this.#settings.set(setting);
    invariant(isKnown, `${setting.name} = ${setting.value} can be set`);
    this.#begin();
    this.#leading = true;
    const command = commandOf(work, digestOf(setting));
    return this.#propose({ ...command, batch: EMPTY, setting }, SETTING_DONE);
  }

  #propose(command: Command, result: Uint8Array): ExecuteOutcome {
    this.#timeMs = command.timeMs;
    if (command.session !== 0) this.#sessions.remember(command, command.timeMs, result, 0);
    return { kind: "proposal", payload: encodeCommand(command), result };
  }

  /** What a numbered write is answered with that must not run; null if it must. */
  #known(work: Work): ExecuteOutcome | null {
    try {
      const known = this.#sessions.admit(work, work.timeMs);
      return known && { kind: "answer", result: known.result, index: known.index };
    } catch (error) {
      return { kind: "failure", failure: toStatementFailure(error, 0) };
    }
  }

  /** Leader mode: all that was executed is log[..last]. */
  commit(last: EntryId): void {
    invariant(last.index >= this.#applied.index, "commit goes forward");
    invariant(!this.#interactive.isOpen, "SQLite commits between transactions");
    this.#begin();
    this.#sessions.placed(last.index);
    this.#commit(last);
  }

  /** Who is a member belongs to the file: the log may forget the entries that said so. */
  configure(configuration: Configuration): void {
    this.#configuration = configuration;
    this.#meta.configure(encodeConfiguration(configuration));
  }

  /** Follower mode: runs entries and commits them as one transaction. */
  apply(entries: readonly Entry[]): Applied {
    invariant(!this.#leading, "no leader's transaction is open");
    const before = this.#applied;
    let last = before;
    for (const entry of entries) {
      if (entry.index !== last.index + 1) {
        throw new MachineFault(`entry ${entry.index} does not follow ${last.index}`);
      }
      const mismatch = entry.kind === "command" ? this.#applyEntry(entry, last) : null;
      if (mismatch !== null) return this.#applyBefore(entries, entry, mismatch);
      last = { index: entry.index, term: entry.term };
    }
    this.#begin();
    this.#commit(last);
    return { last, mismatch: null };
  }

  /** `before`: the last entry that was run, in the open transaction or before it. */
  #applyEntry(entry: Entry, before: EntryId): DigestMismatch | null {
    let command: Command;
    try {
      command = decodeCommand(entry.payload);
    } catch (error) {
      return unknownEntry(entry, 0, error instanceof Error ? error.message : String(error));
    }
    const { setting } = command;
    if (setting === undefined) {
      this.#begin();
      return this.#applyCommand(entry, command);
    }
    if (this.#database.inTransaction) this.#commit(before);
    if (!this.#settings.set(setting)) {
      const what = `it sets ${setting.name} to "${setting.value}", which this program does not know`;
      return unknownEntry(entry, command.digest, `${what}: start this node with the newer one`);
    }
    this.#begin();
    return this.#applyCommand(entry, command);
  }

  /** Bytes of the WAL that are not in the file yet; 0 while a transaction is open. */
  walBytes(): number {
    return this.#database.inTransaction ? 0 : this.#wal.bytes();
  }

  /** Copies the WAL into the file as far as readers allow, and syncs. Null while a transaction is open. */
  checkpoint(): Checkpoint | null {
    return this.#database.inTransaction ? null : this.#wal.checkpoint();
  }

  /** Rolls back what is open, checkpoints, and closes the file. */
  close(): void {
    if (!this.#database.open) return;
    if (this.#database.inTransaction) this.#database.exec("ROLLBACK");
    this.#database.close();
  }

  // --- the transaction ----------------------------------------------------------------------------------------

  #begin(): void {
    if (this.#broken !== "") throw new MachineFault(`the transaction was lost: ${this.#broken}`);
    if (this.#database.inTransaction) return;
    // What the in-memory state stands for is gone with a transaction that ended by itself.
    invariant(!this.#leading, "a leader's transaction ends by commit");
    this.#meta.begin(this.#applied.index);
  }

  #commit(last: EntryId): void {
    this.#requests.disturbed();
    this.#sessions.flush();
    const state = { applied: last, timeMs: this.#timeMs, nextSession: this.#nextSession };
    this.#meta.commit(state, this.#settings.unsaved());
    this.#settings.committed();
    this.#applied = last;
    this.#leading = false;
  }

  #load(): void {
    const { applied, timeMs, nextSession, configuration, settings } = this.#meta.read();
    this.#settings.load(settings);
    this.#configuration = configuration === null ? null : decodeConfiguration(configuration);
    this.#meta.claim(this.#database);
    this.#applied = applied;
    this.#timeMs = timeMs;
    this.#nextSession = nextSession;
    this.#sessions.load(applied.index);
  }

  // --- requests -----------------------------------------------------------------------------------------------

  #runRequest(work: Work, limits: Limits): RunOutcome {
    this.#functions.beginRequest(work.timeMs, work.seedHigh, work.seedLow);
    const bounds = { limits, resultBytesMax: this.#resultBytesMax(work.session, limits) };
    const { length } = work.batch;
    let batch: BoundBatch;
    try {
      batch = decodeBatch(work.batch);
      if (batch.goOn) checkRequest(batch, length, limits);
    } catch (error) {
      return { kind: "failure", failure: toStatementFailure(error, 0) };
    }
    if (!batch.goOn) return this.#requests.run(batch, length, bounds);
    const ending = this.#interactive.runBatch(batch, length, bounds, work.failed ?? null);
    // What ran out of space on a follower has ended it already.
    return ending.kind === "broken" ? { ...ending, exhausted: false } : ending;
  }

  #resultBytesMax(session: number, { resultBytes }: Limits): number {
    const { rememberedBytes } = this.#sessionLimits;
    return session === 0 ? resultBytes : Math.min(resultBytes, rememberedBytes);
  }

  /** It was not committed, or it would be known: that is now a write of its own, and a late commit finds it. */
  #settleTransaction(work: Work): ExecuteOutcome {
    if (work.session === 0) {
      const message = "only a transaction with a session can be asked for";
      const failure = toStatementFailure(new BalsaError("INVALID_ARGUMENT", message), 0);
      return { kind: "failure", failure };
    }
    const transaction = { steps: [], notApplied: true };
    return this.#propose({ ...commandOf(work, 0), transaction }, NOT_APPLIED);
  }

  #continueTransaction(job: ExecuteJob): ExecuteOutcome {
    const outcome = this.#interactive.continue(job);
    if (outcome.kind === "broken") this.#broken = outcome.failure.message;
    if (outcome.kind !== "committed") return outcome;
    const { work, digest, transaction } = outcome;
    return this.#propose({ ...commandOf(work, digest), transaction }, EMPTY);
  }

  #proposeSession(work: Work): ExecuteOutcome {
    const { result, digest } = this.#openSession(work.timeMs);
    const payload = encodeCommand({ ...commandOf(work, digest), batch: EMPTY });
    return { kind: "proposal", payload, result };
  }

  #openSession(timeMs: number): { readonly result: Buffer; readonly digest: number } {
    const id = this.#nextSession;
    this.#nextSession += 1;
    this.#timeMs = timeMs;
    this.#sessions.open(id, timeMs);
    // The index is filled in by whoever learns it.
    return { result: encodeOpenSessionResponse({ session: id, index: 0 }), digest: id >>> 0 };
  }

  #applyCommand(entry: Entry, command: Command): DigestMismatch | null {
    const { session, timeMs, digest } = command;
    const differs = (found: number, detail: string): DigestMismatch => {
      return { index: entry.index, expected: digest, found, detail };
    };
    if (timeMs < this.#timeMs) return differs(0, `log time runs back from ${this.#timeMs}`);
    if (command.openSession) {
      const opened = this.#openSession(timeMs);
      return opened.digest === digest ? null : differs(opened.digest, "another session's id");
    }
    if (session !== 0) {
      const detail = this.#admissionProblem(command);
      if (detail !== null) return differs(0, detail);
    }
    if (command.checksum !== undefined) {
      const difference = this.#ranges.check(command.checksum);
      if (difference !== null) return differs(difference.found, difference.detail);
      this.#timeMs = timeMs;
      return null;
    }
    if (command.transaction !== undefined) {
      const detail = this.#replay(command, command.transaction, entry.index);
      return detail === null ? null : differs(0, detail);
    }
    if (command.setting !== undefined) {
      const found = digestOf(command.setting);
      if (found !== digest) return differs(found, "another setting");
      this.#timeMs = timeMs;
      if (session !== 0) this.#sessions.remember(command, timeMs, SETTING_DONE, entry.index);
      return null;
    }
    const outcome = this.#runRequest(command, UNBOUNDED);
    if (outcome.kind === "broken" && outcome.exhausted) {
      const { code, message } = outcome.failure;
      throw new MachineFault(message, { code });
    }
    if (outcome.kind !== "done") return differs(0, describe(outcome.failure));
    if (!outcome.wrote) return differs(outcome.digest, "it wrote nothing");
    if (outcome.digest !== digest) return differs(outcome.digest, "other effects");
    this.#timeMs = timeMs;
    if (session !== 0) this.#sessions.remember(command, timeMs, outcome.result, entry.index);
    return null;
  }

  /** Null, or how this node's effects differ. */
  #replay(command: Command, transaction: LoggedTransaction, index: number): string | null {
    const { timeMs, session } = command;
    const { notApplied } = transaction;
    const detail = notApplied ? null : this.#interactive.replay(command, transaction, UNBOUNDED);
    if (detail !== null) return detail;
    this.#timeMs = timeMs;
    const result = notApplied ? NOT_APPLIED : EMPTY;
    if (session !== 0) this.#sessions.remember(command, timeMs, result, index);
    return null;
  }

  /** The leader admitted it; a node that would not has another state. */
  #admissionProblem(command: Command): string | null {
    try {
      const known = this.#sessions.admit(command, command.timeMs);
      return known === null ? null : "it was applied before";
    } catch (error) {
      return describe(toStatementFailure(error, 0));
    }
  }

  /**
   * An entry differs. Its effects cannot be taken back alone, so all goes, and what came before is applied again, on a
   * connection that has seen nothing of it.
   */
  #applyBefore(entries: readonly Entry[], sick: Entry, mismatch: DigestMismatch): Applied {
    if (this.#database.inTransaction) this.#database.exec("ROLLBACK");
    this.#reopen();
    // Some may be committed: in front of a setting.
    const { index: from } = this.#applied;
    const healthy = entries.filter(({ index }) => index > from && index < sick.index);
    if (healthy.length === 0) return { last: this.#applied, mismatch };
    const { last, mismatch: again } = this.apply(healthy);
    return { last, mismatch: again ?? mismatch };
  }

  // --- the connection -----------------------------------------------------------------------------------------

  #reopen(): void {
    // Memory dies with its connection.
    if (this.#options.path !== ":memory:") {
      this.#database.close();
      this.#database = openWriterConnection(this.#options.path, this.#options);
      this.#meta = new MachineMeta(this.#database);
      this.#settings = new KeptSettings(this.#database);
      this.#sessions = new Sessions(this.#database, this.#sessionLimits);
      this.#functions = new DeterministicFunctions();
      this.#requests = this.#connectRequests();
      this.#interactive = this.#connectTransactions();
      this.#ranges = this.#connectRanges();
      this.#wal = new WalState(this.#database);
    }
    this.#load();
  }

  #connectRequests(): RequestExecutor {
    this.#functions.register(this.#database);
    return new RequestExecutor(this.#database, {
      functions: this.#functions,
      flush: () => this.#sessions.flush(),
      preparedStatements: this.#options.preparedStatements ?? PREPARED_STATEMENTS,
      undeclared: undeclaredNames(this.#options.extensions ?? []),
    });
  }

  #connectRanges(): RangeChecksums {
    return new RangeChecksums(this.#database, {
      // Rows are read as a commit would leave them: nothing of them is in memory alone.
      settle: () => {
        this.#sessions.flush();
        this.#requests.touchSavepoint();
      },
      counted: () => [this.#timeMs, this.#nextSession, encodeSettings(this.#settings.current)],
    });
  }

  #connectTransactions(): InteractiveTransactions {
    const executor = new TransactionExecutor(this.#database, this.#requests);
    return new InteractiveTransactions(executor, this.#functions, this.#limits);
  }
}

function describe(failure: Failure): string {
  return `${failure.code}: ${failure.message}`;
}
