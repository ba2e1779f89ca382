/** A statement while it is being written: its parameters, and of what it is an example. It knows no schema. */

import type { Statement } from "../../src/sql/statement.ts";
import type { BindValue } from "../../src/sql/value.ts";
import type { Scope } from "./expressions.ts";
import type { Position } from "./plan.ts";

export interface Made {
  readonly statement: Statement;
  readonly covers: readonly string[];
}

export class Draft {
  readonly args: BindValue[] = [];
  readonly covers: string[] = [];

  scope(position: Position, columns: readonly string[]): Scope {
    return { position, columns, args: this.args, covers: this.covers };
  }

  done(sql: string, ...covers: readonly string[]): Made {
    return { statement: { sql, args: this.args }, covers: [...covers, ...this.covers] };
  }
}

/** One without parameters. */
export function made(sql: string, ...covers: readonly string[]): Made {
  return { statement: { sql }, covers };
}
