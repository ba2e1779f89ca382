/**
 * The one read-only connection of an app to its node's database file: opened when it is needed, and anew when a snapshot
 * has taken the file's place. It never writes, and waits for nobody.
 */

import { statSync } from "node:fs";
import Database from "better-sqlite3";
import { loadExtensions } from "../machine/extension-loading.ts";
import { type ReadingText, readingText } from "../machine/reading-text.ts";
import { BalsaError } from "../sql/errors.ts";
import type { Extension } from "../sql/extension.ts";
import { localFailure, openIterator } from "./local-failure.ts";

/** How a statement gives its rows, as better-sqlite3's methods of these names say. */
export interface Form {
  readonly pluck: boolean;
  readonly raw: boolean;
  readonly safeIntegers: boolean;
}

/** A prepared statement; what it is given was made ready to bind. */
export interface Prepared {
  get(...args: readonly unknown[]): unknown;
  all(...args: readonly unknown[]): unknown[];
  iterate(...args: readonly unknown[]): IterableIterator<unknown>;
}

/** The writer never keeps others out for long. */
const BUSY_TIMEOUT_MS = 1_000;
/** How often reads look whether the file is still the same: looking costs about as much as a read. */
const LOOK_MS = 100;

export class LocalFile {
  readonly #path: string;
  readonly #extensions: readonly Extension[];
  #database: Database.Database | null = null;
  #inode = 0n;
  #lookAtMs = 0;
  #inTransaction = false;
  #closed = false;

  /** @param path of main.db. @param extensions as the node has them. */
  constructor(path: string, extensions: readonly Extension[] = []) {
    this.#path = path;
    this.#extensions = extensions;
  }

  /** What was prepared while this was another object must be prepared anew. */
  current(): object {
    const database = this.#database;
    if (database === null) return this.#open();
    if (this.#inTransaction || performance.now() < this.#lookAtMs) return database;
    return this.look();
  }

  /** Looks whether the file was replaced; a transaction keeps what it has. */
  look(): object {
    const database = this.#database;
    if (database !== null && this.#inTransaction) return database;
    this.#lookAtMs = performance.now() + LOOK_MS;
    const inode = this.#inodeNow();
    if (database !== null && (inode === undefined || inode === this.#inode)) return database;
    return this.#open();
  }

  /** @throws BalsaError REFUSED for what no reader of a node may do, INVALID_ARGUMENT for another number of statements. */
  prepare(sql: string, { pluck, raw, safeIntegers }: Form): Prepared {
    const { text, onlyTells } = judged(sql);
    const database = this.#database ?? this.#open();
    try {
      const statement = database.prepare(text);
      if (!statement.reader || !(statement.readonly || onlyTells))
        throw refused("it does not read");
      if (pluck) statement.pluck(true);
      if (raw) statement.raw(true);
      if (safeIntegers) statement.safeIntegers(true);
      return statement as unknown as Prepared;
    } catch (error) {
      throw localFailure(error);
    }
  }

  /** The log index at which the file stands, or that of the transaction's moment. */
  appliedIndex(): number {
    this.current();
    const database = this.#database ?? this.#open();
    const sql = "SELECT applied_index FROM main.balsa_meta";
    return Number(database.prepare(sql).pluck(true).get());
  }

  /** All that `read` reads is of one moment. */
  transaction<T>(read: () => T): T {
    this.current();
    const database = this.#database ?? this.#open();
    if (this.#inTransaction) return read();
    execute(database, "BEGIN");
    this.#inTransaction = true;
    try {
      return read();
    } finally {
      this.#inTransaction = false;
      this.#endTransaction(database);
    }
  }

  #endTransaction(database: Database.Database): void {
    if (!database.open || !database.inTransaction) return;
    try {
      execute(database, "ROLLBACK");
    } catch (error) {
      // That moment stays with its iterator; whatever comes next has another connection.
      if (database === this.#database) this.#drop();
      throw error;
    }
  }

  /** An iterator that is still open keeps its connection until it ends. */
  close(): void {
    this.#closed = true;
    this.#drop();
  }

  #open(): Database.Database {
    if (this.#closed) throw new BalsaError("CLOSED", "the node was closed");
    this.#drop();
    const inode = this.#inodeNow();
    if (inode === undefined) {
      throw new BalsaError("UNAVAILABLE", "this node has no database yet: await node.barrier()");
    }
    const database = new Database(this.#path, { readonly: true, timeout: BUSY_TIMEOUT_MS });
    loadExtensions(database, this.#extensions);
    database.pragma("query_only = ON");
    this.#database = database;
    this.#inode = inode;
    this.#lookAtMs = performance.now() + LOOK_MS;
    return database;
  }

  /** By its name alone: to open and close it beside SQLite would drop SQLite's locks (DESIGN D10). */
  #inodeNow(): bigint | undefined {
    return statSync(this.#path, { bigint: true, throwIfNoEntry: false })?.ino;
  }

  #drop(): void {
    const old = this.#database;
    this.#database = null;
    try {
      old?.close();
    } catch {
      // An iterator is open on it: it ends with that, when it is collected.
    }
  }
}

/** As a reader of the node judges it. */
function judged(sql: string): ReadingText {
  if (typeof sql !== "string") {
    throw new BalsaError("INVALID_ARGUMENT", `a statement is text, not ${typeof sql}`);
  }
  try {
    return readingText(sql);
  } catch (error) {
    const isRefusal = error instanceof BalsaError && error.code === "REFUSED";
    throw isRefusal ? refused(error.message) : error;
  }
}

function refused(why: string): BalsaError {
  return new BalsaError("REFUSED", `node.local only reads, all else is for node.db: ${why}`);
}

function execute(database: Database.Database, sql: "BEGIN" | "ROLLBACK"): void {
  try {
    database.exec(sql);
  } catch (error) {
    throw error instanceof TypeError ? openIterator(error) : localFailure(error);
  }
}
