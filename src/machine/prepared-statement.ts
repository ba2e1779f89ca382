/**
 * Statements as they were prepared on one connection: kept by text, with what is known of them. Binding is here, so that
 * a wrong parameter is told in words of ours. It never runs anything.
 */

import type { Database, Statement } from "better-sqlite3";
import { BalsaError } from "../sql/errors.ts";
import { invariant } from "../sql/invariant.ts";
import type { BoundArgs } from "../wire/statement-codec.ts";
import type { SqliteValue } from "../wire/value-codec.ts";
import { type GateMode, judge, type StatementClass } from "./gate.ts";
import { readerText } from "./reading-text.ts";
import type { SchemaFacts } from "./schema-facts.ts";
import { onlyStatement } from "./split-text.ts";
import { type ParameterList, type StatementShape, shapeOf } from "./statement-shape.ts";
import type { SplitStatement } from "./tokenizer.ts";
import type { UndeclaredNames } from "./undeclared-names.ts";

/** Allowed by its text; SQLite need not have seen it yet. */
export interface JudgedStatement {
  readonly shape: StatementShape;
  readonly verdict: StatementClass;
}

export interface PreparedStatement extends JudgedStatement {
  /** If it gives no rows, its run() tells the rowid as a number: exact only as far as that goes. */
  readonly statement: Statement<unknown[], SqliteValue[]>;
  readonly class: Exclude<StatementClass, "sqlite" | "setting">;
  /** Column names; null if it gives no rows. */
  readonly columns: readonly string[] | null;
  /** Found by plain-writes.ts, under one schema. */
  plain: {
    readonly facts: SchemaFacts;
    readonly isPlain: boolean;
    readonly inserts: boolean;
  } | null;
  /** Since it was last passed over. */
  wasUsed: boolean;
}

/** Texts longer than this are prepared anew each time: values written into the text would fill the cache. */
const KEEP_TEXT = 16 * 1024;

export interface StatementCacheOptions {
  /** Statements kept. Default 500. */
  readonly size?: number;
  /** What a write must not use, beside what no node may. Default null. */
  readonly undeclared?: UndeclaredNames | null;
}

/** Prepares on one connection, remembering the texts used last. */
export class StatementCache {
  readonly #database: Database;
  readonly #mode: GateMode;
  readonly #size: number;
  readonly #undeclared: UndeclaredNames | null;
  readonly #statements = new Map<string, PreparedStatement>();

  constructor(
    database: Database,
    mode: GateMode,
    { size = 500, undeclared = null }: StatementCacheOptions = {},
  ) {
    this.#database = database;
    this.#mode = mode;
    this.#size = size;
    this.#undeclared = undeclared;
  }

  /** After a change of the schema: columns and targets may be others now. */
  clear(): void {
    this.#statements.clear();
  }

  /** What is kept of a text; null: nothing. */
  known(text: string): PreparedStatement | null {
    const known = this.#statements.get(text);
    if (known === undefined) return null;
    known.wasUsed = true;
    return known;
  }

  /** Judges a text with one statement; SQLite is not asked. @throws BalsaError REFUSED or INVALID_ARGUMENT. */
  find(text: string): JudgedStatement {
    return this.#statements.get(text) ?? this.judge(onlyStatement(text));
  }

  /** @throws BalsaError REFUSED. */
  judge(split: SplitStatement): JudgedStatement {
    const shape = shapeOf(split);
    return { shape, verdict: judge(shape, this.#mode, this.#undeclared) };
  }

  /** What `find` or `judge` gave, prepared. @throws what SQLite says of the text. */
  prepare(text: string, judged: JudgedStatement): PreparedStatement {
    const known = this.known(text);
    if (known !== null) return known;
    const { shape, verdict } = judged;
    invariant(verdict !== "setting", "SQLite changes a setting when it prepares it");
    const source = this.#mode === "read" ? readerText(shape) : shape.text;
    const statement = this.#database.prepare<unknown[], SqliteValue[]>(source);
    let columns: string[] | null = null;
    if (statement.reader) {
      statement.raw(true);
      columns = columnNames(statement);
    } else statement.safeIntegers(false);
    const found = statement.readonly ? "readonly" : "replicated";
    const sort = verdict === "sqlite" ? found : verdict;
    const prepared: PreparedStatement = {
      statement,
      shape,
      verdict,
      class: sort,
      columns,
      plain: null,
      wasUsed: false,
    };
    if (text.length <= KEEP_TEXT) this.#keep(text, prepared);
    return prepared;
  }

  /** One that was not used since the last time is let go. To note each use in the map's order would cost a write each. */
  #keep(text: string, prepared: PreparedStatement): void {
    if (this.#statements.size >= this.#size) this.#letOneGo();
    this.#statements.set(text, prepared);
  }

  #letOneGo(): void {
    for (const [oldest, candidate] of this.#statements) {
      this.#statements.delete(oldest);
      if (!candidate.wasUsed) return;
      candidate.wasUsed = false;
      this.#statements.set(oldest, candidate);
    }
  }
}

export function columnNames(statement: Statement<unknown[], SqliteValue[]>): string[] {
  return statement.columns().map((column) => column.name);
}

/**
 * Arguments for better-sqlite3. @throws BalsaError INVALID_ARGUMENT that says how many or which parameters are wrong.
 */
export function bindArguments(prepared: PreparedStatement, args: BoundArgs): readonly unknown[] {
  const { parameters } = prepared.shape;
  if (args.kind === "named") return bindNamed(parameters, args.values);
  const { values } = args;
  if (values.length !== parameters.count || !parameters.positional) {
    throw wrongCount(parameters, values.length);
  }
  if (values.length === 0) return [];
  if (parameters.plain) return [values];
  // better-sqlite3 binds ?NNN by name only.
  const plain: SqliteValue[] = [];
  const numbered: { [name: string]: SqliteValue } = {};
  parameters.names.forEach((name, index) => {
    const value = values[index] ?? null;
    if (name === null) plain.push(value);
    else numbered[name] = value;
  });
  return [plain, numbered];
}

function bindNamed(
  parameters: ParameterList,
  values: { readonly [name: string]: SqliteValue },
): readonly unknown[] {
  const missing: string[] = [];
  for (const name of parameters.names) {
    if (name === null) {
      const message =
        "the statement has parameters without a name (?); give all values by position";
      throw new BalsaError("INVALID_ARGUMENT", message);
    }
    if (!Object.hasOwn(values, name)) missing.push(name);
  }
  if (missing.length > 0) {
    const message = `no value for the parameter ${missing.join(", ")}`;
    throw new BalsaError("INVALID_ARGUMENT", message, { facts: { parameter: missing.join(", ") } });
  }
  if (parameters.count === 0 && Object.keys(values).length > 0) throw wrongCount(parameters, -1);
  return parameters.count === 0 ? [] : [values];
}

function wrongCount(parameters: ParameterList, given: number): BalsaError {
  const { count, positional } = parameters;
  const facts = { parameters: String(count), values: String(Math.max(given, 0)) };
  if (!positional) {
    const names = parameters.names.filter((name) => name !== null).join(", ");
    const message = `the statement names its parameters (${names}); give the values by name`;
    return new BalsaError("INVALID_ARGUMENT", message, { facts });
  }
  const has = count === 1 ? "1 parameter" : `${count} parameters`;
  const values =
    given < 0 ? "values by name were given" : `${given} ${given === 1 ? "was" : "were"} given`;
  const message = `the statement has ${has}, ${values}`;
  return new BalsaError("INVALID_ARGUMENT", message, { facts });
}
