/** Mutants of what keeps extensions of SQLite from making nodes differ. */

import { edit, type Mutant, test } from "./mutant.ts";

const NAMES = "src/machine/extension-names.ts";
const UNDECLARED = "src/machine/undeclared-names.ts";
const extensions = (name: string) => test("machine/extensions", name);

export const EXTENSIONS: readonly Mutant[] = [
  {
    name: "other-extensions-heard",
    guards: ["N22"],
    removes: "a node with other extensions is a peer",
    edits: [
      edit(
        "src/rpc/platform.ts",
        "return extensionConflict(mine.extensions, other.extensions);",
        "return extensionConflict(mine.extensions, mine.extensions);",
      ),
    ],
    killedBy: [test("rpc/platform", "other extensions are a conflict")],
  },
  {
    name: "extension-file-unmeasured",
    guards: ["N22"],
    removes: "a process loads whatever has taken the file's place since the node began",
    edits: [
      edit(
        "src/machine/extension-files.ts",
        "if (hashOf(name, path) === sha256) return;",
        "if (hashOf(name, path) !== sha256.slice(1)) return;",
      ),
    ],
    killedBy: [extensions("because its file was changed since")],
  },
  {
    name: "undeclared-written",
    guards: ["N23"],
    removes: "writes use what is not declared deterministic",
    edits: [
      edit(
        "src/machine/gate.ts",
        'if (mode === "write" && undeclared !== null)',
        'if (mode === "read" && undeclared !== null)',
      ),
    ],
    killedBy: [
      extensions("UPDATE t SET a = (SELECT wild_times(a))"),
      extensions("CREATE VIRTUAL TABLE u USING wild_upto"),
      extensions("is refused in a transaction, too"),
    ],
  },
  {
    name: "undeclared-in-the-schema",
    guards: ["N23"],
    removes: "a trigger older than the declaration goes on with what is not declared",
    edits: [
      edit(
        "src/machine/writer-connection.ts",
        "if (undeclared !== null) demandDeclared(database, undeclared);",
        "if (undeclared === null) demandDeclared(database, undeclared as never);",
      ),
    ],
    killedBy: [extensions("a schema that is older than the declaration")],
  },
  {
    name: "undeclared-collation-written",
    guards: ["N23"],
    removes: "rows are ordered by a collation that is not declared",
    edits: [edit(UNDECLARED, "shape.collations.has(name)", "shape.functions.has(name)")],
    killedBy: [extensions("CREATE TABLE u (a COLLATE wild_backwards)")],
  },
  {
    name: "undeclared-tokenizer-written",
    guards: ["N23"],
    removes: "full text is cut into words by a tokenizer that nobody declared",
    edits: [
      edit(UNDECLARED, "if (tokenizer === null) return null;", "if (tokenizer !== 0) return null;"),
    ],
    killedBy: [extensions("tokenize = 'wild 1'")],
  },
  {
    name: "kept-function-replaced",
    guards: ["N23"],
    removes: "an extension takes the place of random() or of a date function",
    edits: [edit(NAMES, "if (taken !== undefined) {", "if (taken === null) {")],
    killedBy: [extensions("because it replaces random"), extensions("a function of dates")],
  },
  {
    name: "replaced-in-its-place",
    guards: ["N23"],
    removes: "a function of FTS5 that an extension replaces is not counted as the extension's",
    edits: [edit(NAMES, "    markFunctions(database);", "")],
    killedBy: [extensions("what it replaces of FTS5 is seen")],
  },
  {
    name: "same-name-twice",
    guards: ["N23"],
    removes:
      "of two extensions with one function the last one wins, whatever the other was declared",
    edits: [
      edit("src/machine/extension-check.ts", "if (other !== undefined) {", "if (other === null) {"),
    ],
    killedBy: [extensions("because another brings the same name")],
  },
];
