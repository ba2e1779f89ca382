/** The WAL of one connection's database: how much of it is not in the file yet, and copying it there. It waits for no reader. */

import type { Database, Statement } from "better-sqlite3";

export interface Checkpoint {
  /** Everything is in the file, and synced: the log may be compacted up to the applied index (D10). */
  readonly complete: boolean;
  /** Pages in the WAL, and how many of them are in the file. */
  readonly walPages: number;
  readonly copiedPages: number;
}

/** In bytes. */
export interface WalSize {
  /** Since it was last begun anew. */
  readonly all: number;
  /** Of these, what is not in the file yet. */
  readonly uncopied: number;
}

export const NO_WAL: WalSize = { all: 0, uncopied: 0 };

type CheckpointRow = [busy: bigint, log: bigint, checkpointed: bigint];

/** A frame of the WAL: a page and its header. */
export const WAL_FRAME_BYTES = 4096 + 24;

/** To be asked while no transaction is open. */
export class WalState {
  readonly #database: Database;
  readonly #look: Statement<unknown[], CheckpointRow>;

  constructor(database: Database) {
    this.#database = database;
    this.#look = database
      .prepare<unknown[], CheckpointRow>("PRAGMA main.wal_checkpoint(NOOP)")
      .raw(true);
  }

  size(): WalSize {
    const [, log, checkpointed] = this.#look.get() ?? [0n, 0n, 0n];
    const uncopied = Math.max(0, Number(log - checkpointed)) * WAL_FRAME_BYTES;
    return { all: Math.max(0, Number(log)) * WAL_FRAME_BYTES, uncopied };
  }

  /** As a checkpoint, and nothing stays in the WAL. Waits for readers as long as the connection may. False: in vain. */
  empty(): boolean {
    const [busy] = this.#database
      .prepare<unknown[], CheckpointRow>("PRAGMA main.wal_checkpoint(TRUNCATE)")
      .raw(true)
      .get() ?? [1n, 0n, 0n];
    return busy === 0n;
  }

  checkpoint(): Checkpoint {
    const [busy, log, copied] = this.#database
      .prepare<unknown[], CheckpointRow>("PRAGMA main.wal_checkpoint(PASSIVE)")
      .raw(true)
      .get() ?? [1n, 0n, 0n];
    const complete = busy === 0n && log === copied;
    return { complete, walPages: Number(log), copiedPages: Number(copied) };
  }
}
