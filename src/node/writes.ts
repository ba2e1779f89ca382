/** The door for writes and interactive transactions: each gets its number, its deadline and its place among the others. */

import type { Failure } from "../sql/errors.ts";
import type { Admission } from "./admission.ts";
import type { NodeConfig } from "./config.ts";
import type { Environment } from "./ports.ts";
import type {
  BeginCall,
  BeginSink,
  ExecuteCall,
  ExecuteSink,
  RunningTransaction,
} from "./service.ts";
import { Transaction } from "./transaction.ts";
import { WriteRequest } from "./write-request.ts";
import type { WriterDriver } from "./writer-driver.ts";

export interface WritesParts {
  readonly environment: Environment;
  /** Why nothing can be written here now. */
  refusal(): Failure | null;
}

export class Writes {
  readonly #config: NodeConfig;
  readonly #driver: WriterDriver;
  readonly #admission: Admission;
  readonly #parts: WritesParts;
  #nextId = 0;

  constructor(config: NodeConfig, driver: WriterDriver, admission: Admission, parts: WritesParts) {
    this.#config = config;
    this.#driver = driver;
    this.#admission = admission;
    this.#parts = parts;
  }

  execute(call: ExecuteCall, sink: ExecuteSink): { cancel(): void } {
    const driver = this.#driver;
    const admission = this.#admission;
    const deadlineAtMs = this.#deadlineAtMs(call.timeoutMs);
    const request = new WriteRequest(this.#newId(), call, deadlineAtMs, sink, (settled) =>
      admission.leaveWrite(settled.bytes),
    );
    const full = admission.enterWrite(request.bytes);
    const refusal = this.#parts.refusal() ?? full;
    if (refusal === null) driver.submit(request);
    else this.#parts.environment.soon(() => request.fail(refusal));
    return { cancel: () => driver.cancel(request) };
  }

  begin(call: BeginCall, sink: BeginSink): RunningTransaction {
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

  #newId(): number {
    this.#nextId += 1;
    return this.#nextId;
  }

  #deadlineAtMs(timeoutMs: number): number {
    const nowMs = this.#parts.environment.monotonicMs();
    return nowMs + (timeoutMs > 0 ? timeoutMs : this.#config.writeDeadlineMs);
  }
}

/** What a caller asks for, 0 for as much as there may be. */
function atMost(asked: number, most: number): number {
  return asked > 0 ? Math.min(asked, most) : most;
}
