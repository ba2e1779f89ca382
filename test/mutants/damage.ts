/** Mutants of the log and its failures, of damage, and of time: traps F2 to F7, and what the log promises (L2, L3). */

import { edit, type Mutant, test } from "./mutant.ts";

const crash = (name: string) => test("log/crash", name);
const opening = (name: string) => test("log/opening", name);
const log = (name: string) => test("log/log", name);

const FLIPS = crash("in any byte of any file is refused or changes nothing");

const WRITER = "src/log/batch-writer.ts";
const SEGMENT = "src/log/segment.ts";
const OPEN = "src/log/open-log.ts";
const RECOVERY = "src/log/recovery.ts";
const SEGMENTED = "src/log/segmented-log.ts";

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
    guards: ["F2", "L3"],
    removes: "after a failed sync the next start trusts what it reads",
    edits: [edit(OPEN, ["  heedMarkerNow(disk, dir);", ""], "")],
    killedBy: [test("log/marker", "the log is not trusted before the machine was restarted")],
  },
  {
    name: "failed-sync-at-the-start",
    guards: ["F2", "L3"],
    removes: "a sync that fails while the log is opened is forgotten by the next start",
    edits: [edit(OPEN, ["    leaveMarkerNow(disk, dir, poisoned);", ""], "")],
    killedBy: [test("log/marker", "a sync that fails while the log is opened poisons it")],
  },
];

const MEMORY: readonly Mutant[] = [
  {
    name: "memory-of-kept-entries-used-again",
    guards: ["L8"],
    removes: "memory for batches is filled again while recent entries lie in it",
    edits: [edit("src/log/recent-entries.ts", ["    chunk.hold();", ""], "")],
    killedBy: [test("log/volume", "are read from memory as they were given")],
  },
  {
    name: "memory-of-a-gathering-batch-used-again",
    guards: ["L8"],
    removes: "memory for batches is filled again while a batch in it is not written",
    edits: [edit("src/log/batch.ts", ["    if (from !== chunk) chunk.hold();", ""], "")],
    killedBy: [
      test("log/batch", "is left alone while a batch of it is not written, or moved out of it"),
    ],
  },
  {
    name: "entries-are-views-of-the-memory",
    guards: ["L8"],
    removes: "entries that are read from memory are copies",
    edits: [
      edit(
        "src/log/recent-entries.ts",
        ["    chunk.bytes.copy(copy, 0, start, end);", ""],
        "    void copy;",
      ),
      edit(
        "src/log/recent-entries.ts",
        "new Uint8Array(copy.buffer, this.#offset(place) - start, this.#length(place))",
        "new Uint8Array(chunk.bytes.buffer, this.#offset(place), this.#length(place))",
      ),
    ],
    killedBy: [test("log/volume", "leave entries alone that were read before")],
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
    removes: "a segment has its name while it is being filled, and is used however short it is",
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
      edit(
        WRITER,
        "if (this.#spare !== null && this.#spare.bytes >= bytes) return true;",
        "if (this.#spare !== null && bytes > 0) return true;",
      ),
    ],
    killedBy: [
      crash("a log goes on where it stood, and a second power cut while it is being opened"),
    ],
  },
  {
    name: "full-disk-is-a-failure",
    guards: ["F6", "L4"],
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
        '    this.#rounds.every(tickMs(this.#config), () => this.#loop?.step({ kind: "tick" }));',
        [
          "    let lastMs: number | null = null;",
          "    this.#rounds.every(tickMs(this.#config), () => {",
          "      const now = this.#parts.environment.monotonicMs();",
          "      const missed = Math.round((now - (lastMs ?? now)) / tickMs(this.#config));",
          "      lastMs = now;",
          "      for (let left = Math.max(1, missed); left > 0; left -= 1) {",
          '        this.#loop?.step({ kind: "tick" });',
          "      }",
          "    });",
        ],
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

export const DAMAGED: readonly Mutant[] = [...FAILURES, ...MEMORY, ...DAMAGE, ...TIME];
