/**
 * A second connection to the writer's database, which copies the WAL into the file while the writer goes on (decision 0025).
 * It reads and writes no row, and never says that the file is complete: of that only the writer's own checkpoint is a proof.
 */

import { fdatasyncSync, openSync, statSync } from "node:fs";
import Database from "better-sqlite3";

/** Opening may meet a moment in which the header of the WAL's index is being written. */
const BUSY_TIMEOUT_MS = 1000;

const PRAGMAS = [
  // The WAL is synced before its pages are copied: a power cut in the middle of a copy is made good from it.
  "synchronous = NORMAL",
  "wal_autocheckpoint = 0",
  // Copying goes past the page cache.
  "cache_size = 8",
  "mmap_size = 0",
];

type CheckpointRow = [busy: number, log: number, checkpointed: number];
type CopyStatement = Database.Statement<unknown[], CheckpointRow>;

/** Of files whose names were taken meanwhile. Never closed, nor collected: that could checkpoint, into whatever has the name. */
const ABANDONED = new Set<Database.Database>();

const SUFFIXES = ["", "-wal", "-shm"];

/** Which files the names of a database lead to. To be taken while they are those that the writer has open. */
export function identifyFiles(path: string): string {
  const inodes = SUFFIXES.map((suffix) => {
    return statSync(path + suffix, { bigint: true, throwIfNoEntry: false })?.ino ?? "none";
  });
  return inodes.join(" ");
}

export class WalCopy {
  readonly #path: string;
  readonly #files: string;
  #database: Database.Database | null = null;
  #copy: CopyStatement | null = null;
  /** Never closed: that would take from every connection of this process its locks on the file. */
  #file: number | null = null;

  /** Opens nothing. `files`: as `identifyFiles` gave them. */
  constructor(path: string, files: string) {
    this.#path = path;
    this.#files = files;
  }

  /**
   * Copies what is in the WAL now, as far as readers allow, and syncs the file: what comes meanwhile is left for the writer's
   * checkpoint to copy and sync. Waits for nobody; does nothing while somebody else checkpoints. Gives the pages that readers
   * hold back.
   * @throws SQLite's or the file system's error; the next pass begins with a new connection
   */
  pass(): number {
    try {
      this.#copy ??= this.#open();
      const [busy, log, copied] = this.#copy.get() ?? [1, 0, 0];
      // SQLite does that only if nothing was written meanwhile.
      fdatasyncSync(this.#file as number);
      return busy === 0 ? log - copied : 0;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The writer must still have its own connection open: whoever closes a database last checkpoints. */
  close(): void {
    const database = this.#database;
    this.#copy = null;
    this.#database = null;
    if (database === null) return;
    if (this.#areSameFiles()) database.close();
    else ABANDONED.add(database);
  }

  #open(): CopyStatement {
    this.#demandSameFiles();
    const database = new Database(this.#path, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS });
    this.#database = database;
    for (const pragma of PRAGMAS) database.pragma(pragma);
    // Reads the schema, and so opens the WAL.
    const copy = database
      .prepare<unknown[], CheckpointRow>("PRAGMA main.wal_checkpoint(PASSIVE)")
      .raw(true);
    this.#file ??= openSync(this.#path, "r");
    // What took a name in between would have been opened.
    this.#demandSameFiles();
    return copy;
  }

  #areSameFiles(): boolean {
    return identifyFiles(this.#path) === this.#files;
  }

  #demandSameFiles(): void {
    if (this.#areSameFiles()) return;
    throw new Error(`the files of ${this.#path} are not those that the writer has open`);
  }
}
