/** Random SQL expressions: columns, values, functions that look at a clock, at dice or at the connection. */

import type { BindValue } from "../../src/sql/value.ts";
import type { Dice } from "./dice.ts";
import type { Position } from "./plan.ts";

export interface Scope {
  /** Names that may be used, with their table's where they would be ambiguous. */
  readonly columns: readonly string[];
  readonly position: Position;
  /** Null where no parameter may stand (schemas). */
  readonly args: BindValue[] | null;
  readonly covers: string[];
}

const DATES = [
  "date('now')",
  "time('now')",
  "datetime()",
  "datetime('now', '+1 month', 'start of day')",
  "datetime('now', 'localtime')",
  "datetime('2024-03-10 02:30:00', 'utc')",
  "julianday('now')",
  "julianday()",
  "unixepoch()",
  "unixepoch('now', 'subsec')",
  "strftime('%s')",
  "strftime('%Y-%m-%d %H:%M:%f', 'now')",
  "timediff('now', '2020-02-29')",
  "CURRENT_TIMESTAMP",
  "CURRENT_DATE",
  "CURRENT_TIME",
  "date(x'6e6f77')",
  "date('NOW', 'weekday 0')",
];

const DICE = [
  "random()",
  "abs(random()) % 9",
  "hex(randomblob(5))",
  "randomblob(3)",
  "random() / 1e17",
];
const STATE = ["changes()", "last_insert_rowid()", "last_insert_rowid() || '/' || changes()"];

export class Expressions {
  readonly #dice: Dice;

  constructor(dice: Dice) {
    this.#dice = dice;
  }

  value(): BindValue {
    const dice = this.#dice;
    switch (dice.below(9)) {
      case 0:
        return null;
      case 1:
        return dice.pick(["now", "a", "b", "Zürich", "", "2024-02-29", "x y z", "12"]);
      case 2:
        return dice.below(1000) / 8;
      case 3:
        return new Uint8Array(dice.list(dice.below(5), () => dice.below(256)));
      case 4:
        return dice.pick([2n ** 53n + 1n, -(2n ** 62n), 0n]);
      default:
        return dice.below(14);
    }
  }

  literal(): string {
    return this.#dice.pick(["1", "7", "-3", "2.5", "'t'", "'now'", "x'00ff'", "NULL", "'5'"]);
  }

  date(scope: Scope): string {
    scope.covers.push(`date in ${scope.position}`);
    const { args } = scope;
    if (args !== null && this.#dice.chance(0.25)) {
      args.push(this.#dice.pick(["now", "2023-12-31 23:59:59.9", 1_700_000_000, "nonsense"]));
      return this.#dice.pick(["date(?)", "strftime('%j %W', ?)", "unixepoch(?, 'auto')"]);
    }
    return this.#dice.pick(DATES);
  }

  random(scope: Scope): string {
    scope.covers.push(`random in ${scope.position}`);
    return this.#dice.pick(DICE);
  }

  /** A value for a column of this type that usually fits. */
  of(type: string, scope: Scope): string {
    const dice = this.#dice;
    if (dice.chance(0.3)) return this.any(scope);
    const { args } = scope;
    if (args === null) return type === "TEXT" ? "'t'" : "4";
    switch (type) {
      case "INTEGER":
      case "INT":
        args.push(dice.below(12));
        break;
      case "REAL":
        args.push(dice.below(100) / 4);
        break;
      case "TEXT":
        args.push(dice.pick(["now", "alpha", "beta", "gamma", "ALPHA", "2024-01-01"]));
        break;
      case "BLOB":
        args.push(new Uint8Array([dice.below(4)]));
        break;
      default:
        args.push(this.value());
    }
    return "?";
  }

  any(scope: Scope, depth = 0): string {
    const dice = this.#dice;
    const { columns, args } = scope;
    switch (dice.below(depth > 1 ? 6 : 11)) {
      case 0:
        return this.date(scope);
      case 1:
        return this.random(scope);
      case 2:
        return this.literal();
      case 3:
        if (args === null) return this.literal();
        args.push(this.value());
        return "?";
      case 4:
      case 5:
        return columns.length === 0 ? this.literal() : dice.pick(columns);
      case 6:
        return scope.position === "check" || scope.position === "default"
          ? this.literal()
          : dice.pick(STATE);
      case 7:
        return `(${this.any(scope, depth + 1)} || ${this.any(scope, depth + 1)})`;
      case 8:
        return `coalesce(${this.any(scope, depth + 1)}, ${this.any(scope, depth + 1)})`;
      case 9:
        return `CASE WHEN ${this.condition(scope, depth + 1)} THEN ${this.any(scope, depth + 1)} END`;
      default: {
        const inner = this.any(scope, 2);
        return dice.pick([
          `json_object('k', typeof(${inner}))`,
          `printf('%.3f|%s', ${inner}, 1)`,
          `typeof(${inner})`,
          `round(${inner}, 2)`,
        ]);
      }
    }
  }

  condition(scope: Scope, depth = 0): string {
    const dice = this.#dice;
    const { columns, args } = scope;
    const column = columns.length === 0 ? "1" : dice.pick(columns);
    switch (dice.below(depth > 1 ? 4 : 8)) {
      case 0:
        if (args === null) return `${column} > 3`;
        args.push(dice.below(12));
        return `${column} ${dice.pick(["=", "<", ">", "<>", ">="])} ?`;
      case 1:
        return `${column} IS NOT NULL`;
      case 2:
        return `${column} % 3 = ${dice.below(3)}`;
      case 3:
        return `${column} LIKE '%a%'`;
      case 4:
        return `${this.date(scope)} > '2'`;
      case 5:
        return `abs(${this.random(scope)}) % 2 = 0`;
      case 6:
        return `(${this.condition(scope, depth + 1)} OR ${this.condition(scope, depth + 1)})`;
      default:
        return `(${this.condition(scope, depth + 1)} AND ${column} BETWEEN 2 AND 9)`;
    }
  }
}
