/** Mutants of what keeps the same entries from coming to different content: R5, where digests would not see it. */

import { edit, type Mutant, test } from "./mutant.ts";

const plain = (name: string) => test("machine/plain-writes", name);
const differences = (name: string) => test("machine/node-differences", name);

const EXECUTOR = "src/machine/request-executor.ts";
const RULES = "src/machine/statement-rules.ts";
const PLAIN = "src/machine/plain-writes.ts";
const GATE = "src/machine/gate.ts";

export const SAME_CONTENT: readonly Mutant[] = [
  {
    name: "side-effects-uncounted",
    guards: ["R5"],
    removes:
      "a digest counts the rows that the statement names, not those that foreign keys and triggers change",
    edits: [
      edit(
        "src/machine/schema-facts.ts",
        "plain: triggers.length === 0 && !texts.some((text) => SIDE_EFFECTS.test(text)),",
        "plain: texts.every((text) => text.length > 0 || SIDE_EFFECTS.test(text)),",
      ),
    ],
    killedBy: [test("machine/counted-changes", "a foreign key sets NULL")],
  },
  {
    name: "schema-not-read-anew",
    guards: ["R5"],
    removes: "a connection goes on with statistics of indexes that it has dropped",
    edits: [
      edit(
        EXECUTOR,
        ["    if (progress.changedSchema) this.#database.exec(RELOAD_SCHEMA);", ""],
        "",
      ),
    ],
    killedBy: [differences("statistics are those that a fresh connection would know")],
  },
  {
    name: "state-set-before-the-savepoint",
    guards: ["R5"],
    removes: "what FTS4 writes late is taken for the request's last insert",
    edits: [
      edit(
        EXECUTOR,
        "if (guarded) this.#savepoint.run();\n    if (transaction === null && progress.native) this.beginConnectionState(0n);",
        "if (transaction === null && progress.native) this.beginConnectionState(0n);\n    if (guarded) this.#savepoint.run();",
      ),
    ],
    killedBy: [differences("what FTS4 gathers until a savepoint")],
  },
  {
    name: "late-writes-counted",
    guards: ["R5"],
    removes: "what FTS5 writes when the savepoint ends, or does not, is counted as the request's",
    edits: [
      edit(
        EXECUTOR,
        [
          "    const after = this.#totalAfter(before, progress, guarded);",
          "    if (guarded) this.#release.run();",
        ],
        [
          "    if (guarded) this.#release.run();",
          "    const after = this.#totalAfter(before, progress, guarded);",
        ],
      ),
    ],
    killedBy: [differences("when FTS5 writes what it gathered is nobody's effect")],
  },
  {
    name: "half-a-statement-kept",
    guards: ["R5"],
    removes: "rows that SQLite leaves behind a failed statement stay on the leader",
    edits: [
      edit(
        RULES,
        'return shape.severalRows && (facts.strict || names.has("ignore") || names.has("nothing"));',
        "return false;",
      ),
      edit(RULES, "facts.triggers || names.has", "names.has"),
    ],
    killedBy: [
      differences("a wrong type in a STRICT table"),
      differences("a text for a rowid, IGNORE"),
      differences("a wrong type in a trigger"),
    ],
  },
  {
    name: "unforeseen-half-kept",
    guards: ["R5"],
    removes: "a writer goes on behind a failure that SQLite may not have undone",
    edits: [
      edit(
        EXECUTOR,
        "const left = lost && progress.wrote",
        "const left = lost && progress.inspected",
      ),
    ],
    killedBy: [differences("a failure that SQLite may not undo, met without a savepoint")],
  },
  {
    name: "largest-rowid-taken",
    guards: ["R5"],
    removes: "a table may hold the largest rowid, beside which SQLite throws dice of its own",
    edits: [
      edit(
        "src/machine/largest-rowid.ts",
        "if (probe?.get(ROWID_MAX) === undefined) return;",
        "if (probe?.get(ROWID_MAX) !== null) return;",
      ),
    ],
    killedBy: [differences("rowid 2^63-1 is refused")],
  },
  {
    name: "rootpage-stored",
    guards: ["R5"],
    removes: "a write may store where its node's tables lie",
    edits: [
      edit(
        GATE,
        'if (mode === "write" && tellsRootpage(shape)) {',
        'if (mode === "read" && tellsRootpage(shape)) {',
      ),
    ],
    killedBy: [differences("rootpage of sqlite_schema is of the node")],
  },
  {
    name: "schema-behind-in",
    guards: ["R5"],
    removes: "a write may compare whole rows of sqlite_schema, and so where its node's tables lie",
    edits: [
      edit(GATE, "wholeTables.has(name))) return true;", "wholeTables.has(name))) return false;"),
    ],
    killedBy: [differences("rootpage of sqlite_schema is of the node")],
  },
  {
    name: "schema-under-full-text",
    guards: ["R5"],
    removes: "a full text table over sqlite_schema shows where its node's tables lie",
    edits: [
      edit(
        GATE,
        'if (verb === "create" && names.has("virtual")) return true;',
        "if (verb === null) return true;",
      ),
    ],
    killedBy: [differences("rootpage of sqlite_schema is of the node")],
  },
  {
    name: "full-text-index-read",
    guards: ["R5"],
    removes:
      "a write stores what it reads of FTS5's own table, in which each connection counts anew",
    edits: [
      edit(
        "src/machine/node-tables.ts",
        "    if (!isOver && !this.#opensOne(prepared, args, facts)) return false;",
        "    if (named || !this.#opensOne(prepared, args, facts)) return false;",
      ),
    ],
    killedBy: [differences("FTS5's own table counts what one connection did first")],
  },
  {
    name: "full-text-index-read-by-triggers",
    guards: ["R5"],
    removes: "a trigger does",
    edits: [
      edit(
        "src/machine/node-tables.ts",
        "if (!named && !(writes && facts.nodeTablesInTriggers)) return false;",
        "if (!named) return false;",
      ),
    ],
    killedBy: [differences("FTS5's own table counts what one connection did first")],
  },
  {
    name: "full-text-over-full-text-index",
    guards: ["R5"],
    removes: "a virtual table is over FTS5's own table",
    edits: [
      edit(
        "src/machine/node-tables.ts",
        "if (overNodeTable === null) return;",
        "if (overNodeTable !== 0) return;",
      ),
    ],
    killedBy: [
      differences("a virtual table that waits for FTS5's own table"),
      test("machine/seed-file", "block, content='f_data'"),
    ],
  },
  {
    name: "statistics-of-the-temp-schema",
    guards: ["R5"],
    removes:
      "ANALYZE temp makes statistics that only one connection knows, in front of the database's own",
    edits: [
      edit(
        "src/machine/statement-shape.ts",
        '  if (verb === "analyze" && anyName(text, tokens[at + 1]) === "temp") return true;',
        "",
      ),
    ],
    killedBy: [differences("statistics of the temp schema")],
  },
  {
    name: "dice-of-a-connection-stored",
    guards: ["R5"],
    removes:
      "fts5_locale() is taken in a write, though its blobs begin with dice of the connection's",
    edits: [edit(GATE, "  fts5_locale:", "  fts5_locale_:")],
    killedBy: [test("machine/same-everywhere", "every function can be called on a leader")],
  },
  {
    name: "undone-command-remembered",
    guards: ["R5"],
    removes: "a connection goes on with what it was told of full text and was undone",
    edits: [edit(EXECUTOR, "changesSchema || tellsFullText(prepared, facts)", "changesSchema")],
    killedBy: [differences("what full text was told and was undone")],
  },
  {
    name: "undone-command-of-a-trigger-remembered",
    guards: ["R5"],
    removes: "it does with what a trigger told",
    edits: [edit(RULES, "(shape.tellsFullText || facts.tellsFullText)", "shape.tellsFullText")],
    killedBy: [differences("what full text was told and was undone")],
  },
  {
    name: "plain-in-spite-of-foreign-keys",
    guards: ["R5"],
    removes: "a write takes the short way where foreign keys change rows that it does not count",
    edits: [edit(RULES, "if (!facts.plain || facts.needsSavepoint", "if (facts.needsSavepoint")],
    killedBy: [plain("a foreign key ends the short way, its end lets it be found again")],
  },
  {
    name: "plain-in-another-schema",
    guards: ["R5"],
    removes: "a write goes the short way that was found under an earlier schema",
    edits: [
      edit(EXECUTOR, ["      this.#cache.clear();", ""], ""),
      edit(PLAIN, "?.facts !== facts ||", "?.facts === undefined ||"),
    ],
    killedBy: [plain("a trigger ends the short way, its end lets it be found again")],
  },
  {
    name: "plain-with-a-rounded-rowid",
    guards: ["R5"],
    removes: "the short way takes a rowid beyond 2^53 as a number tells it",
    edits: [edit(PLAIN, "found <= Number.MAX_SAFE_INTEGER", "found <= Infinity")],
    killedBy: [plain("have the same outcomes, and leave the same rows")],
  },
  {
    name: "rounded-rowid",
    guards: ["R5"],
    removes: "the long way does",
    edits: [
      edit(
        EXECUTOR,
        "return Number.isSafeInteger(lastInsertRowid) ?",
        "return Number.isInteger(lastInsertRowid) ?",
      ),
    ],
    killedBy: [plain("have the same outcomes, and leave the same rows")],
  },
  {
    name: "plain-largest-rowid-taken",
    guards: ["R5"],
    removes: "the short way lets a table have the largest rowid",
    edits: [edit(PLAIN, "found >= ROWID_SMALL", "found < 0")],
    killedBy: [plain("a rowid that a number cannot hold is told as it is, the largest is refused")],
  },
  {
    name: "rolled-back-and-open",
    guards: ["R5"],
    removes: "a machine takes its transaction for open that it has rolled back",
    edits: [
      edit(
        "src/machine/machine-core.ts",
        "    this.#on.requests.disturbed();\n    if (this.#on.database",
        "    if (this.#on.database",
      ),
    ],
    killedBy: [plain("a transaction that is rolled back is open no more")],
  },
  {
    name: "short-digest",
    guards: ["R5"],
    removes: "a digest is not what the logs so far have",
    edits: [edit("src/machine/effect-digest.ts", "Buffer.alloc(16)", "Buffer.alloc(12)")],
    killedBy: [plain("the digest of effects is what it was in every log")],
  },
];
