/**
 * SQLite's date and time functions with a clock that is given. Whatever needs parsing or formatting is done by SQLite
 * itself, on a connection of its own and inside a generated column, where SQLite refuses to look at its clock: so no
 * spelling of "now" can reach the real one (DESIGN D4). "localtime" and "utc" mean UTC on every node.
 */

import type { Statement } from "better-sqlite3";
import Database from "better-sqlite3";
import { SqlError } from "../sql/errors.ts";
import type { SqliteValue } from "../wire/value-codec.ts";

/** Where the time values stand among the arguments of each function. */
const TIME_ARGUMENTS = {
  date: [0],
  time: [0],
  datetime: [0],
  julianday: [0],
  unixepoch: [0],
  strftime: [1],
  timediff: [0, 1],
} as const;

export type DateFunction = keyof typeof TIME_ARGUMENTS;
export const DATE_FUNCTIONS = Object.keys(TIME_ARGUMENTS) as readonly DateFunction[];

const JULIAN_EPOCH_MS = 210_866_760_000_000;
const DAY_MS = 86_400_000;
const ARGUMENTS_MAX = 100;

/**
 * What shifts by nothing instead, and else does what the word does: "utc" forgets that a day such as 30 February was
 * moved on, so that a "floor" behind it finds nothing to take back; "localtime" does not.
 */
const NO_SHIFT: ReadonlyMap<string, string> = new Map([
  ["localtime", "+00:00"],
  ["utc", "+0 days"],
]);

type Evaluate = Statement<unknown[], SqliteValue>;

export class DateFunctions {
  #helper: Database.Database | null = null;
  readonly #evaluators = new Map<string, Evaluate>();
  #nowMs = -1;
  #nowText = "";

  setNow(timeMs: number): void {
    if (timeMs === this.#nowMs) return;
    this.#nowMs = timeMs;
    this.#nowText = "";
  }

  /** `YYYY-MM-DD HH:MM:SS.SSS`. */
  #now(): string {
    if (this.#nowText === "") {
      this.#nowText = new Date(this.#nowMs).toISOString().replace("T", " ").slice(0, 23);
    }
    return this.#nowText;
  }

  call(name: DateFunction, given: readonly SqliteValue[]): SqliteValue {
    if (given.length === 0 || (given.length === 1 && given[0] === "now")) {
      const known = this.#current(name);
      if (known !== undefined) return known;
    }
    return this.#evaluate(name, this.#withoutClock(name, given));
  }

  /** Of the present moment, without modifiers: no need to ask SQLite. */
  #current(name: DateFunction): SqliteValue | undefined {
    switch (name) {
      case "date":
        return this.#now().slice(0, 10);
      case "time":
        return this.#now().slice(11, 19);
      case "datetime":
        return this.#now().slice(0, 19);
      case "julianday":
        return (this.#nowMs + JULIAN_EPOCH_MS) / DAY_MS;
      case "unixepoch":
        return BigInt(Math.floor(this.#nowMs / 1000));
      default:
        return undefined;
    }
  }

  /** Replaces all that would make SQLite look at its clock or its time zone. */
  #withoutClock(name: DateFunction, given: readonly SqliteValue[]): SqliteValue[] {
    const at = TIME_ARGUMENTS[name];
    const args: SqliteValue[] = [];
    let subsecond = false;
    const modifiersFrom = (at.at(-1) ?? 0) + 1;
    for (let i = 0; i < given.length; i++) {
      const value = asText(given[i] ?? null);
      const word = typeof value === "string" ? foldCase(value) : "";
      if (i < modifiersFrom) {
        const isTime = (at as readonly number[]).includes(i);
        const isSubsecond = isTime && (word === "subsec" || word === "subsecond");
        if (isSubsecond) subsecond = true;
        args.push(isSubsecond || (isTime && word === "now") ? this.#now() : value);
      } else {
        args.push(NO_SHIFT.get(word) ?? value);
      }
    }
    // date() and strftime('%s') mean now.
    if (given.length < modifiersFrom && name !== "timediff" && (at[0] as number) === args.length) {
      args.push(this.#now());
    }
    if (subsecond && name !== "timediff") args.push("subsec");
    return args;
  }

  #evaluate(name: DateFunction, args: readonly SqliteValue[]): SqliteValue {
    if (args.length > ARGUMENTS_MAX) {
      throw new SqlError("SQLITE_ERROR", `too many arguments on function ${name}`);
    }
    const key = `${name}_${args.length}`;
    let evaluator = this.#evaluators.get(key);
    if (evaluator === undefined) {
      evaluator = this.#prepare(name, key, args.length);
      this.#evaluators.set(key, evaluator);
    }
    try {
      return evaluator.get(args) ?? null;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new SqlError("SQLITE_ERROR", `${name}(): ${reason}`);
    }
  }

  #prepare(name: DateFunction, table: string, count: number): Evaluate {
    if (this.#helper === null) {
      this.#helper = new Database(":memory:");
      this.#helper.defaultSafeIntegers(true);
    }
    const columns = Array.from({ length: count }, (_, i) => `a${i}`);
    const list = columns.join(", ");
    const comma = count === 0 ? "" : ", ";
    this.#helper.exec(
      `CREATE TABLE ${table}(id INTEGER PRIMARY KEY${comma}${list}, v AS (${name}(${list})))`,
    );
    const marks = columns.map(() => "?").join(", ");
    return this.#helper
      .prepare<unknown[], SqliteValue>(
        `INSERT OR REPLACE INTO ${table}(id${comma}${list}) VALUES (1${comma}${marks}) RETURNING v`,
      )
      .pluck(true);
  }
}

/** As SQLite reads such an argument: bytes are text, and text ends at its first NUL. */
function asText(value: SqliteValue): SqliteValue {
  const text = value instanceof Uint8Array ? Buffer.from(value).toString("utf8") : value;
  if (typeof text !== "string") return text;
  const end = text.indexOf("\0");
  return end < 0 ? text : text.slice(0, end);
}

function foldCase(text: string): string {
  return text.length > 12 ? "" : text.toLowerCase();
}
