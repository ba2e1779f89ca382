/**
 * The replicated state machine over one SQLite connection (DESIGN D1, D2, D5, D6). In leader mode it runs requests in an
 * open transaction before they are in the log; in follower mode it runs what the log holds. Both ways lead to the same
 * content. Synchronous; it starts no process, no timer, and never decides when to commit.
 */

import type {
  DigestMismatch,
  ExecuteJob,
  ExecuteOutcome,
  MachineState,
  TransactionVerb,
  Verdict,
} from "../node/ports.ts";
import type { Configuration, Entry, EntryId } from "../raft/entry.ts";
import { BalsaError } from "../sql/errors.ts";
import { invariant } from "../sql/invariant.ts";
import { DEFAULT_LIMITS, type Limits } from "../sql/limits.ts";
import { MACHINE_VERSION, type Setting } from "../sql/settings.ts";
import { decodeConfiguration, encodeConfiguration } from "../wire/configuration-codec.ts";
import { type Command, decodeCommand, encodeCommand } from "../wire/log-codec.ts";
import { NOT_APPLIED, SETTING_DONE } from "../wire/result-codec.ts";
import { encodeOpenSessionResponse } from "../wire/sql-codec.ts";
import { type BoundBatch, decodeBatch } from "../wire/statement-codec.ts";
import { ALREADY_ENDED } from "./interactive-transactions.ts";
import { digestOf } from "./kept-settings.ts";
import { MachineConnection } from "./machine-connection.ts";
import { MachineFault, toStatementFailure } from "./machine-fault.ts";
import type { Applied, MachineCoreOptions } from "./machine-options.ts";
import { checkRequest, UNBOUNDED } from "./request-limits.ts";
import { describe, type Effect, type RunOutcome } from "./run-outcome.ts";
import { DEFAULT_SESSION_LIMITS, type SessionLimits } from "./sessions.ts";
import { compare, type Difference, differences, Settling, without } from "./settling.ts";
import { type Checkpoint, NO_WAL, type WalSize } from "./wal-state.ts";
import { commandOf, unknownEntry, type Work, workOf } from "./work.ts";

const EMPTY = Buffer.alloc(0);

/** What is not done to the one transaction that is open. */
const OUTSIDE: ReadonlySet<TransactionVerb> = new Set(["begin", "settle", "checksum"]);

/** Throws MachineFault when the file or the machine fails: it must then not be used any more. */
export class MachineCore {
  readonly #options: MachineCoreOptions;
  readonly #limits: Limits;
  readonly #sessionLimits: SessionLimits;
  #on: MachineConnection;
  readonly #settling = new Settling();
  #originIndex = 0;
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
    this.#on = this.#connect();
    this.#load();
  }

  /** Opens the file and takes it over from the writer before. */
  static open(options: MachineCoreOptions): MachineCore {
    return new MachineCore(options);
  }

  get state(): MachineState {
    const { index, term } = this.#applied;
    const [timeMs, configuration] = [this.#timeMs, this.#configuration];
    const { stored: settings } = this.#on.settings;
    const [originIndex, { settled }] = [this.#originIndex, this.#settling];
    const facts = { timeMs, configuration, settings, originIndex, settled };
    return { appliedIndex: index, appliedTerm: term, ...facts };
  }

  /** Leader mode: in the open transaction, which is opened if none is. */
  execute(job: ExecuteJob): ExecuteOutcome {
    const work = workOf(job, Math.max(job.timeMs, this.#timeMs));
    const { verb } = job;
    const no =
      verb === "machineVersion"
        ? null
        : this.#on.settings.otherMachine(this.#options.machineVersion ?? "");
    if (no !== null) return { kind: "failure", failure: no };
    if (verb === "setting" || verb === "machineVersion") return this.#executeApart(verb, work);
    this.#begin();
    this.#leading = true;
    if (verb !== undefined && !OUTSIDE.has(verb)) return this.#continueTransaction(job);
    invariant(!this.#on.interactive.isOpen, "a transaction has the writer for itself");
    if (verb === "checksum") {
      const { command, result } = this.#on.ranges.propose(work);
      return this.#propose(command, result);
    }
    if (job.openSession) return this.#proposeSession(work);
    if (job.session !== 0) {
      const known = this.#known(work);
      if (known?.kind === "answer" && verb === "begin") return ALREADY_ENDED;
      if (known !== null) return known;
    }
    if (verb === "begin") return this.#on.interactive.begin(work);
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
    return this.#on.settings.has(setting)
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
    const isKnown = this.#on.settings.set(setting);
    invariant(isKnown, `${setting.name} = ${setting.value} can be set`);
    this.#begin();
    this.#leading = true;
    const command = commandOf(work, digestOf(setting));
    return this.#propose({ ...command, batch: EMPTY, setting }, SETTING_DONE);
  }

  #propose(command: Command, result: Uint8Array): ExecuteOutcome {
    this.#timeMs = command.timeMs;
    if (command.session !== 0) this.#on.sessions.remember(command, command.timeMs, result, 0);
    return { kind: "proposal", payload: encodeCommand(command), result };
  }

  /** What a numbered write is answered with that must not run; null if it must. */
  #known(work: Work): ExecuteOutcome | null {
    try {
      const known = this.#on.sessions.admit(work, work.timeMs);
      return known && { kind: "answer", result: known.result, index: known.index };
    } catch (error) {
      return { kind: "failure", failure: toStatementFailure(error, 0) };
    }
  }

  /** Leader mode: all that was executed is log[..last]. */
  commit(last: EntryId): void {
    invariant(last.index >= this.#applied.index, "commit goes forward");
    invariant(!this.#on.interactive.isOpen, "SQLite commits between transactions");
    this.#begin();
    this.#on.sessions.placed(last.index);
    this.#commit(last);
  }

  /** Who is a member belongs to the file: the log may forget the entries that said so. */
  configure(configuration: Configuration): void {
    this.#configuration = configuration;
    this.#on.meta.configure(encodeConfiguration(configuration));
  }

  /** From now on entries are applied under this verdict, as far as it goes. */
  settle(verdict: Verdict): void {
    this.#settling.begin(verdict);
  }

  /** Follower mode: runs entries and commits them as one transaction; those under a verdict one by one. */
  apply(entries: readonly Entry[]): Applied {
    invariant(!this.#leading, "no leader's transaction is open");
    const { from, to } = this.#settling.rangeIn(entries);
    let applied: Applied = { last: this.#applied, mismatch: null };
    if (from > 0) applied = this.#applyTogether(entries.slice(0, from));
    for (let at = from; at < to && applied.mismatch === null; at += 1) {
      applied = this.#applySettled(entries[at] as Entry);
    }
    if (to < entries.length && applied.mismatch === null) {
      applied = this.#applyTogether(entries.slice(to));
    }
    return applied;
  }

  /**
   * No digest counts but the verdict's own. What the entry does here it does; what fails here leaves nothing but its log
   * time, on a connection that has seen nothing of it.
   */
  #applySettled(entry: Entry): Applied {
    const { index, term } = entry;
    const verdict = this.#settling.at(index);
    const problem = this.#settling.problem(index);
    if (problem !== null) return { last: this.#applied, mismatch: problem };
    const difference = entry.kind === "command" ? this.#applyEntry(entry, this.#applied) : null;
    if (difference?.isUnknown === true) return { last: this.#applied, mismatch: difference };
    const isBegun = index === verdict.index;
    const mismatch = isBegun ? compare(verdict, difference) : null;
    const isKept = difference === null || difference.keep !== undefined;
    if (mismatch !== null || !isKept) {
      this.#rollback();
      this.#reopen();
      if (mismatch !== null) return { last: this.#applied, mismatch };
      this.#timeMs = Math.max(this.#timeMs, decodeCommand(entry.payload).timeMs);
    } else difference?.keep?.();
    this.#begin();
    if (isBegun) this.#on.meta.settle(verdict);
    this.#commit({ index, term });
    if (isBegun) this.#settling.settled = verdict;
    return { last: this.#applied, mismatch: null };
  }

  #applyTogether(entries: readonly Entry[]): Applied {
    const before = this.#applied;
    let last = before;
    for (const entry of entries) {
      if (entry.index !== last.index + 1) {
        throw new MachineFault(`entry ${entry.index} does not follow ${last.index}`);
      }
      const mismatch = entry.kind === "command" ? this.#applyEntry(entry, last) : null;
      if (mismatch !== null) return this.#applyBefore(entries, entry, without(mismatch));
      last = { index: entry.index, term: entry.term };
    }
    this.#begin();
    this.#commit(last);
    return { last, mismatch: null };
  }

  /** `before`: the last entry that was run, in the open transaction or before it. */
  #applyEntry(entry: Entry, before: EntryId): Difference | null {
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
    if (this.#on.database.inTransaction) this.#commit(before);
    if (!this.#on.settings.set(setting)) {
      const what = `it sets ${setting.name} to "${setting.value}", which this program does not know`;
      return unknownEntry(entry, command.digest, `${what}: start this node with the newer one`);
    }
    this.#begin();
    return this.#applyCommand(entry, command);
  }

  /** Nothing while a transaction is open. */
  walSize(): WalSize {
    return this.#on.database.inTransaction ? NO_WAL : this.#on.wal.size();
  }

  /** Copies the WAL into the file as far as readers allow, and syncs. Null while a transaction is open. */
  checkpoint(): Checkpoint | null {
    return this.#on.database.inTransaction ? null : this.#on.wal.checkpoint();
  }

  /** Has anybody else written to the file? Nobody can while a transaction is open. @throws FileChanged */
  look(): void {
    if (this.#on.database.inTransaction) return;
    this.#on.files.demandSame();
    this.#on.meta.look();
  }

  /** Rolls back what is open, and brings all of the WAL to the file. False: a reader is in the way. */
  emptyWal(): boolean {
    this.#rollback();
    return this.#on.wal.empty();
  }

  /** Rolls back what is open, checkpoints, and closes the file. */
  close(): void {
    if (!this.#on.database.open) return;
    this.#rollback();
    this.#on.database.close();
  }

  // --- the transaction ----------------------------------------------------------------------------------------

  #begin(): void {
    if (this.#broken !== "") throw new MachineFault(`the transaction was lost: ${this.#broken}`);
    if (this.#on.requests.isOpen || this.#on.database.inTransaction) return;
    // What the in-memory state stands for is gone with a transaction that ended by itself.
    invariant(!this.#leading, "a leader's transaction ends by commit");
    this.#on.meta.begin(this.#applied.index);
  }

  #rollback(): void {
    this.#on.requests.disturbed();
    if (this.#on.database.inTransaction) this.#on.database.exec("ROLLBACK");
  }

  #commit(last: EntryId): void {
    this.#on.requests.disturbed();
    this.#on.sessions.flush();
    const state = { applied: last, timeMs: this.#timeMs, nextSession: this.#nextSession };
    this.#on.meta.commit(state, this.#on.settings.unsaved());
    this.#on.settings.committed();
    this.#applied = last;
    this.#leading = false;
  }

  #load(): void {
    const { applied, timeMs, nextSession, configuration, settings, ...rest } = this.#on.meta.read();
    this.#originIndex = rest.originIndex;
    this.#settling.settled = rest.settled;
    this.#on.settings.load(settings);
    this.#configuration = configuration === null ? null : decodeConfiguration(configuration);
    this.#on.meta.claim(this.#on.database);
    this.#applied = applied;
    this.#timeMs = timeMs;
    this.#nextSession = nextSession;
    this.#on.sessions.load(applied.index);
  }

  // --- requests -----------------------------------------------------------------------------------------------

  #runRequest(work: Work, limits: Limits): RunOutcome {
    this.#on.functions.beginRequest(work.timeMs, work.seedHigh, work.seedLow);
    const resultBytesMax = this.#resultBytesMax(work.session, limits);
    const plain = this.#on.requests.runPlain(work.batch, limits, resultBytesMax);
    if (plain !== null) return plain;
    const bounds = { limits, resultBytesMax };
    const { length } = work.batch;
    let batch: BoundBatch;
    try {
      batch = decodeBatch(work.batch);
      if (batch.goOn) checkRequest(batch, length, limits);
    } catch (error) {
      return { kind: "failure", failure: toStatementFailure(error, 0) };
    }
    if (!batch.goOn) return this.#on.requests.run(batch, length, bounds);
    const ending = this.#on.interactive.runBatch(batch, length, bounds, work.failed ?? null);
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
    const outcome = this.#on.interactive.continue(job);
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
    this.#on.sessions.open(id, timeMs);
    // The index is filled in by whoever learns it.
    return { result: encodeOpenSessionResponse({ session: id, index: 0 }), digest: id >>> 0 };
  }

  #applyCommand(entry: Entry, command: Command): Difference | null {
    const { index } = entry;
    const { session, timeMs, digest } = command;
    const differs = (found: number, words: string, result?: Uint8Array): Difference => {
      const keep = result && (() => this.#keep(index, command, result));
      return differences(index, digest)(found, words, keep);
    };
    if (command.verdict !== undefined) return this.#settling.meet(command.verdict, index);
    if (timeMs < this.#timeMs) return differs(0, `log time runs back from ${this.#timeMs}`);
    if (command.openSession) {
      const opened = this.#openSession(timeMs);
      if (opened.digest === digest) return null;
      return differences(index, digest)(opened.digest, "another session's id", () => {});
    }
    if (session !== 0) {
      const detail = this.#admissionProblem(command);
      if (detail !== null) return differs(0, detail);
    }
    if (command.checksum !== undefined) {
      const difference = this.#on.ranges.check(command.checksum);
      if (difference !== null) return differs(difference.found, difference.detail);
      this.#timeMs = timeMs;
      return null;
    }
    const effect = this.#effectOf(command);
    if (typeof effect === "string") return differs(0, effect);
    const { digest: found, result, wrote } = effect;
    if (!wrote) return differs(found, "it wrote nothing", result);
    if (found !== digest) return differs(found, "other effects", result);
    this.#keep(index, command, result);
    return null;
  }

  #keep(index: number, command: Command, result: Uint8Array): void {
    this.#timeMs = command.timeMs;
    if (command.session !== 0) this.#on.sessions.remember(command, command.timeMs, result, index);
  }

  /** What it does here; in words, if it fails. */
  #effectOf(command: Command): Effect | string {
    const { transaction, setting, digest } = command;
    if (transaction !== undefined) {
      if (transaction.notApplied) return { digest, result: NOT_APPLIED, wrote: true };
      const ending = this.#on.interactive.replay(command, transaction, UNBOUNDED);
      return ending.detail || { digest: ending.digest, result: EMPTY, wrote: true };
    }
    if (setting !== undefined) {
      return { digest: digestOf(setting), result: SETTING_DONE, wrote: true };
    }
    const outcome = this.#runRequest(command, UNBOUNDED);
    if (outcome.kind === "broken" && outcome.exhausted) {
      const { code, message } = outcome.failure;
      throw new MachineFault(message, { code });
    }
    return outcome.kind === "done" ? outcome : describe(outcome.failure);
  }

  /** The leader admitted it; a node that would not has another state. */
  #admissionProblem(command: Command): string | null {
    try {
      const known = this.#on.sessions.admit(command, command.timeMs);
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
    this.#rollback();
    this.#reopen();
    // Some may be committed: in front of a setting.
    const { index: from } = this.#applied;
    const healthy = entries.filter(({ index }) => index > from && index < sick.index);
    if (healthy.length === 0) return { last: this.#applied, mismatch };
    const { last, mismatch: again } = this.#applyTogether(healthy);
    return { last, mismatch: again ?? mismatch };
  }

  // --- the connection -----------------------------------------------------------------------------------------

  #reopen(): void {
    this.look();
    // It may not be stored yet, and nobody tells it again.
    const configuration = this.#configuration;
    // Memory dies with its connection.
    if (this.#options.path !== ":memory:") {
      this.#on.database.close();
      this.#on = this.#connect();
    }
    this.#load();
    if (configuration !== null) this.configure(configuration);
  }

  #connect(): MachineConnection {
    const given = { limits: this.#limits, sessionLimits: this.#sessionLimits };
    return new MachineConnection({ ...this.#options, ...given }, () => [
      this.#timeMs,
      this.#nextSession,
    ]);
  }
}
