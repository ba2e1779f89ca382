/**
 * The node's database, read in the caller's own process: no network, no pipe, synchronous, as fast as better-sqlite3
 * itself. It sees what this node has applied, and never writes.
 */

import { BalsaError } from "../sql/errors.ts";
import type { Args, BindValue, Row } from "../sql/value.ts";
import { localFailure } from "./local-failure.ts";
import type { Form, LocalFile, Prepared } from "./local-file.ts";

const PREPARED_MAX = 500;
const ROWS: Form = { pluck: false, raw: false, safeIntegers: false };

/** One parameter by position, or, alone, all of them as a list or by name. */
type Given = readonly (BindValue | Args)[];

/** A read-only view of the node's own file; see `EmbeddedNode.local`. */
export class LocalDatabase {
  readonly #file: LocalFile;
  readonly #statements = new Map<string, LocalStatement<object>>();

  /** Made by `openNode`. */
  constructor(file: LocalFile) {
    this.#file = file;
  }

  /**
   * A statement that reads, to execute as often as wanted; the same text gives the same one.
   *
   * What a node's readers refuse is refused here, too: what writes, Balsa's own tables, pragmas that change a connection.
   *
   * @throws BalsaError REFUSED, with the way out; INVALID_ARGUMENT for another number of statements; UNAVAILABLE while this
   *   node has no database yet; CLOSED behind the node's end; SqlError, SQLite's own, if it does not parse.
   */
  prepare<R extends object = Row>(sql: string): LocalStatement<R> {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = new LocalStatement<object>(this.#file, sql, ROWS);
      if (this.#statements.size >= PREPARED_MAX) this.#statements.clear();
      this.#statements.set(sql, statement);
    }
    return statement as LocalStatement<R>;
  }

  /**
   * The log index that what is read here stands at: now, or in a transaction at its moment. It has all that was told of an
   * index up to it, such as a `RunResult.index`; given as `atLeast` to a session read, it makes that one go no further back.
   *
   * @throws BalsaError UNAVAILABLE or CLOSED, as `prepare`.
   */
  get index(): number {
    return this.#file.appliedIndex();
  }

  /**
   * Runs the function, which must not be async: all that it reads here is of one moment. Nobody waits for it.
   *
   * @throws BalsaError INVALID_ARGUMENT for an async function, or while an iterator is open; what the function throws.
   */
  transaction<T>(read: () => T): T {
    return this.#file.transaction(() => {
      const result = read();
      if (!(result instanceof Promise)) return result;
      result.catch(() => undefined);
      throw new BalsaError("INVALID_ARGUMENT", "the function of node.local.transaction is async");
    });
  }
}

/** A statement on a node's own file, in better-sqlite3's verbs. */
export class LocalStatement<R extends object = Row> {
  /** The text of the statement. */
  readonly source: string;
  readonly #form: Form;
  readonly #file: LocalFile;
  /** Of which connection `#prepared` is. */
  #connection: object;
  #prepared: Prepared;

  /** Made by `LocalDatabase.prepare`. */
  constructor(file: LocalFile, source: string, form: Form) {
    this.source = source;
    this.#form = form;
    this.#file = file;
    this.#connection = file.current();
    this.#prepared = file.prepare(source, form);
  }

  /**
   * The first row, or undefined if there is none.
   *
   * @throws BalsaError INVALID_ARGUMENT if the parameters do not fit; SqlError, SQLite's own.
   */
  get(...args: Given): R | undefined {
    const prepared = this.#current();
    try {
      return prepared.get(...ready(args)) as R | undefined;
    } catch (error) {
      throw localFailure(error);
    }
  }

  /** All rows. @throws as `get`. */
  all(...args: Given): R[] {
    const prepared = this.#current();
    try {
      return prepared.all(...ready(args)) as R[];
    } catch (error) {
      throw localFailure(error);
    }
  }

  /**
   * The rows one by one. While it is open it keeps the moment that it reads, and with it all that was written since in the
   * node's WAL: do not leave one open. @throws as `get`, also on the way.
   */
  iterate(...args: Given): IterableIterator<R> {
    // One of its own: while it is open, this statement can be executed as well.
    this.#file.current();
    const prepared = this.#file.prepare(this.source, this.#form);
    try {
      return new LocalRows(prepared.iterate(...ready(args)) as IterableIterator<R>);
    } catch (error) {
      throw localFailure(error);
    }
  }

  /** The same statement, giving only the first column of each row. */
  pluck(): LocalStatement<R> {
    return new LocalStatement<R>(this.#file, this.source, { ...this.#form, pluck: true });
  }

  /** The same statement, giving each row as an array. */
  raw(): LocalStatement<R> {
    return new LocalStatement<R>(this.#file, this.source, { ...this.#form, raw: true });
  }

  /** The same statement, giving every INTEGER as a bigint; else those beyond 2^53 lose their last digits. */
  safeIntegers(): LocalStatement<R> {
    return new LocalStatement<R>(this.#file, this.source, { ...this.#form, safeIntegers: true });
  }

  #current(): Prepared {
    const connection = this.#file.current();
    if (connection !== this.#connection) {
      this.#prepared = this.#file.prepare(this.source, this.#form);
      this.#connection = connection;
    }
    return this.#prepared;
  }
}

/** The rows of an iterator, and its errors in words of ours. */
class LocalRows<R> implements IterableIterator<R> {
  readonly #rows: IterableIterator<R>;

  constructor(rows: IterableIterator<R>) {
    this.#rows = rows;
  }

  [Symbol.iterator](): this {
    return this;
  }

  next(): IteratorResult<R> {
    try {
      return this.#rows.next();
    } catch (error) {
      throw localFailure(error);
    }
  }

  return(): IteratorResult<R> {
    this.#rows.return?.();
    return { value: undefined, done: true };
  }
}

/** In place: it is the list of one call's arguments. */
function ready(given: Given): readonly unknown[] {
  const args = given as unknown[];
  for (let at = 0; at < args.length; at += 1) args[at] = bound(args[at] as BindValue | Args);
  return args;
}

/** As the client binds (DESIGN D15): an integral number is an INTEGER, which better-sqlite3 alone would make a REAL. */
function bound(given: BindValue | Args): unknown {
  if (typeof given === "number") return Number.isSafeInteger(given) ? BigInt(given) : given;
  if (typeof given === "boolean") return given ? 1n : 0n;
  if (typeof given !== "object" || given === null || given instanceof Uint8Array) return given;
  if (given instanceof Date) return given.toISOString();
  if (Array.isArray(given)) return given.map(bound);
  return Object.fromEntries(Object.entries(given).map(([name, value]) => [name, bound(value)]));
}
