/** Mutants of reads: traps B1 to B7, and what the read gate promises (P4, P6, P7). */

import { edit, type Mutant, script, seeds, test } from "./mutant.ts";

const trap = (name: string) => test("raft/traps-reads", name);
const gate = (name: string) => test("node/read-gate", name);

const READ_INDEX = "src/raft/read-index.ts";
const LEADER = "src/raft/leader.ts";
const GATE = "src/node/read-gate.ts";

const OF_THE_CORE: readonly Mutant[] = [
  {
    name: "read-before-own-commit",
    guards: ["B1", "B4", "R10"],
    removes: "a new leader gives out its commit index before it has committed in its term",
    edits: [
      edit(
        LEADER,
        [
          "  if (core.commitIndex < leadership.noop.index) leadership.reads.holdBack(asker);",
          "  else admitRead(core, leadership, asker);",
        ],
        "  admitRead(core, leadership, asker);",
      ),
    ],
    killedBy: [
      trap("B1: before the leader's first commit in its term a read waits, and starts no round"),
      trap("B4: a single voter answers only once an entry of its term is committed"),
      script("read-before-commit"),
    ],
  },
  {
    name: "position-reused",
    guards: ["B2", "B3", "R10"],
    removes: "a read joins a round whose heartbeats were sent before it came",
    edits: [
      edit(
        READ_INDEX,
        "if (this.#minted === this.#announced) this.#minted++;",
        "if (this.#waiting.length === 0) this.#minted++;",
      ),
    ],
    killedBy: [
      trap("B3: a read asked after a round was sent waits for the next round"),
      trap("B2: a retried context is a new read"),
    ],
  },
  {
    name: "unannounced-position-taken",
    guards: ["B2"],
    removes: "an answer may confirm a position that no heartbeat carried",
    edits: [edit(LEADER, " || message.readPosition > reads.announced) return;", ") return;")],
    killedBy: [trap("B2: positions of an earlier term, or never announced, confirm nothing")],
  },
  {
    name: "contexts-repeat-after-restart",
    guards: ["B2"],
    removes: "a follower numbers its questions from the same number after every start",
    edits: [
      edit(
        "src/raft/core.ts",
        "1 + Math.floor(options.random() * 2 ** 52)",
        "1 + 0 * options.random()",
      ),
    ],
    killedBy: [trap("B2: a follower's contexts differ from those of its earlier run")],
  },
  {
    name: "one-answer-confirms",
    guards: ["B5", "R10"],
    removes: "the leader's own word is enough to confirm a read",
    edits: [
      edit(
        LEADER,
        "  if (isSingleton(core.configuration, core.id)) answerRead(core, asker, core.commitIndex);",
        "  if (core.id > 0) answerRead(core, asker, core.commitIndex);",
      ),
    ],
    killedBy: [
      trap("B5: a leader answers no read before a majority has answered its heartbeat"),
      script("read-rounds"),
    ],
  },
  {
    name: "read-quorum-in-one-half",
    guards: ["B3"],
    removes: "in a joint configuration one half confirms reads alone",
    edits: [
      edit(
        LEADER,
        "  const confirmed = quorumValue(core.configuration, (id) =>",
        "  const confirmed = quorumValue({ ...core.configuration, outgoing: [] }, (id) =>",
      ),
    ],
    killedBy: [trap("B3: in a joint configuration both halves must confirm")],
  },
  {
    name: "reads-survive-the-leader",
    guards: ["B2"],
    removes: "reads of an ended leadership are kept without a word",
    edits: [edit("src/raft/roles.ts", "core.readsDropped.push(context);", "void context;")],
    killedBy: [trap("reads that wait are dropped when the leader is deposed")],
  },
  {
    name: "asks-nobody",
    guards: ["B6"],
    removes: "a follower that knows of no leader takes reads all the same",
    edits: [
      edit(
        "src/raft/follower.ts",
        'if (leader === NOBODY || forwarded.isFull) return "refused";',
        'if (forwarded.isFull) return "refused";',
      ),
    ],
    killedBy: [trap("B6: after a restart nothing is served before this term's commit is known")],
  },
];

const OF_THE_GATE: readonly Mutant[] = [
  {
    name: "served-without-proof",
    guards: ["B5", "P4"],
    removes: "a linearizable read is served from the node's own database at once",
    edits: [
      edit(GATE, "    if (this.#parts.skipReadIndex) {", "    if (!this.#parts.skipReadIndex) {"),
    ],
    killedBy: [
      gate("a linearizable read waits for a confirmed index and for the machine to reach it"),
      seeds(1, 4),
    ],
  },
  {
    name: "served-before-applied",
    guards: ["B6", "P4"],
    removes: "a read is served although the database is behind the confirmed index",
    edits: [
      edit(
        GATE,
        "if (this.#parts.appliedIndex() >= index) return this.#release(startedAtMs, waiters);",
        "if (index >= 0) return this.#release(startedAtMs, waiters);",
      ),
    ],
    killedBy: [
      gate("a linearizable read waits for a confirmed index and for the machine to reach it"),
      gate("a session read waits for its index only"),
    ],
  },
  {
    name: "round-joined-late",
    guards: ["B3"],
    removes: "a read shares the answer of a round that was asked before it came",
    edits: [
      edit(
        GATE,
        ["    this.#gathering.push(waiter);", "    this.#schedule();", "  }"],
        [
          "    const asked = [...this.#rounds.values()].at(-1);",
          "    (asked?.waiters ?? this.#gathering).push(waiter);",
          "    this.#schedule();",
          "  }",
        ],
      ),
    ],
    killedBy: [gate("reads of one turn share a round; a later read gets a round of its own (B3)")],
  },
  {
    name: "session-index-ignored",
    guards: ["P6"],
    removes: "a session read does not wait for its index",
    edits: [edit(GATE, "          call.atLeast,", "          0 * call.atLeast,")],
    killedBy: [gate("a session read waits for its index only")],
  },
  {
    name: "staleness-unbounded",
    guards: ["P7"],
    removes: "a stale read is served however old the last proof is",
    edits: [
      edit(
        GATE,
        "else if (ageMs <= maxStalenessMs) waiter.admit(ageMs);",
        "else if (ageMs >= 0) waiter.admit(ageMs);",
      ),
    ],
    killedBy: [
      gate("a stale read's bound is kept by the age of the last proof, or a new one is made"),
    ],
  },
  {
    name: "session-index-proves",
    guards: ["P7"],
    removes: "having reached a session's index counts as proof of freshness",
    edits: [
      edit(
        GATE,
        'const startedAtMs = kind === "proof" ? atMs : Number.NEGATIVE_INFINITY;',
        "const startedAtMs = kind === undefined ? 0 : atMs;",
      ),
    ],
    killedBy: [gate("a session's index is no proof of freshness")],
  },
  {
    name: "proof-dated-late",
    guards: ["P7"],
    removes: "a proof is as old as its answer, not as its question",
    edits: [
      edit(
        GATE,
        "this.#provenAtMs = Math.max(this.#provenAtMs, startedAtMs);",
        "if (Number.isFinite(startedAtMs)) this.#provenAtMs = this.#parts.environment.monotonicMs();",
      ),
    ],
    killedBy: [gate("a proof is as old as its question, however late the answer")],
  },
];

const B7: readonly Mutant[] = [
  {
    name: "log-lines-unbounded",
    guards: ["B7"],
    removes: "log lines that nobody takes are kept without a bound",
    edits: [
      edit(
        "src/service/log-writer.ts",
        "if (this.#waiting.length + line.length > WAITING_BYTES_MAX) {",
        "if (this.#waiting.length + line.length > 1e12) {",
      ),
    ],
    killedBy: [
      test(
        "service/log-writer",
        "a pipe that nobody reads blocks nothing; what is beyond the bound",
      ),
    ],
  },
  {
    name: "log-lines-written-in-place",
    guards: ["B7"],
    removes: "a log line is written on the thread of the consensus",
    edits: [
      edit(
        "src/service/log-writer.ts",
        'import { write as writeToDescriptor } from "node:fs";',
        'import { writeSync } from "node:fs";',
      ),
      edit(
        "src/service/log-writer.ts",
        "    writeToDescriptor(this.#descriptor, piece, (error, written) => {",
        [
          "    const writeToDescriptor = (done: (error: NodeJS.ErrnoException | null, written: number) => void) => {",
          "      done(null, writeSync(this.#descriptor, piece));",
          "    };",
          "    writeToDescriptor((error, written) => {",
        ],
      ),
    ],
    killedBy: [
      test(
        "service/log-writer",
        "a pipe that nobody reads blocks nothing; what is beyond the bound",
      ),
    ],
  },
];

const plans = (name: string) => test("machine/read-plans", name);
const PLANS = "src/machine/read-plans.ts";

const OF_THE_READERS: readonly Mutant[] = [
  {
    name: "plans-outlive-the-schema",
    guards: ["N19"],
    removes: "a reader goes on with the columns of an earlier schema",
    edits: [
      edit(
        PLANS,
        "    if (version === this.#seen) return;",
        "    if (this.#seen !== NONE || version === this.#seen) return;",
      ),
    ],
    killedBy: [
      test(
        "machine/read-executor",
        "under one schema a statement's columns and whether it gives one row are known; another schema is noticed at once",
      ),
    ],
  },
  {
    name: "jump-back-is-no-loop",
    guards: ["N19"],
    removes: "a program that jumps back is taken for one that gives a single row",
    edits: [edit(PLANS, "if (p2 > addr) return true;", "if (p2 > 0n) return true;")],
    killedBy: [plans("what is not known is taken for a loop, and so is a jump back")],
  },
];

export const READS: readonly Mutant[] = [...OF_THE_CORE, ...OF_THE_GATE, ...OF_THE_READERS, ...B7];
