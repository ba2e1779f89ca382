/**
 * What a cell or a parameter can hold. Nothing here knows SQLite, protobuf or Raft.
 *
 * Inside Balsa an INTEGER is a `number` when it is a safe integer and a `bigint` when it is not; a REAL is
 * wrapped only where the kind would be lost: see `Real`.
 */

/** A value as SQLite stores it, on its way out: NULL, INTEGER, REAL, TEXT or BLOB. */
export type Value = null | number | bigint | string | Uint8Array;

/** What a caller may bind. A boolean binds as 0 or 1, a Date as its ISO 8601 text in UTC. */
export type BindValue = Value | boolean | Date;

/** Parameters of one statement: by position (`?`, `?1`) or by name without its prefix (`:id`, `@id`, `$id`). */
export type Args = readonly BindValue[] | { readonly [name: string]: BindValue };

/** A result row, by column name. A name that occurs twice keeps the last value, as in better-sqlite3. */
export type Row = { [column: string]: Value };

/** How INTEGER comes back: `number` throws beyond 2^53, `bigint` always, `auto` (default) picks by size. */
export type IntegerMode = "auto" | "number" | "bigint";
