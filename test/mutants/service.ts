/** Mutants of what a caller is promised (P), and of what a node keeps true between its log and its database (N). */

import { edit, type Mutant, test } from "./mutant.ts";

const driver = (name: string) => test("node/writer-driver", name);
const proposals = (name: string) => test("node/proposals", name);
const sessions = (name: string) => test("machine/sessions", name);
const hazards = (name: string) => test("machine/hazards", name);

const DRIVER = "src/node/writer-driver.ts";
const PROPOSALS = "src/node/proposals.ts";
const SESSIONS = "src/machine/sessions.ts";

const OF_ANSWERS: readonly Mutant[] = [
  {
    name: "answered-before-commit",
    guards: ["P1"],
    removes: "a write is answered when it is proposed",
    edits: [
      edit(
        PROPOSALS,
        "if (ticket === undefined || ticket.at.index > commitIndex) break;",
        "if (ticket === undefined || ticket.at.index > commitIndex + 1e9) break;",
      ),
    ],
    killedBy: [proposals("a write is answered when its entry is committed, not before")],
  },
  {
    name: "repeated-write-applied-again",
    guards: ["P2"],
    removes: "a write that was applied before is applied again",
    edits: [edit(SESSIONS, ["    if (known !== undefined) return known;", ""], "")],
    killedBy: [
      sessions("a duplicate in the same transaction gets the first answer, and changes nothing"),
      sessions("after a commit, a restart, or on another node it is the same"),
    ],
  },
  {
    name: "forgotten-write-applied-again",
    guards: ["P2"],
    removes: "a write whose answer was acknowledged and forgotten is applied again",
    edits: [
      edit(
        SESSIONS,
        "    if (sequence <= session.floor) {",
        "    if (sequence <= 0 * session.floor) {",
      ),
    ],
    killedBy: [sessions("writes may arrive in any order; an acknowledged one that comes late")],
  },
  {
    name: "sessions-outlive-their-transaction",
    guards: ["P2"],
    removes: "sessions are stored apart from the data that they are about",
    edits: [
      edit(
        "src/machine/machine-core.ts",
        ["    this.#on.sessions.flush();", "    const state = {"],
        "    const state = {",
      ),
    ],
    killedBy: [sessions("after a commit, a restart, or on another node it is the same")],
  },
  {
    name: "other-leaders-entry-taken-for-ours",
    guards: ["P3"],
    removes: "a deposed leader's write counts as applied when any entry commits at its index",
    edits: [edit(PROPOSALS, "else if (term === at.term) give(", "else if (term !== null) give(")],
    killedBy: [proposals("D6: and not applied if another term's entry commits there")],
  },
  {
    name: "expired-write-called-not-applied",
    guards: ["P3"],
    removes: "a write that is still on its way is told as not applied at its deadline",
    edits: [
      edit(
        PROPOSALS,
        '        failure("DEADLINE_EXCEEDED", message, kind === "write" ? "unknown" : "not-applied"),',
        '        failure("DEADLINE_EXCEEDED", message, kind === "write" ? "not-applied" : "not-applied"),',
      ),
    ],
    killedBy: [
      proposals("past its deadline a proposed write is unknown, an observation is not applied"),
    ],
  },
  {
    name: "error-before-commit",
    guards: ["P5"],
    removes: "an SQL error leaves although what it saw may never be committed",
    edits: [
      edit(
        PROPOSALS,
        ['    this.#tickets.push({ at, kind: "read", request, answer });', ""],
        ["    if (at.index > 0) give(request, answer);", ""],
      ),
    ],
    killedBy: [proposals("an SQL error waits for what it may have seen")],
  },
  {
    name: "observation-survives-its-leader",
    guards: ["P5"],
    removes: "an answer that saw what was lost with the leader is given all the same",
    edits: [
      edit(
        PROPOSALS,
        [
          '      else ticket.request.fail(failure("LEADERSHIP_LOST", LOST));',
          "    }",
          "  }",
          "",
          "  /** Answers those",
        ],
        [
          "      else give(ticket.request, ticket.answer);",
          "    }",
          "  }",
          "",
          "  /** Answers those",
        ],
      ),
    ],
    killedBy: [proposals("an observation of a deposed leader is void")],
  },
  {
    name: "half-a-request",
    guards: ["P8"],
    removes: "what a request did before the statement that failed stays",
    edits: [edit("src/machine/request-executor.ts", ["      this.#rollbackTo.run();", ""], "")],
    killedBy: [hazards("a batch leaves nothing of the statements before the one that failed")],
  },
  {
    name: "endless-write-lives",
    guards: ["P9"],
    removes: "a write that passes its deadline goes on in the writer",
    edits: [edit(DRIVER, ['    this.#replace("a write passed its deadline");', ""], "")],
    killedBy: [
      driver("stops a write at its deadline by killing the process, and nothing else is lost"),
    ],
  },
];

const OF_THE_WRITER: readonly Mutant[] = [
  {
    name: "open-transaction-kept",
    guards: ["N1"],
    removes: "a writer with uncommitted work goes on when the leadership is lost",
    edits: [
      edit(
        DRIVER,
        '      else this.#replace("leadership was lost");',
        '      else this.#mode = "following";',
      ),
    ],
    killedBy: [
      driver("kills the writer when leadership is lost with work in the open transaction"),
    ],
  },
  {
    name: "refused-work-kept",
    guards: ["N1"],
    removes: "what was executed stays in the open transaction although it was not proposed",
    edits: [
      edit(
        DRIVER,
        'if (at === null) return this.#replace("a proposal was refused");',
        "if (at === null) return this.#pump();",
      ),
    ],
    killedBy: [
      driver("replaces the writer after a refused proposal and executes the others again"),
    ],
  },
  {
    name: "commit-ahead-of-raft",
    guards: ["N2"],
    removes: "SQLite commits what Raft has not",
    edits: [edit(DRIVER, "return this.#applicable >= this.#lastProposed.index;", "return true;")],
    killedBy: [driver("commits in SQLite only what is committed by Raft and durable here")],
  },
  {
    name: "rests-for-ever",
    guards: ["N24"],
    removes:
      "what SQLite may commit later, it commits with the next write, however late that comes",
    edits: [edit("src/node/write-cycle.ts", ["      again();", ""], "")],
    killedBy: [driver("lets a COMMIT rest for a moment while nobody waits for it")],
  },
  {
    name: "rests-while-a-read-waits",
    guards: ["N24"],
    removes: "a read waits until a COMMIT that may come later has come",
    edits: [
      edit(
        DRIVER,
        "this.#waiting.length > 0 || this.#demanded > this.#committing)",
        "this.#waiting.length > 0)",
      ),
    ],
    killedBy: [driver("commits at once what rests when a read needs it")],
  },
  {
    name: "rests-before-a-transaction",
    guards: ["N24"],
    removes: "a transaction begins only when a COMMIT that may come later has come",
    edits: [
      edit(
        DRIVER,
        "this.#waiting.length > 0 || this.#demanded > this.#committing)",
        "this.#demanded > this.#committing)",
      ),
    ],
    killedBy: [driver("commits at once what rests when a transaction begins")],
  },
  {
    name: "executes-before-noop",
    guards: ["N3"],
    removes: "a new leader executes before it has applied what was committed before it",
    edits: [
      edit(
        DRIVER,
        ["    if (noop === null || this.#applied < noop.index) return;", ""],
        ["    if (noop === null) return;", ""],
      ),
      edit(
        DRIVER,
        '    if (this.#applied === last) this.#mode = "leading";',
        '    if (last >= 0) this.#mode = "leading";',
      ),
    ],
    killedBy: [driver("executes nothing before the no-op of its own term is applied")],
  },
  {
    name: "executes-before-all-is-applied",
    guards: ["N1", "N3"],
    removes: "after a kill requests are executed before everything proposed is applied",
    edits: [
      edit(
        DRIVER,
        '    if (this.#applied === last) this.#mode = "leading";',
        '    if (last >= 0) this.#mode = "leading";',
      ),
    ],
    killedBy: [
      driver("executes nothing after a kill until everything proposed before it is applied"),
    ],
  },
  {
    name: "applied-under-a-commit",
    guards: ["N4"],
    removes: "a follower applies what a COMMIT under way takes in",
    edits: [
      edit(
        DRIVER,
        "if (this.#applying || this.#committing > this.#applied) return;",
        "if (this.#applying) return;",
      ),
    ],
    killedBy: [driver("does not apply again what a COMMIT under way has already taken in")],
  },
  {
    name: "file-not-looked-at",
    guards: ["N4", "N5"],
    removes: "a transaction begins although another writer has changed the file",
    edits: [
      edit(
        "src/machine/machine-meta.ts",
        "if (row?.[5] !== this.#epoch) {",
        "if (row?.[1] === BigInt(-1 - appliedIndex)) {",
      ),
    ],
    killedBy: [hazards("a writer that another one has followed writes no more")],
  },
  {
    name: "entries-in-any-order",
    guards: ["N4"],
    removes: "an entry is applied wherever the last one was",
    edits: [
      edit(
        "src/machine/machine-core.ts",
        "      if (entry.index !== last.index + 1) {",
        "      if (entry.index < 0) {",
      ),
    ],
    killedBy: [hazards("entries are applied once, in order, without gaps")],
  },
  {
    name: "effects-not-compared",
    guards: ["N8", "R5"],
    removes: "a follower takes effects that are not the leader's",
    edits: [
      edit(
        "src/machine/machine-core.ts",
        'if (found !== digest) return differs(found, "other effects", result);',
        "",
      ),
    ],
    killedBy: [test("machine/determinism", "another rowid")],
  },
  {
    name: "goes-on-after-a-difference",
    guards: ["N8"],
    removes: "a node whose effects differ goes on applying",
    edits: [edit(DRIVER, '    if (mismatch !== null) this.#mode = "closed";\n', "")],
    killedBy: [driver("stops applying at an entry whose effects differ")],
  },
  {
    name: "formed-without-all",
    guards: ["N7"],
    removes: "a cluster forms although not all listed peers have answered",
    edits: [
      edit(
        "src/node/formation.ts",
        ["    if (!views.every(willing)) return;", ""],
        ["    if (!views.some(willing)) return;", ""],
      ),
    ],
    killedBy: [test("node/formation", "waits for every listed peer")],
  },
  {
    name: "formed-before-stored",
    guards: ["N7"],
    removes: "the proposer votes before all peers have stored the cluster's id",
    edits: [
      edit(
        "src/node/formation.ts",
        "if (views.every(stored)) return this.#become(",
        "if (views.some(stored)) return this.#become(",
      ),
    ],
    killedBy: [
      test("node/formation", "nobody votes before every listed peer has stored the cluster's id"),
    ],
  },
];

const CONNECTION = "src/client/connection.ts";
const connection = (name: string) => test("client/connection", name);

const OF_THE_CLIENT: readonly Mutant[] = [
  {
    name: "answers-lost-with-the-connection",
    guards: ["P16"],
    removes: "answers that have come and wait for their turn go with their connection",
    edits: [edit(CONNECTION, ["    this.#takeRest();", ""], "")],
    killedBy: [
      connection(
        "answers that have come are given out though the connection ends before their turn",
      ),
    ],
  },
  {
    name: "later-answers-unguarded",
    guards: ["P16"],
    removes: "an answer that cannot be read ends the process, if it had to wait for its turn",
    edits: [
      edit(
        CONNECTION,
        [
          "    try {",
          "      this.#takeGroup();",
          "    } catch (error) {",
          "      this.#unreadable(error);",
          "    }",
          "  }",
        ],
        ["    this.#takeGroup();", "  }"],
      ),
    ],
    killedBy: [
      connection(
        "one that cannot be read ends the connection, whichever turn it has; those behind it",
      ),
    ],
  },
];

export const SERVICE: readonly Mutant[] = [...OF_ANSWERS, ...OF_THE_WRITER, ...OF_THE_CLIENT];
