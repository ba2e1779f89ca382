/**
 * Keeps the one writer process in step with the log (DESIGN D1, D2). As follower it applies what is committed; as
 * leader it executes requests in the open SQLite transaction, hands their entries to be proposed, and lets SQLite
 * commit behind Raft. The invariant: in leader mode the open transaction equals apply(log[1 .. last proposed]).
 * Whatever breaks it has one cure: the process is killed, another one applies from the log, and nothing is executed
 * until it has applied the whole log. Answers and Raft itself are not its business.
 */

import type { Configuration, EntryId, LogIndex } from "../raft/entry.ts";
import type { Failure } from "../sql/errors.ts";
import { ApplyPace } from "./apply-pace.ts";
import { Deque } from "./deque.ts";
import type { DriverEvents, DriverOptions, DriverParts } from "./driver-events.ts";
import {
  APPLY_BYTES_MAX,
  APPLY_ENTRIES_MAX,
  DEATHS_MAX,
  EXECUTING_MAX,
  RUN_MS_MIN,
  WATCH_MS,
} from "./driver-limits.ts";
import { heardWhile } from "./heard-while.ts";
import { KeptConfiguration } from "./kept-configuration.ts";
import { noSpace } from "./low-space.ts";
import type {
  DigestMismatch,
  Environment,
  ExecuteOutcome,
  Log,
  Logger,
  Machine,
  MachineState,
  Timer,
  Verdict,
  Writer,
  WriterEvents,
} from "./ports.ts";
import { TurnClock } from "./turn-clock.ts";
import { WaitingWrites } from "./waiting-writes.ts";
import { WriteCycle } from "./write-cycle.ts";
import { failure, jobOf, stoppedAfter, type WriteRequest } from "./write-request.ts";
import { aborted, type HoldingTransaction, WriterHold } from "./writer-hold.ts";
import { WriterRest } from "./writer-rest.ts";

const NOTHING = new Uint8Array(0);

type Mode = "closed" | "suspended" | "starting" | "following" | "leading";

export class WriterDriver {
  readonly #machine: Machine;
  readonly #log: Log;
  readonly #environment: Environment;
  readonly #logger: Logger;
  readonly #options: DriverOptions;
  readonly #events: DriverEvents;

  #mode: Mode = "closed";
  #writer: Writer | null = null;
  #onFirstReady: ((state: MachineState) => void) | null = null;
  #deaths = 0;
  readonly #rest: WriterRest;
  readonly #clock: TurnClock;
  #stopping: (() => void) | null = null;

  /** Committed in SQLite. */
  #applied: LogIndex = 0;
  /** Committed by Raft and durable here. */
  #applicable: LogIndex = 0;
  /** Some read waits for this index. */
  #demanded: LogIndex = 0;
  #applying = false;
  readonly #pace: ApplyPace;

  /** The no-op of our leadership; null when not leader. */
  #leadership: EntryId | null = null;
  #lastProposed: EntryId = { index: 0, term: 0 };
  readonly #waiting = new WaitingWrites();
  readonly #executing = new Deque<WriteRequest>();
  readonly #hold = new WriterHold();
  #headSinceMs = 0;
  #watch: Timer | null = null;
  readonly #cycle = new WriteCycle();
  /** Last index for which a COMMIT was sent or done. */
  #committing: LogIndex = 0;
  #timeMs = 0;
  readonly #kept = new KeptConfiguration();
  /** Nothing new is executed; runs when what was is committed. */
  #drained: (() => void) | null = null;
  #draining = false;

  constructor(options: DriverOptions, parts: DriverParts) {
    this.#options = options;
    this.#machine = parts.machine;
    this.#log = parts.log;
    this.#environment = parts.environment;
    this.#logger = parts.logger;
    this.#events = parts.events;
    this.#clock = new TurnClock(parts.environment);
    this.#rest = new WriterRest(parts.environment, parts.events.resting);
    this.#pace = new ApplyPace(parts.environment, options.isReadLocally, () => this.#pump());
  }

  get applied(): LogIndex {
    return this.#applied;
  }

  get applicableIndex(): LogIndex {
    return this.#applicable;
  }

  /** Requests waiting for the writer or in it. */
  get pending(): number {
    return this.#waiting.length + this.#executing.length;
  }

  start(onReady: (state: MachineState) => void): void {
    this.#onFirstReady = onReady;
    this.#open();
  }

  /** Answers nothing any more; `done` runs when the process is gone. */
  stop(done: () => void): void {
    this.#pace.cancel();
    this.#watch?.cancel();
    this.#rest.cancel();
    this.#leadership = null;
    const isSuspended = this.#mode === "suspended";
    if (this.#writer === null && !isSuspended) return this.#environment.soon(done);
    this.#stopping = done;
    if (this.#writer === null) return;
    if (this.#mode === "leading" && !this.#clean()) this.#writer.kill();
    else this.#writer.close();
    this.#mode = "closed";
  }

  configure(configuration: Configuration): void {
    this.#kept.set(configuration);
  }

  applicable(index: LogIndex): void {
    this.#applicable = index;
    this.#pump();
  }

  /** `noop`: the first entry of our term. Executing starts when it and all before it are applied. */
  lead(noop: EntryId): void {
    this.#leadership = noop;
    this.#lastProposed = noop;
    this.#draining = false;
    this.#pump();
  }

  /** Not leader any more: what was not proposed did not happen. `keepsWaiting`: who leads now will be known soon. */
  follow(answer: Failure, keepsWaiting = false): void {
    if (this.#leadership === null) return this.refuseWaiting(answer);
    this.#leadership = null;
    if (this.#mode === "leading" && this.#isWhole()) this.#commit();
    this.#hold.lose("the node does not lead any more");
    const wasClean = this.#clean();
    const orphans = [...this.#executing.drain(), ...(keepsWaiting ? [] : this.#waiting.drain())];
    if (this.#mode === "leading") {
      if (wasClean) this.#mode = "following";
      else this.#replace("leadership was lost");
    }
    for (const request of orphans) request.fail(answer);
    this.#pump();
  }

  submit(request: WriteRequest): void {
    this.#waiting.push(request);
    this.#watchHead();
    this.#pump();
  }

  /** What has not begun is not going to. */
  refuseWaiting(why: Failure): void {
    for (const request of this.#waiting.drain()) request.fail(why);
  }

  /** A step of the transaction that has the writer waits. */
  stepped(): void {
    if (this.#hold.isHeld) this.#pump();
  }

  /** Rolls back the transaction that has the writer; it answers nothing any more. */
  abandon(transaction: HoldingTransaction, rollback: WriteRequest): void {
    if (!this.#hold.release(transaction)) return rollback.done(NOTHING, 0);
    this.#execute(rollback);
    this.#pump();
  }

  /** Before leadership is handed over: what waits goes on waiting; `done` runs when the open cycle has ended. */
  drain(done: () => void): void {
    this.#hold.abort("the node hands the leadership over");
    this.#draining = true;
    this.#drained = done;
    this.#pump();
  }

  /** The leadership stays here after all. */
  resumeExecuting(): void {
    this.#draining = false;
    this.#drained = null;
    this.#pump();
  }

  /** A caller gave up. What waits is withdrawn; what executes is stopped if it goes on for long. */
  cancel(request: WriteRequest): void {
    if (request.stage === "waiting") this.#waiting.withdraw(request);
    else if (request.stage === "executing") request.deadlineAtMs = 0;
  }

  /** Reads are being confirmed, and will ask for all that is committed: the COMMIT need not wait for them to do so. */
  hurry(): void {
    if (this.#leadership !== null) this.demand(this.#applicable);
  }

  /** A read takes what is in SQLite now. */
  readonly readStale = (): void => this.#pace.read();

  /** A read waits until this index is in SQLite. */
  demand(index: LogIndex): void {
    if (index <= this.#demanded) return;
    this.#demanded = index;
    this.#pump();
  }

  // --- the process ------------------------------------------------------------------------------------------

  #open(): void {
    this.#mode = "starting";
    this.#kept.closed();
    const events: WriterEvents = {
      ready: (state) => this.#ready(writer, state),
      executed: (id, outcome) => this.#executed(id, outcome),
      applied: (last, mismatch) => this.#followed(last, mismatch),
      committed: (last) => this.#advance(last.index),
      settings: (settings) => this.#events.settings(settings),
      checkpointed: (index) => this.#events.checkpointed(index),
      changed: (what) => this.#changed(what),
      exited: (reason) => this.#exited(reason),
    };
    // Whoever was replaced is not heard any more.
    const isHeard = () => this.#writer === writer;
    const writer: Writer = this.#machine.openWriter(heardWhile(isHeard, events));
    this.#writer = writer;
  }

  #ready(writer: Writer, state: MachineState): void {
    this.#kept.opened(writer, state);
    this.#events.settings(state.settings);
    this.#events.opened(state);
    this.#mode = state.changed === undefined ? "following" : "closed";
    this.#applying = false;
    const grown = state.appliedIndex > this.#applied;
    this.#applied = state.appliedIndex;
    this.#committing = state.appliedIndex;
    this.#timeMs = Math.max(this.#timeMs, state.timeMs);
    const first = this.#onFirstReady;
    this.#onFirstReady = null;
    this.#applicable = Math.max(this.#applicable, state.appliedIndex);
    if (first !== null) first(state);
    else if (grown) this.#events.applied(this.#applied);
    this.#pump();
  }

  /** Another file takes the database's place: the writer is killed, and none is opened before `resume`. */
  suspend(): void {
    const old = this.#writer;
    this.#writer = null;
    this.#mode = "suspended";
    this.#rest.cancel();
    this.#requeue();
    old?.kill();
  }

  resume(): void {
    if (this.#stopping !== null) return this.#stopping();
    this.#open();
  }

  /** The one cure. Requests in the writer that were not proposed are executed again by the next one. */
  #replace(reason: string): void {
    this.#logger.warn({ reason, applied: this.#applied }, "replacing the writer process");
    const old = this.#writer;
    this.#requeue();
    this.#open();
    old?.kill();
  }

  #requeue(): void {
    this.#hold.lose("its writer process ended");
    const again = this.#executing.drain().filter((request) => {
      request.transaction?.lost(aborted("its writer process ended"));
      return request.stage !== "settled" && request.transaction === null;
    });
    for (const request of again) request.stage = "waiting";
    this.#waiting.unshift(again);
    this.#cycle.end();
  }

  #exited(reason: string): void {
    this.#writer = null;
    if (this.#stopping !== null) return this.#stopping();
    if (this.#rest.isDue(reason, this.#events.isLowOnSpace())) return this.#restAfter(reason);
    this.#deaths += 1;
    const message = `the writer process died while it ran this request: ${reason}`;
    this.#executing.first()?.fail(failure("UNAVAILABLE", message));
    if (this.#deaths < DEATHS_MAX) return this.#replace(`it died: ${reason}`);
    this.#events.broken(new Error(`the writer keeps dying: ${reason}`));
  }

  /** For want of space nobody halts: what was not proposed is refused, and a writer opened again later. */
  #restAfter(reason: string): void {
    this.#logger.warn({ reason, applied: this.#applied }, "the writer found no space on the disk");
    this.#requeue();
    this.#mode = "starting";
    this.refuseWaiting(noSpace(`the disk is full: ${reason}`));
    this.#rest.begin(() => this.#open());
  }

  // --- what to do next ----------------------------------------------------------------------------------------

  #pump(): void {
    if (this.#mode === "following") this.#pumpFollowing();
    if (this.#mode === "leading") this.#pumpLeading();
  }

  #pumpFollowing(): void {
    // A COMMIT of the leadership that has just ended may still be under way.
    if (this.#applying || this.#committing > this.#applied) return;
    if (this.#applied < this.#applicable) {
      const urgent = this.#leadership !== null || this.#demanded > this.#applied;
      if (urgent || !this.#pace.isResting) this.#applyNext(urgent);
      return;
    }
    this.#rest.over();
    const noop = this.#leadership;
    if (noop === null || this.#applied < noop.index) return;
    // What was proposed in this turn may not have reached the log yet.
    const last = Math.max(this.#log.lastIndex(), this.#lastProposed.index);
    if (this.#applied === last) this.#mode = "leading";
  }

  #applyNext(urgent: boolean): void {
    const from = this.#applied + 1;
    const to = Math.min(this.#applicable + 1, from + APPLY_ENTRIES_MAX);
    this.#applying = true;
    try {
      this.#writer?.apply(this.#log.entries(from, to, APPLY_BYTES_MAX));
    } catch (error) {
      return this.#events.broken(error instanceof Error ? error : new Error(String(error)));
    }
    if (!urgent) this.#pace.rest();
  }

  #followed(last: EntryId, mismatch: DigestMismatch | null): void {
    this.#applying = false;
    if (mismatch !== null) this.#mode = "closed";
    this.#advance(last.index);
    if (mismatch !== null) this.#events.mismatch(mismatch);
  }

  #changed(what: string): void {
    this.#mode = "closed";
    this.#events.changed(what);
  }

  settle(verdict: Verdict): void {
    this.#writer?.settle(verdict);
    if (this.#mode === "closed") this.#mode = "following";
    this.#pump();
  }

  #advance(index: LogIndex): void {
    this.#deaths = 0;
    this.#rest.over();
    if (index > this.#applied) {
      this.#applied = index;
      this.#committing = Math.max(this.#committing, index);
      this.#events.applied(index);
    }
    this.#pump();
  }

  #pumpLeading(): void {
    for (;;) {
      const pausing = this.#mustPause();
      while (!pausing && this.#executing.length < EXECUTING_MAX) {
        const request = this.#hold.next(this.#waiting, this.#clean());
        if (request === undefined) break;
        if (request.stage === "waiting") this.#execute(request);
      }
      this.#passOthers();
      if (this.#draining && this.#clean()) this.#tellDrained();
      if (!this.#isWhole() || this.#mayRest()) return;
      this.#commit();
    }
  }

  /** The open transaction holds what Raft has committed, all of it durable here, and nothing else. */
  #isWhole(): boolean {
    if (!this.#cycle.isOpen || this.#executing.length > 0 || this.#hold.isHeld) return false;
    return this.#applicable >= this.#lastProposed.index;
  }

  #commit(): void {
    this.#writer?.commit(this.#lastProposed);
    this.#committing = this.#lastProposed.index;
    this.#cycle.end();
  }

  /** Nobody waits for the COMMIT. */
  #mayRest(): boolean {
    if (this.#draining || this.#waiting.length > 0 || this.#demanded > this.#committing)
      return false;
    return this.#cycle.rests(this.#environment, () => this.#pump());
  }

  /** Entries of this leadership that no request made, such as changes of the members: SQLite passes them by a commit. */
  #passOthers(): void {
    const noop = this.#leadership;
    if (noop === null || this.#applicable <= this.#lastProposed.index) return;
    this.#lastProposed = { index: this.#applicable, term: noop.term };
    this.#cycle.open(this.#clock.nowMs());
  }

  /** Must the cycle come to its COMMIT before anything else is executed? */
  #mustPause(): boolean {
    if (this.#draining) return true;
    if (!this.#cycle.isOpen || this.#hold.isHeld) return false;
    return this.#demanded > this.#committing || this.#cycle.isDue(this.#clock.nowMs());
  }

  #tellDrained(): void {
    const done = this.#drained;
    this.#drained = null;
    if (done !== null) this.#environment.soon(done);
  }

  /** Nothing executed is missing from SQLite: the open transaction, if any, holds nothing. */
  #clean(): boolean {
    return !this.#cycle.isOpen && this.#executing.length === 0;
  }

  #execute(request: WriteRequest): void {
    const nowMs = this.#clock.nowMs();
    this.#cycle.open(nowMs);
    this.#cycle.add();
    if (this.#executing.length === 0) this.#headSinceMs = nowMs;
    request.stage = "executing";
    this.#executing.push(request);
    this.#timeMs = Math.max(this.#timeMs, this.#events.timeMs(nowMs));
    this.#writer?.execute(jobOf(request, this.#options.dedup, this.#timeMs, this.#environment));
    this.#watchHead();
  }

  #executed(id: number, outcome: ExecuteOutcome): void {
    const request = this.#executing.shift();
    if (request === undefined || request.id !== id) {
      return this.#events.broken(new Error(`the writer answered request ${id} out of turn`));
    }
    this.#deaths = 0;
    this.#headSinceMs = this.#clock.nowMs();
    if (outcome.kind === "proposal") {
      const at = this.#events.propose(request, outcome.payload, outcome.result);
      if (at === null) return this.#replace("a proposal was refused");
      this.#lastProposed = at;
    } else if (outcome.kind === "apart") this.#waiting.unshift([request.again()]);
    else {
      this.#events.observed(request, outcome, this.#lastProposed);
      if (outcome.kind === "broken") return this.#replace("a statement ended the open transaction");
    }
    this.#pump();
  }

  // --- deadlines ------------------------------------------------------------------------------------------------

  #watchHead(): void {
    if (this.#watch !== null) return;
    this.#watch = this.#environment.after(WATCH_MS, () => {
      this.#watch = null;
      this.#checkHead();
      if (this.#executing.length > 0 || this.#waiting.length > 0) this.#watchHead();
    });
  }

  #checkHead(): void {
    const nowMs = this.#environment.monotonicMs();
    this.#waiting.expire(nowMs);
    const head = this.#executing.first();
    if (head === undefined || this.#mode !== "leading") return;
    const ranMs = nowMs - this.#headSinceMs;
    const overdue = nowMs >= head.deadlineAtMs && ranMs >= RUN_MS_MIN;
    if (ranMs < this.#options.writeDeadlineMs && !overdue) return;
    head.fail(stoppedAfter(ranMs, this.#options.writeDeadlineMs));
    this.#executing.shift();
    this.#replace("a write passed its deadline");
  }
}
