/**
 * SQLite's functions that look at a clock or at dice, replaced on a writer's connection by ones that are fed by the
 * entry: its log time, its seed. They reach triggers, defaults and views. On readers the built-in ones stay.
 *
 * All are registered as not deterministic: SQLite then refuses them in indexes and generated columns. Allowing them there
 * would let a stored 'now' change its meaning under an index (docs/decisions/0006-deterministic-functions.md).
 */

import type { Database } from "better-sqlite3";
import { SqlError } from "../sql/errors.ts";
import type { SqliteValue } from "../wire/value-codec.ts";
import { DATE_FUNCTIONS, DateFunctions } from "./date-functions.ts";
import { SeededRandom } from "./random.ts";

/** Bound of a value in SQLite as better-sqlite3 opens it, below SQLite's own: the length of JavaScript's longest string. */
const BLOB_MAX = 536_870_888;

export class DeterministicFunctions {
  readonly #dates = new DateFunctions();
  readonly #random = new SeededRandom();
  #seedHigh = 0;
  #seedLow = 0;
  /** Statement that the dice are seeded for; −1: none yet. */
  #seeded = -1;
  #statement = 0;

  /** Before a request. */
  beginRequest(timeMs: number, seedHigh: number, seedLow: number): void {
    this.#dates.setNow(timeMs);
    this.#seedHigh = seedHigh;
    this.#seedLow = seedLow;
    this.beginStatement(0);
  }

  /** Each statement has dice of its own: one more or less in it changes nothing for the next. */
  beginStatement(index: number): void {
    this.#statement = index;
    this.#seeded = -1;
  }

  register(database: Database): void {
    const options = { safeIntegers: true, deterministic: false };
    for (const name of DATE_FUNCTIONS) {
      if (name === "timediff") {
        database.function(name, options, (a: SqliteValue, b: SqliteValue) =>
          this.#dates.call(name, [a, b]),
        );
      } else {
        database.function(name, { ...options, varargs: true }, (...args: SqliteValue[]) =>
          this.#dates.call(name, args),
        );
      }
    }
    database.function("current_date", options, () => this.#dates.call("date", []));
    database.function("current_time", options, () => this.#dates.call("time", []));
    database.function("current_timestamp", options, () => this.#dates.call("datetime", []));
    database.function("random", options, () => this.#dice().int64());
    database.function("randomblob", options, (length: SqliteValue) => this.#blob(length));
  }

  #dice(): SeededRandom {
    if (this.#seeded !== this.#statement) {
      this.#random.seed(this.#seedHigh, this.#seedLow, this.#statement);
      this.#seeded = this.#statement;
    }
    return this.#random;
  }

  #blob(given: SqliteValue): Buffer {
    const length = Math.max(1, toInteger(given));
    if (length > BLOB_MAX) throw new SqlError("SQLITE_TOOBIG", "string or blob too big");
    const bytes = Buffer.allocUnsafe(length);
    this.#dice().fill(bytes);
    return bytes;
  }
}

/** As sqlite3_value_int64: what is no number is 0, a leading number in text counts. */
function toInteger(value: SqliteValue): number {
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "number") return Math.trunc(value) || 0;
  if (value === null) return 0;
  const text = typeof value === "string" ? value : Buffer.from(value).toString("utf8");
  const digits = /^[ \t\n\v\f\r]*([+-]?\d+)/.exec(text);
  return digits === null ? 0 : Number(digits[1]);
}
