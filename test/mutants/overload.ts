/** Mutants of what becomes of too much: refusals, floods that rest, withdrawn requests, clients that take no answers (P10). */

import { edit, type Mutant, test } from "./mutant.ts";

const connect = (name: string) => test("rpc/connect", name);
const STREAM = "src/rpc/connect-stream.ts";

export const TOO_MUCH: readonly Mutant[] = [
  {
    name: "asked-though-overloaded",
    guards: ["P10"],
    removes: "a request that will be refused is made ready like any other",
    edits: [
      edit(
        STREAM,
        ["    if (failure === null) return false;", ""],
        ["    if (id > 0) return false;", ""],
      ),
    ],
    killedBy: [
      connect("is not asked: writes and reads are refused where they arrive, each in full"),
    ],
  },
  {
    name: "asked-though-the-way-is-full",
    guards: ["P10"],
    removes: "a follower makes a write ready that it will not pass on",
    edits: [
      edit(
        "src/rpc/write-gate.ts",
        "return noForward ? null : this.#parts.forwarder.full(batch.length);",
        "return noForward || batch.length > 0 ? null : this.#parts.forwarder.full(0);",
      ),
    ],
    killedBy: [
      test(
        "rpc/forwarding",
        "too many writes on a stream for the way to the leader are refused, and it rests; another one does not",
      ),
    ],
  },
  {
    name: "withdrawn-and-kept",
    guards: ["P10"],
    removes: "writes that their callers gave up stay with a follower until the leader takes more",
    edits: [
      edit(
        "src/rpc/forward-outbox.ts",
        "if (this.#withdrawn * 2 <= this.#waiting.length) return;",
        "if (this.#withdrawn > 0) return;",
      ),
    ],
    killedBy: [
      test("rpc/forward-outbox", "a stream that takes nothing does not keep what was withdrawn"),
    ],
  },
  {
    name: "withdrawn-and-sent",
    guards: ["P10"],
    removes: "a follower passes on what its caller gave up",
    edits: [
      edit(
        "src/rpc/forward-outbox.ts",
        "if (next.isWithdrawn === true) this.#withdrawn -= 1;",
        "if (this.#withdrawn < 0) this.#withdrawn -= 1;",
      ),
    ],
    killedBy: [
      test(
        "rpc/forward-outbox",
        "what is added, withdrawn and taken in any order: what remains comes out once, in order",
      ),
    ],
  },
  {
    name: "frame-begun-whole",
    guards: ["P10"],
    removes: "all reads of a frame are begun, however many",
    edits: [
      edit(
        STREAM,
        "return !this.#congested && this.#granted <= this.#parts.bounds.chunks;",
        "return true;",
      ),
    ],
    killedBy: [
      connect("of many reads that come in one frame no more are begun than may be under way"),
    ],
  },
  {
    name: "full-connection-untold",
    guards: ["P10"],
    removes: "the pool of readers does not learn that nobody takes a query's rows",
    edits: [edit(STREAM, "running?.hold?.(isCongested);", "running?.hold?.(false);")],
    killedBy: [
      connect("a client that stops reading stops the reads; when it reads again, all comes"),
    ],
  },
  {
    name: "begun-for-nobody",
    guards: ["P10"],
    removes: "a query takes a reader though nobody takes its rows",
    edits: [
      edit("src/machine/waiting-queries.ts", "!query.ended && !query.isHeld", "!query.ended"),
    ],
    killedBy: [
      test(
        "machine/waiting-queries",
        "a query whose caller takes nothing is passed by, counts, and comes last when it does again",
      ),
    ],
  },
  {
    name: "process-for-a-burst",
    guards: ["P10"],
    removes: "a burst of reads starts a process that comes too late for it",
    edits: [
      edit(
        "src/machine/reader-pool.ts",
        "return nowMs - this.#pressedSinceMs >= PRESS_MS;",
        "return true;",
      ),
    ],
    killedBy: [
      test(
        "machine/reader-pool",
        "a burst starts no process; more reads than the readers can take for a quarter of a second do",
      ),
    ],
  },
  {
    name: "process-rather-than-place",
    guards: ["P10"],
    removes: "a process is started for others though a reader waits for a full connection",
    edits: [
      edit(
        "src/machine/reader-pool.ts",
        "if (this.#reclaim(held, nowMs)) return;",
        "if (held.length > 1e9) return;",
      ),
    ],
    killedBy: [
      test(
        "machine/reader-pool",
        "a full connection loses its reader to others after a second, before a process is started for them",
      ),
    ],
  },
  {
    name: "slow-is-full",
    guards: ["P10"],
    removes: "a caller that is only slow loses its snapshot before the readers are all taken",
    edits: [
      edit(
        "src/machine/reader-pool.ts",
        "readers.filter((reader) => reader.running?.isHeld === true);",
        "readers.filter((reader) => reader.running !== null);",
      ),
    ],
    killedBy: [
      test(
        "machine/reader-pool",
        "a caller that is only slow keeps its reader while there are processes to be had",
      ),
    ],
  },
  {
    name: "flood-read-on",
    guards: ["P10"],
    removes: "a stream whose requests are refused is read on",
    edits: [edit(STREAM, "    this.#resting = true;", "    this.#resting = this.#refused > 0;")],
    killedBy: [
      connect("leaves the rest of a flood unread for a while, and other streams as they are"),
    ],
  },
  {
    name: "transaction-rests",
    guards: ["P13"],
    removes: "a flood beside it keeps the steps of a transaction from being read",
    edits: [edit(STREAM, " || this.#transactions.size > 0) return;", ") return;")],
    killedBy: [
      connect("goes on reading a stream with an open transaction, for whose end the others wait"),
    ],
  },
  {
    name: "rest-without-bound",
    guards: ["P10"],
    removes: "what ends a request may wait behind a flood without end",
    edits: [
      edit(
        "src/rpc/refusal-pace.ts",
        "Math.min(untilMs, nowMs + this.#restMs)",
        "Math.max(untilMs, nowMs)",
      ),
    ],
    killedBy: [test("rpc/refusal-pace", "never longer than the bound")],
  },
];
