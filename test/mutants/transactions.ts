/** Mutants of transactions (P11, P12, P14) and of what is beyond a request's limits (P15). */

import { edit, type Mutant, test } from "./mutant.ts";

const hold = (name: string) => test("node/transaction", name);
const client = (name: string) => test("client/transactions", name);
const reader = (name: string) => test("machine/read-executor", name);

const HOLD = "src/node/writer-hold.ts";
const CLIENT = "src/client/transaction.ts";

export const TRANSACTIONS: readonly Mutant[] = [
  {
    name: "others-between-its-steps",
    guards: ["P11"],
    removes: "the writes of others are executed while a transaction is open",
    edits: [
      edit(HOLD, "      return step;\n    }", "      if (step !== undefined) return step;\n    }"),
    ],
    killedBy: [hold("begins when what came before it is in SQLite, and lets nobody in before it")],
  },
  {
    name: "begins-in-an-open-cycle",
    guards: ["P11"],
    removes: "a transaction begins though what came before it is not committed",
    edits: [edit(HOLD, "if (!isClean) return undefined;", "")],
    killedBy: [hold("begins when what came before it is in SQLite, and lets nobody in before it")],
  },
  {
    name: "lost-commit-not-asked-for",
    guards: ["P12"],
    removes: "a commit whose answer is lost is taken for one that failed",
    edits: [edit(CLIENT, "if (isOpen) return settle(shared, error);", "void isOpen;")],
    killedBy: [
      client("a commit without an answer is asked for, under its number, and found"),
      client("a commit that failed with UNAVAILABLE, unknown, was not applied if the nodes say so"),
    ],
  },
  {
    name: "step-sent-again",
    guards: ["P12"],
    removes: "a transaction whose connection is lost is run again unasked",
    edits: [
      edit(CLIENT, "if (!isAborted || left === 0) throw error;", "if (!isAborted) throw error;"),
    ],
    killedBy: [
      client("a connection that is lost before the commit has taken the transaction with"),
    ],
  },
  {
    name: "nested-call-waits",
    guards: ["P13"],
    removes: "a write of db inside a transaction waits for it, and it for the write",
    edits: [edit("src/client/client.ts", 'refuseInside(this, "a write");', "void refuseInside;")],
    killedBy: [client("db inside of the function is refused where it would wait")],
    hangs: true,
  },
  {
    name: "a-moment-for-each-step",
    guards: ["P14"],
    removes: "each step of a read-only transaction sees a moment of its own",
    edits: [edit("src/machine/read-executor.ts", "    if (isOwn) this.#begin.run();\n", "")],
    killedBy: [reader("a snapshot is one moment for all its steps, whatever is written meanwhile")],
  },
  {
    name: "snapshot-parameters-unbounded",
    guards: ["P15"],
    removes: "a read-only transaction takes any number of parameters",
    edits: [
      edit(
        "src/machine/read-snapshot.ts",
        "    checkParameters(judged.shape.parameters.count, this.#limits);\n",
        "    void checkParameters;\n",
      ),
    ],
    killedBy: [reader("a snapshot's step holds the limits of a request")],
  },
  {
    name: "blame-forgotten",
    guards: ["P15"],
    removes: "a statement that Balsa refuses is not named",
    edits: [
      edit(
        "src/machine/request-executor.ts",
        ["        this.#judging = index;", "        const"],
        "        const",
      ),
    ],
    killedBy: [test("machine/bad-input", "the statement that failed is named")],
  },
];
