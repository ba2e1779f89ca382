/** Mutants of replication: traps D1 to D6 and D9 to D11. */

import { edit, type Mutant, script, test } from "./mutant.ts";

const trap = (name: string) => test("raft/traps-replication", name);
const paper = (name: string) => test("raft/paper", name);

const RAFT = "src/raft/raft.ts";
const CORE = "src/raft/core.ts";
const LEADER = "src/raft/leader.ts";
const FOLLOWER = "src/raft/follower.ts";
const LOG = "src/raft/raft-log.ts";
const SENDING = "src/raft/replication.ts";

const THE_DISK: readonly Mutant[] = [
  {
    name: "stalled-leader-stays",
    guards: ["D1"],
    removes: "a leader whose disk hangs keeps its heartbeats and its office",
    edits: [
      edit(
        RAFT,
        [
          "    if (core.isStalled && core.leadership !== null) onStalled(core, core.leadership);",
          "",
        ],
        "",
      ),
    ],
    killedBy: [test("raft/traps-membership", "D1: a leader whose disk does not answer gives up")],
  },
  {
    name: "stalled-node-stands",
    guards: ["D1"],
    removes: "a node whose disk hangs stands for election",
    edits: [edit(CORE, "this.mayVote && !this.isStalled;", "this.mayVote;")],
    killedBy: [test("raft/traps-membership", "D1: a leader whose disk does not answer gives up")],
  },
  {
    name: "slow-disk-is-a-stall",
    guards: ["D1", "D2"],
    removes: "the age of the oldest write is measured from the first one ever",
    edits: [edit(RAFT, ["    this.#askedAtTicks.splice(0, seq - this.#persistedSeq);", ""], "")],
    killedBy: [
      test("raft/traps-membership", "D1: writes that take long, but return, cost no leadership"),
    ],
  },
  {
    name: "log-written-in-place",
    guards: ["D2"],
    removes: "the log is written and synced on the thread of the heartbeats",
    edits: [
      edit(
        "src/log/batch-writer.ts",
        "    write.segment.file.writeDurably(write.bytes, write.at, (error) => {",
        [
          "    const { file } = write.segment;",
          "    const writeDurably = (bytes: Buffer, at: number, done: (error: Error | null) => void) => {",
          "      file.writeNow(bytes, at);",
          "      file.syncNow();",
          "      this.#disk.soon(() => done(null));",
          "    };",
          "    writeDurably(write.bytes, write.at, (error) => {",
        ],
      ),
    ],
    killedBy: [test("log/log", "a stalled write tells nothing and fails nothing")],
  },
];

const COMMITTING: readonly Mutant[] = [
  {
    name: "commit-news-forgotten",
    guards: ["R11"],
    removes: "what is committed is told with the next entry only, however late that comes",
    edits: [
      edit("src/node/effect-loop.ts", 'return this.step({ kind: "tellCommit" });', "return;"),
    ],
    killedBy: [test("node/effect-loop", "tells the commit index alone, in a moment")],
  },
  {
    name: "news-of-members-held-back",
    guards: ["R11", "C5"],
    removes:
      "who is taken out, and whom a removed leader leaves, is told with the next entry, which never comes",
    edits: [
      edit(
        "src/raft/reconfiguration.ts",
        ["  tellCommit(core, leadership);", "  if (leadership.peers"],
        "  if (leadership.peers",
      ),
    ],
    killedBy: [
      test("raft/commit-news", "of a change of the members do not wait"),
      test("raft/commit-news", "do not wait when the leader leaves its office"),
    ],
  },
  {
    name: "older-terms-counted",
    guards: ["D3", "R7"],
    removes: "an entry of an older term is committed by counting",
    edits: [
      edit(
        LEADER,
        "if (index <= core.commitIndex || !core.log.matches(index, core.currentTerm)) return false;",
        "if (index <= core.commitIndex || index > core.log.lastIndex) return false;",
      ),
    ],
    killedBy: [
      trap("an older entry on a majority stays uncommitted until one of this term is there"),
      paper("only entries of the leader's current term are committed by counting replicas"),
      script("figure-8"),
    ],
  },
  {
    name: "no-noop",
    guards: ["D3", "R7"],
    removes: "a new leader begins without an entry of its own",
    edits: [
      edit(
        "src/raft/roles.ts",
        ['  log.append({ ...noop, kind: "noop", payload: NO_BYTES });', ""],
        "",
      ),
    ],
    killedBy: [paper("a new leader commits a no-op at the start of its term")],
  },
  {
    name: "heartbeat-commits-all",
    guards: ["D4"],
    removes: "a heartbeat carries the leader's commit index whatever the follower has",
    edits: [
      edit(
        SENDING,
        "const leaderCommit = Math.min(peer.matchIndex, core.commitIndex);",
        "const leaderCommit = core.commitIndex;",
      ),
    ],
    killedBy: [trap("D4: a heartbeat never carries a commit index beyond what the follower has")],
  },
  {
    name: "commit-beyond-the-message",
    guards: ["D4", "R3"],
    removes: "a follower commits entries that the leader's message did not compare",
    edits: [
      edit(
        FOLLOWER,
        "core.commitTo(Math.min(message.leaderCommit, lastNew));",
        "core.commitTo(Math.min(message.leaderCommit, log.lastIndex));",
      ),
    ],
    killedBy: [paper("commitIndex is at most the index of the last new entry")],
  },
  {
    name: "leader-counts-unstored",
    guards: ["D10", "P1"],
    removes: "a leader counts its own entries before they are on its disk",
    edits: [
      edit(
        LEADER,
        "if (own?.advance(core.log.stableIndex) !== true) return;",
        "if (own?.advance(core.log.lastIndex) !== true) return;",
      ),
    ],
    killedBy: [trap("D10: a leader counts its own entries only as far as they are stored")],
  },
  {
    name: "applied-before-stored",
    guards: ["D10", "R8"],
    removes: "what is committed is applied before it is on the own disk",
    edits: [
      edit(
        RAFT,
        "const through = Math.min(core.commitIndex, log.stableIndex);",
        "const through = core.commitIndex;",
      ),
    ],
    killedBy: [
      trap("a follower told of a commit applies when its own write is done"),
      trap("a leader that is the last to store applies last"),
    ],
  },
];

const AGREEING: readonly Mutant[] = [
  {
    name: "log-not-matched",
    guards: ["R3"],
    removes: "a follower takes what follows an entry that it does not have",
    edits: [
      edit(
        FOLLOWER,
        "if (!log.matches(prevLogIndex, prevLogTerm)) {",
        "if (prevLogIndex > log.lastIndex) {",
      ),
    ],
    killedBy: [paper("a follower refuses what does not follow an entry it has")],
  },
  {
    name: "follower-steps-one-back",
    guards: ["D5"],
    removes: "a follower names the entry before the one refused, not the last that may agree",
    edits: [
      edit(
        FOLLOWER,
        "const hint = log.findConflictByTerm(from, message.prevLogTerm);",
        "const hint = { index: from, term: log.term(from) };",
      ),
    ],
    killedBy: [
      trap("D5: a follower names the last place where its term is not above the leader's"),
    ],
  },
  {
    name: "leader-steps-one-back",
    guards: ["D5"],
    removes: "a leader does not look into its own log for an earlier place",
    edits: [
      edit(
        LEADER,
        "const hint = hintTerm > 0 ? core.log.findConflictByTerm(hintIndex, hintTerm).index : hintIndex;",
        "const hint = hintTerm > 0 ? hintIndex : hintIndex;",
      ),
    ],
    killedBy: [trap("D5: a leader skips its own newer terms below the hint")],
  },
  {
    name: "overtaken-append-taken",
    guards: ["D6"],
    removes: "an append behind the commit index is treated like any other",
    edits: [edit(FOLLOWER, "if (prevLogIndex < core.commitIndex) {", "if (prevLogIndex < 0) {")],
    killedBy: [trap("D6: an append behind the commit index is acknowledged there")],
  },
  {
    name: "append-always-cuts",
    guards: ["D6", "R3"],
    removes: "an append cuts the log behind its last entry, also where the two agree",
    edits: [
      edit(
        LOG,
        "if (entry === undefined || !this.matches(entry.index, entry.term)) break;",
        "if (entry === undefined || entry.index > commitIndex) break;",
      ),
    ],
    killedBy: [trap("D6: a late, shorter append does not cut what a newer one brought")],
  },
  {
    name: "conflict-kept",
    guards: ["R3"],
    removes: "an entry in conflict stays, and what follows is put behind it",
    edits: [
      edit(
        LOG,
        "if (entry === undefined || !this.matches(entry.index, entry.term)) break;",
        "if (entry === undefined || entry.index > this.lastIndex) break;",
      ),
    ],
    killedBy: [
      paper("a conflicting entry goes, with all that follow it"),
      script("conflict-repair"),
    ],
  },
  {
    name: "replaced-stays-durable",
    guards: ["D6", "D9"],
    removes: "an entry that replaced a durable one counts as durable",
    edits: [edit(LOG, ["    this.#stableIndex = Math.min(this.#stableIndex, index - 1);", ""], "")],
    killedBy: [trap("D6: stored entries that are replaced are not durable any more")],
  },
];

const COMPLETIONS: readonly Mutant[] = [
  {
    name: "old-completion-counts",
    guards: ["D9", "D11", "R9", "A1"],
    removes: "a completion of an earlier term counts for this one",
    edits: [edit(RAFT, ["    if (term !== core.currentTerm) return;", ""], "")],
    killedBy: [
      trap("one that leads again does not count what it stored before"),
      test("raft/traps-elections", "A1: its own vote of an earlier term does not count"),
    ],
  },
  {
    name: "completion-without-its-term",
    guards: ["D9", "R9"],
    removes: "a completion counts whatever stands at its index, if it is of this term",
    edits: [edit(LOG, ["    if (this.term(last.index) !== last.term) return;", ""], "")],
    killedBy: [trap("nothing, if it is of the same term but ends with an entry that was replaced")],
  },
  {
    name: "completion-without-its-entry",
    guards: ["D9", "R9"],
    removes: "a completion counts whatever stands at its index by now",
    edits: [
      edit(LOG, ["    if (this.term(last.index) !== last.term) return;", ""], ""),
      edit(RAFT, ["    if (term !== core.currentTerm) return;", ""], ""),
    ],
    killedBy: [
      trap("nothing, if its entries were replaced since: another leader wrote the same index"),
      script("stale-completion"),
    ],
  },
  {
    name: "end-not-attested",
    guards: ["D9"],
    removes: "a write without entries attests nothing",
    edits: [
      edit(
        RAFT,
        "return { seq, snapshot, hardState, entries, last: log.last, term: currentTerm, thenSend };",
        [
          "const last = entries.at(-1) ?? { index: 0, term: 0 };",
          "    return { seq, snapshot, hardState, entries, last, term: currentTerm, thenSend };",
        ],
      ),
    ],
    killedBy: [trap("every write attests the log's end anew, also one without entries")],
  },
  {
    name: "completions-out-of-order",
    guards: ["D9"],
    removes: "a completion that comes twice, or out of order, is taken",
    edits: [edit(RAFT, "invariant(seq > this.#persistedSeq, `", "invariant(seq > 0, `")],
    killedBy: [trap("completions come in order, once, and only of what was asked")],
  },
];

export const REPLICATION: readonly Mutant[] = [
  ...THE_DISK,
  ...COMMITTING,
  ...AGREEING,
  ...COMPLETIONS,
];
