/**
 * Where a node keeps the snapshots that it gives and takes: names, what is left over at a start, and the swap of the
 * database file (docs/decisions/0007-snapshots.md). Opens no database; the bytes of a snapshot are others' business.
 *
 *   outgoing-<n>.db, .hashes   copies for other nodes; worthless after a restart
 *   incoming.db, .json         what was fetched so far, and of which snapshot
 *   ready-<index>-<term>.db    fetched, checked and durable
 *   chosen-<index>-<term>.db   takes the database's place while the log goes on; a start finishes that
 */

import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { EntryId } from "../raft/entry.ts";
import { CHANGED_SUFFIX, SEAL_SUFFIX } from "./file-seal.ts";
import { takeWriterLock } from "./writer-lock.ts";

const LOCK_MS_MAX = 10_000;

/** What was fetched in part is of little use after this. */
const INCOMING_MS_MAX = 3_600_000;

export class SnapshotDirectory {
  readonly #dataDir: string;
  readonly path: string;
  /** Told before each step of an installation: a test throws in it, as a crash would end it there. */
  onStep: (step: string) => void = () => {};

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
    this.path = join(dataDir, "snapshots");
  }

  get database(): string {
    return join(this.#dataDir, "main.db");
  }

  get incoming(): string {
    return join(this.path, "incoming.db");
  }

  get incomingManifest(): string {
    return join(this.path, "incoming.json");
  }

  ready({ index, term }: EntryId): string {
    return join(this.path, `ready-${index}-${term}.db`);
  }

  #chosen({ index, term }: EntryId): string {
    return join(this.path, `chosen-${index}-${term}.db`);
  }

  outgoing(number: number): string {
    return join(this.path, `outgoing-${number}.db`);
  }

  /**
   * When a node opens its directory: finishes an installation that the log had begun, if there is one, and removes what
   * nobody can use any more. `base`: the last entry that the log has dropped; `holds`: whether an entry is in the log, or is
   * that one. True if the database was replaced.
   */
  async recover(base: EntryId, holds: (mark: EntryId) => boolean): Promise<boolean> {
    await mkdir(this.path, { recursive: true });
    const ready = this.ready(base);
    if (await this.#finishExchange(holds)) return true;
    const found = (await readdir(this.path)).map((name) => join(this.path, name));
    // The log begins behind exactly this snapshot: whatever the database holds, this is the state to go on from.
    const isBegun = found.includes(ready);
    if (isBegun) await this.install(base);
    for (const path of found) {
      if (path === ready) continue;
      const isOfUse = isIncoming(path) && Date.now() - (await stat(path)).mtimeMs < INCOMING_MS_MAX;
      if (!isOfUse) await rm(path, { force: true });
    }
    return isBegun;
  }

  /** What was chosen may have no database beside it any more that could be used: its WAL goes first. */
  async #finishExchange(holds: (mark: EntryId) => boolean): Promise<boolean> {
    const names = await readdir(this.path);
    const marks = names.flatMap((name) => {
      const [, index, term] = /^chosen-(\d+)-(\d+)\.db$/.exec(name) ?? [];
      return index === undefined ? [] : [{ index: Number(index), term: Number(term) }];
    });
    // None belongs to a log that was begun anew since: its database was set aside with it.
    const mark = marks.find(holds);
    if (mark !== undefined) await this.#replaceBy(this.#chosen(mark));
    return mark !== undefined;
  }

  /**
   * Nobody may have the database open. The log begins behind the snapshot, durably: by that `recover` knows after a crash what
   * to finish.
   */
  async install(mark: EntryId): Promise<void> {
    await this.#replaceBy(this.ready(mark));
  }

  /** The same while the log stays as it is and holds this entry: by its name `recover` knows. */
  async exchange(mark: EntryId): Promise<void> {
    this.onStep("choose");
    await rename(this.ready(mark), this.#chosen(mark));
    this.onStep("sync the choice");
    await syncDirectory(this.path);
    await this.#replaceBy(this.#chosen(mark));
  }

  async #replaceBy(path: string): Promise<void> {
    // Writers of this node are gone; this holds off one that a killed node left behind.
    const lock = takeWriterLock(this.#dataDir, LOCK_MS_MAX, () => undefined);
    try {
      // Before the rename: SQLite would take the old WAL for the new file's, and the node the old seal.
      for (const suffix of ["-wal", "-shm", SEAL_SUFFIX, CHANGED_SUFFIX]) {
        this.onStep(`remove ${suffix}`);
        await rm(this.database + suffix, { force: true });
      }
      this.onStep("sync the removal");
      await syncDirectory(this.#dataDir);
      this.onStep("rename");
      await rename(path, this.database);
      this.onStep("sync the rename");
      await syncDirectory(this.#dataDir);
      await syncDirectory(this.path);
    } finally {
      lock.close();
    }
  }

  /** What was fetched is whole, checked and synced: gives it its durable name. */
  async keep(mark: EntryId): Promise<void> {
    await rename(this.incoming, this.ready(mark));
    await rm(this.incomingManifest, { force: true });
    await syncDirectory(this.path);
  }

  async removeIncoming(): Promise<void> {
    for (const suffix of ["", "-wal", "-shm", "-journal"]) {
      await rm(this.incoming + suffix, { force: true });
    }
    await rm(this.incomingManifest, { force: true });
  }

  /** Snapshots that were fetched and then not needed. */
  async removeReady(): Promise<void> {
    for (const name of await readdir(this.path)) {
      if (name.startsWith("ready-")) await rm(join(this.path, name), { force: true });
    }
  }
}

function isIncoming(path: string): boolean {
  return path.endsWith("/incoming.db") || path.endsWith("/incoming.json");
}

async function syncDirectory(path: string): Promise<void> {
  let handle: FileHandle | null = null;
  try {
    handle = await open(path, "r");
    await handle.sync();
  } finally {
    await handle?.close();
  }
}
