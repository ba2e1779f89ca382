/** Mutants of what a node inside an app reads of its own file (N20). */

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
];
