/** Mutants of elections, terms and votes: traps A1 to A13, and what Figure 2 of the Raft paper says of them. */

import { edit, type Mutant, script, test } from "./mutant.ts";

const trap = (name: string) => test("raft/traps-elections", name);
const paper = (name: string) => test("raft/paper", name);

const STORED_FIRST: readonly Mutant[] = [
  {
    name: "attested-before-stored",
    guards: ["A1", "R2"],
    removes: "votes and acknowledgements leave at once",
    edits: [edit("src/raft/core.ts", "this.thenSend.push(message);", "this.send.push(message);")],
    killedBy: [
      trap("A1: a vote leaves only with the write that holds it"),
      trap("A1: an acknowledgement leaves only with the write that holds its entries"),
    ],
  },
  {
    name: "write-under-way-forgotten",
    guards: ["A1", "R2"],
    removes: "what attests nothing new leaves although the write that it attests is under way",
    edits: [
      edit(
        "src/raft/raft.ts",
        "if (this.#persistedSeq === this.#askedSeq && core.options.eager !== true) {",
        "if (core.options.eager !== true) {",
      ),
    ],
    killedBy: [trap("A1: a repeated vote waits for the write under way, too")],
  },
  {
    name: "own-vote-unstored",
    guards: ["A1"],
    removes: "a candidate leads by the others' votes while its own is not stored",
    edits: [
      edit(
        "src/raft/elections.ts",
        "else if (votes.hasGranted(core.id)) becomeLeader(core);",
        "else becomeLeader(core);",
      ),
    ],
    killedBy: [trap("A1: a candidate leads only once its own vote is stored")],
  },
  {
    name: "sent-before-synced",
    guards: ["A1", "R2"],
    removes: "the runtime sends what attests a write along with everything else",
    edits: [
      edit(
        "src/node/effect-loop.ts",
        ["        this.#send(thenSend);", "        this.step("],
        "        this.step(",
      ),
      edit(
        "src/node/effect-loop.ts",
        ["    this.#send(effects.send);", ""],
        ["    this.#send([...(persist?.thenSend ?? []), ...effects.send]);", ""],
      ),
    ],
    killedBy: [test("node/effect-loop", "A1: what attests a write is sent when the log says")],
  },
  {
    name: "vote-not-stored",
    guards: ["A1", "A2", "R2"],
    removes: "a new term or vote alone is no reason to write",
    edits: [
      edit(
        "src/raft/raft.ts",
        ["      isVoteNew ||", "      log.hasUnasked ||"],
        "      log.hasUnasked ||",
      ),
    ],
    killedBy: [
      trap("A1: a vote leaves only with the write that holds it"),
      trap("A2: a node without log or configuration stores its vote like any other"),
    ],
  },
];

const PRE_VOTE: readonly Mutant[] = [
  {
    name: "any-answer-counts",
    guards: ["A3", "A7"],
    removes: "answers are counted whatever was asked",
    edits: [
      edit(
        "src/raft/elections.ts",
        "if (votes === null || !isAsking) return;",
        "if (votes === null) return;",
      ),
    ],
    killedBy: [
      trap("A3: the answer to a pre-vote is not a vote"),
      trap("A7: a late answer to the pre-vote means nothing to a candidate"),
    ],
  },
  {
    name: "pre-vote-is-a-vote",
    guards: ["A3", "A6"],
    removes: "granting a pre-vote gives the vote away and postpones the own election",
    edits: [edit("src/raft/elections.ts", ["  if (!preVote) {", ""], ["  {", ""])],
    killedBy: [trap("A3: asking for and granting pre-votes stores nothing")],
  },
  {
    name: "pre-candidate-votes",
    guards: ["A3"],
    removes: "asking for pre-votes takes the own vote",
    edits: [
      edit(
        "src/raft/roles.ts",
        ['  core.role = "preCandidate";', ""],
        ['  core.role = "preCandidate";', "  core.votedFor = core.id;", ""],
      ),
    ],
    killedBy: [trap("A3: asking for and granting pre-votes stores nothing")],
  },
  {
    name: "grant-in-own-term",
    guards: ["A4"],
    removes: "a grant names the voter's term instead of the one that was asked for",
    edits: [
      edit(
        "src/raft/elections.ts",
        "answerVote(core, message, { term, rejected: false });",
        "answerVote(core, message, { term: core.currentTerm, rejected: false });",
      ),
    ],
    killedBy: [trap("A4: a granted pre-vote echoes the term that was asked for")],
  },
  {
    name: "low-pre-vote-dropped",
    guards: ["A4"],
    removes: "a pre-vote of an older term gets no answer",
    edits: [
      edit("src/raft/step.ts", ["      if (message.preVote) rejectVote(core, message);", ""], ""),
    ],
    killedBy: [trap("A4: a pre-vote of an older term is answered with our term, not dropped")],
  },
  {
    name: "refusal-spreads-no-term",
    guards: ["A5"],
    removes: "a pre-candidate that is refused in a higher term stays in its own",
    edits: [
      edit(
        "src/raft/step.ts",
        "if (message.preVote && !message.rejected) return true;",
        "if (message.preVote) return true;",
      ),
    ],
    killedBy: [
      trap("A5: a refused pre-candidate moves to the term of who refused it"),
      trap("A5: {longest log, low term} and {short log, high term} do not block each other"),
    ],
  },
  {
    name: "old-leader-not-told",
    guards: ["A5"],
    removes: "a leader of an older term is ignored",
    edits: [
      edit("src/raft/step.ts", "if (checkQuorum || preVote) tellTerm(core, message.from);", ""),
    ],
    killedBy: [trap("A5: a leader of an older term is told of ours")],
  },
  {
    name: "pre-vote-postpones",
    guards: ["A6"],
    removes: "granting a pre-vote begins the wait for a leader anew",
    edits: [
      edit(
        "src/raft/elections.ts",
        ["  if (!preVote) {", ""],
        ["  core.electionElapsed = 0;", "  if (!preVote) {", ""],
      ),
    ],
    killedBy: [trap("A6: granting a pre-vote does not postpone our own election")],
  },
  {
    name: "leader-refused-for-itself",
    guards: ["A6"],
    removes: "the leader's own pre-vote is refused because there is a leader",
    edits: [edit("src/raft/step.ts", ["    core.leader !== message.from &&", ""], "")],
    killedBy: [trap("A6: the pre-vote of the very leader we believe in is granted")],
  },
  {
    name: "tally-kept",
    guards: ["A7"],
    removes: "a pre-candidate goes on with the votes of its last attempt",
    edits: [
      edit(
        "src/raft/roles.ts",
        [
          "  leaveRole(core);",
          '  core.role = "preCandidate";',
          "  core.followLeader(NOBODY);",
          "  core.votes = new Votes();",
        ],
        [
          "  const { votes } = core;",
          "  leaveRole(core);",
          '  core.role = "preCandidate";',
          "  core.followLeader(NOBODY);",
          "  core.votes = votes ?? new Votes();",
        ],
      ),
    ],
    killedBy: [trap("A7: becoming a pre-candidate starts a new count and forgets the leader")],
  },
  {
    name: "pre-candidate-keeps-leader",
    guards: ["A7"],
    removes: "a pre-candidate goes on believing in the leader that fell silent",
    edits: [
      edit(
        "src/raft/roles.ts",
        ['  core.role = "preCandidate";', "  core.followLeader(NOBODY);", ""],
        ['  core.role = "preCandidate";', ""],
      ),
    ],
    killedBy: [
      trap("A7: who stops hearing of its leader and asks for pre-votes believes in nobody"),
    ],
  },
];

const WHO_MAY: readonly Mutant[] = [
  {
    name: "quorum-unchecked",
    guards: ["A8"],
    removes: "a leader that hears from no quorum goes on",
    edits: [
      edit(
        "src/raft/raft.ts",
        ["      if (options.checkQuorum) checkQuorum(core, leadership);", ""],
        "",
      ),
    ],
    killedBy: [
      trap("A8: a leader that hears from no quorum for an election timeout steps down"),
      script("check-quorum"),
    ],
  },
  {
    name: "activity-never-ends",
    guards: ["A8"],
    removes: "who was heard of once counts as active for ever",
    edits: [
      edit("src/raft/leader.ts", ["    if (peer.id !== core.id) peer.isActive = false;", ""], ""),
    ],
    killedBy: [trap("A8: a leader that hears from no quorum for an election timeout steps down")],
  },
  {
    name: "pre-vote-off",
    guards: ["A8"],
    removes: "a node stands for election without asking first",
    edits: [edit("src/raft/raft.ts", "  preVote: true,", "  preVote: false,")],
    killedBy: [trap("A8: both are on unless somebody says otherwise")],
  },
  {
    name: "check-quorum-off",
    guards: ["A8"],
    removes: "a leader does not check its quorum",
    edits: [edit("src/raft/raft.ts", "  checkQuorum: true,", "  checkQuorum: false,")],
    killedBy: [trap("A8: both are on unless somebody says otherwise")],
  },
  {
    name: "strangers-heard",
    guards: ["A9"],
    removes: "a removed server's answers are taken, and its term with them",
    edits: [edit("src/raft/step.ts", ["  if (isStrangersAnswer(core, message)) return;", ""], "")],
    killedBy: [trap("A9: a removed server's higher term disturbs nobody")],
  },
  {
    name: "no-stickiness",
    guards: ["A9"],
    removes: "who hears of a leader gives its vote to others all the same",
    edits: [
      edit(
        "src/raft/step.ts",
        ["      if (!message.transfer && isLeased(core, message)) return false;", ""],
        "",
      ),
    ],
    killedBy: [
      trap("A9: a removed server's higher term disturbs nobody"),
      script("prevote-partitioned"),
    ],
  },
  {
    name: "only-voters-vote",
    guards: ["A10"],
    removes: "a node that is no voter as far as it knows refuses its vote",
    edits: [
      edit(
        "src/raft/elections.ts",
        "  if (!free || !core.log",
        "  if (!free || !core.isPromotable || !core.log",
      ),
    ],
    killedBy: [trap("A10: who is a learner, or no member at all, still votes")],
  },
  {
    name: "strangers-campaign",
    guards: ["A10"],
    removes: "who is no voter stands for election",
    edits: [
      edit(
        "src/raft/elections.ts",
        'if (core.role === "leader" || !core.isPromotable) return;',
        'if (core.role === "leader") return;',
      ),
    ],
    killedBy: [trap("A10: who is a learner or no member never stands for election")],
  },
  {
    name: "in-force-when-applied",
    guards: ["A11"],
    removes: "a committed configuration takes effect when the machine has applied it",
    edits: [
      edit(
        "src/raft/core.ts",
        "return this.options.eager === true ? this.appliedIndex : this.commitIndex;",
        "return this.appliedIndex;",
      ),
    ],
    killedBy: [trap("A11: a candidate stands with the configuration that is committed")],
  },
  {
    name: "lost-log-unnoticed",
    guards: ["A12"],
    removes: "a node that is told to commit what it no longer has goes on",
    edits: [
      edit(
        "src/raft/core.ts",
        ["      index <= this.log.lastIndex,", ""],
        ["      index >= 0,", ""],
      ),
    ],
    killedBy: [trap("A12: a node whose disk lost what it had acknowledged halts")],
  },
  {
    name: "blank-node-forms-again",
    guards: ["A12", "N7"],
    removes: "a blank node with the lowest id forms a new cluster beside a formed one",
    edits: [
      edit("src/node/formation.ts", ["    if (this.#knowsAnother) return;", ""], ""),
      edit(
        "src/node/formation.ts",
        'view?.agrees === true && (view.phase === "blank" || view.phase === "forming");',
        "view?.agrees === true;",
      ),
    ],
    killedBy: [test("node/formation", "D7: also when it is the one that proposes")],
  },
  {
    name: "foreign-dice",
    guards: ["A13"],
    removes: "election timeouts come from dice that no seed controls",
    edits: [
      edit(
        "src/raft/core.ts",
        "electionTicks + Math.floor(random() * electionTicks)",
        "electionTicks + Math.floor((random() * 0 + Math.random()) * electionTicks)",
      ),
    ],
    killedBy: [trap("A13: the only dice are the injected ones")],
  },
];

const FIGURE_2: readonly Mutant[] = [
  {
    name: "second-vote",
    guards: ["R2"],
    removes: "a node votes again in a term in which it has voted",
    edits: [
      edit(
        "src/raft/elections.ts",
        ["    (core.votedFor === NOBODY && core.leader === NOBODY) ||", ""],
        ["    core.leader === NOBODY ||", ""],
      ),
      edit(
        "src/raft/core.ts",
        "      this.votedFor === NOBODY || this.votedFor === candidate,",
        "      candidate > 0,",
      ),
    ],
    killedBy: [paper("each server votes for at most one candidate in a term")],
  },
  {
    name: "vote-for-shorter-log",
    guards: ["R4"],
    removes: "the length of the log does not count when votes are given",
    edits: [
      edit(
        "src/raft/raft-log.ts",
        "(term === lastTerm && index >= this.lastIndex)",
        "term === lastTerm",
      ),
    ],
    killedBy: [paper("the voter denies its vote if its own log is more up-to-date")],
  },
  {
    name: "vote-for-older-term",
    guards: ["R4"],
    removes: "the longer log wins votes whatever its last term",
    edits: [
      edit(
        "src/raft/raft-log.ts",
        "term > lastTerm || (term === lastTerm && index >= this.lastIndex)",
        "term > lastTerm || index >= this.lastIndex",
      ),
    ],
    killedBy: [paper("the voter denies its vote if its own log is more up-to-date")],
  },
  {
    name: "term-unnoticed",
    guards: ["R1", "R6"],
    removes: "a leader or candidate that hears of a newer term stays what it is",
    edits: [
      edit(
        "src/raft/step.ts",
        [
          '    case "AppendEntries":',
          '    case "Heartbeat":',
          '    case "InstallSnapshot":',
          "      becomeFollower(core, message.term, message.from);",
          "      return true;",
        ],
        [
          '    case "AppendEntries":',
          '    case "Heartbeat":',
          '    case "InstallSnapshot":',
          "      core.enterTerm(message.term);",
          "      return true;",
        ],
      ),
    ],
    killedBy: [paper("that sees a larger term updates its own and becomes follower")],
  },
  {
    name: "vote-kept-across-terms",
    guards: ["R2"],
    removes: "a vote of an earlier term binds in a later one",
    edits: [edit("src/raft/core.ts", ["    this.votedFor = NOBODY;", ""], "")],
    killedBy: [test("raft/table", "a candidate meets RequestVote")],
  },
  {
    name: "two-leaders-unnoticed",
    guards: ["R1"],
    removes: "a second leader in one term is followed without a word",
    edits: [
      edit(
        "src/raft/step.ts",
        'core.role !== "leader" && (core.leader === NOBODY || core.leader === message.from),',
        "message.from > 0,",
      ),
    ],
    killedBy: [test("raft/table", "a leader meets Heartbeat")],
  },
  {
    name: "fixed-timeouts",
    guards: ["R1"],
    removes: "all nodes wait equally long, so that votes split again and again",
    edits: [
      edit(
        "src/raft/core.ts",
        "electionTicks + Math.floor(random() * electionTicks)",
        "electionTicks + Math.floor(random() * 0)",
      ),
    ],
    killedBy: [paper("a follower's election timeout is drawn from [n, 2n)")],
  },
];

export const ELECTIONS: readonly Mutant[] = [...STORED_FIRST, ...PRE_VOTE, ...WHO_MAY, ...FIGURE_2];
