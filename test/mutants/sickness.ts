/** Mutants of what follows a mismatch (N8, N27 to N29). */

import { edit, type Mutant, test } from "./mutant.ts";

const sickness = (name: string) => test("node/sickness", name);
const reseed = (name: string) => test("node/reseed", name);
const verdict = (name: string) => test("machine/verdict", name);
const directory = (name: string) => test("machine/snapshot-directory", name);
const abstaining = test(
  "raft/traps-membership",
  "a leader whose machine is not fit to lead leaves, stands for nothing, and holds nobody off",
);

const SICKNESS = "src/node/sickness.ts";
const CORE = "src/machine/machine-core.ts";
const SETTLING = "src/machine/settling.ts";
const DIRECTORY = "src/machine/snapshot-directory.ts";

export const SICK: readonly Mutant[] = [
  {
    name: "sick-node-stands",
    guards: ["N8"],
    removes: "a node whose machine is not fit to lead stands for leader",
    edits: [edit("src/raft/core.ts", "    if (this.isAbstaining) return false;\n", "")],
    killedBy: [abstaining],
  },
  {
    name: "sick-node-holds-others-off",
    guards: ["N8"],
    removes: "a node that stands for nothing believes in a dead leader for ever",
    edits: [
      edit("src/raft/raft.ts", "      if (core.isAbstaining) core.followLeader(NOBODY);\n", ""),
    ],
    killedBy: [abstaining],
  },
  {
    name: "waits-for-ever-for-who-needs-it",
    guards: ["N8"],
    removes: "a node that asks never leads, whoever needs its entries",
    edits: [
      edit(SICKNESS, "const stands = this.#pace.lacksLeader() && ", "const stands = false && "),
    ],
    killedBy: [sickness("leads though it asks when nobody else does")],
  },
  {
    name: "halts-before-the-verdict",
    guards: ["N29"],
    removes: "a node that lags gives up before its log can have told it of a verdict",
    edits: [
      edit(
        "src/node/sickness.ts",
        'if (judgement.kind === "none" && !this.#mayHearVerdict(illness))',
        'if (judgement.kind === "none")',
      ),
    ],
    killedBy: [sickness("does not halt while its log goes on")],
  },
  {
    name: "copy-is-a-witness",
    guards: ["N27"],
    removes: "a database that came from another node speaks of what that one applied",
    edits: [
      edit(
        SICKNESS,
        '    if (index <= this.#originIndex) return { kind: "unknown", ...nothing };\n',
        "",
      ),
    ],
    killedBy: [sickness("whose database is another's stands by nobody")],
  },
  {
    name: "answers-are-the-voters",
    guards: ["N27"],
    removes: "a finding counts that most of those who answered share",
    edits: [
      edit(
        "src/node/findings.ts",
        "quorumTally(configuration, votes)",
        "quorumTally({ ...configuration, voters: [...findings.keys()] }, votes)",
      ),
    ],
    killedBy: [sickness("counts for a majority of all voters, not of those that answered")],
  },
  {
    name: "databases-without-end",
    guards: ["N27"],
    removes: "a broken machine fetches one database after the other",
    edits: [
      edit(
        SICKNESS,
        "return this.#reseeds.length < RESEEDS_MAX;",
        "return this.#reseeds.length >= 0;",
      ),
    ],
    killedBy: [sickness("halts when its third database within an hour differs as well")],
  },
  {
    name: "exchanged-before-the-log",
    guards: ["N28"],
    removes: "a database is replaced by one that is ahead of the log",
    edits: [edit("src/node/reseed.ts", "    if (mark.index > applicable()) return;\n", "")],
    killedBy: [reseed("is replaced when the own log holds the entry")],
  },
  {
    name: "exchange-not-finished",
    guards: ["N28"],
    removes: "an exchange that a crash broke off is not finished at the next start",
    edits: [edit(DIRECTORY, "    if (await this.#finishExchange(holds)) return true;\n", "")],
    killedBy: [directory("is in the database's place after a crash before the step: rename")],
  },
  {
    name: "choice-of-another-log",
    guards: ["N28"],
    removes: "what was chosen for a log that was set aside takes a database's place",
    edits: [edit(DIRECTORY, "marks.find(holds)", "marks[0]")],
    killedBy: [directory("is forgotten if it was not chosen, or if the log is another one")],
  },
  {
    name: "verdict-passed-by",
    guards: ["N29"],
    removes: "who applied an entry as its sick leader did goes on behind the verdict",
    edits: [
      edit(
        SETTLING,
        "return this.#agrees(verdict) ? null : overruled(at, verdict);",
        "return this.#agrees(verdict) || at > 0 ? null : overruled(at, verdict);",
      ),
    ],
    killedBy: [verdict("whoever went the leader's way stops at the verdict")],
  },
  {
    name: "verdict-not-compared",
    guards: ["N29"],
    removes: "a third result counts as what the majority found",
    edits: [edit(CORE, "isBegun ? compare(verdict, difference) : null", "isBegun ? null : null")],
    killedBy: [verdict("a node that comes to a third result does not take the majority's word")],
  },
  {
    name: "verdict-forgotten-at-a-restart",
    guards: ["N29"],
    removes: "where a verdict was gone by is not in the file: a restart stops in the middle",
    edits: [edit(CORE, "    if (isBegun) this.#on.meta.settle(verdict);\n", "")],
    killedBy: [verdict("a restart behind entry 3 comes to the same")],
  },
  {
    name: "verdict-logged-twice",
    guards: ["N29"],
    removes: "a leader proposes its verdict at every look",
    edits: [edit(SICKNESS, "    this.#proposedIn = currentTerm;\n", "")],
    killedBy: [sickness("in a majority may lead, and as leader proposes once what counts")],
  },
];
