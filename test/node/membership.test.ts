/** What a leader does about its members: admits who lost its disk, gives votes, carries out changes, says no. */

import { beforeEach, describe, expect, test } from "vitest";
import { Membership } from "../../src/node/membership.ts";
import { PeerBook } from "../../src/node/peer-book.ts";
import type { FormRequest, Identity, PeerHello, Phase } from "../../src/node/ports.ts";
import type { ChangeCall, MemberStep } from "../../src/node/service.ts";
import { failure } from "../../src/node/write-request.ts";
import type { ProposalResult, RaftStatus } from "../../src/raft/effect.ts";
import { type Configuration, type MemberRecord, votersOnly } from "../../src/raft/entry.ts";
import {
  type ChangeStep,
  type ConfigurationChange,
  changeConfiguration,
} from "../../src/raft/membership.ts";
import type { ProgressView } from "../../src/raft/progress.ts";
import type { Failure } from "../../src/sql/errors.ts";
import { Clock, silent } from "./fakes.ts";

const CLUSTER = "c".repeat(32);

let clock: Clock;
let book: PeerBook;
let membership: Membership;
let status: RaftStatus;
let progress: ProgressView[];
let proposed: { change: ConfigurationChange; expected: number }[];
let answer: ProposalResult["kind"] | "changePending" | "notCaughtUp";
let forms: { to: number; request: FormRequest }[];
let configured: Configuration[];
let trouble: string;
let dialed: ReadonlyMap<number, string>;
let identity: Identity;

beforeEach(() => {
  clock = new Clock();
  [proposed, forms, configured, progress] = [[], [], [], []];
  trouble = "";
  answer = "accepted";
  identity = {
    nodeId: 1,
    incarnation: "one",
    clusterId: CLUSTER,
    phase: "formed",
    members: [1, 2, 3],
    votesFrom: 0,
    seed: "",
  };
  status = {
    id: 1,
    role: "leader",
    currentTerm: 5,
    votedFor: 1,
    leader: 1,
    commitIndex: 20,
    lastIndex: 20,
    lastTerm: 5,
    configuration: votersOnly([1, 2, 3]),
    isStalled: false,
  };
  const peers = new Map([1, 2, 3].map((id) => [id, `h${id}:1`]));
  book = new PeerBook({ id: 1, advertise: "h1:1", peers }, (to) => {
    dialed = to;
  });
  membership = new Membership({
    id: 1,
    environment: clock.environment,
    logger: silent,
    book,
    identity: () => identity,
    status: () => status,
    progress: () => progress,
    propose: (change, expected) => {
      proposed.push({ change, expected });
      if (answer === "accepted") {
        const last = { index: status.lastIndex + 1, term: 5 };
        return { kind: "accepted", first: last, last };
      }
      return { kind: "refused", reason: answer === "refused" ? "invalidChange" : answer };
    },
    notLeader: () => failure("NOT_LEADER", "node 2 leads"),
    transport: { sendForm: (to, request) => forms.push({ to, request }) },
    configure: (configuration) => configured.push(configuration),
    trouble: (text) => {
      trouble = text;
    },
  });
  membership.moved(status);
  for (const id of [2, 3]) say(id, "formed");
});

function say(id: number, phase: Phase, given: Partial<PeerHello> = {}): void {
  const clusterId = phase === "blank" ? "" : CLUSTER;
  const incarnation = `disk of ${id}`;
  const hello = {
    id,
    clusterId,
    phase,
    members: [1, 2, 3],
    incarnation,
    seed: "",
    votesFrom: 0,
    machineVersion: "",
    address: `h${id}:1`,
  };
  book.hello({ ...hello, ...given });
}

/** The last proposal is committed. */
function commit(): void {
  const change = proposed.at(-1)?.change;
  if (change === undefined) throw new Error("nothing was proposed");
  const result = changeConfiguration(status.configuration, change);
  if (result.kind === "invalid") throw new Error(result.reason);
  const index = status.lastIndex + 1;
  const configuration = { ...result.configuration, index };
  status = { ...status, commitIndex: index, lastIndex: index, configuration };
  membership.moved(status);
}

function learner(id: number, changes: Partial<ProgressView> = {}): ProgressView {
  return {
    id,
    state: "replicate",
    matchIndex: 0,
    nextIndex: 1,
    isLearner: true,
    isPaused: false,
    isActive: true,
    isCaughtUp: false,
    pendingSnapshot: 0,
    inflightCount: 0,
    isInflightFull: false,
    ...changes,
  };
}

const steps = (): readonly ChangeStep[] => proposed.at(-1)?.change.steps ?? [];
const record = (changes: Partial<MemberRecord> = {}) => ({
  address: "h3:1",
  incarnation: "new disk",
  awaitsVote: true,
  ...changes,
});

describe("a member that lost its disk", () => {
  test("A12: becomes a learner, is admitted when that is in force, and gets its vote back", () => {
    say(3, "blank", { incarnation: "new disk" });
    membership.sweep();
    expect(proposed).toHaveLength(1);
    expect(steps()).toEqual([{ kind: "addLearner", id: 3, record: record() }]);
    expect(forms).toEqual([]);
    commit();
    expect(forms).toEqual([
      {
        to: 3,
        request: {
          clusterId: CLUSTER,
          phase: "formed",
          members: [1, 2, 3],
          admission: { incarnation: "new disk", votesFrom: 21 },
        },
      },
    ]);
    book.formResult(3, { clusterId: CLUSTER, phase: "formed", removedAt: 0, votesFrom: 21 });
    progress = [learner(3)];
    clock.advance(1_000);
    membership.sweep();
    expect(proposed).toHaveLength(1);
    progress = [learner(3, { isCaughtUp: true })];
    membership.sweep();
    expect(steps()).toMatchObject([
      { kind: "addVoter", id: 3, record: record({ awaitsVote: false }) },
    ]);
    commit();
    clock.advance(1_000);
    membership.sweep();
    expect(proposed).toHaveLength(2);
    expect(status.configuration.voters).toEqual([1, 2, 3]);
  });

  test("A12: is told again until it takes part", () => {
    say(3, "blank", { incarnation: "new disk" });
    membership.sweep();
    commit();
    membership.sweep();
    expect(forms).toHaveLength(1);
    clock.advance(600);
    membership.sweep();
    expect(forms).toHaveLength(2);
  });

  test("A12: that loses it again before it was admitted is another node again", () => {
    say(3, "blank", { incarnation: "new disk" });
    membership.sweep();
    say(3, "blank", { incarnation: "third disk" });
    commit();
    expect(forms).toEqual([]);
    clock.advance(1_000);
    membership.sweep();
    const [step] = steps();
    expect(step?.record).toEqual(record({ incarnation: "third disk" }));
  });

  test("counts as one whose log is lost, but only of this cluster", () => {
    say(3, "lost", { clusterId: "d".repeat(32) });
    membership.sweep();
    expect(proposed).toEqual([]);
    say(3, "lost");
    membership.sweep();
    expect(steps()).toMatchObject([{ kind: "addLearner", id: 3 }]);
  });

  test("A12: is not one whose hello was from before the cluster was formed", () => {
    say(3, "blank", { incarnation: "disk of 3" });
    book.takesPart(3, "disk of 3", CLUSTER);
    membership.sweep();
    expect(proposed).toEqual([]);
    say(3, "blank", { incarnation: "new disk" });
    book.takesPart(3, "disk of 3", CLUSTER);
    membership.sweep();
    expect(proposed).toHaveLength(1);
  });

  test("stays a voter as long as those that are left could not go on without it", () => {
    book.gone(2);
    say(3, "blank");
    membership.sweep();
    expect(proposed).toEqual([]);
    say(2, "formed");
    membership.sweep();
    expect(proposed).toHaveLength(1);
  });

  test("is not looked after by a follower", () => {
    status = { ...status, role: "follower" };
    say(3, "blank");
    membership.sweep();
    expect(proposed).toEqual([]);
  });

  test("A12: what comes from its old directory is not heard any more", () => {
    say(3, "blank", { incarnation: "new disk" });
    membership.sweep();
    commit();
    expect(book.admits(3, "new disk", identity)).toBe(true);
    expect(book.admits(3, "disk of 3", identity)).toBe(false);
    expect(book.admits(2, "disk of 2", identity)).toBe(true);
    say(3, "formed");
    expect(book.view(3)).toBeNull();
  });
});

describe("a change that an operator asks for", () => {
  let outcome: number | Failure | null;

  beforeEach(() => {
    outcome = null;
  });

  function ask(step: Partial<MemberStep>[], changes: Partial<ChangeCall> = {}): void {
    const all = step.map((one) => {
      return { kind: "add" as const, id: 4, address: "h4:1", isLearner: false, ...one };
    });
    membership.change(
      { steps: all, expected: null, timeoutMs: 5_000, ...changes },
      {
        done: (index) => {
          outcome = index;
        },
        failed: (why) => {
          outcome = why;
        },
      },
    );
    clock.advance(1);
  }

  test("C10: calls the new node, adds it when it answers, and is over when that is in force", () => {
    ask([{}]);
    expect(dialed.get(4)).toBe("h4:1");
    expect(proposed).toEqual([]);
    say(4, "blank");
    membership.sweep();
    const added = { address: "h4:1", incarnation: "disk of 4", awaitsVote: true };
    expect(steps()).toEqual([{ kind: "addLearner", id: 4, record: added }]);
    membership.sweep();
    expect(outcome).toBeNull();
    commit();
    expect(outcome).toBe(21);
    expect(forms.map(({ to }) => to)).toEqual([4]);
  });

  test("a learner that is to stay one gets no vote", () => {
    ask([{ isLearner: true }]);
    say(4, "blank");
    membership.sweep();
    commit();
    book.formResult(4, { clusterId: CLUSTER, phase: "formed", removedAt: 0, votesFrom: 21 });
    progress = [learner(4, { isCaughtUp: true })];
    clock.advance(1_000);
    membership.sweep();
    expect(proposed).toHaveLength(1);
  });

  test("C10: is not over while the configuration is joint", () => {
    say(4, "blank");
    ask([{}, { kind: "remove", id: 3 }]);
    expect(proposed).toHaveLength(1);
    commit();
    expect(status.configuration.outgoing).toEqual([1, 2, 3]);
    expect(outcome).toBeNull();
    proposed.push({ change: { transition: "auto", steps: [] }, expected: 21 });
    commit();
    expect(outcome).toBe(22);
  });

  test.each<[Partial<MemberStep>[], RegExp]>([
    [[], /no steps/],
    [[{ id: 3 }], /node 3 is a member already/],
    [[{ kind: "remove", id: 7 }], /node 7 is no member/],
    [[{ kind: "promote", id: 7 }], /node 7 is no member/],
    [[{ kind: "promote", id: 2 }], /node 2 has a vote already/],
    [[{ address: "" }], /where node 4 is/],
    [[{}, { kind: "remove", id: 4 }], /named twice/],
    [[1, 2, 3].map((id) => ({ kind: "remove" as const, id })), /no voter would be left/],
  ])("%j is refused", (given, reason) => {
    ask(given);
    expect(outcome).toMatchObject({ code: "REFUSED", outcome: "not-applied" });
    expect((outcome as Failure | null)?.message).toMatch(reason);
    expect(proposed).toEqual([]);
  });

  test("C6: is refused if no quorum would be left", () => {
    book.gone(2);
    ask([{ kind: "remove", id: 3 }]);
    expect((outcome as Failure | null)?.message).toMatch(
      /no quorum would be left: of the 2 voters 1, 2 only 1 can be reached, and 2 are needed/,
    );
    // Removing the dead one is what helps.
    ask([{ kind: "remove", id: 2 }]);
    expect(steps()).toEqual([{ kind: "remove", id: 2 }]);
  });

  test("C7: is refused if it was meant for another configuration, and while another is under way", () => {
    ask([{}], { expected: 4 });
    expect((outcome as Failure | null)?.message).toMatch(/the configuration is now 0, not 4/);
    outcome = null;
    ask([{}], { expected: 0 });
    expect(outcome).toBeNull();
    ask([{ kind: "remove", id: 3 }]);
    expect((outcome as Failure | null)?.message).toMatch(/another change is under way/);
  });

  test("C8: is refused for a learner that has not caught up", () => {
    ask([{ isLearner: true }]);
    say(4, "blank");
    membership.sweep();
    commit();
    answer = "notCaughtUp";
    ask([{ kind: "promote" }]);
    expect(outcome).toMatchObject({ code: "REFUSED" });
    expect((outcome as Failure | null)?.message).toMatch(/node 4 has not caught up/);
  });

  test("a node of another cluster cannot be added", () => {
    say(4, "formed", { clusterId: "d".repeat(32) });
    ask([{}]);
    expect((outcome as Failure | null)?.message).toMatch(/belongs to cluster dddd/);
  });

  test("C1: waits for the leader's own entry, within its deadline", () => {
    answer = "changePending";
    ask([{ kind: "remove", id: 3 }]);
    expect(outcome).toBeNull();
    answer = "accepted";
    membership.sweep();
    commit();
    expect(outcome).toBe(21);
  });

  test("ends with its deadline, and says who did not answer", () => {
    ask([{}]);
    clock.advance(6_000);
    membership.sweep();
    expect(outcome).toMatchObject({ code: "DEADLINE_EXCEEDED", outcome: "not-applied" });
    expect((outcome as Failure | null)?.message).toMatch(/node 4 at h4:1 does not answer/);
    expect(dialed.has(4)).toBe(false);
  });

  test("whose leader falls has an unknown outcome once it was proposed", () => {
    ask([{ kind: "remove", id: 3 }]);
    status = { ...status, role: "follower", leader: 2 };
    membership.moved(status);
    expect(outcome).toMatchObject({ code: "LEADERSHIP_LOST", outcome: "unknown" });
    outcome = null;
    ask([{ kind: "remove", id: 3 }]);
    expect(outcome).toMatchObject({ code: "NOT_LEADER" });
  });
});

describe("a node that is removed", () => {
  const without = (index: number) => ({ ...votersOnly([2, 3]), index });

  test("says so, serves nothing, and comes back if it is added again", () => {
    membership.moved({ ...status, role: "follower", configuration: without(21) });
    expect(membership.isRemoved).toBe(true);
    expect(trouble).toMatch(/no member since log entry 21/);
    const back = { ...votersOnly([1, 2, 3]), index: 25 };
    membership.moved({ ...status, configuration: back });
    expect(membership.isRemoved).toBe(false);
    expect(trouble).toBe("");
  });

  test("believes others only if it knows nothing newer", () => {
    membership.moved({ ...status, configuration: { ...votersOnly([1, 2, 3]), index: 25 } });
    membership.removed(21);
    expect(membership.isRemoved).toBe(false);
    membership.removed(30);
    expect(membership.isRemoved).toBe(true);
  });

  test("goes on saying so whatever its own log, which ends before that, says of it", () => {
    membership.removed(30);
    membership.moved({ ...status, role: "preCandidate", leader: 0 });
    membership.moved({ ...status, configuration: { ...votersOnly([1, 2, 3]), index: 25 } });
    expect(membership.isRemoved).toBe(true);
    expect(trouble).toMatch(/no member since log entry 30/);
    membership.moved({ ...status, configuration: { ...votersOnly([1, 2, 3]), index: 31 } });
    expect(membership.isRemoved).toBe(false);
  });

  test("is not the successor of a directory that comes back beside it, though that one's answer may reach it", () => {
    // It knows the configuration that is spoken of, or learns it later: it is a member there.
    membership.moved({ ...status, configuration: { ...votersOnly([1, 2, 3]), index: 25 } });
    membership.removed(25);
    expect(membership.isRemoved).toBe(false);
    membership.removed(31);
    membership.moved({ ...status, configuration: { ...votersOnly([1, 2, 3]), index: 31 } });
    expect(membership.isRemoved).toBe(false);
  });

  test("is not one that replays the log from before it was added", () => {
    identity = { ...identity, votesFrom: 40 };
    membership.moved({ ...status, configuration: without(21) });
    expect(membership.isRemoved).toBe(false);
  });
});

test("what is in force is kept with the database, and decides who is called", () => {
  const records = [{ id: 4, ...record({ address: "far:4" }) }];
  const configuration = { ...votersOnly([1, 2, 4]), records, index: 9 };
  book.gone(3);
  membership.moved({ ...status, configuration });
  expect(configured.map(({ index }) => index)).toEqual([0, 9]);
  expect([...dialed]).toEqual([
    [2, "h2:1"],
    [4, "far:4"],
  ]);
});
