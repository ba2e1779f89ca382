/**
 * What is known of the statements that a reader has run, for as long as the schema stays as it is: their columns, and
 * which of them can give no second row. SQLite is asked for neither again. It runs no statement of a caller's.
 */

import type { Database, Statement } from "better-sqlite3";
import { columnNames, type PreparedStatement } from "./prepared-statement.ts";

export interface ReadPlan {
  readonly columns: readonly string[];
  /** At most one row, whatever the tables hold: a single call into SQLite is enough. */
  readonly isSingleRow: boolean;
}

/** The version of the first schema is 0 or more. */
const NONE = -1n;

export class ReadPlans {
  readonly #database: Database;
  readonly #version: Statement<unknown[], bigint>;
  #seen = NONE;
  #plans = new WeakMap<PreparedStatement, ReadPlan>();
  /** Run once under this schema: what is not run again is not worth a look at its program. */
  #met = new WeakSet<PreparedStatement>();

  constructor(database: Database) {
    this.#database = database;
    this.#version = database.prepare<unknown[], bigint>("PRAGMA schema_version").pluck(true);
  }

  /**
   * Asks which schema the present snapshot has, and forgets what was known of another one. Only between this and the end of the
   * snapshot is `find` true. @throws what SQLite says of the file.
   */
  renew(): void {
    const version = this.#version.get() ?? NONE;
    if (version === this.#seen) return;
    this.#seen = version;
    this.#plans = new WeakMap();
    this.#met = new WeakSet();
  }

  find(prepared: PreparedStatement): ReadPlan | undefined {
    return this.#plans.get(prepared);
  }

  /** It has been run in this snapshot; so the connection has read this schema, and its columns are those of now. */
  ran(prepared: PreparedStatement, args: readonly unknown[]): void {
    if (!this.#met.has(prepared)) {
      this.#met.add(prepared);
      return;
    }
    const columns = columnNames(prepared.statement);
    const isSingleRow = isQuery(prepared) && this.#isSingleRow(prepared.shape.text, args);
    this.#plans.set(prepared, { columns, isSingleRow });
  }

  #isSingleRow(text: string, args: readonly unknown[]): boolean {
    const program = this.#database.prepare<unknown[], Instruction>(`EXPLAIN ${text}`).all(...args);
    return givesNoSecondRow(program);
  }
}

/** EXPLAIN of another, a PRAGMA, may do what that does. */
function isQuery({ shape: { verb, explain } }: PreparedStatement): boolean {
  return !explain && (verb === "select" || verb === "with" || verb === "values");
}

/** A row of EXPLAIN. */
export interface Instruction {
  readonly addr: bigint;
  readonly opcode: string;
  readonly p2: bigint;
}

/** Of SQLite's instructions those that go on with the next one … */
const STRAIGHT = new Set(
  `Add Affinity AggFinal AggStep BitAnd BitNot BitOr Blob Cast Close ClrSubtype CollSeq Column ColumnsUsed Concat Copy Count
  CursorHint DeferredSeek Divide Explain Function Halt IdxRowid Int64 Integer Move Multiply Noop Not Null OffsetLimit OpenRead
  PureFunc Real RealAffinity ReleaseReg Remainder ResultRow Rowid SCopy SeekHit ShiftLeft ShiftRight String8 Subtract
  TableLock Transaction Variable`.split(/\s+/),
);
/** … and those that go on there or at p2. */
const BRANCHES = new Set(
  `DecrJumpZero ElseEq Eq Found Ge Goto Gt IdxGE IdxGT IdxLE IdxLT If IfNot IfNullRow IfPos Init IsNull Le Lt MustBeInt Ne
  NoConflict NotExists NotFound NotNull Once SeekGE SeekGT SeekLE SeekLT SeekRowid`.split(/\s+/),
);

/**
 * Whether a program can reach its one ResultRow once only: it knows no instruction but those above, and jumps forward
 * alone, except at its end, which goes back to the beginning that Init has passed over. Then no data can make it give two
 * rows. Anything else, also what a later SQLite may bring, is taken for a loop.
 */
export function givesNoSecondRow(program: readonly Instruction[]): boolean {
  let results = 0;
  return program.every(({ addr, opcode, p2 }, at) => {
    if (opcode === "ResultRow") results += 1;
    if (results > 1) return false;
    if (STRAIGHT.has(opcode)) return true;
    if (!BRANCHES.has(opcode)) return false;
    if (p2 > addr) return true;
    // Without a target it is an error instead of a jump.
    if (opcode === "MustBeInt") return p2 === 0n;
    return opcode === "Goto" && p2 === 1n && at === program.length - 1;
  });
}
