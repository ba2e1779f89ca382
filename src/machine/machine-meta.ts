/**
 * What the database file knows of the log: one row, written in the same transaction as the data (DESIGN D9). Nothing
 * here is content: it may differ between nodes.
 */

import type { Database, Statement } from "better-sqlite3";
import type { Verdict } from "../node/ports.ts";
import type { EntryId } from "../raft/entry.ts";
import { FileChanged, isSqliteError, MachineFault } from "./machine-fault.ts";
import { SESSION_SCHEMA } from "./sessions.ts";

/** Of the tables that are Balsa's own, and of what they hold. 2: something was set that a program of format 1 would not heed. */
const FORMAT_VERSION = 2;
const FORMAT_WITHOUT_SETTINGS = 1;

const META_SCHEMA = `CREATE TABLE IF NOT EXISTS balsa_meta(
  id INTEGER PRIMARY KEY CHECK (id = 1),
  format_version INTEGER NOT NULL,
  applied_index INTEGER NOT NULL,
  applied_term INTEGER NOT NULL,
  time_ms INTEGER NOT NULL,
  next_session INTEGER NOT NULL,
  writer_epoch INTEGER NOT NULL,
  configuration TEXT,
  settings TEXT,
  origin_index INTEGER NOT NULL DEFAULT 0,
  settled TEXT
)`;

/** Columns that came later, in order: files of older programs do not have them. */
const LATER_COLUMNS = [
  "configuration TEXT",
  "settings TEXT",
  "origin_index INTEGER NOT NULL DEFAULT 0",
  "settled TEXT",
];

const WRITTEN = "another program wrote to it while the node had it open";
const LOCKED = "another program has held it locked for writing for longer than a node waits";

export interface MetaState {
  readonly applied: EntryId;
  readonly timeMs: number;
  readonly nextSession: number;
}

export interface StoredMeta extends MetaState {
  /** As `configure` was given it; null: none yet. */
  readonly configuration: string | null;
  /** As `settings` was given them; null: none were ever set. */
  readonly settings: string | null;
  readonly originIndex: number;
  readonly settled: Verdict | null;
}

type MetaRow = [
  format: bigint,
  index: bigint,
  term: bigint,
  timeMs: bigint,
  nextSession: bigint,
  epoch: bigint,
  configuration: string | null,
  settings: string | null,
  origin: bigint,
  settled: string | null,
];

export class MachineMeta {
  readonly #select: Statement<unknown[], MetaRow>;
  readonly #update: Statement;
  readonly #begin: Statement;
  readonly #commit: Statement;
  readonly #rollback: Statement;
  readonly #configure: Statement;
  readonly #set: Statement;
  readonly #settle: Statement;
  readonly #version: Statement<unknown[], bigint>;
  /** As it was when this connection was opened: it changes when another one commits, and then only. */
  readonly #opened: bigint | undefined;
  #epoch = 0n;
  /** To be stored with the next commit. */
  #configuration: string | null = null;

  /** The tables must be there: see `prepareFile`. */
  constructor(database: Database) {
    this.#select = database
      .prepare<unknown[], MetaRow>(
        `SELECT format_version, applied_index, applied_term, time_ms, next_session, writer_epoch,
                configuration, settings, origin_index, settled
         FROM main.balsa_meta`,
      )
      .raw(true);
    this.#update = database.prepare(
      `UPDATE main.balsa_meta
       SET applied_index = ?, applied_term = ?, time_ms = ?, next_session = ?`,
    );
    this.#begin = database.prepare("BEGIN IMMEDIATE");
    this.#commit = database.prepare("COMMIT");
    this.#rollback = database.prepare("ROLLBACK");
    this.#configure = database.prepare("UPDATE main.balsa_meta SET configuration = ?");
    this.#set = database.prepare(
      `UPDATE main.balsa_meta SET settings = ?, format_version = ${FORMAT_VERSION}`,
    );
    this.#settle = database.prepare("UPDATE main.balsa_meta SET settled = ?");
    this.#version = database.prepare<unknown[], bigint>("PRAGMA main.data_version").pluck(true);
    this.#opened = this.#version.get();
  }

  /**
   * Takes the file over: whoever wrote it before finds another epoch, and writes no more. Not by RETURNING: its row comes before
   * the COMMIT, and better-sqlite3 does not tell that this failed then. On a full disk the number stays: a node must start there,
   * nothing can be written, and the lock keeps other writers out. @throws SQLite's error
   */
  claim(database: Database): void {
    try {
      database.prepare("UPDATE main.balsa_meta SET writer_epoch = writer_epoch + 1").run();
    } catch (error) {
      if (!isSqliteError(error) || error.code !== "SQLITE_FULL") throw error;
    }
    this.#epoch = this.#select.get()?.[5] ?? 0n;
  }

  read(): StoredMeta {
    const row = this.#select.get();
    if (row === undefined) throw new MachineFault("balsa_meta is empty: not a database of Balsa's");
    const [format, index, term, timeMs, nextSession, , configuration, settings, origin, verdict] =
      row;
    if (format > BigInt(FORMAT_VERSION)) {
      throw new MachineFault(
        `the database has format ${format}; this program knows ${FORMAT_VERSION}`,
      );
    }
    const applied = { index: Number(index), term: Number(term) };
    const [time, session] = [Number(timeMs), Number(nextSession)];
    const settled = verdict === null ? null : (JSON.parse(verdict) as Verdict);
    const facts = { configuration, settings, originIndex: Number(origin), settled };
    return { applied, timeMs: time, nextSession: session, ...facts };
  }

  /**
   * BEGIN IMMEDIATE: from here on nobody else can write. @throws MachineFault if a later writer has taken the file over,
   * FileChanged if anybody else wrote to it since it was opened, or goes on writing
   */
  begin(appliedIndex: number): void {
    this.#lock();
    const row = this.#select.get();
    if (row?.[5] !== this.#epoch) {
      this.#rollback.run();
      throw new MachineFault(
        `the file was changed by another writer: it has applied ${row?.[1]} in epoch ${row?.[5]}, ` +
          `this one ${appliedIndex} in ${this.#epoch}`,
      );
    }
    if (row[1] === BigInt(appliedIndex) && this.#version.get() === this.#opened) return;
    this.#rollback.run();
    throw new FileChanged(WRITTEN);
  }

  /** Waited for as long as the connection does. No other process of the node's ever takes this lock for long. */
  #lock(): void {
    try {
      this.#begin.run();
    } catch (error) {
      if (isSqliteError(error) && error.code === "SQLITE_BUSY") throw new FileChanged(LOCKED);
      throw error;
    }
  }

  /** Outside a transaction. @throws FileChanged as `begin` */
  look(): void {
    if (this.#version.get() !== this.#opened) throw new FileChanged(WRITTEN);
  }

  /** Within the open transaction. */
  settle(verdict: Verdict): void {
    this.#settle.run(JSON.stringify(verdict));
  }

  configure(configuration: string): void {
    this.#configuration = configuration;
  }

  /** `settings`: to be stored along; null: as they are. */
  commit({ applied, timeMs, nextSession }: MetaState, settings: string | null): void {
    this.#update.run(
      BigInt(applied.index),
      BigInt(applied.term),
      BigInt(timeMs),
      BigInt(nextSession),
    );
    if (this.#configuration !== null) this.#configure.run(this.#configuration);
    if (settings !== null) this.#set.run(settings);
    this.#commit.run();
    this.#configuration = null;
  }
}

function hasColumn(database: Database, name: string): boolean {
  const found = database
    .prepare("SELECT 1 FROM pragma_table_info('balsa_meta') WHERE name = ?")
    .get(name);
  return found !== undefined;
}

function firstRow(insert: string, { index, term }: EntryId): string {
  return `${insert} INTO balsa_meta VALUES 
      (1, ${FORMAT_WITHOUT_SETTINGS}, ${index}, ${term}, 0, 1, 0, NULL, NULL, 0, NULL)`;
}

/** Adds Balsa's own tables to a file that is to be a cluster's first state: it has applied `at`. */
export function seedTables(database: Database, at: EntryId): void {
  database.exec(`
    BEGIN IMMEDIATE;
    ${META_SCHEMA};
    ${SESSION_SCHEMA};
    ${firstRow("INSERT", at)};
    COMMIT;
  `);
}

/**
 * Makes Balsa's own tables where they are missing. Runs as one transaction.
 * @throws MachineFault if the file holds something already, but nothing of Balsa's: other nodes would not have it.
 */
export function prepareFile(database: Database): void {
  const [own, all] = database
    .prepare<unknown[], [own: bigint, all: bigint]>(
      "SELECT count(*) FILTER (WHERE name = 'balsa_meta'), count(*) FROM main.sqlite_schema",
    )
    .raw(true)
    .get() ?? [0n, 0n];
  if (own === 0n && all > 0n) {
    throw new MachineFault(
      "it is a database that Balsa did not make; to begin a cluster with it, see balsa import",
    );
  }
  const missing = LATER_COLUMNS.filter((column) => {
    return own > 0n && !hasColumn(database, column.split(" ", 1)[0] ?? "");
  });
  const additions = missing.map((column) => `ALTER TABLE main.balsa_meta ADD COLUMN ${column};`);
  database.exec(`
    BEGIN IMMEDIATE;
    ${META_SCHEMA};
    ${additions.join(" ")}
    ${SESSION_SCHEMA};
    ${firstRow("INSERT OR IGNORE", { index: 0, term: 0 })};
    COMMIT;
  `);
}
