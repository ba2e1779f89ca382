/**
 * A real database file under the simulator: the real executor, a real crash state. A crash leaves the last commit, or, as
 * SQLite promises no more under synchronous=NORMAL, an earlier complete checkpoint.
 */

import { copyFileSync, existsSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { openReaderEngine, openWriterEngine } from "../../src/machine/engines.ts";
import type { ReaderEngine, WriterEngine } from "../../src/machine/process-engines.ts";
import type { EntryId, LogIndex } from "../../src/raft/entry.ts";
import { decodeConfiguration } from "../../src/wire/configuration-codec.ts";
import { type BlobRow, LOOK_AT_BLOBS, LOST_CONTENTS } from "./checkers/whole-blobs.ts";
import type { BlobsContent, Content, SimSnapshot, Store } from "./machine.ts";
import type { Prng } from "./prng.ts";

export class SqliteStore implements Store {
  readonly #path: string;
  readonly #checkpoint: string;
  readonly #ready: string;
  readonly #dice: Prng;
  #kept: EntryId | null = null;
  changed = "";
  checkpointIndex: LogIndex = 0;

  constructor(directory: string, id: number, dice: Prng) {
    this.#path = join(directory, `n${id}.db`);
    this.#checkpoint = join(directory, `n${id}.checkpoint`);
    this.#ready = join(directory, `n${id}.ready`);
    this.#dice = dice;
  }

  openWriter(machineVersion: string): WriterEngine {
    return openWriterEngine(this.#path, { machineVersion });
  }

  openReader(): ReaderEngine {
    return openReaderEngine(this.#path);
  }

  crashed(): void {
    if (!existsSync(this.#checkpoint) || !this.#dice.chance(0.5)) return;
    for (const suffix of ["", "-wal", "-shm"]) rmSync(this.#path + suffix, { force: true });
    copyFileSync(this.#checkpoint, this.#path);
  }

  checkpointed(index: LogIndex): void {
    copyFileSync(this.#path, this.#checkpoint);
    this.checkpointIndex = index;
  }

  /** Every entry proves itself; the whole content is compared at the end. */
  digest(): null {
    return null;
  }

  get isPlanted(): boolean {
    if (this.changed !== "") return true;
    return (
      this.#has("SELECT 1 FROM sqlite_schema WHERE name = 'ledger'") &&
      this.#has("SELECT 1 FROM ledger WHERE row = 0")
    );
  }

  #has(query: string): boolean {
    if (!existsSync(this.#path)) return false;
    const database = new Database(this.#path, { readonly: true });
    try {
      return database.prepare(query).get() !== undefined;
    } finally {
      database.close();
    }
  }

  /** By another connection, as another program would. Not while the writer has a transaction open. */
  plant(): boolean {
    if (!this.#has("SELECT 1 FROM sqlite_schema WHERE name = 'ledger'")) return false;
    const database = new Database(this.#path, { timeout: 0 });
    try {
      database.pragma("wal_autocheckpoint = 0");
      database.exec("INSERT INTO ledger (row) VALUES (0)");
      return true;
    } catch (error) {
      if (String(error).includes("locked")) return false;
      throw error;
    } finally {
      database.close();
    }
  }

  wipe(): void {
    for (const path of [this.#path, `${this.#path}-wal`, `${this.#path}-shm`]) {
      rmSync(path, { force: true });
    }
    for (const path of [this.#checkpoint, this.#ready]) rmSync(path, { force: true });
    this.changed = "";
    this.checkpointIndex = 0;
    this.#kept = null;
  }

  copy(): SimSnapshot {
    const database = new Database(this.#path, { readonly: true });
    const { mark, configuration } = readMark(database);
    const data = withOrigin(database.serialize());
    database.close();
    return { mark, configuration, data };
  }

  keep(snapshot: SimSnapshot): void {
    this.#kept = snapshot.mark;
    writeFileSync(this.#ready, snapshot.data as Buffer);
  }

  install(mark: EntryId): void {
    if (this.#kept?.index !== mark.index || this.#kept.term !== mark.term) {
      throw new Error(`no snapshot of ${mark.index} is kept`);
    }
    for (const suffix of ["-wal", "-shm"]) rmSync(this.#path + suffix, { force: true });
    renameSync(this.#ready, this.#path);
    copyFileSync(this.#path, this.#checkpoint);
    this.checkpointIndex = mark.index;
    this.changed = "";
    this.#kept = null;
  }

  recover(base: EntryId): boolean {
    const { index, term } = this.#kept ?? { index: 0, term: 0 };
    const isBegun = index > 0 && index === base.index && term === base.term;
    if (isBegun) this.install(base);
    this.#kept = null;
    return isBegun;
  }

  bytes(): number {
    return existsSync(this.#path) ? statSync(this.#path).size : 0;
  }

  content(): Content {
    const database = new Database(this.#path, { readonly: true });
    const ledger = database.prepare("SELECT rowid, * FROM ledger ORDER BY rowid").all();
    const counters = database.prepare("SELECT * FROM counter ORDER BY id").all();
    const sessions = database.prepare("SELECT * FROM balsa_session ORDER BY 1").all();
    const blobs = blobsIn(database);
    const contents = blobs && database.prepare("SELECT * FROM db_blob_content ORDER BY id").all();
    database.close();
    const rows = new Map<number, number>();
    for (const { row } of ledger as { row: number }[]) rows.set(row, (rows.get(row) ?? 0) + 1);
    return { rows, blobs, digest: JSON.stringify([ledger, counters, sessions, blobs, contents]) };
  }
}

function blobsIn(database: Database.Database): BlobsContent | null {
  const isThere = "SELECT 1 FROM sqlite_schema WHERE name = 'db_blob'";
  if (database.prepare(isThere).get() === undefined) return null;
  const rows = database.prepare<unknown[], BlobRow>(LOOK_AT_BLOBS).all();
  return { rows, lost: database.prepare(LOST_CONTENTS).all().length };
}

/** As the real source does with a copy. */
function withOrigin(data: Buffer): Buffer {
  // In memory there is no WAL: the header's two bytes say so.
  data.fill(1, 18, 20);
  const copy = new Database(data);
  copy.exec("UPDATE balsa_meta SET origin_index = applied_index");
  const marked = copy.serialize();
  copy.close();
  return marked.fill(2, 18, 20);
}

function readMark(database: Database.Database): Omit<SimSnapshot, "data"> {
  const row = database
    .prepare("SELECT applied_index AS at, applied_term AS term, configuration FROM balsa_meta")
    .get() as { at: number; term: number; configuration: string | null };
  const configuration = row.configuration === null ? null : decodeConfiguration(row.configuration);
  return { mark: { index: row.at, term: row.term }, configuration };
}
