/** Mutants of what a node does about its disk: full disks, rot, and what is shown of a log (L3 to L7). */

import { edit, type Mutant, test } from "./mutant.ts";

const LOW_SPACE = "src/node/low-space.ts";
const SCRUB = "src/log/scrub.ts";
const CHECK = "src/log/chain-check.ts";

const FULL: readonly Mutant[] = [
  {
    name: "full-leader-takes-writes",
    guards: ["F6", "L5"],
    removes: "a leader without room takes writes",
    edits: [edit(LOW_SPACE, "    if (!this.isLow) return null;\n", "    return null;\n")],
    killedBy: [test("node/low-space", "refuses writes, those that wait too, until there is space")],
  },
  {
    name: "full-leader-stays",
    guards: ["F6", "L5"],
    removes: "a leader without room keeps the leadership",
    edits: [edit(LOW_SPACE, "    if (isLow) this.#handOver();\n", "    void this.#handOver;\n")],
    killedBy: [test("node/low-space", "hands the leadership to the best that has space")],
  },
  {
    name: "full-node-stands-first",
    guards: ["F6", "L5"],
    removes: "a node without room stands for leader as fast as one that has some",
    edits: [edit(LOW_SPACE, "    if (!this.isLow) return true;\n", "    return true;\n")],
    killedBy: [test("node/low-space", "lets another stand for leader first")],
  },
  {
    name: "full-node-goes-back-and-forth",
    guards: ["L5"],
    removes: "a node takes writes again as soon as there is a byte more than too little",
    edits: [edit("src/node/space-watch.ts", "const AGAIN = 1.125;", "const AGAIN = 1;")],
    killedBy: [test("node/low-space", "not low only when there is an eighth more")],
  },
  {
    name: "full-node-keeps-reads-waiting",
    guards: ["F6"],
    removes:
      "a read waits on a node that has no room for what it lacks, though another could serve it",
    edits: [
      edit("src/node/read-gate.ts", "    this.#isStuck = isStuck;\n", "    void this.#isStuck;\n"),
    ],
    killedBy: [test("node/read-gate", "while SQLite finds no space, what it lacks is to be had")],
  },
  {
    name: "claim-that-failed-unseen",
    guards: ["F6"],
    removes: "a writer believes in an epoch whose COMMIT failed",
    edits: [
      edit(
        "src/machine/machine-meta.ts",
        'writer_epoch + 1").run();',
        'writer_epoch + 1 RETURNING 1").get();',
      ),
    ],
    killedBy: [test("machine/writer-epoch", "a writer whose claim could not be committed")],
  },
  {
    name: "full-writer-halts-the-node",
    guards: ["L4"],
    removes: "a writer that ends for want of space is one that keeps dying",
    edits: [
      edit(
        "src/node/writer-rest.ts",
        "    return FULL.test(reason) ||",
        "    return false && FULL.test(reason) ||",
      ),
    ],
    killedBy: [test("node/writer-driver", "rests when the writer finds no space")],
  },
  {
    name: "closing-waits-for-space",
    guards: ["L4"],
    removes: "a log whose disk is full cannot be closed",
    edits: [
      edit(
        "src/log/batch-writer.ts",
        "this.#writing === null && (this.#isPausing || !this.#preparing);",
        "this.#writing === null && !this.#preparing;",
      ),
    ],
    killedBy: [test("log/full-disk", "closing does not wait for space")],
  },
  {
    name: "kept-copy-stops-the-start",
    guards: ["L4"],
    removes: "a log with a torn end cannot be opened on a full disk",
    edits: [
      edit(
        "src/log/open-log.ts",
        "    if (!isOutOfSpace(error)) throw error;\n",
        "    throw error;\n",
      ),
    ],
    killedBy: [test("log/full-disk", "the log opens on the full disk")],
  },
];

const ROT: readonly Mutant[] = [
  {
    name: "rot-unseen",
    guards: ["L6"],
    removes: "the scrub looks at headers only",
    edits: [
      edit(
        CHECK,
        "const isWhole = this.#left > 0 || this.#crc === this.#header?.bodyCrc;",
        "const isWhole = this.#left > 0 || this.#header !== null;",
      ),
    ],
    killedBy: [
      test("log/scrub", "finds a flipped bit in every byte that was written"),
      test("log/inspect", "every flipped bit in a segment in use is damage"),
    ],
  },
  {
    name: "missing-end-unseen",
    guards: ["L6"],
    removes: "the scrub looks at each segment by itself",
    edits: [
      edit(
        CHECK,
        "const chained = this.#previous === null || this.#previous === header.previous;",
        "const chained = this.#previous !== undefined;",
      ),
    ],
    killedBy: [test("log/scrub", "finds batches that are gone from a segment's end")],
  },
  {
    name: "read-behind-closing",
    guards: ["L6"],
    removes: "a segment is closed and removed while the scrub reads it",
    edits: [
      edit(
        SCRUB,
        "    if (this.#reading?.segment.number !== number) return done();\n",
        "    if (number > 0) return done();\n",
      ),
    ],
    killedBy: [test("log/scrub", "is not in the way of compaction and closing")],
  },
  {
    name: "scrub-trips-over-a-removal",
    guards: ["L6"],
    removes: "a segment behind one that was removed while it was read is taken for damaged",
    edits: [edit(SCRUB, ["    this.#check = new ChainCheck();", "    if"], "    if")],
    killedBy: [test("log/scrub", "is not in the way of compaction and closing")],
  },
  {
    name: "found-damage-forgotten",
    guards: ["L3"],
    removes: "damage found by a running log leaves no marker",
    edits: [
      edit(
        "src/log/segmented-log.ts",
        "    if (!(error instanceof LogUntrustedError)) return;\n",
        '    if (!(error instanceof LogUntrustedError) || error.code === "LOG_CORRUPTED") return;\n',
      ),
    ],
    killedBy: [
      test("log/marker", "ends it, and every later start knows"),
      test("log/scrub", "finds a flipped bit in every byte that was written"),
    ],
  },
];

const SHOWN: readonly Mutant[] = [
  {
    name: "replaced-entries-shown",
    guards: ["L7"],
    removes: "entries that a new leader has replaced are shown as if they were there",
    edits: [
      edit(
        "src/log/inspect.ts",
        "      for (let gone = record.index; gone <= last; gone += 1) places.delete(gone);\n",
        "      void last;\n",
      ),
    ],
    killedBy: [test("log/inspect", "holds the entries that the log holds, overwritten")],
  },
  {
    name: "running-log-shown",
    guards: ["L7"],
    removes: "the log of a running node is read while it is written",
    edits: [
      edit(
        "src/cli/log.ts",
        'const lock = existsSync(join(dir, "node.lock")) ? takeLock(dir) : null;',
        "const lock = dir === join() ? takeLock(dir) : null;",
      ),
    ],
    killedBy: [test("cli/log", "refuses while a node runs on the directory")],
  },
];

export const SPACE_AND_ROT: readonly Mutant[] = [...FULL, ...ROT, ...SHOWN];
