/** Mutants of majorities, of a node that lost its disk (trap A12), and of changes that operators ask for (C6, C7, C10). */

import { edit, type Mutant, test } from "./mutant.ts";

const trap = (name: string) => test("raft/traps-membership", name);
const quorum = (name: string) => test("raft/quorum", name);

const node = (name: string) => test("node/membership", name);

const QUORUM = "src/raft/quorum.ts";
const MEMBERSHIP = "src/node/membership.ts";

const MAJORITIES: readonly Mutant[] = [
  {
    name: "two-of-four-elect",
    guards: ["R1"],
    removes: "half of the votes win an election",
    edits: [
      edit(
        QUORUM,
        "voters.length === 0 ? 0 : Math.floor(voters.length / 2) + 1;",
        "Math.ceil(voters.length / 2);",
      ),
    ],
    killedBy: [quorum("of [1,2,3,4] with [1,2] for and [] against is pending")],
  },
  {
    name: "two-of-four-commit",
    guards: ["P1", "R4"],
    removes: "what half of the voters have is committed",
    edits: [
      edit(
        QUORUM,
        "values[Math.floor(voters.length / 2)] ?? 0;",
        "values[Math.floor((voters.length - 1) / 2)] ?? 0;",
      ),
    ],
    killedBy: [quorum("what a majority has reached of [3,4,5,6]")],
  },
  {
    name: "learners-counted",
    guards: ["P1"],
    removes: "what learners have counts for the majority",
    edits: [
      edit(
        QUORUM,
        "    majorityValue(configuration.voters, reachedBy),",
        "    majorityValue([...configuration.voters, ...configuration.learners], reachedBy),",
      ),
    ],
    killedBy: [test("raft/learners", "what a learner acknowledges commits nothing")],
  },
];

const LOST_DISK: readonly Mutant[] = [
  {
    name: "votes-before-admission",
    guards: ["A12", "N9"],
    removes: "a node that lost its disk votes before it has committed its admission",
    edits: [edit("src/raft/elections.ts", ["  if (!core.mayVote) return;", ""], "")],
    killedBy: [
      trap("A12: a node that begins anew neither votes nor stands before it has committed"),
    ],
  },
  {
    name: "stands-before-admission",
    guards: ["A12", "N9"],
    removes: "a node that lost its disk stands for election before it has committed its admission",
    edits: [
      edit(
        "src/raft/core.ts",
        "isVoter(this.configuration, this.id) && this.mayVote && !this.isStalled;",
        "isVoter(this.configuration, this.id) && !this.isStalled;",
      ),
    ],
    killedBy: [
      trap("A12: a node that begins anew neither votes nor stands before it has committed"),
    ],
  },
  {
    name: "incarnations-alike",
    guards: ["A12", "N9"],
    removes: "the leader goes on believing of a new incarnation what the old one acknowledged",
    edits: [
      edit(
        "src/raft/leadership.ts",
        "if (!ids.includes(id) || (isAnother && incarnations.has(id))) this.#byId.delete(id);",
        "if (!ids.includes(id) || (isAnother && id < 0)) this.#byId.delete(id);",
      ),
    ],
    killedBy: [trap("A12: of another incarnation the leader knows nothing")],
  },
  {
    name: "reset-ignored",
    guards: ["A12"],
    removes: "what a peer acknowledged counts although another node answers there",
    edits: [
      edit(
        "src/raft/progress.ts",
        ["  forget(): void {", "    this.matchIndex = 0;", ""],
        ["  forget(): void {", ""],
      ),
    ],
    killedBy: [trap("A12: what is known of a peer is forgotten when another node answers there")],
  },
];

const OF_THE_NODE: readonly Mutant[] = [
  {
    name: "replaced-directory-heard",
    guards: ["A12", "N9"],
    removes: "messages of a directory that was replaced under its id are heard",
    edits: [
      edit(
        "src/node/peer-book.ts",
        ["    return !this.#isReplaced(peer, { incarnation });", ""],
        ["    return !this.#isReplaced(peer, { incarnation }) || incarnation.length >= 0;", ""],
      ),
    ],
    killedBy: [test("node/peer-book", "A12: of a replaced directory nothing is heard")],
  },
  {
    name: "other-cluster-heard",
    guards: ["N7"],
    removes: "messages of another cluster's nodes are heard",
    edits: [
      edit(
        "src/node/peer-book.ts",
        ['    if (said !== "" && said !== clusterId) return false;', ""],
        "",
      ),
    ],
    killedBy: [test("node/peer-book", "another cluster's nodes are not heard")],
  },
  {
    name: "new-incarnation-not-told",
    guards: ["A12"],
    removes: "the core is not told that another directory answers at a peer's address",
    edits: [
      edit(
        "src/node/peer-door.ts",
        'if (book.hello(peer)) parts.loop()?.step({ kind: "peerReset", peer: peer.id });',
        "book.hello(peer);",
      ),
    ],
    killedBy: [
      test("node/peer-book", "A12: the core forgets what another incarnation of a peer said"),
    ],
  },
  {
    name: "admission-of-another",
    guards: ["A12"],
    removes: "a node takes an admission that was meant for the directory before its own",
    edits: [
      edit(
        "src/node/formation.ts",
        'if (incarnation !== identity.incarnation || identity.phase === "forming" || isOther) return;',
        'if (incarnation === "" || identity.phase === "forming" || isOther) return;',
      ),
    ],
    killedBy: [
      test(
        "node/formation",
        "A12: an admission is for one incarnation, and brings from where it votes",
      ),
    ],
  },
  {
    name: "votes-from-the-start",
    guards: ["A12", "N9"],
    removes: "an admitted node does not keep from where on it may vote",
    edits: [
      edit(
        "src/node/formation.ts",
        '    this.#become({ ...identity, clusterId, phase: "formed", members, votesFrom }, () =>',
        '    this.#become({ ...identity, clusterId, phase: "formed", members, votesFrom: 0 * votesFrom }, () =>',
      ),
    ],
    killedBy: [
      test(
        "node/formation",
        "A12: an admission is for one incarnation, and brings from where it votes",
      ),
    ],
  },
  {
    name: "forms-beside-another-cluster",
    guards: ["A12", "N7"],
    removes: "blank nodes form a cluster although one of them has met another one",
    edits: [
      edit(
        "src/node/formation.ts",
        'return views.some((peer) => peer.phase === "formed" && peer.clusterId !== clusterId);',
        'return views.some((peer) => peer.phase === "formed" && peer.clusterId === clusterId.slice(99));',
      ),
    ],
    killedBy: [
      test("node/formation", "forms nothing beside a cluster that one of the listed has met"),
    ],
  },
  {
    name: "lost-node-forms-again",
    guards: ["A12", "N7"],
    removes: "a node whose log was set aside helps to form another cluster",
    edits: [
      edit(
        "src/node/formation.ts",
        'if (identity.phase === "lost" || this.#knowsAnother) return;',
        "if (this.#knowsAnother) return;",
      ),
      edit(
        "src/node/formation.ts",
        'view?.agrees === true && (view.phase === "blank" || view.phase === "forming");',
        'view?.agrees === true && view.phase !== "formed";',
      ),
    ],
    killedBy: [
      test("node/formation", "A12: a node whose log was set aside forms no other cluster"),
    ],
  },
];

const AS_LEADER: readonly Mutant[] = [
  {
    name: "admitted-before-in-force",
    guards: ["A12", "N9"],
    removes: "a node is admitted before the configuration that makes it a learner is in force",
    edits: [
      edit(
        MEMBERSHIP,
        "const isNamed = this.#recordOf(id)?.incarnation === view.incarnation;",
        "const isNamed = view.incarnation.length >= 0;",
      ),
    ],
    killedBy: [node("A12: that loses it again before it was admitted is another node again")],
  },
  {
    name: "admitted-with-its-vote",
    guards: ["A12", "N9"],
    removes: "a node that lost its disk is admitted as the voter that it was",
    edits: [
      edit(
        MEMBERSHIP,
        [
          "    const step: ChangeStep = {",
          '      kind: "addLearner",',
          "      id,",
          "      record: { address, incarnation, awaitsVote },",
        ],
        [
          "    const step: ChangeStep = {",
          '      kind: "addVoter",',
          "      id,",
          "      record: { address, incarnation, awaitsVote },",
        ],
      ),
    ],
    killedBy: [
      node("A12: becomes a learner, is admitted when that is in force, and gets its vote back"),
    ],
  },
  {
    name: "votes-from-the-beginning",
    guards: ["A12", "N9"],
    removes: "an admission does not say up to where the node may not vote",
    edits: [
      edit(
        MEMBERSHIP,
        "const admission = { incarnation, votesFrom: commitIndex };",
        "const admission = { incarnation, votesFrom: 0 * commitIndex };",
      ),
    ],
    killedBy: [
      node("A12: becomes a learner, is admitted when that is in force, and gets its vote back"),
    ],
  },
  {
    name: "admission-told-once",
    guards: ["A12"],
    removes: "an admission that was lost on the way is not told again",
    edits: [
      edit(
        MEMBERSHIP,
        "?? Number.NEGATIVE_INFINITY) < ADMIT_MS) return;",
        "?? Number.NEGATIVE_INFINITY) < 1e12) return;",
      ),
    ],
    killedBy: [node("A12: is told again until it takes part")],
  },
];

const BY_OPERATORS: readonly Mutant[] = [
  {
    name: "change-told-before-in-force",
    guards: ["C10"],
    removes: "an operator is told that a change is done when it is proposed",
    edits: [
      edit(
        MEMBERSHIP,
        "if (proposed !== null && configuration.index >= proposed && !isJoint(configuration)) {",
        "if (proposed !== null) {",
      ),
    ],
    killedBy: [
      node("C10: calls the new node, adds it when it answers, and is over when that is in force"),
    ],
  },
  {
    name: "change-told-while-joint",
    guards: ["C10"],
    removes: "an operator is told that a change is done while the old majority still decides",
    edits: [
      edit(
        MEMBERSHIP,
        "if (proposed !== null && configuration.index >= proposed && !isJoint(configuration)) {",
        "if (proposed !== null && configuration.index >= proposed) {",
      ),
    ],
    killedBy: [node("C10: is not over while the configuration is joint")],
  },
  {
    name: "last-quorum-removed",
    guards: ["C6"],
    removes: "a member is removed although those that are left could not go on",
    edits: [
      edit(
        MEMBERSHIP,
        ["    if (present.length >= needed) return null;", ""],
        ["    if (present.length >= 0) return null;", ""],
      ),
    ],
    killedBy: [node("C6: is refused if no quorum would be left")],
  },
  {
    name: "operators-unserialized",
    guards: ["C7"],
    removes: "a second operator's change is taken while the first one's is under way",
    edits: [
      edit(
        MEMBERSHIP,
        'this.#pending === null ? this.#problem(call) : "another change is under way";',
        "this.#pending === null ? this.#problem(call) : null;",
      ),
    ],
    killedBy: [
      node(
        "C7: is refused if it was meant for another configuration, and while another is under way",
      ),
    ],
  },
  {
    name: "operators-expectation-ignored",
    guards: ["C7"],
    removes: "a change is made although the members are not those that the operator saw",
    edits: [
      edit(
        MEMBERSHIP,
        "    if (expected !== null && expected !== configuration.index) {",
        "    if (expected !== null && expected < 0) {",
      ),
    ],
    killedBy: [
      node(
        "C7: is refused if it was meant for another configuration, and while another is under way",
      ),
    ],
  },
];

export const MAJORITIES_AND_LOST_DISKS: readonly Mutant[] = [
  ...MAJORITIES,
  ...LOST_DISK,
  ...OF_THE_NODE,
  ...AS_LEADER,
  ...BY_OPERATORS,
];
