/** Mutants of what is synced before it counts: trap F1, and what the log promises (L1). */

import { edit, type Mutant, test } from "./mutant.ts";

const crash = (name: string) => test("log/crash", name);
const log = (name: string) => test("log/log", name);

const ALL_CRASHES = crash(
  "at every operation, with every sector lost or kept, nothing told is lost",
);
const AFTER_A_KILL = crash(
  "what a log holds when it is opened survives a power cut right after it",
);
const IDENTITY_CUT = log("after a power cut at any operation it is the old or the new one");

const WRITER = "src/log/batch-writer.ts";
const SEGMENT = "src/log/segment.ts";
const OPEN = "src/log/open-log.ts";
const STORE = "src/log/identity-store.ts";
const SEGMENTED = "src/log/segmented-log.ts";

const SYNCS: readonly Mutant[] = [
  {
    name: "batch-unsynced",
    guards: ["F1", "L1", "P1"],
    removes: "a batch is told to be durable when it is written, not when it is synced",
    edits: [
      edit(
        WRITER,
        "write.segment.file.writeDurably(write.bytes,",
        "write.segment.file.write(write.bytes,",
      ),
    ],
    killedBy: [ALL_CRASHES],
  },
  {
    name: "two-batches-at-once",
    guards: ["F1"],
    removes: "a batch is written while the one before it is not durable",
    edits: [
      edit(
        WRITER,
        'if (this.#writing !== null || this.#state === "failed") return;',
        'if (this.#state === "failed") return;',
      ),
    ],
    killedBy: [ALL_CRASHES],
  },
  {
    name: "segment-unsynced",
    guards: ["F1", "F6", "L1"],
    removes: "a segment gets its name before its zeros are durable",
    edits: [
      edit(
        SEGMENT,
        "() => file.sync(then(() => fill(at + piece.length), closeAndRemoveIt)),",
        "() => disk.soon(() => fill(at + piece.length)),",
      ),
    ],
    killedBy: [ALL_CRASHES],
  },
  {
    name: "segment-name-unsynced",
    guards: ["F1", "L1"],
    removes: "a segment is used before its name is durable",
    edits: [
      edit(
        SEGMENT,
        "then(() => disk.syncDirectory(directory, then(open)), removeIt),",
        "then(() => disk.soon(open), removeIt),",
      ),
    ],
    killedBy: [ALL_CRASHES],
  },
  {
    name: "first-segment-unsynced",
    guards: ["F1"],
    removes: "the first segment's zeros are not synced, nor those that a cut puts in place",
    edits: [
      edit(
        SEGMENT,
        [
          "    file.writeNow(ZEROS.subarray(0, Math.min(PIECE_BYTES, to - at)), at);",
          "  }",
          "  file.syncNow();",
        ],
        ["    file.writeNow(ZEROS.subarray(0, Math.min(PIECE_BYTES, to - at)), at);", "  }"],
      ),
    ],
    killedBy: [ALL_CRASHES],
  },
  {
    name: "cached-tail-trusted",
    guards: ["F1", "L1"],
    removes: "what a killed process left in the page cache counts as durable without a sync",
    edits: [edit(OPEN, ["  segments.at(-1)?.file.syncNow();", ""], "")],
    killedBy: [AFTER_A_KILL],
  },
  {
    name: "names-unsynced-at-the-start",
    guards: ["F1", "L1"],
    removes: "what a start finds, or makes, is used although its names are not durable",
    edits: [
      edit(
        SEGMENT,
        ["  disk.renameNow(unfinished, path);", "  disk.syncDirectoryNow(directory);"],
        "  disk.renameNow(unfinished, path);",
      ),
      edit(
        OPEN,
        ["  segments.at(-1)?.file.syncNow();", "  disk.syncDirectoryNow(dir);"],
        "  segments.at(-1)?.file.syncNow();",
      ),
      edit(
        STORE,
        ["      disk.syncDirectoryNow(directory);", "      return disk"],
        "      return disk",
      ),
      edit(STORE, ["    disk.syncDirectoryNow(directory);", "    return new"], "    return new"),
    ],
    killedBy: [ALL_CRASHES, AFTER_A_KILL],
  },
  {
    name: "cut-not-zeroed",
    guards: ["F1", "L2"],
    removes: "what a torn write left stays where later batches are written",
    edits: [edit(OPEN, ["  writeZerosNow(segment.file, from, to);", ""], "")],
    killedBy: [
      crash("a log goes on where it stood, and a second power cut while it is being opened"),
    ],
  },
  {
    name: "identity-unsynced",
    guards: ["F1", "L1"],
    removes: "a change of identity is told before it is synced",
    edits: [
      edit(STORE, "      file.writeDurably(change.bytes, 0,", "      file.write(change.bytes, 0,"),
    ],
    killedBy: [IDENTITY_CUT],
  },
  {
    name: "identity-written-once",
    guards: ["F1", "L1"],
    removes: "a change of identity is told when one of its two files has it",
    edits: [
      edit(
        STORE,
        "        if (error === null) write(at + 1);",
        "        if (error === null) write(at + 2);",
      ),
    ],
    killedBy: [log("survives the loss of either file; of both with a log there, it is an error")],
  },
  {
    name: "new-identity-unsynced",
    guards: ["F1"],
    removes: "a new directory's identity is not synced",
    edits: [
      edit(
        STORE,
        ["      file.writeNow(bytes, 0);", "      file.syncNow();", "      file.closeNow();"],
        ["      file.writeNow(bytes, 0);", "      file.closeNow();"],
      ),
    ],
    killedBy: [ALL_CRASHES],
  },
  {
    name: "segments-dropped-early",
    guards: ["F1", "S1", "S3"],
    removes: "old segments go before it is durable that they are not needed",
    edits: [
      edit(
        SEGMENTED,
        [
          "    this.#writer.addBase(base);",
          "    this.#writer.flush(() => {",
          "      this.#dropSegments();",
          "      done();",
          "    });",
        ],
        [
          "    this.#writer.addBase(base);",
          "    this.#dropSegments();",
          "    this.#writer.flush(done);",
        ],
      ),
    ],
    killedBy: [
      test("log/compaction", "at any power cut loses nothing above what was begun to be dropped"),
    ],
  },
];

const REAL_DISK = "src/log/node-disk.ts";
const cut = (name: string) => test("log/power-cut", name);

const REAL_SYNCS: readonly Mutant[] = [
  {
    name: "opened-without-dsync",
    guards: ["F1", "P1"],
    removes: "files whose writes are to be durable by themselves are opened like any others",
    edits: [
      edit(
        REAL_DISK,
        "O_RDWR | (this.#dsync ? O_DSYNC : 0);",
        "O_RDWR | (this.#dsync ? 0 * O_DSYNC : 0);",
      ),
    ],
    killedBy: [
      cut("F1: leaves what was told to be durable (dsync)"),
      cut("F1: leaves the identity that was told (dsync)"),
    ],
  },
  {
    name: "written-without-fdatasync",
    guards: ["F1", "P1"],
    removes: "where the system has no O_DSYNC, or it is not wanted, a write is followed by no sync",
    edits: [
      edit(
        REAL_DISK,
        'if (error !== null || this.#durability === "dsync") done(error);',
        'if (error !== null || this.#durability !== "dsync" || done.length > 0) done(error);',
      ),
    ],
    killedBy: [
      cut("F1: leaves what was told to be durable (fdatasync)"),
      cut("F1: leaves the identity that was told (fdatasync)"),
    ],
  },
  {
    name: "names-unsynced",
    guards: ["F1"],
    removes: "the names of segments that are prepared while the log runs are never synced",
    edits: [
      edit(
        REAL_DISK,
        "fs.fsync(fd, (failed) => fs.close(fd, (unclosed) => done(failed ?? unclosed ?? null)));",
        "fs.close(fd, (unclosed) => done(unclosed ?? null));",
      ),
    ],
    killedBy: [cut("F1: leaves what was told to be durable (fdatasync)")],
  },
  {
    name: "names-unsynced-while-opening",
    guards: ["F1"],
    removes: "names that are made while the log is opened are never synced",
    edits: [
      edit(
        REAL_DISK,
        ["    try {", "      fs.fsyncSync(fd);", "    } finally {", "      fs.closeSync(fd);"],
        ["    try {", "    } finally {", "      fs.closeSync(fd);"],
      ),
    ],
    killedBy: [cut("F1: leaves the identity that a first start made")],
  },
  {
    name: "parents-unsynced",
    guards: ["F1"],
    removes: "the names of a new data directory's parents are never synced",
    edits: [
      edit(
        REAL_DISK,
        ["    fd = fs.openSync(directory, fs.constants.O_RDONLY);", "    fs.fsyncSync(fd);"],
        "    fd = fs.openSync(directory, fs.constants.O_RDONLY);",
      ),
    ],
    killedBy: [cut("F1: leaves what was told to be durable (fdatasync)")],
  },
  {
    name: "zeros-unsynced",
    guards: ["F1"],
    removes: "what is written while the log is opened is never synced",
    edits: [
      edit(REAL_DISK, ["    fs.fdatasyncSync(this.#fd);", ""], ["    fs.fstatSync(this.#fd);", ""]),
    ],
    killedBy: [
      cut("F1: leaves what a start found, also what a killed process had only in the page cache"),
    ],
  },
];

export const SYNCED: readonly Mutant[] = [...SYNCS, ...REAL_SYNCS];
