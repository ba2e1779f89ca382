/** Mutants of snapshots: traps E1 to E9, and what compaction and snapshots promise (S1 to S4). */

import { edit, type Mutant, test } from "./mutant.ts";

const core = (name: string) => test("raft/transfer-and-snapshots", name);
const catchUp = (name: string) => test("node/catch-up", name);
const directory = (name: string) => test("machine/snapshot-directory", name);
const check = (name: string) => test("machine/snapshot-check", name);
const tail = (name: string) => test("node/compaction", name);

const SNAPSHOTS = "src/raft/snapshots.ts";
const DIRECTORY = "src/machine/snapshot-directory.ts";
const TASK = "src/machine/snapshot-task.ts";
const CATCH_UP = "src/node/catch-up.ts";

const OF_THE_CORE: readonly Mutant[] = [
  {
    name: "conflicting-log-kept",
    guards: ["E1", "S5"],
    removes: "a log that is long enough is kept, whatever stands at the snapshot's index",
    edits: [
      edit(
        SNAPSHOTS,
        "  if (!core.log.matches(index, term)) return true;",
        "  if (index > core.log.lastIndex) return true;",
      ),
    ],
    killedBy: [core("E1: whose log conflicts with it drops the whole log")],
  },
  {
    name: "matching-log-dropped",
    guards: ["E1"],
    removes: "a log that has the snapshot's entry is dropped all the same",
    edits: [edit(SNAPSHOTS, ["  core.commitTo(index);", "  return false;"], "  return true;")],
    killedBy: [core("E1: whose log has it commits up to it and keeps what follows")],
  },
  {
    name: "restart-keeps-the-log",
    guards: ["E1", "S3"],
    removes: "reopened, a log that began anew in its middle still has its old end",
    edits: [
      edit(
        "src/log/recovery.ts",
        ["      this.#base = { index, term };", "      this.#index.restart(this.#base);"],
        [
          "      this.#base = { index, term };",
          "      if (index > this.#index.last) this.#index.restart(this.#base);",
        ],
      ),
    ],
    killedBy: [test("log/restart", "in its middle, where the terms differ empties it")],
  },
  {
    name: "stale-offer-unanswered",
    guards: ["E2"],
    removes: "a snapshot that is not needed gets no answer",
    edits: [edit(SNAPSHOTS, ["    acknowledge(core, from, core.commitIndex);", ""], "")],
    killedBy: [core("E2: answers an old one with its commit index")],
  },
  {
    name: "stale-offer-taken",
    guards: ["E6", "R6"],
    removes: "a snapshot behind the commit index is taken",
    edits: [edit(SNAPSHOTS, ["  if (index <= core.commitIndex) return false;", ""], "")],
    killedBy: [core("E6: two that arrive close together install the newer")],
  },
  {
    name: "only-the-offered-index-ends-it",
    guards: ["E3"],
    removes:
      "a follower's snapshot is over only when it acknowledges the very one that was offered",
    edits: [
      edit(
        "src/raft/leader.ts",
        "if (peer.matchIndex + 1 >= core.log.firstIndex) {",
        "if (peer.matchIndex === peer.pendingSnapshot) {",
      ),
    ],
    killedBy: [core("E3: any answer that reconnects to the log ends the wait, also an older one")],
  },
  {
    name: "offered-to-the-absent",
    guards: ["E4"],
    removes: "a snapshot is offered to a peer that is not heard of",
    edits: [edit(SNAPSHOTS, ["  if (!peer.isActive) return false;", ""], "")],
    killedBy: [core("E4: offers none to who is not heard of")],
  },
  {
    name: "offer-not-repeated",
    guards: ["E4"],
    removes: "an offer that was lost is never repeated",
    edits: [
      edit(
        "src/raft/raft.ts",
        ["      if (options.eager !== true) repeatOffers(core, leadership);", ""],
        "",
      ),
    ],
    killedBy: [core("repeats an offer that may have been lost, once in an election timeout")],
  },
  {
    name: "changed-by-the-offer",
    guards: ["E5", "S3"],
    removes: "a node gives its log up when a snapshot is offered, before it is here",
    edits: [
      edit(
        SNAPSHOTS,
        [
          "    core.fetchSnapshot = { from, index: lastIncludedIndex, term: lastIncludedTerm };",
          "",
        ],
        [
          "    core.fetchSnapshot = { from, index: lastIncludedIndex, term: lastIncludedTerm };",
          "    const { configuration } = core;",
          "    core.log.restore({ index: lastIncludedIndex, term: lastIncludedTerm, configuration });",
          "",
        ],
      ),
    ],
    killedBy: [core("E5: asks for it and changes nothing; it goes on voting and following")],
  },
  {
    name: "sent-while-snapshot-is-under-way",
    guards: ["E5"],
    removes: "a follower that takes a snapshot gets appends that it cannot use",
    edits: [
      edit(
        "src/raft/progress.ts",
        'return this.state === "snapshot" || this.#flowPaused;',
        "return this.#flowPaused;",
      ),
      edit(
        "src/raft/progress.ts",
        [
          '    invariant(this.state !== "snapshot", "appends wait while a snapshot is under way");',
          "",
        ],
        "",
      ),
    ],
    killedBy: [core("offers a snapshot of what is applied to who needs it, and waits")],
  },
  {
    name: "fetched-while-installing",
    guards: ["E6"],
    removes: "another snapshot is fetched while one is being installed",
    edits: [
      edit(
        CATCH_UP,
        "if (this.#fetching !== null || this.#installing || this.#stopped) return;",
        "if (this.#fetching !== null || this.#stopped) return;",
      ),
    ],
    killedBy: [catchUp("fetches nothing while it installs: the file would have to make room")],
  },
  {
    name: "two-fetched-at-once",
    guards: ["E6"],
    removes: "a second snapshot is fetched while the first is under way",
    edits: [
      edit(
        CATCH_UP,
        "if (this.#fetching !== null || this.#installing || this.#stopped) return;",
        "if (this.#installing || this.#stopped) return;",
      ),
    ],
    killedBy: [catchUp("asks followers first and the leader last, one at a time, and goes round")],
  },
  {
    name: "term-from-the-snapshot",
    guards: ["E7"],
    removes: "a node takes its term from the snapshot",
    edits: [
      edit(
        "src/raft/core.ts",
        ["  restore({ index, configuration }: SnapshotMark): void {", ""],
        [
          "  restore({ index, term, configuration }: SnapshotMark): void {",
          "    this.currentTerm = term;",
          "",
        ],
      ),
    ],
    killedBy: [core("E7: the snapshot's term is not the node's")],
  },
];

const OF_FILES: readonly Mutant[] = [
  {
    name: "copy-not-of-one-moment",
    guards: ["E5", "S4"],
    removes: "a copy is told to be of an entry that was applied before it began",
    edits: [edit(TASK, ['    database.exec("BEGIN");', ""], "")],
    killedBy: [check("E5: a copy is of the moment that it names, although others write meanwhile")],
  },
  {
    name: "digest-unchecked",
    guards: ["E9", "S4"],
    removes: "a snapshot is not compared with its digest",
    edits: [
      edit(
        TASK,
        [
          '  if (digest.digest("hex") !== expected.digest) throw new Error("the digest differs");',
          "",
        ],
        "",
      ),
    ],
    killedBy: [check("E9: one changed byte is found by the digest of the whole")],
  },
  {
    name: "damage-unchecked",
    guards: ["E9", "S4"],
    removes: "a snapshot of a damaged database is taken",
    edits: [edit(TASK, 'if (found !== "ok") throw', 'if (found === "") throw')],
    killedBy: [check("E9: damage that the source had already is found by SQLite")],
  },
  {
    name: "applied-unchecked",
    guards: ["E9", "S4"],
    removes: "a snapshot's own word on what it has applied is not compared",
    edits: [
      edit(
        TASK,
        "if (index !== expected.index || term !== expected.term) {",
        "if (index < 0 || term < 0) {",
      ),
    ],
    killedBy: [check("E9: a database of another entry is refused")],
  },
  {
    name: "kept-unchecked",
    guards: ["S4"],
    removes: "what was fetched gets its durable name without a check",
    edits: [
      edit(
        "src/machine/snapshot-files.ts",
        ['      await this.#run({ kind: "check", path: directory.incoming, expected });', ""],
        ["      void expected;", ""],
      ),
    ],
    killedBy: [
      test("machine/snapshot-files", "what was fetched gets its name only when it was checked"),
    ],
  },
  {
    name: "old-wal-left",
    guards: ["S3"],
    removes: "the old database's WAL stays beside the new file",
    edits: [
      edit(DIRECTORY, ["        await rm(this.database + suffix, { force: true });", ""], ""),
    ],
    killedBy: [directory("gets the database's name when the old one's WAL, and what was noted")],
  },
  {
    name: "wal-removed-after-rename",
    guards: ["S3"],
    removes: "the new file is in its place while the old WAL is still there",
    edits: [
      edit(
        DIRECTORY,
        [
          "      // Before the rename: SQLite would take the old WAL for the new file's, and the node the old seal.",
          "",
        ],
        ["      await rename(path, this.database);", ""],
      ),
      edit(
        DIRECTORY,
        ['      this.onStep("rename");', "      await rename(path, this.database);", ""],
        ['      this.onStep("rename");', ""],
      ),
    ],
    killedBy: [directory("gets the database's name when the old one's WAL, and what was noted")],
  },
  {
    name: "installation-not-finished",
    guards: ["S3"],
    removes: "an installation that a crash broke off is not finished at the next start",
    edits: [edit(DIRECTORY, ["    if (isBegun) await this.install(base);", ""], "")],
    killedBy: [directory("is installed by the next start after a crash before the step: rename")],
  },
  {
    name: "log-after-the-file",
    guards: ["S3"],
    removes: "the file is put in its place before the log is durably empty",
    edits: [
      edit(
        CATCH_UP,
        ["    log.restart({ index, term }, () => {", "      machine.install("],
        [
          "    log.restart({ index, term }, () => {});",
          "    ((then: () => void) => then())(() => {",
          "      machine.install(",
        ],
      ),
    ],
    killedBy: [catchUp("installs in the order that a crash cannot spoil: no writer, then the log")],
  },
  {
    name: "writer-stays-open",
    guards: ["S3"],
    removes: "the writer goes on while its file is replaced",
    edits: [edit(CATCH_UP, ["    suspend();", ""], ["    void suspend;", ""])],
    killedBy: [catchUp("installs in the order that a crash cannot spoil: no writer, then the log")],
  },
];

const OF_COMPACTION: readonly Mutant[] = [
  {
    name: "dropped-beyond-checkpoint",
    guards: ["S1"],
    removes: "the log drops what the database file may still lose",
    edits: [
      edit(
        "src/node/compaction.ts",
        "const wanted = Math.min(log.tailFrom(tailEntries, tailBytes) - 1, this.#checkpoint);",
        "const wanted = log.tailFrom(tailEntries, tailBytes) - 1;",
      ),
    ],
    killedBy: [tail("never begins behind the last complete checkpoint")],
  },
  {
    name: "incomplete-checkpoint-counts",
    guards: ["S1"],
    removes: "a checkpoint that readers held up counts as complete",
    edits: [
      edit(
        "src/machine/wal-state.ts",
        "const complete = busy === 0n && log === copied;",
        "const complete = busy >= 0n && log >= copied;",
      ),
    ],
    killedBy: [
      test(
        "machine/hazards",
        "a checkpoint counts only when it was complete, and none happens by itself",
      ),
    ],
  },
  {
    name: "followers-forgotten",
    guards: ["S2"],
    removes: "a leader drops what a connected follower still needs",
    edits: [
      edit(
        "src/node/compaction.ts",
        ["      if (!peer.isActive) continue;", ""],
        ["      if (peer.id > 0) continue;", ""],
      ),
    ],
    killedBy: [tail("is longer on a leader, as far as there is room, while followers need more")],
  },
  {
    name: "kept-without-bound",
    guards: ["S2", "P10"],
    removes: "for a slow follower the log grows without a bound",
    edits: [
      edit(
        "src/node/compaction.ts",
        "return Math.max(index, Math.min(wanted, most));",
        "return Math.max(index, Math.min(index, most));",
      ),
    ],
    killedBy: [tail("is longer on a leader, as far as there is room, while followers need more")],
  },
];

export const SNAPSHOT_MUTANTS: readonly Mutant[] = [...OF_THE_CORE, ...OF_FILES, ...OF_COMPACTION];
