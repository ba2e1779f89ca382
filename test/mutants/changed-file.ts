/** Mutants of what notices a database file that was changed from outside, and of what follows (N30, N31). */

import { edit, type Mutant, test } from "./mutant.ts";

const seal = (name: string) => test("machine/file-seal", name);
const node = (name: string) => test("node/changed-file", name);
const directory = (name: string) => test("machine/snapshot-directory", name);

const SEAL = "src/machine/file-seal.ts";
const META = "src/machine/machine-meta.ts";
const FILE = "src/node/changed-file.ts";
const START = "src/node/file-at-start.ts";
const DRIVER = "src/node/writer-driver.ts";
const SICKNESS = "src/node/sickness.ts";

export const CHANGED_FILES: readonly Mutant[] = [
  {
    name: "other-commits-unseen",
    guards: ["N30"],
    removes: "a transaction begins on what another program has committed",
    edits: [edit(META, " && this.#version.get() === this.#opened) return;", ") return;")],
    killedBy: [seal("into which another connection commits")],
  },
  {
    name: "locked-by-another-unseen",
    guards: ["N30"],
    removes:
      "a writer that another program locks out is replaced, and the next one takes what that program commits",
    edits: [edit(META, 'error.code === "SQLITE_BUSY"', 'error.code === "SQLITE_NEVER"')],
    killedBy: [seal("that another program holds locked for writing")],
  },
  {
    name: "lost-wal-unseen",
    guards: ["N30"],
    removes: "the writer goes on in a WAL without a name, and new readers see what is old",
    edits: [edit("src/machine/machine-core.ts", "    this.#on.files.demandSame();\n", "")],
    killedBy: [seal("whose WAL, or the WAL's index, is removed")],
  },
  {
    name: "emptied-file-unseen",
    guards: ["N30"],
    removes:
      "a file that is emptied under the writer is sealed, and the next start finds no database",
    edits: [edit(SEAL, "if (facts.bytes === 0n && this.#bytes > 0n) {", "if (facts.bytes < 0n) {")],
    killedBy: [seal("whose file is emptied is not worked on")],
  },
  {
    name: "changed-index-is-another-writer",
    guards: ["N30"],
    removes: "who changes the applied index passes for another writer of the node's",
    edits: [
      edit(
        META,
        "if (row?.[5] !== this.#epoch) {",
        "if (row?.[1] !== BigInt(appliedIndex) || row[5] !== this.#epoch) {",
      ),
    ],
    killedBy: [seal("whose schema, or whose applied index, another connection changes")],
  },
  {
    name: "seal-left-while-writing",
    guards: ["N30"],
    removes: "the seal stays while the node writes to the file",
    edits: [
      edit(
        SEAL,
        'else if (found.kind !== "unsealed") this.#remove(SEAL_SUFFIX);',
        "else return found;",
      ),
    ],
    killedBy: [seal("loses its seal, durably, before the next writer opens it")],
  },
  {
    name: "wal-beside-the-seal-unseen",
    guards: ["N30"],
    removes: "a WAL that the node did not leave is replayed",
    edits: [edit(SEAL, "      if (size > 0) return", "      if (size < 0) return")],
    killedBy: [seal("by one whose program was killed or goes on")],
  },
  {
    name: "written-within-a-tick",
    guards: ["N30"],
    removes: "the file keeps the time of the last write, which the next one may leave as well",
    edits: [
      edit(
        SEAL,
        "      utimesSync(this.#path, second,",
        "      if (second < 0) utimesSync(this.#path, second,",
      ),
    ],
    killedBy: [seal("has a time that no write leaves")],
  },
  {
    name: "sealed-in-spite-of-a-change",
    guards: ["N30"],
    removes: "a file is sealed to which somebody wrote since the last transaction",
    edits: [
      edit(
        SEAL,
        "    engine.look();\n    const { state } = engine;",
        "    const { state } = engine;",
      ),
    ],
    killedBy: [seal("seals nothing that somebody else has written to")],
  },
  {
    name: "written-while-closing",
    guards: ["N30"],
    removes: "a file is sealed as it is found when it is closed",
    edits: [edit(SEAL, '    if (what !== "") throw new FileChanged(what);\n', "")],
    killedBy: [seal("sees a write between its last look and its end")],
  },
  {
    name: "another-file-unseen",
    guards: ["N30"],
    removes: "another file under the name goes unnoticed, and is sealed",
    edits: [
      edit(
        SEAL,
        "if (this.#inode !== null && facts.inode !== this.#inode) {",
        "if (facts === null) {",
      ),
    ],
    killedBy: [seal("sees that another file has taken its place")],
  },
  {
    name: "sealed-under-a-reader",
    guards: ["N30"],
    removes: "a file is sealed though its WAL is not empty",
    edits: [
      edit(
        SEAL,
        "    const isEmpty = engine.emptyWal();",
        "    engine.emptyWal();\n    const isEmpty = true;",
      ),
    ],
    killedBy: [seal("seals nothing while a reader keeps the WAL from the file")],
  },
  {
    name: "applies-to-a-changed-file",
    guards: ["N30"],
    removes: "the log is applied to a changed file",
    edits: [edit(DRIVER, 'state.changed === undefined ? "following" : "closed"', '"following"')],
    killedBy: [node("does nothing with a file that somebody else has changed")],
  },
  {
    name: "changed-node-serves",
    guards: ["N30"],
    removes: "a node whose file was changed serves",
    edits: [
      edit(
        SICKNESS,
        "return this.#illness !== null || this.#changed.isFound;",
        "return this.#illness !== null;",
      ),
    ],
    killedBy: [node("serves nothing and does not lead, from the first word on")],
  },
  {
    name: "changed-node-stands",
    guards: ["N30"],
    removes: "a node whose file was changed stands for leader",
    edits: [edit(SICKNESS, "if (this.#changed.isFound) return this.#changed.stands;", "")],
    killedBy: [node("serves nothing and does not lead, from the first word on")],
  },
  {
    name: "change-forgotten",
    guards: ["N31"],
    removes: "that a file was changed is noted nowhere",
    edits: [
      edit(
        SEAL,
        'if (found.kind === "changed") this.note(found.what, found.state);',
        'if (found.kind === "changed") return found;',
      ),
    ],
    killedBy: [seal("that was changed stays so through any number of starts")],
  },
  {
    name: "torn-note-forgotten",
    guards: ["N31"],
    removes: "a note that cannot be read says nothing",
    edits: [
      edit(SEAL, "if (changed !== null) {", "if (changed !== null && parse(changed) !== null) {"),
    ],
    killedBy: [seal("whose note of a change is torn")],
  },
  {
    name: "no-room-for-a-note",
    guards: ["N31"],
    removes: "on a full disk a change is not noted",
    edits: [edit(SEAL, "      this.#noteWithoutRoom();\n", "")],
    killedBy: [seal("notes a change by a name alone when there is room for no more")],
  },
  {
    name: "old-seal-kept",
    guards: ["N31"],
    removes: "a database that takes the place of another inherits its seal",
    edits: [
      edit(
        "src/machine/snapshot-directory.ts",
        '["-wal", "-shm", SEAL_SUFFIX, CHANGED_SUFFIX]',
        '["-wal", "-shm", CHANGED_SUFFIX]',
      ),
    ],
    killedBy: [
      directory(
        "gets the database's name when the old one's WAL, and what was noted of it, are gone",
      ),
    ],
  },
  {
    name: "changed-node-is-a-witness",
    guards: ["N31"],
    removes: "a node whose file was changed says what an entry did to it",
    edits: [
      edit(
        SICKNESS,
        '    if (this.#changed.isFound) return { kind: "unknown", digest: 0, detail: CHANGED };\n',
        "",
      ),
    ],
    killedBy: [node("speaks for no entry, also when it is asked")],
  },
  {
    name: "taken-from-a-changed-node",
    guards: ["N31"],
    removes: "a database is taken from a node whose own was changed",
    edits: [edit(FILE, "others.filter((voter) => !alike.includes(voter))", "[...others]")],
    killedBy: [node("never takes one that was changed as well")],
  },
  {
    name: "taken-before-all-have-looked",
    guards: ["N31"],
    removes: "a database is taken from a node that has not looked at its own yet",
    edits: [edit(FILE, "const SETTLE_MS = 2_500;", "const SETTLE_MS = 0;")],
    killedBy: [node("takes the database of any node that is not changed")],
  },
  {
    name: "waits-though-all-are-changed",
    guards: ["N31"],
    removes: "nodes that were all changed wait for each other",
    edits: [edit(FILE, "if (alike.length === others.length)", "if (alike.length > others.length)")],
    killedBy: [node("halts when every other voter's is changed too")],
  },
  {
    name: "alone-goes-on",
    guards: ["N31"],
    removes: "a node that is alone starts with a changed file",
    edits: [
      edit(
        START,
        'phase === "formed" && [...voters].some((voter) => voter !== id)',
        "voters.length >= 0 || phase === identity.phase",
      ),
    ],
    killedBy: [node("is refused where there are none")],
  },
  {
    name: "accepted-unseen",
    guards: ["N31"],
    removes: "a changed file is accepted that is damaged, or no database at all",
    edits: [
      edit(
        START,
        "    throw notTaken(what, error instanceof Error ? error.message : String(error));",
        "    at = { index: 0, term: error === null ? 1 : 0 };",
      ),
    ],
    killedBy: [node("takes it as it stands if it is told so")],
  },
  {
    name: "accepted-beside-another-log",
    guards: ["N31"],
    removes: "a changed file is accepted that stands at an entry which the log lacks",
    edits: [edit(START, "if (!holds(at)) {", "if (!holds(at) && at.index < 0) {")],
    killedBy: [node("takes it as it stands if it is told so")],
  },
];
