/** Mutants of what is set for the whole cluster: N16 settings, N17 who may lead. */

import { edit, type Mutant, test } from "./mutant.ts";

const settings = (name: string) => test("machine/cluster-settings", name);

const CORE = "src/machine/machine-core.ts";
const KEPT = "src/machine/kept-settings.ts";

export const CLUSTER_SETTINGS: readonly Mutant[] = [
  {
    name: "setting-not-stored",
    guards: ["N16"],
    removes: "a setting lives as long as the connection that it was made on",
    edits: [
      edit(
        "src/machine/machine-meta.ts",
        "    if (settings !== null) this.#set.run(settings);\n",
        "",
      ),
    ],
    killedBy: [settings("another writer finds it in the file")],
  },
  {
    name: "setting-not-thrown-at-opening",
    guards: ["N16"],
    removes: "a writer begins with SQLite's own switches, whatever the file says",
    edits: [
      edit(
        KEPT,
        "for (const name of Object.keys(SWITCHES) as SwitchName[]) this.#throw(name);",
        "",
      ),
    ],
    killedBy: [settings("another writer finds it in the file")],
  },
  {
    name: "setting-inside-a-transaction",
    guards: ["N16"],
    removes:
      "a follower throws a switch in the middle of a transaction, where SQLite passes over it",
    edits: [
      edit(CORE, "    if (this.#on.database.inTransaction) this.#commit(before);\n", ""),
      edit(
        KEPT,
        'invariant(!this.#database.inTransaction, "a setting changes between transactions");',
        "",
      ),
      edit(KEPT, "invariant(found === (isOn ? 1n : 0n),", "invariant(found !== null,"),
    ],
    killedBy: [settings("a key that is violated fails, then passes")],
  },
  {
    name: "setting-among-others",
    guards: ["N16"],
    removes: "a setting is taken out of a batch as if it stood alone",
    edits: [
      edit(
        "src/machine/request-executor.ts",
        "notHere(setting, steps.length === 1 && transaction === null)",
        "notHere(setting, true)",
      ),
    ],
    killedBy: [settings("in a batch or a transaction it is refused")],
  },
  {
    name: "reader-tells-its-own-switch",
    guards: ["N16"],
    removes: "a reader answers PRAGMA foreign_keys from its own connection",
    edits: [
      edit(
        "src/machine/prepared-statement.ts",
        'this.#mode === "read" ? readerText(shape) : shape.text',
        "shape.text",
      ),
    ],
    killedBy: [settings("a reader tells the cluster's setting")],
  },
  {
    name: "explained-setting-thrown",
    guards: ["N16"],
    removes: "EXPLAIN of a setting is compiled, and so thrown on one connection",
    edits: [
      edit(
        "src/machine/gate.ts",
        'if (pragma === "setting" && shape.explain) throw refused("a setting has no plan");',
        "",
      ),
    ],
    killedBy: [settings("EXPLAIN of one is refused")],
  },
  {
    name: "other-machine-executes",
    guards: ["N17"],
    removes: "a writer executes for a cluster of another machine version",
    edits: [
      edit(
        KEPT,
        'if (own === "" || cluster === "" || own === cluster) return null;',
        "if (own !== null) return null;",
      ),
    ],
    killedBy: [settings("a writer of another machine version executes nothing")],
  },
  {
    name: "other-machine-stands",
    guards: ["N17"],
    removes: "a node of another version stands for leader like any",
    edits: [edit("src/raft/core.ts", "    if (!this.isEligible) return false;\n", "")],
    killedBy: [test("raft/elections", "a node that may not lead")],
  },
  {
    name: "other-machine-succeeds",
    guards: ["N17"],
    removes: "a leader hands over to a node of another version",
    edits: [
      edit(
        "src/node/handover.ts",
        "(peer) => fits(peer) && passes(peer)",
        "(peer) => (fits(peer) || true) && passes(peer)",
      ),
    ],
    killedBy: [test("node/handover", "never goes to who could not lead")],
  },
  {
    name: "raised-without-majority",
    guards: ["N17"],
    removes: "a caretaker raises the version to its own, whoever else runs it",
    edits: [
      edit("src/node/machine-versions.ts", "(isHopeless && this.#isMajority(own))", "isHopeless"),
    ],
    killedBy: [test("node/machine-versions", "never raises without a majority")],
  },
  {
    name: "belief-kept-by-who-may-not-stand",
    guards: ["N17"],
    removes: "a node that may not stand believes in a silent leader for ever",
    edits: [
      edit("src/raft/raft.ts", "      if (!core.isEligible) core.followLeader(NOBODY);\n", ""),
    ],
    killedBy: [test("raft/elections", "a node that may not lead")],
  },
  {
    name: "unknown-setting-skipped",
    guards: ["N18"],
    removes: "a node goes on behind a setting that it does not know",
    edits: [
      edit(
        CORE,
        "    if (!this.#on.settings.set(setting)) {",
        "    if (!this.#on.settings.set(setting) && !setting) {",
      ),
    ],
    killedBy: [settings("a node stops at a setting that it does not know")],
  },
  {
    name: "unknown-command-skipped",
    guards: ["N18"],
    removes: "a node reads what it can of a command of a later version",
    edits: [
      edit(
        "src/wire/log-codec.ts",
        "if (version < 1 || version > COMMAND_VERSION) {",
        "if (version < 1) {",
      ),
    ],
    killedBy: [settings("a node stops at a command of a version that it does not know")],
  },
];
