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
import type { Content, SimSnapshot, Store } from "./machine.ts";
import type { Prng } from "./prng.ts";

export class SqliteStore implements Store {
  readonly #path: string;
  readonly #checkpoint: string;
  readonly #ready: string;
  readonly #dice: Prng;
  #kept: EntryId | null = null;
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

  wipe(): void {
    for (const path of [this.#path, `${this.#path}-wal`, `${this.#path}-shm`]) {
      rmSync(path, { force: true });
    }
    for (const path of [this.#checkpoint, this.#ready]) rmSync(path, { force: true });
    this.checkpointIndex = 0;
    this.#kept = null;
  }

  copy(): SimSnapshot {
    const database = new Database(this.#path, { readonly: true });
    const { mark, configuration } = readMark(database);
    const data = database.serialize();
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
    database.close();
    const rows = new Map<number, number>();
    for (const { row } of ledger as { row: number }[]) rows.set(row, (rows.get(row) ?? 0) + 1);
    return { rows, digest: JSON.stringify([ledger, counters, sessions]) };
  }
}

function readMark(database: Database.Database): Omit<SimSnapshot, "data"> {
  const row = database
    .prepare("SELECT applied_index AS at, applied_term AS term, configuration FROM balsa_meta")
    .get() as { at: number; term: number; configuration: string | null };
  const configuration = row.configuration === null ? null : decodeConfiguration(row.configuration);
  return { mark: { index: row.at, term: row.term }, configuration };
}
