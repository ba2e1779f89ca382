/** Drives the state machine in this process as a leader, and replays what it proposed on followers. */

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect } from "vitest";
import { MachineCore } from "../../../src/machine/machine-core.ts";
import type { MachineCoreOptions } from "../../../src/machine/machine-options.ts";
import { ReadExecutor } from "../../../src/machine/read-executor.ts";
import type { ExecuteJob, ExecuteOutcome, TransactionVerb } from "../../../src/node/ports.ts";
import type { Entry } from "../../../src/raft/entry.ts";
import type { Failure } from "../../../src/sql/errors.ts";
import type { KnownExtension } from "../../../src/sql/extension.ts";
import type { StatementResult } from "../../../src/sql/result.ts";
import type { Statement } from "../../../src/sql/statement.ts";
import type { Row } from "../../../src/sql/value.ts";
import { decodeBatchResult, decodeRowChunk, toRows } from "../../../src/wire/result-codec.ts";
import { decodeOpenSessionResponse } from "../../../src/wire/sql-codec.ts";
import { encodeBatch, encodeScript, encodeStatement } from "../../../src/wire/statement-codec.ts";

/** Nothing here is about disks: memory, where the system has a file system for it, saves their time. */
const MEMORY = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
const EMPTY = new Uint8Array(0);
const directories: string[] = [];
const open: { close(): void }[] = [];

afterEach(() => {
  for (const machine of open.splice(0)) machine.close();
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

export function freshPath(): string {
  const directory = mkdtempSync(join(MEMORY, "balsa-machine-"));
  directories.push(directory);
  return join(directory, "main.db");
}

export function openCore(options: MachineCoreOptions): MachineCore {
  const core = MachineCore.open(options);
  open.push(core);
  return core;
}

export function openReader(
  path: string,
  chunkBytes?: number,
  extensions: readonly KnownExtension[] = [],
): ReadExecutor {
  const chunk = chunkBytes === undefined ? {} : { chunkBytes };
  const reader = ReadExecutor.open({ path, extensions, ...chunk });
  open.push(reader);
  return reader;
}

export interface Request {
  readonly session?: number;
  readonly sequence?: number;
  readonly acknowledgedThrough?: number;
  readonly timeMs?: number;
  readonly seed?: number;
}

export const TIME_MS = Date.UTC(2024, 1, 29, 12, 34, 56, 789);

/** A leader: executes, and keeps its log. */
export class TestLeader {
  readonly path: string;
  core: MachineCore;
  readonly extensions: readonly KnownExtension[];
  readonly log: Entry[] = [];
  /** Results of the entries, by index − 1. */
  readonly results: Uint8Array[] = [];
  timeMs = TIME_MS;
  #id = 0;

  constructor(options: Partial<MachineCoreOptions> = {}) {
    this.path = options.path ?? freshPath();
    this.extensions = options.extensions ?? [];
    this.core = openCore({ ...options, path: this.path });
  }

  #job(request: Request): Omit<ExecuteJob, "batch" | "openSession"> {
    return {
      id: ++this.#id,
      session: request.session ?? 0,
      sequence: request.sequence ?? 0,
      acknowledgedThrough: request.acknowledgedThrough ?? 0,
      timeMs: request.timeMs ?? this.timeMs,
      seedHigh: request.seed ?? this.#id,
      seedLow: 77,
    };
  }

  execute(batch: Uint8Array, request: Request = {}): ExecuteOutcome {
    const job = { ...this.#job(request), batch, openSession: false };
    const outcome = this.core.execute(job);
    if (outcome.kind !== "apart") return this.#take(outcome);
    // As a node does with a setting: between transactions.
    this.commit();
    return this.#take(this.core.execute({ ...job, verb: "setting" }));
  }

  /** Does something to the interactive transaction. */
  transact(
    verb: TransactionVerb,
    batch: Uint8Array = EMPTY,
    request: Request = {},
  ): ExecuteOutcome {
    // In its process, a job lies in a frame whose room is used again.
    const frame = Uint8Array.from(batch);
    const job = { ...this.#job(request), verb, batch: frame, openSession: false };
    const outcome = this.core.execute(job);
    frame.fill(0xff);
    return this.#take(outcome);
  }

  /** Runs one statement in the transaction. */
  step(sql: string, args: Statement["args"] = []): ExecuteOutcome {
    return this.transact("run", encodeBatch([{ sql, args }]));
  }

  /** The cluster's machine version, as the node's own part asks for it. */
  setMachineVersion(version: string): ExecuteOutcome {
    this.commit();
    const batch = Buffer.from(version);
    const job = { ...this.#job({}), verb: "machineVersion" as const, batch, openSession: false };
    return this.#take(this.core.execute(job));
  }

  openSession(timeMs = this.timeMs): number {
    const job = { ...this.#job({ timeMs }), batch: EMPTY, openSession: true };
    const outcome = this.#take(this.core.execute(job));
    if (outcome.kind !== "proposal") throw new Error(`no session: ${outcome.kind}`);
    return decodeOpenSessionResponse(outcome.result).session;
  }

  #take(outcome: ExecuteOutcome): ExecuteOutcome {
    if (outcome.kind === "proposal") {
      const { payload, result } = outcome;
      this.log.push({ index: this.log.length + 1, term: 1, kind: "command", payload });
      this.results.push(result);
    }
    return outcome;
  }

  batch(statements: readonly Statement[], request: Request = {}): ExecuteOutcome {
    return this.execute(encodeBatch(statements), request);
  }

  script(sql: string, request: Request = {}): ExecuteOutcome {
    return this.execute(encodeScript(sql), request);
  }

  /** One statement that must succeed. */
  run(sql: string, args: Statement["args"] = [], request: Request = {}): StatementResult {
    const outcome = this.batch([{ sql, args }], request);
    return onlyResult(outcome);
  }

  exec(sql: string): void {
    const outcome = this.script(sql);
    if (outcome.kind !== "proposal") throw new Error(JSON.stringify(outcome));
  }

  /** Rows of one statement, as the open transaction shows them. */
  all(sql: string, args: Statement["args"] = []): readonly Row[] {
    return this.run(sql, args).rows;
  }

  /** One statement that must fail. */
  fail(sql: string, args: Statement["args"] = [], request: Request = {}): Failure {
    return failureOf(this.batch([{ sql, args }], request));
  }

  commit(): void {
    this.core.commit({ index: this.log.length, term: this.log.length === 0 ? 0 : 1 });
  }

  /** As after a lost transaction: what was committed, then the log. */
  reopen(): void {
    this.core.close();
    this.core = openCore({ path: this.path, extensions: this.extensions });
    const rest = this.log.slice(this.core.state.appliedIndex);
    if (rest.length > 0) expect(this.core.apply(rest).mismatch).toBeNull();
  }

  /** A node that applies the log, `size(i)` entries at a time. */
  follower(size: (round: number) => number = () => 3, path = freshPath()): string {
    const core = openCore({ path, extensions: this.extensions });
    for (let at = 0, round = 0; at < this.log.length; round++) {
      const count = Math.max(1, size(round));
      const { last, mismatch } = core.apply(this.log.slice(at, at + count));
      expect(mismatch).toBeNull();
      at = last.index;
    }
    core.close();
    return path;
  }
}

export function onlyResult(outcome: ExecuteOutcome): StatementResult {
  const [first] = resultsOf(outcome);
  if (first === undefined) throw new Error("no result");
  return first;
}

export function resultsOf(outcome: ExecuteOutcome): StatementResult[] {
  if (outcome.kind === "proposal" || outcome.kind === "answer") {
    return decodeBatchResult(outcome.result, "auto");
  }
  throw new Error(JSON.stringify(outcome));
}

export function failureOf(outcome: ExecuteOutcome): Failure {
  if (outcome.kind === "failure" || outcome.kind === "broken") return outcome.failure;
  throw new Error(`it did not fail: ${outcome.kind}`);
}

/** All rows of a query on a reader. */
export function readAll(reader: ReadExecutor, sql: string, args: Statement["args"] = []): Row[] {
  let chunk = reader.start(encodeStatement({ sql, args }));
  const first = decodeRowChunk(chunk.bytes, "auto");
  const rows = [...first.rows];
  while (!chunk.done) {
    chunk = reader.next();
    rows.push(...decodeRowChunk(chunk.bytes, "auto").rows);
  }
  return toRows(first.columns, rows);
}
