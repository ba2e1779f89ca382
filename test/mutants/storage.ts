/** Mutants of the log on disk and of time: traps F1 to F7, and what the log promises (L1 to L3). */

import { edit, type Mutant, test } from "./mutant.ts";

const crash = (name: string) => test("log/crash", name);
const opening = (name: string) => test("log/opening", name);
const log = (name: string) => test("log/log", name);

const ALL_CRASHES = crash(
  "at every operation, with every sector lost or kept, nothing told is lost",
);
const AFTER_A_KILL = crash(
  "what a log holds when it is opened survives a power cut right after it",
);
const FLIPS = crash("in any byte of any file is refused or changes nothing");
const IDENTITY_CUT = log("after a power cut at any operation it is the old or the new one");

const WRITER = "src/log/batch-writer.ts";
const SEGMENT = "src/log/segment.ts";
const OPEN = "src/log/open-log.ts";
const RECOVERY = "src/log/recovery.ts";
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

const FAILURES: readonly Mutant[] = [
  {
    name: "failed-write-goes-on",
    guards: ["F2", "L3"],
    removes: "after a failed write or sync the log goes on with the next",
    edits: [
      edit(
        WRITER,
        ['    this.#state = "failed";', "    this.#writing = null;"],
        "    this.#writing = null;",
      ),
    ],
    killedBy: [log("a failed writeDurably is told once, and nothing is told durable after it")],
  },
  {
    name: "failure-leaves-no-mark",
    guards: ["F2"],
    removes: "after a failed sync the next start trusts what it reads",
    edits: [edit(OPEN, ["  heedMarkerNow(disk, dir);", ""], "")],
    killedBy: [test("log/marker", "the log is not trusted before the machine was restarted")],
  },
  {
    name: "failed-sync-at-the-start",
    guards: ["F2"],
    removes: "a sync that fails while the log is opened is forgotten by the next start",
    edits: [edit(OPEN, ["    leaveMarkerNow(disk, dir, poisoned);", ""], "")],
    killedBy: [test("log/marker", "a sync that fails while the log is opened poisons it")],
  },
];

const DAMAGE: readonly Mutant[] = [
  {
    name: "damage-cut-as-torn",
    guards: ["F3", "L2"],
    removes: "a batch whose checksum is wrong is cut, torn or not",
    edits: [
      edit(
        RECOVERY,
        ['    this.#check(torn, at, "the batch\'s bytes do not match its checksum");', ""],
        ["    void torn;", ""],
      ),
    ],
    killedBy: [FLIPS],
  },
  {
    name: "later-batches-unseen",
    guards: ["F3", "L2"],
    removes: "a batch that looks torn is cut although a later one proves that it was durable",
    edits: [
      edit(
        RECOVERY,
        ["      this.#check(!(ours && later.sequence > sequence), from, proof);", ""],
        ["      void [ours, proof];", ""],
      ),
    ],
    killedBy: [
      opening(
        "an acknowledged batch that looks torn is refused when a later one of its segment is whole",
      ),
    ],
  },
  {
    name: "later-segments-unseen",
    guards: ["F3", "L2"],
    removes:
      "a torn batch is cut, and a segment's end may be missing, although a later segment was begun",
    edits: [
      edit(
        RECOVERY,
        [
          '        if (end.torn) this.#corrupt(end.at, "a batch is damaged and a later segment exists");',
          "",
        ],
        "",
      ),
      edit(
        RECOVERY,
        "      : header.previous === this.#previous && header.nextIndex",
        "      : header.nextIndex",
      ),
      edit(
        "src/log/chain.ts",
        "if (expected.sequence !== null && sequence !== expected.sequence) {",
        "if (expected.sequence !== null && sequence < 0 * expected.sequence) {",
      ),
    ],
    killedBy: [
      test("log/durability", "F3: what a segment's end lacks is missed by the segment behind it"),
    ],
  },
  {
    name: "checksums-ignored",
    guards: ["F3", "L2"],
    removes: "a batch is read whatever its checksums say",
    edits: [
      edit(
        RECOVERY,
        "if (header.bodyCrc !== checksum(bytes, at + BATCH_HEADER_BYTES, end)) {",
        "if (header.bodyCrc < 0 * checksum(bytes, at + BATCH_HEADER_BYTES, end)) {",
      ),
      edit(
        RECOVERY,
        "this.#check(payloadIsWhole(this.#bytes, at, record), at,",
        "this.#check(at > 0, at,",
      ),
    ],
    killedBy: [FLIPS],
  },
  {
    name: "read-unchecked",
    guards: ["F3", "L2"],
    removes: "an entry read back from the disk is not compared with its checksum",
    edits: [
      edit(SEGMENTED, "if (!payloadIsWhole(bytes, at, record)) {", "if (bytes.length < 0) {"),
    ],
    killedBy: [log("a damaged entry is an error that names the place")],
  },
  {
    name: "zeros-unmasked",
    guards: ["F4", "L2"],
    removes: "a payload of zeros is written as it is",
    edits: [
      edit(
        WRITER,
        ["  if (!thin(bytes)) return bytes;", ""],
        ["  if (bytes.length > 0) return bytes;", ""],
      ),
    ],
    killedBy: [crash("does not let a flipped bit pass for a torn write")],
  },
  {
    name: "thin-sectors-allowed",
    guards: ["F4"],
    removes: "a sector with a single byte in it counts as written",
    edits: [
      edit(
        "src/log/torn.ts",
        "export const LEAST_NON_ZERO = 4;",
        "export const LEAST_NON_ZERO = 1;",
      ),
    ],
    killedBy: [test("log/durability", "F4: one bit in a sector is not enough to know it by")],
  },
  {
    name: "payload-passes-for-a-batch",
    guards: ["F5"],
    removes: "bytes in a payload that look like a batch of another segment count as one of this",
    edits: [
      edit(
        RECOVERY,
        "const ours = segmentId === null || later.segmentId === segmentId;",
        "const ours = segmentId === null || later.segmentId > 0;",
      ),
    ],
    killedBy: [
      test(
        "log/durability",
        "F5: a payload that looks like a batch of another segment proves nothing",
      ),
    ],
  },
  {
    name: "segment-named-early",
    guards: ["F6"],
    removes: "a segment has its name while it is being filled",
    edits: [
      edit(
        SEGMENT,
        [
          "  const unfinished = unfinishedPath(directory, number);",
          "  const path = join(directory, segmentName(number));",
          "  const then =",
        ],
        [
          "  const path = join(directory, segmentName(number));",
          "  const unfinished = path;",
          "  const then =",
        ],
      ),
    ],
    killedBy: [ALL_CRASHES],
  },
  {
    name: "full-disk-is-a-failure",
    guards: ["F6"],
    removes: "a full disk ends the log as a failed write does",
    edits: [
      edit(WRITER, ["if (isOutOfSpace(error)) this.#waitForSpace(bytes);", "      else if"], "if"),
    ],
    killedBy: [test("log/full-disk", "what does not fit waits, and is written when there is room")],
  },
];

const TIME: readonly Mutant[] = [
  {
    name: "wall-clock",
    guards: ["F7"],
    removes: "time is the wall clock's, which people and NTP set",
    edits: [
      edit(
        "src/node/environment.ts",
        "monotonicMs: () => performance.now(),",
        "monotonicMs: () => Date.now(),",
      ),
    ],
    killedBy: [test("node/environment", "F7: setting the clock moves no deadline")],
  },
  {
    name: "pause-counts",
    guards: ["F7"],
    removes: "after a pause all ticks that were missed are made up at once",
    edits: [
      edit(
        "src/node/node.ts",
        ['    if (!this.#sick) this.#loop?.step({ kind: "tick" });', ""],
        [
          "    const now = this.#parts.environment.monotonicMs();",
          "    const missed = Math.round((now - (this.#lastTickMs ?? now)) / tickMs(this.#config));",
          "    this.#lastTickMs = now;",
          '    for (let i = 0; i < Math.max(1, missed) && !this.#sick; i += 1) this.#loop?.step({ kind: "tick" });',
          "",
        ],
      ),
      edit(
        "src/node/node.ts",
        ["  #nextId = 0;", ""],
        ["  #nextId = 0;", "  #lastTickMs: number | null = null;", ""],
      ),
    ],
    killedBy: [
      test(
        "node/pause",
        "F7: a node that was paused lets one tick pass, and hears its leader first",
      ),
    ],
  },
];

export const STORAGE: readonly Mutant[] = [...SYNCS, ...FAILURES, ...DAMAGE, ...TIME];
