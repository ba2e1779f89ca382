/**
 * Which statements a replicated database can run. Judged by words and tokens, because SQLite's own `readonly` says yes to
 * ATTACH, COMMIT and many a PRAGMA. Every refusal says what to do instead. It never looks at values, nor at the schema.
 */

import { BalsaError } from "../sql/errors.ts";
import { isSwitch, type Setting } from "../sql/settings.ts";
import type { PragmaShape, StatementShape } from "./statement-shape.ts";
import { refuseUndeclared, type UndeclaredNames } from "./undeclared-names.ts";

/** `read`: alone, on one node. `write`: on all nodes, so that nothing in it may differ between them. */
export type GateMode = "read" | "write";

/**
 * `replicated`: belongs into the log if it succeeds. `readonly`: changes nothing; in a log entry its rows are the same on
 * all nodes. `inspection`: its rows may differ between nodes, so it stands only among other reads. `setting`: changes the
 * whole cluster, between transactions; never to be prepared, as SQLite would do it then. `sqlite`: SQLite's own
 * `readonly` tells.
 */
export type StatementClass = "replicated" | "readonly" | "inspection" | "setting" | "sqlite";

const TRANSACTION =
  "a request is a transaction of its own: use db.transaction(), or send what belongs together as one batch or script";
const ELSEWHERE = "a replicated database is one file on every node";

/** By leading word: what is never allowed, and the way out. */
const REFUSED_VERBS: { readonly [verb: string]: string } = {
  begin: `BEGIN is not allowed: ${TRANSACTION}`,
  commit: `COMMIT is not allowed: ${TRANSACTION}`,
  end: `END is not allowed: ${TRANSACTION}`,
  rollback: `ROLLBACK is not allowed: ${TRANSACTION}; a failing statement undoes them all`,
  savepoint: `SAVEPOINT is not allowed: ${TRANSACTION}`,
  release: `RELEASE is not allowed: ${TRANSACTION}`,
  attach: `ATTACH is not allowed: ${ELSEWHERE}; create the tables in this database`,
  detach: `DETACH is not allowed: ${ELSEWHERE}; nothing is ever attached`,
  vacuum:
    "VACUUM is not allowed: it renumbers rows on one node only; free pages are used again by themselves, " +
    "and balsa export --compact makes a compacted copy",
};

/** With one of these no statement begins that a reader runs. A word that SQLite does not know is its own to name. */
const WRITING_VERBS = new Set([
  ...["alter", "analyze", "create", "delete", "drop"],
  ...["insert", "reindex", "replace", "update"],
]);

/** Answered from the schema or the content: the same on all nodes. True: also with an argument. */
const SHARED_PRAGMAS: { readonly [name: string]: boolean } = {
  application_id: false,
  foreign_key_list: true,
  foreign_keys: false,
  index_info: true,
  index_list: true,
  index_xinfo: true,
  recursive_triggers: false,
  table_info: true,
  table_xinfo: true,
  user_version: false,
};

/** Tell of one node, or in an order that depends on how its connection came to know the schema. True: also with an argument. */
const NODE_PRAGMAS: { readonly [name: string]: boolean } = {
  analysis_limit: false,
  auto_vacuum: false,
  automatic_index: false,
  busy_timeout: false,
  cache_size: false,
  cache_spill: false,
  case_sensitive_like: false,
  cell_size_check: false,
  checkpoint_fullfsync: false,
  collation_list: false,
  compile_options: false,
  data_version: false,
  database_list: false,
  defer_foreign_keys: false,
  encoding: false,
  foreign_key_check: true,
  freelist_count: false,
  fullfsync: false,
  function_list: false,
  hard_heap_limit: false,
  ignore_check_constraints: false,
  integrity_check: true,
  journal_mode: false,
  journal_size_limit: false,
  legacy_alter_table: false,
  locking_mode: false,
  max_page_count: false,
  mmap_size: false,
  module_list: false,
  page_count: false,
  page_size: false,
  pragma_list: false,
  query_only: false,
  quick_check: true,
  read_uncommitted: false,
  reverse_unordered_selects: false,
  schema_version: false,
  secure_delete: false,
  soft_heap_limit: false,
  synchronous: false,
  table_list: true,
  temp_store: false,
  threads: false,
  trusted_schema: false,
  wal_autocheckpoint: false,
  writable_schema: false,
};

/** Ordinary, transactional writes: two fields of the file's header, and pages moved to where no row can see it. */
const REPLICATED_PRAGMAS = new Set(["application_id", "incremental_vacuum", "user_version"]);

const OTHER_PRAGMAS = "docs/SQL.md lists the pragmas that read, and those that are replicated";
const MADE_WITH =
  "a file has it from its beginning: make one that has, and begin with balsa import";

const PRAGMA_ADVICE: { readonly [name: string]: string } = {
  defer_foreign_keys: "declare the key DEFERRABLE INITIALLY DEFERRED instead",
  journal_mode: "the journal is always a WAL",
  synchronous: "durability is the replicated log's",
  optimize: "run ANALYZE instead",
  wal_checkpoint: "checkpoints happen by themselves",
  auto_vacuum: "it is chosen when a database is made: balsa serve --auto-vacuum",
  case_sensitive_like:
    "indexes and CHECKs that use LIKE would not fit their rows any more; use GLOB, or COLLATE in the schema",
  page_size: MADE_WITH,
  encoding: MADE_WITH,
  query_only: "reads are read-only by themselves",
  temp_store: "memory is the operator's",
  shrink_memory: "memory is the operator's",
  locking_mode: "reads and writes never lock each other out",
  ignore_check_constraints: "drop the CHECK, or make a table without it and copy the rows",
  busy_timeout: "there is one writer, and readers never wait for it",
  cache_size: "memory is the operator's",
  mmap_size: "memory is the operator's",
  writable_schema: "change the schema with ALTER TABLE, or make a new table and copy the rows",
  legacy_alter_table: "ALTER TABLE works as in current SQLite",
  analysis_limit: "ANALYZE reads whole indexes; name one table or index to bound its work",
};

/** Functions that tell of the node or the connection: in an entry they would differ. */
const NODE_FUNCTIONS: { readonly [name: string]: string } = {
  total_changes: "it counts what this connection did; use changes() or RETURNING",
  load_extension: "extensions are the operator's, on all nodes alike",
  fts3_tokenizer: "tokenizers are the operator's, on all nodes alike",
  sqlite_version: "nodes may run different versions; pass the value as a parameter",
  sqlite_source_id: "nodes may run different versions; pass the value as a parameter",
  sqlite_compileoption_get: "nodes may be built differently; pass the value as a parameter",
  sqlite_compileoption_used: "nodes may be built differently; pass the value as a parameter",
  sqlite_offset: "where a row lies differs between nodes",
  fts5_locale:
    "what it gives begins with dice of the connection's; FTS5's own tokenizers know no locales",
  fts5_source_id: "nodes may run different versions; pass the value as a parameter",
  optimize: "it writes though it is called by a SELECT; use INSERT INTO f(f) VALUES ('optimize')",
};

/** Tables that show the node, its pages or its connection. */
const NODE_TABLES = new Set([
  "dbstat",
  "sqlite_dbpage",
  "sqlite_temp_master",
  "sqlite_temp_schema",
]);

const STATISTICS = /^sqlite_stat[0-9]$/;
const OWN_TABLES = new Set(["balsa_meta", "balsa_session", "balsa_scratch"]);

function refused(message: string): BalsaError {
  return new BalsaError("REFUSED", message);
}

/** `undeclared`: what a write must not use besides. @throws BalsaError REFUSED, with the way out. */
export function judge(
  shape: StatementShape,
  mode: GateMode,
  undeclared: UndeclaredNames | null = null,
): StatementClass {
  const reason = REFUSED_VERBS[shape.verb];
  if (reason !== undefined) throw refused(reason);
  refuseReservedNames(shape);
  if (mode === "read" && WRITING_VERBS.has(shape.verb) && !shape.explain) {
    throw refused(`${shape.verb.toUpperCase()} does not read: use run(), batch() or exec()`);
  }
  if (shape.temporary && mode === "write") {
    throw refused(
      "temporary objects are not allowed: they live on one connection of one node; use an ordinary table",
    );
  }
  // Also behind EXPLAIN: SQLite sets many a flag while it compiles.
  const pragma = shape.pragma === null ? null : judgePragma(shape.pragma, mode);
  if (pragma === "setting" && shape.explain) throw refused("a setting has no plan");
  if (shape.explain) return "inspection";
  if (pragma !== null) return pragma;
  if (mode === "write") refuseNodeNames(shape);
  else refuseSwitchTables(shape);
  if (mode === "write" && undeclared !== null) refuseUndeclared(shape, undeclared);
  if (mode === "write" && tellsRootpage(shape)) {
    if (onlySelects(shape)) return "inspection";
    throw refused(
      "rootpage of sqlite_schema differs between nodes; " +
        "name the columns that you need: type, name, tbl_name, sql",
    );
  }
  if (shape.verb === "reindex") return "replicated";
  return "sqlite";
}

function refuseReservedNames({ names, functions, strings }: StatementShape): void {
  for (const name of names) {
    if (name.startsWith("balsa_")) {
      throw refused(`${name}: names that begin with balsa_ are Balsa's own; choose another`);
    }
  }
  for (const name of ["load_extension", "fts3_tokenizer"]) {
    if (functions.has(name)) throw refused(`${name}() is not allowed: ${NODE_FUNCTIONS[name]}`);
  }
  for (const own of OWN_TABLES) {
    if (strings.has(own)) {
      throw refused(`'${own}' is Balsa's own table; if a value is meant, pass it as a parameter`);
    }
  }
}

/** A reader's connection has switches of its own, which mean nothing; the pragma itself is answered from the file. */
function refuseSwitchTables({ names }: StatementShape): void {
  for (const name of names) {
    if (!name.startsWith("pragma_") || !isSwitch(name.slice(7))) continue;
    const pragma = name.slice(7);
    throw refused(
      `${name} would tell of one connection; PRAGMA ${pragma} tells how the cluster is set`,
    );
  }
}

function refuseNodeNames({ names, functions, strings, verb }: StatementShape): void {
  for (const name of functions) {
    if (!Object.hasOwn(NODE_FUNCTIONS, name)) continue;
    throw refused(`${name}() is not allowed in a write: ${NODE_FUNCTIONS[name]}`);
  }
  for (const name of names) {
    if (name.startsWith("pragma_") || NODE_TABLES.has(name)) {
      throw refused(
        `${name} is not allowed in a write: it may differ between nodes; ` +
          "read it first and pass what you need as parameters",
      );
    }
    if (STATISTICS.test(name) && verb !== "select") throw refused(statisticsAdvice(name));
  }
  for (const text of strings) {
    if (text.startsWith("pragma_") || NODE_TABLES.has(text)) {
      throw refused(
        `'${text}' may be taken for a table that differs between nodes; ` +
          "if a value is meant, pass it as a parameter",
      );
    }
    if (STATISTICS.test(text) && verb !== "select") throw refused(statisticsAdvice(text));
  }
}

const SCHEMA_TABLES = ["sqlite_schema", "sqlite_master"];

/** Where a table begins in the file depends on where transactions ended: sessions are written there. */
function tellsRootpage(shape: StatementShape): boolean {
  const { verb, names, strings, allColumns, wholeTables } = shape;
  if (!SCHEMA_TABLES.some((name) => names.has(name) || strings.has(name))) return false;
  if (SCHEMA_TABLES.some((name) => wholeTables.has(name))) return true;
  // Full text takes all columns of a table that it is to be over.
  if (verb === "create" && names.has("virtual")) return true;
  return allColumns || names.has("rootpage") || names.has("natural");
}

const WRITING_WORDS = ["insert", "replace", "update", "delete", "create"];

function onlySelects({ verb, names }: StatementShape): boolean {
  if (verb === "select" || verb === "values") return true;
  return verb === "with" && !WRITING_WORDS.some((word) => names.has(word));
}

function statisticsAdvice(name: string): string {
  return `${name} is ANALYZE's own: connections would take up what you write at will`;
}

function judgePragma(pragma: PragmaShape, mode: GateMode): StatementClass {
  const { name, hasArgument } = pragma;
  if (isSwitch(name) && hasArgument) {
    if (mode === "read") throw refused(doesNotRead(pragma));
    settingOf(pragma);
    return "setting";
  }
  const shared = Object.hasOwn(SHARED_PRAGMAS, name) ? SHARED_PRAGMAS[name] : undefined;
  if (shared !== undefined && (shared || !hasArgument)) return "readonly";
  const node = Object.hasOwn(NODE_PRAGMAS, name) ? NODE_PRAGMAS[name] : undefined;
  if (node !== undefined && (node || !hasArgument)) return "inspection";
  if (REPLICATED_PRAGMAS.has(name)) {
    if (mode === "write") return "replicated";
    throw refused(doesNotRead(pragma));
  }
  const advice = PRAGMA_ADVICE[name];
  const why = "it would change one node alone, or one connection of it";
  throw refused(`PRAGMA ${name} is not allowed: ${why}; ${advice ?? OTHER_PRAGMAS}`);
}

function doesNotRead({ name, hasArgument }: PragmaShape): string {
  return `PRAGMA ${name}${hasArgument ? " = …" : ""} does not read: use run(), batch() or exec()`;
}

const SWITCH_VALUES: { readonly [word: string]: "on" | "off" } = {
  on: "on",
  yes: "on",
  true: "on",
  "1": "on",
  off: "off",
  no: "off",
  false: "off",
  "0": "off",
};

/** What a pragma of class `setting` sets. @throws BalsaError REFUSED: SQLite takes any other word for OFF */
export function settingOf({ name, argument }: PragmaShape): Setting {
  const value = Object.hasOwn(SWITCH_VALUES, argument) ? SWITCH_VALUES[argument] : undefined;
  if (value === undefined)
    throw refused(`PRAGMA ${name} = … takes ON or OFF: SQLite would take any other word for OFF`);
  return { name, value };
}
