/** Mutants of the copy beside the writer (S9 to S11). */

import { edit, type Mutant, test } from "./mutant.ts";

const copy = (name: string) => test("machine/wal-copy", name);
const pace = (name: string) => test("machine/checkpoints", name);

const COPY = "src/machine/wal-copy.ts";
const PACE = "src/machine/checkpoints.ts";

export const COPIES: readonly Mutant[] = [
  {
    name: "copied-before-the-wal-is-durable",
    guards: ["S9"],
    removes: "the copier syncs neither the WAL nor the file",
    edits: [edit(COPY, '"synchronous = NORMAL",', '"synchronous = OFF",')],
    killedBy: [copy("in the middle of it the file is whole")],
  },
  {
    name: "copiers-word-counts",
    guards: ["S9"],
    removes: "a pass of the copier is told as a complete checkpoint",
    edits: [
      edit(PACE, '    if (state !== "failed") return;', [
        '    if (state !== "failed") {',
        "      const { appliedIndex: index, appliedTerm: term } = this.#parts.engine.state;",
        "      const last = encodeEntryId({ index, term });",
        "      return this.#parts.channel.send(FROM_WRITER.checkpointed, 0, last);",
        "    }",
      ]),
    ],
    killedBy: [pace("has the WAL copied beside it, and goes on")],
  },
  {
    name: "another-file-copied-into",
    guards: ["S9", "N30"],
    removes: "the copier opens whatever has the name of the database or of its WAL",
    edits: [edit(COPY, "if (this.#areSameFiles()) return;", 'if (this.#files !== "") return;')],
    killedBy: [copy("opens no other file than the writer's")],
  },
  {
    name: "locks-dropped-by-the-copier",
    guards: ["S9"],
    removes: "the copier closes its descriptor of the file, and with it the writer's locks",
    edits: [
      edit(COPY, "import { fdatasyncSync,", "import { closeSync, fdatasyncSync,"),
      edit(COPY, "    this.#copy = null;", [
        "    this.#copy = null;",
        "    if (this.#file !== null) closeSync(this.#file);",
        "    this.#file = null;",
      ]),
    ],
    killedBy: [copy("leaves the writer its locks on the file when it is closed")],
  },
  {
    name: "copier-always-awaited",
    guards: ["S10"],
    removes: "the writer waits for each pass of the copier",
    edits: [edit(PACE, ["    if (this.#isCopying && !isOver) return;", ""], "")],
    killedBy: [pace("has the WAL copied beside it, and goes on")],
  },
  {
    name: "copier-never-awaited",
    guards: ["S10"],
    removes: "behind a copier that is slow the WAL grows without a bound",
    edits: [edit(PACE, "if (this.#isCopying && !isOver) return;", "if (this.#isCopying) return;")],
    killedBy: [pace("waits for it only where the WAL would pass its bound")],
  },
  {
    name: "checkpoint-left-to-the-copier",
    guards: ["S10"],
    removes:
      "the writer makes no checkpoint of its own while the copier keeps up: the WAL is never begun anew",
    edits: [
      edit(
        PACE,
        "const since = size.all - this.#attemptedAtBytes;",
        "const since = size.uncopied;",
      ),
    ],
    killedBy: [pace("checkpoints itself when that is due and short")],
  },
  {
    name: "failed-copier-relied-on",
    guards: ["S11"],
    removes: "a writer whose copier fails does not copy for itself",
    edits: [edit(PACE, "this.#aloneUntilMs = this.#nowMs() + ALONE_MS;", "")],
    killedBy: [pace("copies for itself when the copier fails")],
  },
  {
    name: "endless-copy-awaited",
    guards: ["S11"],
    removes: "a writer waits for ever for a pass that does not end",
    edits: [edit(PACE, "if (!copier.wait(PASS_MS_MAX)) {", "if (copier.wait(PASS_MS_MAX)) {")],
    killedBy: [pace("ends when the copier does not end")],
  },
  {
    name: "pinned-wal-copied-again",
    guards: ["S11"],
    removes:
      "while a reader pins the WAL, the copier is started again and again and nobody is told",
    edits: [
      edit(
        PACE,
        "this.#heldBytes = heldPages * WAL_FRAME_BYTES;",
        "this.#heldBytes = heldPages * 0;",
      ),
    ],
    killedBy: [pace("tells what readers hold back, instead of having it copied for ever")],
  },
];
