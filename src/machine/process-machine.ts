/**
 * The machine of a real node: one writer process and a few reader processes over one directory. This process itself
 * never opens the database file, not even to look (closing it would drop the locks of other users in this process).
 */

import { statSync } from "node:fs";
import { join } from "node:path";
import type {
  FileLook,
  Logger,
  Machine,
  Readers,
  SnapshotFiles,
  Writer,
  WriterEvents,
} from "../node/ports.ts";
import type { EntryId } from "../raft/entry.ts";
import type { KnownExtension } from "../sql/extension.ts";
import { DEFAULT_LIMITS, type Limits } from "../sql/limits.ts";
import type { AutoVacuum } from "../sql/settings.ts";
import { ChildSupply, type ChildSupplyOptions } from "./child-supply.ts";
import { FileSeal } from "./file-seal.ts";
import { ProcessWriter } from "./process-writer.ts";
import { ReaderPool } from "./reader-pool.ts";
import { SnapshotDirectory } from "./snapshot-directory.ts";
import { ProcessSnapshotFiles } from "./snapshot-files.ts";
import { verdictCodec } from "./verdict-codec.ts";

export interface MachineOptions {
  /** The data directory: holds `main.db` and `writer.lock`. Must exist. */
  readonly dir: string;
  readonly logger: Logger;
  readonly limits?: Limits;
  /** As MachineCoreOptions has it. */
  readonly machineVersion?: string;
  /** Of a file that is made now. Default none. */
  readonly autoVacuum?: AutoVacuum;
  /** Reader processes that always run. 1 to readersMax, default 1. */
  readonly readersMin?: number;
  /** Reader processes at most, when queries take long. Default 4. */
  readonly readersMax?: number;
  /** A streamed read ends with SNAPSHOT_TOO_OLD after so long. Milliseconds, default 60,000. */
  readonly snapshotMsMax?: number;
  /** The same as soon as streams hold back so much of the WAL. Bytes, default 256 MiB. */
  readonly snapshotBytesMax?: number;
  /** How long a new writer waits for the old one to be gone. Milliseconds, default 10,000. */
  readonly lockWaitMs?: number;
  /** The writer checkpoints, even when busy, at so much of WAL, or at an eighth after 2 s. Bytes, default 64 MiB. */
  readonly walBytesMax?: number;
  /** A copy for another node is kept for so long after its last use. Milliseconds, default 120,000. */
  readonly copyKeepMs?: number;
  /** Keep a process in reserve, for a quick replacement? Default true. */
  readonly reserve?: boolean;
  /** Loaded by all children that open the database. Default none. */
  readonly extensions?: readonly KnownExtension[];
  /** Another program instead of the built child, for tests. */
  readonly command?: readonly string[];
}

const MIB = 1024 * 1024;
/** Copying or checking a database: far more than a healthy disk takes. */
const SNAPSHOT_TASK_MS_MAX = 3_600_000;

/** Starts nothing: the first process is the first writer, and readers start when it is ready. */
export function openMachine(options: MachineOptions): ProcessMachine {
  return new ProcessMachine(options);
}

export class ProcessMachine implements Machine {
  readonly verdicts = verdictCodec;
  readonly #supply: ChildSupply;
  readonly #pool: ReaderPool;
  readonly #directory: SnapshotDirectory;
  readonly #seal: FileSeal;
  readonly #logger: Logger;
  readonly #snapshots: ProcessSnapshotFiles;
  readonly #snapshotMsMax: number;
  readonly #snapshotBytesMax: number;
  /** Not gone yet. */
  readonly #writers = new Set<ProcessWriter>();
  #onNoWriter: (() => void) | null = null;
  /** Since when readers have kept checkpoints from being complete; null while they do not. */
  #pinnedSinceMs: number | null = null;

  constructor(options: MachineOptions) {
    this.#supply = new ChildSupply(supplyOptions(options));
    this.#directory = new SnapshotDirectory(options.dir);
    this.#snapshotMsMax = options.snapshotMsMax ?? 60_000;
    this.#snapshotBytesMax = options.snapshotBytesMax ?? 256 * MIB;
    this.#snapshots = new ProcessSnapshotFiles({
      directory: this.#directory,
      supply: this.#supply,
      logger: options.logger,
      keepMs: options.copyKeepMs ?? 120_000,
      taskMsMax: SNAPSHOT_TASK_MS_MAX,
    });
    const path = join(options.dir, "main.db");
    this.#seal = new FileSeal(path);
    this.#logger = options.logger;
    this.#pool = new ReaderPool({
      supply: this.#supply,
      readersMin: options.readersMin ?? 1,
      readersMax: options.readersMax ?? 4,
      waitingMax: (options.limits ?? DEFAULT_LIMITS).pendingReads,
      snapshotMsMax: this.#snapshotMsMax,
      databaseBytes: () => sizeOf(path) + sizeOf(`${path}-wal`),
    });
  }

  /** Of the process in reserve; 0 if there is none. */
  get reservePid(): number {
    return this.#supply.reservePid;
  }

  get readers(): Readers & Pick<ReaderPool, "pids"> {
    return this.#pool;
  }

  get snapshots(): SnapshotFiles {
    return this.#snapshots;
  }

  /**
   * Before the first writer: finishes an installation that a crash has interrupted, and cleans up. `base`: the last
   * entry that the log has dropped; `holds`: whether the log has an entry, or ends the dropped ones with it.
   */
  async recover(base: EntryId, holds: (mark: EntryId) => boolean): Promise<void> {
    await this.#directory.recover(base, holds);
    await this.#snapshots.load();
  }

  /** Before the first writer: what became of the database file since a node closed it. Changes nothing. */
  lookAtFile(): FileLook {
    return this.#seal.look();
  }

  /** Before the first writer: at which entry the file stands, if it is whole. @throws Error naming what is wrong */
  inspectFile(): Promise<EntryId> {
    return this.#snapshots.inspect();
  }

  /** The file counts as it stands, from here on. */
  acceptFile(): void {
    this.#seal.forget();
  }

  install(mark: EntryId, done: (error: Error | null) => void): void {
    this.#swap(() => this.#directory.install(mark), done);
  }

  exchange(mark: EntryId, done: (error: Error | null) => void): void {
    this.#swap(() => this.#directory.exchange(mark), done);
  }

  #swap(replace: () => Promise<void>, done: (error: Error | null) => void): void {
    const swap = (): void => {
      const finish = (error: Error | null): void => {
        this.#snapshots.resume();
        setImmediate(() => done(error));
      };
      replace().then(() => finish(null), finish);
    };
    // Whoever still had the old file open would bring back its WAL.
    this.#pool.suspend(() => this.#snapshots.suspend(() => this.#whenNoWriter(swap)));
  }

  /** After writers and readers: ends what works on snapshots. */
  close(done: () => void): void {
    this.#snapshots.close(done);
  }

  #whenNoWriter(then: () => void): void {
    if (this.#writers.size === 0) then();
    else this.#onNoWriter = then;
  }

  openWriter(events: WriterEvents): Writer & Pick<ProcessWriter, "pid"> {
    const writer: ProcessWriter = new ProcessWriter(this.#supply, {
      ready: (state) => {
        // Nobody reads what somebody else has changed.
        if (state.changed === undefined) this.#pool.start();
        events.ready(state);
      },
      executed: (id, outcome) => events.executed(id, outcome),
      applied: (last, mismatch) => events.applied(last, mismatch),
      committed: (last) => events.committed(last),
      settings: (settings) => events.settings(settings),
      checkpointed: (index) => {
        this.#pinnedSinceMs = null;
        events.checkpointed(index);
      },
      changed: (what) => events.changed(what),
      copierFailed: (why) => {
        this.#logger.warn({ why }, "the writer copies its WAL by itself: writes wait for it");
      },
      unsealed: (why) => {
        const lost = "main.db has no seal: the next start cannot tell whether it was changed";
        this.#logger.warn({ why }, lost);
      },
      pinned: (bytes) => this.#pinned(writer, bytes),
      exited: (reason) => {
        this.#writers.delete(writer);
        events.exited(reason);
        if (this.#writers.size > 0) return;
        const then = this.#onNoWriter;
        this.#onNoWriter = null;
        then?.();
      },
    });
    this.#writers.add(writer);
    writer.start();
    return writer;
  }

  /** Streams that follow each other closely could keep the WAL, and with it the log, for ever. */
  #pinned(writer: ProcessWriter, bytes: number): void {
    const nowMs = performance.now();
    this.#pinnedSinceMs ??= nowMs;
    const isOld = nowMs - this.#pinnedSinceMs > this.#snapshotMsMax;
    if (!isOld && bytes <= this.#snapshotBytesMax) return;
    this.#pinnedSinceMs = nowMs;
    this.#pool.releaseSnapshots();
    writer.checkpoint();
  }
}

function supplyOptions(options: MachineOptions): ChildSupplyOptions {
  const { dir, limits, machineVersion, autoVacuum, lockWaitMs, walBytesMax, command, logger } =
    options;
  const given = {
    dir,
    limits: limits ?? DEFAULT_LIMITS,
    machineVersion: machineVersion ?? "",
    autoVacuum: autoVacuum ?? "none",
    lockWaitMs: lockWaitMs ?? 10_000,
    walBytesMax: walBytesMax ?? 64 * MIB,
    extensions: options.extensions ?? [],
  };
  const reserve = options.reserve ?? true;
  return { given, reserve, logger, ...(command === undefined ? {} : { command }) };
}

/** A stat opens nothing. */
function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
