/**
 * Where the node's child processes come from. One is kept in reserve: its program is loaded, it has opened nothing, and
 * it takes any role within milliseconds, where a cold start takes 100 ms and on a busy machine far more
 * (docs/decisions/0005-processes.md). It costs the memory of a bare process.
 */

import type { Logger } from "../node/ports.ts";
import { type ChildEvents, ChildProcess } from "./child-process.ts";
import type { ChildArguments, ChildRole, SnapshotTask } from "./process-messages.ts";

export interface ChildSupplyOptions {
  /** What every child is told beside its role. */
  readonly given: Omit<ChildArguments, "role" | "task">;
  /** Keep a process in reserve? */
  readonly reserve: boolean;
  /** The program and its first arguments; default: this Node and the built entry. */
  readonly command?: readonly string[];
  readonly logger: Logger;
}

/** After the reserve was used, the machine is busy with what made it needed. */
const REFILL_MS = 250;
const REFILL_MS_MAX = 30_000;

export class ChildSupply {
  readonly #options: ChildSupplyOptions;
  #reserve: ChildProcess | null = null;
  #timer: NodeJS.Timeout | null = null;
  #delayMs = 0;
  #closed = false;

  constructor(options: ChildSupplyOptions) {
    this.#options = options;
  }

  get logger(): Logger {
    return this.#options.logger;
  }

  /** 0 if there is none. */
  get reservePid(): number {
    return this.#reserve?.pid ?? 0;
  }

  /** A process with this role. If it cannot be started, `exited` is told, later. */
  take(role: ChildRole, events: ChildEvents): ChildProcess {
    const child = this.#reserve ?? this.#spawn();
    this.#reserve = null;
    child.become({ ...this.#options.given, role }, events);
    this.#refill(this.#delayMs);
    this.#delayMs = REFILL_MS;
    return child;
  }

  /** A process for one task, which the reserve is not for. */
  run(task: SnapshotTask, events: ChildEvents): ChildProcess {
    const child = this.#spawn();
    child.become({ ...this.#options.given, role: "snapshot", task }, events);
    return child;
  }

  /** Ends the reserve. What was taken ends by itself. */
  close(done: () => void): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const reserve = this.#reserve;
    this.#reserve = null;
    if (reserve === null) {
      setImmediate(done);
      return;
    }
    reserve.unassigned = done;
    reserve.kill("the node is closing");
  }

  #refill(delayMs: number): void {
    if (!this.#options.reserve || this.#closed || this.#timer !== null) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#reserve === null && !this.#closed) this.#fill();
    }, delayMs).unref();
  }

  #fill(): void {
    const child = this.#spawn();
    this.#reserve = child;
    child.unassigned = (reason) => {
      if (this.#reserve !== child) return;
      this.#reserve = null;
      this.#delayMs = Math.min(REFILL_MS_MAX, Math.max(REFILL_MS, this.#delayMs * 2));
      this.#options.logger.warn({ reason, pid: child.pid }, "the process in reserve died");
      this.#refill(this.#delayMs);
    };
  }

  #spawn(): ChildProcess {
    const { command, logger } = this.#options;
    const child = new ChildProcess({ logger, ...(command === undefined ? {} : { command }) });
    child.start();
    return child;
  }
}
