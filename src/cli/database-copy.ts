/**
 * A consistent copy of a cluster's database in a file of this machine: from a running node, by default a follower, or from
 * the directory of a stopped one. What `balsa export` and `balsa dump` begin with. Shows progress on standard error.
 */

import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { exportDatabase } from "../client/database-export.ts";
import { ClusterAdmin, type EndpointStatus } from "../client/index.ts";
import { copyStopped } from "../machine/plain-copy.ts";
import type { ExtensionOptions } from "../sql/extension.ts";
import { CliError, EXIT } from "./exit-code.ts";
import type { Output } from "./output.ts";
import { onStopSignals } from "./shutdown.ts";

export interface CopyOptions {
  readonly endpoints: readonly string[];
  /** Instead of `endpoints`: the data directory of a stopped node. */
  readonly dir?: string;
  /** The node to copy; absent: a follower if one serves. */
  readonly node?: number;
  readonly stale?: boolean;
  readonly deadlineMs: number;
  /** Of SQLite, that the data need to be read. */
  readonly extension?: readonly ExtensionOptions[];
}

export interface TakenCopy {
  /** The copy holds all log entries up to this one. */
  readonly index: number;
  /** Where it is from, in words. */
  readonly from: string;
}

const STATUS_MS_MAX = 5_000;
const PROGRESS_MS = 1_000;

/** @throws BalsaError, CliError, or the file system's error */
export async function takeCopy(
  options: CopyOptions,
  path: string,
  output: Output,
  signal: AbortSignal,
): Promise<TakenCopy> {
  if (options.dir !== undefined) {
    output.err(`copying the database in ${options.dir}\n`);
    const { index } = await copyStopped(options.dir, path);
    return { index, from: options.dir };
  }
  const endpoint = await chooseNode(options);
  const { stale = false, deadlineMs: silenceMs } = options;
  output.err(`${endpoint} makes a copy of its database\n`);
  const file = await open(path, "w");
  try {
    const progress = new Progress(output);
    let received = 0;
    const request = { endpoint, stale, silenceMs, signal };
    const { index, node } = await exportDatabase(request, async (piece, { bytes }) => {
      await writeWhole(file, piece, received);
      received += piece.length;
      progress.show(received, bytes);
    });
    return { index, from: `node ${node} at ${endpoint}` };
  } finally {
    await file.close();
  }
}

async function writeWhole(file: FileHandle, piece: Uint8Array, at: number): Promise<void> {
  for (let written = 0; written < piece.length; ) {
    const rest = piece.length - written;
    written += (await file.write(piece, written, rest, at + written)).bytesWritten;
  }
}

async function chooseNode({ endpoints, node }: CopyOptions): Promise<string> {
  const admin = new ClusterAdmin({ endpoints, deadlineMs: STATUS_MS_MAX });
  try {
    const { nodes } = await admin.status();
    const found = pick(nodes, node);
    if (found !== undefined) return found.endpoint;
    const says = nodes.map(({ endpoint, status, error }) => {
      const what = status === null ? error?.message : status.trouble || status.role;
      return `${endpoint}: ${what}`;
    });
    const which = node === undefined ? "no node serves" : `node ${node} does not serve`;
    throw new CliError(EXIT.noCluster, `${which}: ${says.join("; ")}`);
  } finally {
    admin.close();
  }
}

/** The follower that is furthest: the leader has enough to do. */
function pick(
  nodes: readonly EndpointStatus[],
  id: number | undefined,
): EndpointStatus | undefined {
  const serving = nodes.filter(({ status }) => status !== null && status.trouble === "");
  if (id !== undefined) return serving.find(({ status }) => status?.id === id);
  const followers = serving.filter(({ status }) => status?.role === "follower");
  followers.sort((a, b) => (b.status?.appliedIndex ?? 0) - (a.status?.appliedIndex ?? 0));
  return followers[0] ?? serving.find(({ status }) => status?.role === "leader");
}

/** Told at most once a second, and at the end. */
export class Progress {
  readonly #output: Output;
  readonly #verb: string;
  #toldMs = performance.now();

  constructor(output: Output, verb = "copied") {
    this.#output = output;
    this.#verb = verb;
  }

  show(done: number, total: number): void {
    const nowMs = performance.now();
    if (done < total && nowMs - this.#toldMs < PROGRESS_MS) return;
    this.#toldMs = nowMs;
    const percent = total === 0 ? 100 : Math.floor((100 * done) / total);
    this.#output.err(`${this.#verb} ${done} of ${total} bytes (${percent} %)\n`);
  }
}

/**
 * Runs with a signal that Ctrl-C aborts; what was made in part is removed by `undo` when `run` fails, however it does.
 * SQLite's own steps cannot be interrupted: then it ends behind the step.
 */
export async function withInterrupt<T>(
  run: (signal: AbortSignal) => Promise<T>,
  undo: () => Promise<void>,
): Promise<T> {
  const controller = new AbortController();
  const stop = () => controller.abort();
  const forget = onStopSignals(stop, stop);
  try {
    return await run(controller.signal);
  } catch (error) {
    await undo();
    if (controller.signal.aborted) {
      throw new CliError(EXIT.failed, "interrupted; nothing was written", error);
    }
    throw error;
  } finally {
    forget();
  }
}

/** Lets signals through that came while SQLite ran. @throws CliError */
export async function demandNotStopped(signal: AbortSignal): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  if (signal.aborted) throw new CliError(EXIT.failed, "interrupted");
}

/** `from` takes the name `to`, both durable. */
export async function renameDurably(from: string, to: string): Promise<void> {
  await syncPath(from);
  await rename(from, to);
  await syncPath(dirname(to));
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A database file and what SQLite may have put beside it. */
export async function removeDatabase(path: string): Promise<void> {
  for (const suffix of ["", "-wal", "-shm", "-journal"]) await rm(path + suffix, { force: true });
}
