/** Mutants of what a node inside an app is opened with and reads of its own file (N20, N25). */

import { edit, type Mutant, test } from "./mutant.ts";

const LOCAL_FILE = "src/service/local-file.ts";
const local = (name: string) => test("service/local-database", name);

export const LOCAL_READS: readonly Mutant[] = [
  {
    name: "local-file-kept",
    guards: ["N20"],
    removes: "a file that took the database's place is not noticed",
    edits: [
      edit(
        LOCAL_FILE,
        "if (database !== null && (inode === undefined || inode === this.#inode)) return database;",
        "if (database !== null) return database;",
      ),
    ],
    killedBy: [local("follows a file that takes its place; an open iterator ends on the old one")],
  },
  {
    name: "local-transaction-moves",
    guards: ["N20"],
    removes: "a transaction goes on in the file that was put in place meanwhile",
    edits: [
      edit(
        LOCAL_FILE,
        ["    if (database !== null && this.#inTransaction) return database;", ""],
        "",
      ),
    ],
    killedBy: [local("a transaction is one moment, also when the writer goes on and the file")],
  },
  {
    name: "local-unjudged",
    guards: ["N25"],
    removes: "an app's own reads are not judged as a node's are",
    edits: [edit("src/machine/reading-text.ts", 'judge(shape, "read");', "void judge;")],
    killedBy: [local("refuses what a node's readers refuse, and says where it can be done")],
  },
  {
    name: "local-moment-kept",
    guards: ["N25"],
    removes: "a transaction that cannot end keeps its moment for all that follow",
    edits: [edit(LOCAL_FILE, "if (database === this.#database) this.#drop();", "")],
    killedBy: [local("an open iterator lets no transaction begin or end, and spoils nothing")],
  },
  {
    name: "misspelt-option-passed-over",
    guards: ["N25"],
    removes: "openNode passes over an option that it does not know",
    edits: [
      edit(
        "src/service/embedded-options.ts",
        'checkNames("openNode", options, Object.keys(KINDS));',
        'checkNames("openNode", {}, Object.keys(KINDS));',
      ),
    ],
    killedBy: [test("service/embedded-options", "openNode with a slip in a name names the option")],
  },
];
