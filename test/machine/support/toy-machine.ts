/**
 * A process machine over a fresh directory, with toy children unless told otherwise; a writer whose events can be
 * awaited, and a sink that gathers. Everything it starts ends with the test.
 */

import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import {
  type MachineOptions,
  openMachine,
  type ProcessMachine,
} from "../../../src/machine/process-machine.ts";
import type {
  DigestMismatch,
  ExecuteOutcome,
  MachineState,
  QuerySink,
} from "../../../src/node/ports.ts";
import type { EntryId } from "../../../src/raft/entry.ts";
import type { Failure } from "../../../src/sql/errors.ts";
import type { ClusterSettings } from "../../../src/sql/settings.ts";
import { job, SILENT, TOY } from "./toy-processes.ts";

export function freshDirectory(): string {
  const dir = mkdtempSync(join(tmpdir(), "balsa-process-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

function watched(machine: ProcessMachine): ProcessMachine {
  onTestFinished(() => new Promise<void>((resolve) => machine.readers.close(resolve)));
  return machine;
}

/** With the built children and the state machine. */
export function realMachine(options: Partial<MachineOptions> = {}): ProcessMachine {
  return watched(openMachine({ dir: freshDirectory(), logger: SILENT, ...options }));
}

export function toyMachine(options: Partial<MachineOptions> = {}): ProcessMachine {
  return realMachine({ command: TOY, ...options });
}

export type WriterEvent =
  | { readonly kind: "ready"; readonly state: MachineState }
  | { readonly kind: "executed"; readonly id: number; readonly outcome: ExecuteOutcome }
  | { readonly kind: "applied"; readonly last: EntryId; readonly mismatch: DigestMismatch | null }
  | { readonly kind: "committed"; readonly last: EntryId }
  | { readonly kind: "changed"; readonly what: string }
  | { readonly kind: "exited"; readonly reason: string };

/** A writer that keeps its events; `next` waits for the one after those already taken. */
export class WatchedWriter {
  readonly events: WriterEvent[] = [];
  /** They come by themselves, so they are not among the events. */
  readonly checkpoints: number[] = [];
  readonly settings: ClusterSettings[] = [];
  readonly writer: ReturnType<ProcessMachine["openWriter"]>;
  #taken = 0;
  #wake: (() => void) | null = null;

  constructor(machine: ProcessMachine) {
    let inCall = true;
    const take = (event: WriterEvent): void => {
      if (inCall) throw new Error("an event inside the call that causes it");
      this.events.push(event);
      this.#wake?.();
    };
    this.writer = machine.openWriter({
      ready: (state) => take({ kind: "ready", state }),
      executed: (id, outcome) => take({ kind: "executed", id, outcome }),
      applied: (last, mismatch) => take({ kind: "applied", last, mismatch }),
      committed: (last) => take({ kind: "committed", last }),
      settings: (settings) => this.settings.push(settings),
      checkpointed: (index) => this.checkpoints.push(index),
      changed: (what) => take({ kind: "changed", what }),
      exited: (reason) => take({ kind: "exited", reason }),
    });
    inCall = false;
    onTestFinished(async () => {
      this.writer.kill();
      while (this.events.at(-1)?.kind !== "exited") await this.next();
    });
  }

  async next(): Promise<WriterEvent> {
    for (;;) {
      const event = this.events[this.#taken];
      if (event !== undefined) {
        this.#taken += 1;
        return event;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The next event, which must be of this kind. */
  async expect<K extends WriterEvent["kind"]>(kind: K): Promise<WriterEvent & { kind: K }> {
    const event = await this.next();
    if (event.kind !== kind) throw new Error(`expected ${kind}, got ${JSON.stringify(event)}`);
    return event as WriterEvent & { kind: K };
  }

  execute(id: number, sql: string): void {
    this.writer.execute(job(id, sql));
  }
}

/** A query under way: gathers its chunks and can be awaited. */
export class WatchedQuery implements QuerySink {
  readonly chunks: string[] = [];
  failure: Failure | null = null;
  done = false;
  #wake: (() => void)[] = [];

  chunk(bytes: Uint8Array, done: boolean): void {
    if (this.isOver) throw new Error("a chunk after the end");
    this.chunks.push(Buffer.from(bytes).toString());
    this.done = done;
    this.#notify();
  }

  failed(failure: Failure): void {
    if (this.isOver) throw new Error("a failure after the end");
    this.failure = failure;
    this.#notify();
  }

  get isOver(): boolean {
    return this.done || this.failure !== null;
  }

  get rows(): unknown[] {
    return this.chunks.flatMap((chunk) => JSON.parse(chunk) as unknown[]);
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.isOver) throw new Error(`over too early: ${JSON.stringify(this.failure)}`);
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  async over(): Promise<this> {
    await this.until(() => this.isOver);
    return this;
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const resolve of wake) resolve();
  }
}

export function ask(
  machine: ProcessMachine,
  sql: string,
  limits: { deadlineMs?: number; window?: number } = {},
) {
  const query = new WatchedQuery();
  const { deadlineMs = 10_000, window = Number.POSITIVE_INFINITY } = limits;
  const running = machine.readers.query(Buffer.from(sql), { deadlineMs, window }, query);
  return Object.assign(query, { running });
}

/** Not there, or dead and not collected by its parent. */
export function isGone(pid: number): boolean {
  try {
    return /^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true;
  }
}

/** Has the process this file open? */
export function hasOpen(pid: number, name: string): boolean {
  const directory = `/proc/${pid}/fd`;
  return readdirSync(directory).some((fd) => {
    const path = join(directory, fd);
    try {
      return readlinkSync(path).endsWith(`/${name}`);
    } catch {
      // Closed since the list was made.
      return false;
    }
  });
}

/** CPU time of a process, in hundredths of a second. */
export function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

/** Waits until a condition holds; the test's own timeout is the bound. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}
