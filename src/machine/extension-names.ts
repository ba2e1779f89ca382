/**
 * What an extension brings: it is loaded into a connection of its own and SQLite is asked before and after. Names that the
 * replicated state rests on it may not take. In the child that checks extensions at a node's start, and in `balsa import`.
 */

import Database from "better-sqlite3";
import { BalsaError } from "../sql/errors.ts";
import type { Extension, KnownExtension } from "../sql/extension.ts";
import { DATE_FUNCTIONS } from "./date-functions.ts";
import { loadExtensions } from "./extension-loading.ts";

/** Fed by the log, or counted by the connection: with another function of that name nodes would differ. */
const KEPT_FUNCTIONS: ReadonlySet<string> = new Set([
  ...DATE_FUNCTIONS,
  ...["current_date", "current_time", "current_timestamp", "random", "randomblob"],
  ...["changes", "total_changes", "last_insert_rowid", "load_extension", "fts3_tokenizer"],
  // Operators by which no text names them.
  ...["->", "->>"],
]);

interface FunctionRow {
  readonly name: string;
  readonly builtin: number;
  readonly narg: number;
  readonly enc: string;
  readonly flags: number;
}

/** @throws BalsaError INVALID_ARGUMENT if it cannot be loaded, or takes a name that it must not */
export function learnNames(extension: Extension): KnownExtension {
  const database = new Database(":memory:");
  try {
    markFunctions(database);
    const before = namesOf(database);
    loadExtensions(database, [extension]);
    const after = namesOf(database);
    const functions = newIn(before.functions, after.functions).map((key) => key.split("\n")[0]);
    const taken = functions.find((name) => KEPT_FUNCTIONS.has(name ?? ""));
    if (taken !== undefined) {
      throw new Error(
        `extension ${extension.name} replaces ${taken}(), which Balsa makes the same on every node; ` +
          "use a build of it without that function",
      );
    }
    return {
      ...extension,
      functions: [...new Set(functions)] as string[],
      collations: newIn(before.collations, after.collations),
      modules: newIn(before.modules, after.modules),
    };
  } catch (error) {
    throw new BalsaError("INVALID_ARGUMENT", (error as Error).message, { cause: error });
  } finally {
    database.close();
  }
}

/**
 * Functions that are not in SQLite's core (those of FTS5, Geopoly, …) are replaced in their place, without a trace but their
 * flags: so these are made others than anybody's. The connection is of no other use.
 */
function markFunctions(database: Database.Database): void {
  const rows = functionRows(database).filter(({ builtin }) => builtin === 0);
  for (const { name, narg } of rows) {
    const options = { deterministic: true, directOnly: true, varargs: narg < 0 };
    const mark = Object.defineProperty(() => null, "length", { value: Math.max(0, narg) });
    database.function(name, options, mark);
  }
}

function functionRows(database: Database.Database): FunctionRow[] {
  return database
    .prepare<unknown[], FunctionRow>(
      "SELECT lower(name) AS name, builtin, narg, enc, flags FROM pragma_function_list",
    )
    .all();
}

function namesOf(database: Database.Database) {
  const list = (pragma: string) =>
    database.prepare<unknown[], string>(`SELECT lower(name) FROM ${pragma}`).pluck().all();
  return {
    functions: functionRows(database).map(({ name, builtin, narg, enc, flags }) =>
      [name, builtin, narg, enc, flags].join("\n"),
    ),
    collations: list("pragma_collation_list"),
    // A pragma's table is made when it is first asked for: no extension brought it.
    modules: list("pragma_module_list").filter((name) => !name.startsWith("pragma_")),
  };
}

function newIn(before: readonly string[], after: readonly string[]): string[] {
  const known = new Set(before);
  return [...new Set(after.filter((name) => !known.has(name)))].sort();
}
