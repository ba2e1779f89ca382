/** Mutants of membership: traps C1 to C10. */

import { edit, type Mutant, test } from "./mutant.ts";

const trap = (name: string) => test("raft/traps-membership", name);
const member = (name: string) => test("raft/membership", name);
const quorum = (name: string) => test("raft/quorum", name);

const CHANGE = "src/raft/reconfiguration.ts";
const LOG = "src/raft/raft-log.ts";
const QUORUM = "src/raft/quorum.ts";

export const MEMBERSHIP: readonly Mutant[] = [
  {
    name: "change-before-own-commit",
    guards: ["C1"],
    removes: "a new leader changes the members before it has committed in its term",
    edits: [
      edit(
        CHANGE,
        "if (options.eager !== true && core.commitIndex < leadership.noop.index) {",
        "if (options.eager !== true && core.commitIndex < 0) {",
      ),
      edit(
        "src/raft/leadership.ts",
        "this.pendingChange = noop.index - 1;",
        "this.pendingChange = 0;",
      ),
    ],
    killedBy: [
      trap("C1: changes nothing before its own no-op is committed"),
      member("C1: changes nothing before everything it found is known to be committed"),
    ],
  },
  {
    name: "two-changes-at-once",
    guards: ["C2"],
    removes: "a change is proposed while another is not committed",
    edits: [
      edit(
        CHANGE,
        ['  if (result.kind === "accepted") leadership.pendingChange = result.last.index;', ""],
        "",
      ),
    ],
    killedBy: [member("C2: admits one change at a time")],
  },
  {
    name: "two-voters-in-one-step",
    guards: ["C1"],
    removes: "a simple change may move more than one voter",
    edits: [
      edit(
        "src/raft/membership.ts",
        ["|| change.steps.length > 1", ""],
        ["|| change.steps.length > 9", ""],
      ),
      edit("src/raft/membership.ts", "  if (moved > 1) return", "  if (moved > 9) return"),
    ],
    killedBy: [trap("C1: a simple change moves one voter at most")],
  },
  {
    name: "replaced-change-remembered",
    guards: ["C3"],
    removes: "a change that another leader's entry replaced takes effect all the same",
    edits: [edit(LOG, ["    this.#changes = this.#changes.filter((at) => at < index);", ""], "")],
    killedBy: [member("C3: does not leave a joint configuration by a change that was replaced")],
  },
  {
    name: "changes-forgotten-at-restart",
    guards: ["C3"],
    removes: "after a restart changes in the log that are above the machine's state are unknown",
    edits: [edit("src/raft/core.ts", ["    this.log.findChanges(appliedIndex);", ""], "")],
    killedBy: [member("C3: finds after a restart what was committed above the machine's state")],
  },
  {
    name: "last-change-in-force-at-restart",
    guards: ["C3"],
    removes: "after a restart every change in the log is in force, committed or not",
    edits: [
      edit(
        "src/raft/core.ts",
        ["this.activateChanges(this.inForceIndex);", "    this.forwarded"],
        ["this.activateChanges(this.log.lastIndex);", "    this.forwarded"],
      ),
    ],
    killedBy: [member("C3: finds after a restart what was committed above the machine's state")],
  },
  {
    name: "change-taken-twice",
    guards: ["C3"],
    removes: "a change that the database file has already is made once more",
    edits: [
      edit("src/raft/core.ts", ["      if (index <= this.configuration.index) continue;", ""], ""),
    ],
    killedBy: [
      member("C3: does not go back to a change that is older than what came with the database"),
    ],
  },
  {
    name: "founders-for-ever",
    guards: ["C3"],
    removes: "after a restart the members are those of the founding",
    edits: [
      edit(
        "src/node/open-core.ts",
        "state.configuration ?? votersOnly(members)",
        "votersOnly(members)",
      ),
    ],
    killedBy: [test("node/open-core", "C3: the members are those that the database file names")],
  },
  {
    name: "configuration-not-kept",
    guards: ["C3"],
    removes: "the database file is not told of new members",
    edits: [
      edit("src/node/kept-configuration.ts", ["    this.#writer.configure(this.#wanted);", ""], ""),
    ],
    killedBy: [
      test(
        "node/open-core",
        "C3: each writer is told what its file lacks, once, and nothing older",
      ),
    ],
  },
  {
    name: "refusal-tells-no-commit",
    guards: ["C4", "C5"],
    removes: "who is refused a vote does not learn what is committed",
    edits: [
      edit(
        "src/raft/elections.ts",
        ["  learnCommit(core, message);", "  const { votes, role } = core;", ""],
        ["  const { votes, role } = core;", ""],
      ),
    ],
    killedBy: [member("learns from a refusal that the configuration which blocks it is past")],
  },
  {
    name: "refusal-in-an-older-term-dropped",
    guards: ["C5"],
    removes: "who is refused a vote by a node in an older term does not learn what is committed",
    edits: [
      edit(
        "src/raft/step.ts",
        ["      learnCommit(core, message);", "      return;", ""],
        ["      return;", ""],
      ),
    ],
    killedBy: [member("C5: learns that from a refusal in an older term, too")],
  },
  {
    name: "refusal-believed-blindly",
    guards: ["C4"],
    removes: "a commit index told with a refusal is taken although the logs differ there",
    edits: [
      edit(
        "src/raft/elections.ts",
        "if (commitIndex <= core.commitIndex || !core.log.matches(commitIndex, commitTerm)) return;",
        "if (commitIndex <= core.commitIndex || commitIndex > core.log.lastIndex) return;",
      ),
    ],
    killedBy: [
      member("takes no commit index from a refusal if its own log has another entry there"),
    ],
  },
  {
    name: "removed-leader-stays",
    guards: ["C5"],
    removes: "a leader that is no voter any more goes on leading",
    edits: [
      edit(
        CHANGE,
        "if (!isVoter(configuration, core.id) && options.stepDownOnRemoval !== false) {",
        "if (!isVoter(configuration, core.id) && options.stepDownOnRemoval === undefined && core.id < 0) {",
      ),
    ],
    killedBy: [member("C5: that removes itself does not count itself, hands over and follows")],
  },
  {
    name: "joint-never-left",
    guards: ["C6"],
    removes: "a leader does not leave the joint configuration that it finds",
    edits: [edit(CHANGE, ["  proposeChange(core, LEAVE_JOINT);", ""], "")],
    killedBy: [
      member("C6: that finds a joint configuration leaves it once its own entry is committed"),
      member("enters a joint configuration, needs both halves in it, and leaves it by itself"),
    ],
  },
  {
    name: "joint-kept-by-transfer",
    guards: ["C6"],
    removes: "a joint configuration that a transfer kept from being left is not left afterwards",
    edits: [
      edit(
        "src/raft/raft.ts",
        ["        abortTransfer(leadership);", "        settleConfiguration(core, leadership);"],
        "        abortTransfer(leadership);",
      ),
    ],
    killedBy: [
      trap("C6: a joint configuration that a transfer kept is left when that is given up"),
    ],
  },
  {
    name: "joint-left-twice",
    guards: ["C6"],
    removes: "leaving is possible where nothing is to be left",
    edits: [
      edit(
        "src/raft/membership.ts",
        ['  if (!isJoint(configuration)) return invalid("the configuration is not joint");', ""],
        "",
      ),
    ],
    killedBy: [member("refuses what does not fit")],
  },
  {
    name: "no-compare-and-set",
    guards: ["C7"],
    removes: "a change that was meant for another configuration is taken",
    edits: [
      edit(
        CHANGE,
        "if (expected !== undefined && expected !== configuration.index) {",
        "if (expected !== undefined && expected < 0) {",
      ),
    ],
    killedBy: [trap("C7: a change meant for another configuration is refused")],
  },
  {
    name: "vote-for-laggards",
    guards: ["C8", "A2"],
    removes: "a node becomes voter before it has caught up",
    edits: [
      edit(
        CHANGE,
        "return eager !== true && promoteUncaught !== true;",
        "return eager !== true && promoteUncaught === undefined && false;",
      ),
    ],
    killedBy: [trap("C8: a node gets a vote only as a learner that has caught up")],
  },
  {
    name: "slow-rounds-count",
    guards: ["C8"],
    removes: "a learner has caught up however long its rounds take",
    edits: [
      edit(
        "src/raft/progress.ts",
        "this.#roundTarget > 0 && nowTick - this.#roundSinceTick <= ticksMax;",
        "this.#roundTarget > 0 && nowTick + ticksMax > this.#roundSinceTick;",
      ),
    ],
    killedBy: [trap("C8: a learner that needs longer than an election timeout for a round")],
  },
  {
    name: "silent-learner-counts",
    guards: ["C8"],
    removes: "a learner that fell silent has caught up for ever",
    edits: [
      edit("src/raft/leader.ts", ["    if (!peer.isActive) peer.isCaughtUp = false;", ""], ""),
    ],
    killedBy: [trap("C8: a learner that has fallen silent has not caught up")],
  },
  {
    name: "progress-forgotten",
    guards: ["C9"],
    removes: "a change of the members makes the leader forget what all of them have",
    edits: [
      edit(
        "src/raft/leadership.ts",
        "      if (known !== undefined) {",
        "      if (known?.id === 0) {",
      ),
    ],
    killedBy: [trap("C9: who stays keeps its progress, its window and its place")],
  },
  {
    name: "done-while-joint",
    guards: ["C10"],
    removes: "in a joint configuration the new half decides alone",
    edits: [
      edit(
        QUORUM,
        [
          "  return Math.min(",
          "    majorityValue(configuration.voters, reachedBy),",
          "    majorityValue(configuration.outgoing, reachedBy),",
          "  );",
        ],
        "  return majorityValue(configuration.voters, reachedBy);",
      ),
    ],
    killedBy: [
      trap("C10: a change is over when the joint configuration is left by commit, not before"),
      quorum("in a joint configuration is what both halves have reached"),
    ],
  },
  {
    name: "old-half-decides",
    guards: ["C10"],
    removes: "in a joint configuration the old half decides alone",
    edits: [
      edit(
        QUORUM,
        [
          "  return Math.min(",
          "    majorityValue(configuration.voters, reachedBy),",
          "    majorityValue(configuration.outgoing, reachedBy),",
          "  );",
        ],
        [
          "  const { voters, outgoing } = configuration;",
          "  return majorityValue(outgoing.length > 0 ? outgoing : voters, reachedBy);",
        ],
      ),
    ],
    killedBy: [quorum("in a joint configuration is what both halves have reached")],
  },
  {
    name: "elected-by-one-half",
    guards: ["C10", "R1"],
    removes: "an election is won by the votes of the new half",
    edits: [
      edit(
        QUORUM,
        "  if (incoming === outgoing) return incoming;",
        '  if (incoming === outgoing || incoming === "won") return incoming;',
      ),
    ],
    killedBy: [quorum("of [1,2,3] and [3,4,5] with [1,2] for and [] against")],
  },
];
