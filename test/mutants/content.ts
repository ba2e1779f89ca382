/** Mutants of what compares the content of nodes: V1 range checksums, V2 `balsa verify`. */

import { edit, type Mutant, test } from "./mutant.ts";

const ranges = (name: string) => test("machine/range-checksum", name);
const pace = (name: string) => test("node/checksum-pass", name);

const RANGES = "src/machine/range-checksum.ts";
const CONNECTION = "src/machine/machine-connection.ts";
const PASS = "src/node/checksum-pass.ts";

export const COMPARED_CONTENT: readonly Mutant[] = [
  {
    name: "ranges-not-compared",
    guards: ["V1"],
    removes: "a follower reads the rows, and is content with whatever they come to",
    edits: [
      edit(RANGES, "if (found === range.checksum) return null;", "if (found >= 0) return null;"),
    ],
    killedBy: [ranges("rots is found, and named a value"), ranges("named FTS5's index")],
  },
  {
    name: "rows-behind-the-end-unseen",
    guards: ["V1"],
    removes: "rows that only a follower has behind a table's end are not missed by anybody",
    edits: [edit(RANGES, "sealed(read, isLast && read.ended)", "sealed(read, isLast)")],
    killedBy: [ranges("named one more")],
  },
  {
    name: "bytes-of-text-lost",
    guards: ["V1"],
    removes: "text that is not valid UTF-8 is compared as JavaScript shows it",
    edits: [
      edit(
        "src/machine/row-bytes.ts",
        "value.includes(REPLACED)) return false;",
        "value === REPLACED) return false;",
      ),
    ],
    killedBy: [ranges("named text that was no text")],
  },
  {
    name: "wide-tables-in-one-result",
    guards: ["V1"],
    removes:
      "a table with more columns than a result may have cannot be read, which stops its followers",
    edits: [
      edit(
        "src/machine/stored-table.ts",
        "const RESULT_COLUMNS_MAX = 2_000;",
        "const RESULT_COLUMNS_MAX = 9_000;",
      ),
    ],
    killedBy: [ranges("1000 columns, more than one result may have")],
  },
  {
    name: "rows-summed-before-they-are-written",
    guards: ["V1"],
    removes: "what virtual tables have gathered is in their rows on some nodes only",
    edits: [edit(CONNECTION, "this.requests.touchSavepoint();", "this.requests.disturbed();")],
    killedBy: [ranges("every kind of table, for any commit boundary")],
  },
  {
    name: "sessions-summed-before-they-are-written",
    guards: ["V1"],
    removes: "what sessions remember is in their rows on some nodes only",
    edits: [
      edit(
        CONNECTION,
        ["        this.sessions.flush();", "        this.requests.touchSavepoint();"],
        "        this.requests.touchSavepoint();",
      ),
    ],
    killedBy: [ranges("every kind of table, for any commit boundary")],
  },
  {
    name: "counter-of-configurations-summed",
    guards: ["V1"],
    removes: "a number that FTS5 keeps for its connections counts as content",
    edits: [
      edit("src/machine/stored-table.ts", "WHEN 10 THEN substr(block, 5)", "WHEN 10 THEN block"),
    ],
    killedBy: [ranges("nothing where nothing did")],
  },
  {
    name: "missing-collation-is-rot",
    guards: ["V1"],
    removes: "what no node can read makes every follower differ from its leader",
    edits: [
      edit(
        RANGES,
        "if (code === failed && SENSELESS.test(code)) return null;",
        "if (code === failed && ROTTEN.test(code)) return null;",
      ),
    ],
    killedBy: [ranges("what no node can read, for want of a collation")],
  },
  {
    name: "checksums-all-at-once",
    guards: ["V1"],
    removes: "the next one is asked for before the last has been committed",
    edits: [edit(PASS, "if (this.#isUnderWay || nowMs", "if (nowMs")],
    killedBy: [pace("what took long is followed by a longer rest")],
  },
  {
    name: "passes-without-a-change",
    guards: ["V1"],
    removes: "an idle cluster is read again and again",
    edits: [edit(PASS, "hasChanged ? PAUSE_INTERVALS : IDLE_INTERVALS", "PAUSE_INTERVALS")],
    killedBy: [pace("another pass when something was written, and seldom when nothing was")],
  },
  {
    name: "tables-beneath-not-compared",
    guards: ["V2"],
    removes: "shadow tables and sessions may differ without a word",
    edits: [
      edit(
        "src/machine/content-digest.ts",
        "if (!names.has(next)) listed.push",
        "if (names.has(next)) listed.push",
      ),
    ],
    killedBy: [test("machine/content-digest", "beneath, shadow tables and sessions count")],
  },
  {
    name: "large-values-by-length-alone",
    guards: ["V2"],
    removes: "of a large value only kind and length are compared",
    edits: [edit("src/machine/content-digest.ts", "withLarge: true", "withLarge: false")],
    killedBy: [test("machine/content-digest", "a byte in the midst of a value that is too large")],
  },
  {
    name: "digest-pins-the-wal",
    guards: ["V2"],
    removes: "the WAL grows for as long as the content is read",
    edits: [
      edit(
        "src/machine/running-digest.ts",
        "if (isOpened && walBytes > walBytesMax)",
        "if (walBytes < 0)",
      ),
    ],
    killedBy: [test("machine/running-digest", "what is written meanwhile may fill the WAL so far")],
  },
  {
    name: "reading-outlives-its-client",
    guards: ["V2"],
    removes: "a node reads on for a client that has gone",
    edits: [
      edit(
        "src/rpc/digest-stream.ts",
        ["    isOver = true;", "    running?.cancel();", "  };", '  call.on("cancelled"'],
        ["    isOver = true;", "  };", '  call.on("cancelled"'],
      ),
    ],
    killedBy: [test("rpc/digest-stream", "a client that goes takes the reading with it")],
  },
  {
    name: "reading-awaits-a-word-for-ever",
    guards: ["V2"],
    removes: "a node holds a process ready for a client that has ended without saying when",
    edits: [edit("src/rpc/digest-stream.ts", "if (!isOpening) end(", "if (isOver) end(")],
    killedBy: [test("rpc/digest-stream", "a client that will not say when ends the reading")],
  },
];
