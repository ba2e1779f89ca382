/** The door for writes and interactive transactions: each gets its number, its deadline and its place among the others. */

import type { Failure } from "../sql/errors.ts";
import type { TransactionTerms } from "../sql/transaction.ts";
import type { Admission } from "./admission.ts";
import { CHECKSUMS_AN_INTERVAL, ChecksumPass } from "./checksum-pass.ts";
import type { NodeConfig } from "./config.ts";
import type { Environment, Machine } from "./ports.ts";
import type { Waiter } from "./read-gate.ts";
import { ReadTransaction } from "./read-transaction.ts";
import type {
  BeginSink,
  ExecuteCall,
  ExecuteSink,
  QueryCall,
  RunningTransaction,
} from "./service.ts";
import { Transaction } from "./transaction.ts";
import { TurnClock } from "./turn-clock.ts";
import { NO_OWNER, type WriteOwner, WriteRequest } from "./write-request.ts";
import type { WriterDriver } from "./writer-driver.ts";

export interface WritesParts {
  readonly environment: Environment;
  readonly machine: Machine;
  /** Why nothing can be written here now. */
  refusal(): Failure | null;
  /** Why nothing can be read. */
  refuseRead(): Failure | null;
  /** Lets a read pass when this node is as fresh as it must be. */
  admit(call: QueryCall, waiter: Waiter): void;
}

export class Writes {
  readonly #config: NodeConfig;
  readonly #driver: WriterDriver;
  readonly #admission: Admission;
  readonly #parts: WritesParts;
  readonly #checksums: ChecksumPass;
  readonly #owner: WriteOwner;
  readonly #clock: TurnClock;
  #nextId = 0;

  constructor(config: NodeConfig, driver: WriterDriver, admission: Admission, parts: WritesParts) {
    this.#config = config;
    this.#driver = driver;
    this.#admission = admission;
    this.#parts = parts;
    this.#clock = new TurnClock(parts.environment);
    this.#owner = {
      settled: ({ bytes }) => admission.leaveWrite(bytes),
      cancelled: (request) => driver.cancel(request),
    };
    this.#checksums = new ChecksumPass({
      environment: parts.environment,
      intervalMs: config.checksumIntervalMs,
      isLeading: () => parts.refusal() === null,
      applied: () => driver.applied,
      submit: (sink) => this.#checksum(sink),
    });
  }

  /** Milliseconds between two sweeps; 0: none. */
  get sweepMs(): number {
    return Math.ceil(this.#config.checksumIntervalMs / CHECKSUMS_AN_INTERVAL);
  }

  sweep(): void {
    this.#checksums.sweep();
  }

  /** It takes its turn among the writes, but no place from them. */
  #checksum(sink: ExecuteSink): void {
    const deadlineAtMs = this.#deadlineAtMs(0);
    this.#driver.submit(new WriteRequest(this.#newId(), CHECKSUM, deadlineAtMs, sink, NO_OWNER));
  }

  execute(call: ExecuteCall, sink: ExecuteSink): { cancel(): void } {
    const deadlineAtMs = this.#deadlineAtMs(call.timeoutMs);
    const request = new WriteRequest(this.#newId(), call, deadlineAtMs, sink, this.#owner);
    const full = this.#admission.enterWrite(request.bytes);
    const refusal = this.#parts.refusal() ?? full;
    if (refusal === null) this.#driver.submit(request);
    else this.#parts.environment.soon(() => request.fail(refusal));
    return request;
  }

  /** Of the node's own part that looks after it: waits for its turn, and is refused by nobody. */
  setMachineVersion(version: string, timeoutMs: number, sink: ExecuteSink): void {
    const numbers = { session: 0, sequence: 0, acknowledgedThrough: 0, timeoutMs };
    const batch = new TextEncoder().encode(version);
    const call = { ...numbers, verb: "machineVersion" as const, batch, openSession: false };
    const deadlineAtMs = this.#deadlineAtMs(timeoutMs);
    this.#driver.submit(new WriteRequest(this.#newId(), call, deadlineAtMs, sink, NO_OWNER));
  }

  begin(call: TransactionTerms, sink: BeginSink): RunningTransaction {
    if (call.readOnly) return this.#read(call, sink);
    const driver = this.#driver;
    const admission = this.#admission;
    const config = this.#config;
    const { environment } = this.#parts;
    const transaction = new Transaction(call, this.#deadlineAtMs(call.timeoutMs), sink, {
      environment,
      idleMs: atMost(call.idleMs, config.transactionIdleMs),
      totalMs: atMost(call.totalMs, config.transactionTotalMs),
      nodeId: config.id,
      stepMs: config.writeDeadlineMs,
      nextId: () => this.#newId(),
      submit: (begin) => driver.submit(begin),
      stepped: () => driver.stepped(),
      abandon: (holder, rollback) => driver.abandon(holder, rollback),
      withdraw: (begin) => driver.cancel(begin),
      enter: (bytes) => admission.enterWrite(bytes),
      leave: (bytes) => admission.leaveWrite(bytes),
    });
    transaction.start(this.#parts.refusal());
    return transaction;
  }

  #read(call: TransactionTerms, sink: BeginSink): RunningTransaction {
    const config = this.#config;
    const admission = this.#admission;
    const { environment, machine } = this.#parts;
    const { readDeadlineMs } = config;
    const timeoutMs = call.timeoutMs > 0 ? call.timeoutMs : readDeadlineMs;
    const deadlineAtMs = environment.monotonicMs() + timeoutMs;
    const transaction = new ReadTransaction(deadlineAtMs, sink, {
      environment,
      readers: machine.readers,
      idleMs: atMost(call.idleMs, config.transactionIdleMs),
      totalMs: atMost(call.totalMs, config.transactionTotalMs),
      deadlineMs: readDeadlineMs,
      served: (lagMs) => ({ node: config.id, index: this.#driver.applied, lagMs }),
      enter: (bytes) => admission.enterRead(bytes),
      leave: (bytes) => admission.leaveRead(bytes),
    });
    const full = transaction.enter();
    const refusal = this.#parts.refuseRead() ?? full;
    const query = { ...call, statement: new Uint8Array(0), timeoutMs, window: 1 };
    if (refusal === null) this.#parts.admit(query, transaction);
    else environment.soon(() => transaction.refuse(refusal));
    return transaction;
  }

  #newId(): number {
    this.#nextId += 1;
    return this.#nextId;
  }

  #deadlineAtMs(timeoutMs: number): number {
    const nowMs = this.#clock.nowMs();
    return nowMs + (timeoutMs > 0 ? timeoutMs : this.#config.writeDeadlineMs);
  }
}

const CHECKSUM: ExecuteCall = {
  batch: new Uint8Array(0),
  openSession: false,
  session: 0,
  sequence: 0,
  acknowledgedThrough: 0,
  timeoutMs: 0,
  verb: "checksum",
};

/** What a caller asks for, 0 for as much as there may be. */
function atMost(asked: number, most: number): number {
  return asked > 0 ? Math.min(asked, most) : most;
}
