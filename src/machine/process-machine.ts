/**
 * The machine of a real node: one writer process and a few reader processes over one directory. This process itself
 * never opens the database file, not even to look (closing it would drop the locks of other users in this process).
 */

import { statSync } from "node:fs";
import { join } from "node:path";
import type { Logger, Machine, Readers, Writer, WriterEvents } from "../node/ports.ts";
import { DEFAULT_LIMITS, type Limits } from "../sql/limits.ts";
import { ChildSupply, type ChildSupplyOptions } from "./child-supply.ts";
import { ProcessWriter } from "./process-writer.ts";
import { ReaderPool } from "./reader-pool.ts";

export interface MachineOptions {
  /** The data directory: holds `main.db` and `writer.lock`. Must exist. */
  readonly dir: string;
  readonly logger: Logger;
  readonly limits?: Limits;
  /** Reader processes that always run. 1 to readersMax, default 1. */
  readonly readersMin?: number;
  /** Reader processes at most, when queries take long. Default 4. */
  readonly readersMax?: number;
  /** A streamed read ends with SNAPSHOT_TOO_OLD after so long. Milliseconds, default 60,000. */
  readonly snapshotMsMax?: number;
  /** How long a new writer waits for the old one to be gone. Milliseconds, default 10,000. */
  readonly lockWaitMs?: number;
  /** The writer checkpoints, even when busy, when its WAL has grown to this. Bytes, default 8 MiB. */
  readonly walBytesMax?: number;
  /** Keep a process in reserve, for a quick replacement? Default true. */
  readonly reserve?: boolean;
  /** Another program instead of the built child, for tests. */
  readonly command?: readonly string[];
}

const MIB = 1024 * 1024;

/** Starts nothing: the first process is the first writer, and readers start when it is ready. */
export function openMachine(options: MachineOptions): ProcessMachine {
  return new ProcessMachine(options);
}

export class ProcessMachine implements Machine {
  readonly #supply: ChildSupply;
  readonly #pool: ReaderPool;

  constructor(options: MachineOptions) {
    this.#supply = new ChildSupply(supplyOptions(options));
    const path = join(options.dir, "main.db");
    this.#pool = new ReaderPool({
      supply: this.#supply,
      readersMin: options.readersMin ?? 1,
      readersMax: options.readersMax ?? 4,
      waitingMax: (options.limits ?? DEFAULT_LIMITS).pendingReads,
      snapshotMsMax: options.snapshotMsMax ?? 60_000,
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

  openWriter(events: WriterEvents): Writer & Pick<ProcessWriter, "pid"> {
    const writer = new ProcessWriter(this.#supply, {
      ready: (state) => {
        this.#pool.start();
        events.ready(state);
      },
      executed: (id, outcome) => events.executed(id, outcome),
      applied: (last, mismatch) => events.applied(last, mismatch),
      committed: (last) => events.committed(last),
      exited: (reason) => events.exited(reason),
    });
    writer.start();
    return writer;
  }
}

function supplyOptions(options: MachineOptions): ChildSupplyOptions {
  const { dir, limits, lockWaitMs, walBytesMax, command, logger } = options;
  const given = {
    dir,
    limits: limits ?? DEFAULT_LIMITS,
    lockWaitMs: lockWaitMs ?? 10_000,
    walBytesMax: walBytesMax ?? 8 * MIB,
  };
  const reserve = options.reserve ?? true;
  return { given, reserve, logger, ...(command === undefined ? {} : { command }) };
}

/** A stat opens nothing. */
function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
