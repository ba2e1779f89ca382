/**
 * The one connection that writes a database file, with every setting that the replicated state depends on. Readers use
 * another: see read-executor.ts.
 */

import Database from "better-sqlite3";
import type { KnownExtension } from "../sql/extension.ts";
import type { AutoVacuum } from "../sql/settings.ts";
import { loadExtensions } from "./extension-loading.ts";
import { MachineFault } from "./machine-fault.ts";
import { prepareFile } from "./machine-meta.ts";
import { demandDeclared, undeclaredNames } from "./undeclared-names.ts";

/** Another writer may be closing; nobody else ever locks for long. */
const BUSY_TIMEOUT_MS = 1000;

/**
 * Settings by SQLite's own words. Foreign keys are enforced and triggers recursive, as better-sqlite3 is built: not
 * SQLite's defaults, but the ones that its users know.
 */
const PRAGMAS = [
  "journal_mode = WAL",
  "synchronous = NORMAL",
  "wal_autocheckpoint = 0",
  // A reader that held its snapshot for long leaves a large WAL: at its next reset it is cut, to twice what is usual.
  "journal_size_limit = 134217728",
  "foreign_keys = ON",
  "recursive_triggers = ON",
  "trusted_schema = ON",
  "temp_store = MEMORY",
];

/**
 * `autoVacuum`: of a file that is made now; one that is there keeps its own.
 * @throws MachineFault if it cannot be opened, or is not a database.
 */
export function openWriterConnection(
  path: string,
  options: {
    readonly autoVacuum?: AutoVacuum | undefined;
    readonly extensions?: readonly KnownExtension[] | undefined;
  } = {},
): Database.Database {
  const { autoVacuum = "none", extensions = [] } = options;
  try {
    const database = new Database(path, { timeout: BUSY_TIMEOUT_MS });
    loadExtensions(database, extensions);
    const undeclared = undeclaredNames(extensions);
    if (undeclared !== null) demandDeclared(database, undeclared);
    database.defaultSafeIntegers(true);
    // Before anything else: the first page that is written fixes it.
    const isNew = database.pragma("page_count", { simple: true }) === 0n;
    if (isNew) database.pragma(`auto_vacuum = ${autoVacuum}`);
    for (const pragma of PRAGMAS) database.pragma(pragma);
    prepareFile(database);
    return database;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new MachineFault(`cannot open ${path}: ${reason}`, { cause: error });
  }
}
