/** The rules of the Raft paper, sentence by sentence. */

import { describe, expect, test } from "vitest";
import type { Role } from "../../src/raft/effect.ts";
import {
  aCandidate,
  aFollower,
  aLeader,
  append,
  appended,
  aSettledLeader,
  bytes,
  entriesOf,
  entry,
  heartbeat,
  logOf,
  ofKind,
  requestVote,
  Subject,
  voted,
} from "./raft-harness.ts";

const plain = { options: { preVote: false, checkQuorum: false } };

const IN_TERM_5: Record<Role, () => Subject> = {
  follower: () => aFollower(plain),
  preCandidate: () => {
    const subject = new Subject({ term: 5 });
    subject.raft.step({ kind: "campaign" });
    return subject;
  },
  candidate: () => aCandidate(plain),
  leader: () => aLeader(plain),
};

const ROLES = Object.keys(IN_TERM_5) as Role[];

describe("§5.1", () => {
  test.each(ROLES)("a %s that sees a larger term updates its own and becomes follower", (role) => {
    const subject = IN_TERM_5[role]().hear(append({ term: 6 }));
    expect(subject.status).toMatchObject({ role: "follower", currentTerm: 6, leader: 2 });
  });

  test.each(ROLES)("a %s rejects a request with a stale term", (role) => {
    const subject = IN_TERM_5[role]();
    const before = subject.status;
    const message = append({ term: 4, entries: entriesOf(4) });
    subject.hear(message).hear(requestVote({ term: 4, lastLogIndex: 99, lastLogTerm: 4 }));
    expect(subject.status).toEqual(before);
  });
});

describe("§5.2", () => {
  test("when servers start up, they begin as followers", () => {
    expect(new Subject({ term: 3, votedFor: 1 }).status).toMatchObject({
      role: "follower",
      currentTerm: 3,
      votedFor: 1,
      leader: 0,
    });
  });

  test("leaders send periodic heartbeats to all followers", () => {
    const subject = aSettledLeader({ options: { heartbeatTicks: 3, electionTicks: 10 } });
    const beats = () => ofKind(subject.tick().settle(), "Heartbeat").map(({ to }) => to);
    expect([beats(), beats(), beats(), beats()]).toEqual([[], [], [2, 3], []]);
  });

  test.each<Role>(["follower", "candidate"])(
    "a %s without word from a leader increments its term, votes for itself and asks the others",
    (role) => {
      const subject = IN_TERM_5[role]();
      const sent = subject.tick(2 * 10).settle();
      expect(subject.status).toMatchObject({ role: "candidate", currentTerm: 7, votedFor: 1 });
      const asked = ofKind(sent, "RequestVote").filter(({ term }) => term === 7);
      expect(asked.map(({ to }) => to)).toEqual([2, 3]);
    },
  );

  test.each([
    { voters: [1], votes: [], role: "leader" },
    { voters: [1, 2, 3], votes: [true, true], role: "leader" },
    { voters: [1, 2, 3], votes: [true], role: "leader" },
    { voters: [1, 2, 3, 4, 5], votes: [true, true, true, true], role: "leader" },
    { voters: [1, 2, 3, 4, 5], votes: [true, true], role: "leader" },
    { voters: [1, 2, 3], votes: [false, false], role: "follower" },
    { voters: [1, 2, 3, 4, 5], votes: [false, false, false], role: "follower" },
    { voters: [1, 2, 3, 4, 5], votes: [true, false, false, false], role: "follower" },
    { voters: [1, 2, 3], votes: [], role: "candidate" },
    { voters: [1, 2, 3, 4, 5], votes: [true], role: "candidate" },
    { voters: [1, 2, 3, 4, 5], votes: [true, false, false], role: "candidate" },
  ])("a candidate of $voters with answers $votes is $role", ({ voters, votes, role }) => {
    const subject = aCandidate({ ...plain, voters });
    votes.forEach((granted, at) => {
      subject.hear(voted({ term: 5, from: at + 2, rejected: !granted }));
    });
    expect(subject.status).toMatchObject({ role, currentTerm: 5 });
  });

  test.each([
    { votedFor: 0, from: 2, rejected: false },
    { votedFor: 0, from: 3, rejected: false },
    { votedFor: 2, from: 2, rejected: false },
    { votedFor: 3, from: 3, rejected: false },
    { votedFor: 2, from: 3, rejected: true },
    { votedFor: 3, from: 2, rejected: true },
  ])(
    "each server votes for at most one candidate in a term: voted $votedFor, asked by $from",
    ({ votedFor, from, rejected }) => {
      const subject = new Subject({ term: 1, votedFor });
      const sent = subject.hear(requestVote({ term: 1, from })).settle();
      expect(sent).toEqual([voted({ term: 1, from: 1, to: from, rejected })]);
    },
  );

  test.each([5, 6])(
    "a candidate that hears of a leader of term %i (its own is 5) follows it",
    (term) => {
      const subject = aCandidate(plain).hear(append({ term }));
      expect(subject.status).toMatchObject({ role: "follower", currentTerm: term, leader: 2 });
    },
  );

  test.each<Role>(["follower", "candidate"])(
    "a %s's election timeout is drawn from [n, 2n)",
    (role) => {
      const seen = new Set<number>();
      for (let i = 0; i < 100; i++) {
        const draw = i / 100;
        const options = { ...plain.options, electionTicks: 10, random: () => draw };
        const subject = role === "follower" ? aFollower({ options }) : aCandidate({ options });
        const { currentTerm } = subject.status;
        let ticks = 0;
        while (subject.status.currentTerm === currentTerm && ticks < 100) {
          subject.tick();
          ticks++;
        }
        seen.add(ticks);
      }
      expect([...seen].sort((a, b) => a - b)).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
    },
  );

  test("each election draws its timeout anew", () => {
    const draws = [0, 0, 0.9, 0.1];
    const random = () => draws.shift() ?? 0;
    const subject = new Subject({ options: { ...plain.options, electionTicks: 10, random } });
    subject.tick(10);
    expect(subject.status.currentTerm).toBe(1);
    subject.tick(18);
    expect(subject.status.currentTerm).toBe(1);
    subject.tick();
    expect(subject.status.currentTerm).toBe(2);
  });
});

describe("§5.3", () => {
  test("the leader appends a command to its log and sends AppendEntries to all others in parallel", () => {
    const subject = aSettledLeader();
    expect(subject.raft.propose([bytes("x")])).toMatchObject({ first: { index: 2, term: 5 } });
    const effects = subject.take();
    expect(effects?.persist?.entries).toMatchObject([{ index: 2, term: 5, kind: "command" }]);
    expect(effects?.send).toMatchObject([
      { to: 2, prevLogIndex: 1, prevLogTerm: 5, leaderCommit: 1, entries: [{ index: 2 }] },
      { to: 3, prevLogIndex: 1, prevLogTerm: 5, leaderCommit: 1, entries: [{ index: 2 }] },
    ]);
  });

  test("when safely replicated the entry is applied, and followers learn of it in later appends", () => {
    const subject = aSettledLeader();
    subject.raft.propose([bytes("x")]);
    subject.settle();
    const sent = subject.hear(appended({ term: 5, index: 2 })).settle();
    expect(subject.applied.at(-1)).toMatchObject({ index: 2 });
    expect(ofKind(sent, "AppendEntries")).toMatchObject([
      { to: 2, leaderCommit: 2 },
      { to: 3, leaderCommit: 2 },
    ]);
  });

  test.each([
    { size: 1, acks: [], commits: true },
    { size: 3, acks: [], commits: false },
    { size: 3, acks: [2], commits: true },
    { size: 3, acks: [2, 3], commits: true },
    { size: 5, acks: [2], commits: false },
    { size: 5, acks: [2, 3], commits: true },
    { size: 5, acks: [4, 5], commits: true },
  ])("an entry is committed once on a majority: $acks of $size", ({ size, acks, commits }) => {
    const voters = Array.from({ length: size }, (_, at) => at + 1);
    const subject = aCandidate({ ...plain, voters });
    for (const from of voters.slice(1)) subject.hear(voted({ term: 5, from }));
    subject.settle();
    for (const from of acks) subject.hear(appended({ term: 5, from, index: 1 }));
    subject.settle();
    expect(subject.status.commitIndex).toBe(commits ? 1 : 0);
  });

  test("committing an entry also commits all before it, also those of previous leaders", () => {
    const subject = aLeader({ log: [1, 2, 4] });
    subject.hear(appended({ term: 5, index: 4 })).settle();
    expect(subject.applied.map(({ index, term }) => [index, term])).toEqual([
      [1, 1],
      [2, 2],
      [3, 4],
      [4, 5],
    ]);
  });

  test("once a follower learns that an entry is committed, it applies it, in log order", () => {
    const subject = aFollower();
    subject.hear(append({ term: 5, entries: entriesOf(5, 5, 5), leaderCommit: 2 })).settle();
    expect(subject.applied.map(({ index }) => index)).toEqual([1, 2]);
    subject.hear(heartbeat({ term: 5, leaderCommit: 3 })).settle();
    expect(subject.applied.map(({ index }) => index)).toEqual([1, 2, 3]);
  });

  test("commitIndex is at most the index of the last new entry", () => {
    const subject = aFollower({ log: [5, 5, 4] });
    subject.hear(append({ term: 5, prevLogIndex: 2, prevLogTerm: 5, leaderCommit: 9 })).settle();
    expect(subject.status.commitIndex).toBe(2);
  });

  test.each([
    { prevLogIndex: 0, prevLogTerm: 0, rejected: false, index: 0 },
    { prevLogIndex: 1, prevLogTerm: 1, rejected: false, index: 1 },
    { prevLogIndex: 2, prevLogTerm: 2, rejected: false, index: 2 },
    { prevLogIndex: 2, prevLogTerm: 1, rejected: true, index: 2 },
    { prevLogIndex: 3, prevLogTerm: 3, rejected: true, index: 3 },
  ])(
    "a follower refuses what does not follow an entry it has: $prevLogTerm/$prevLogIndex on [1 2]",
    ({ prevLogIndex, prevLogTerm, rejected, index }) => {
      const subject = aFollower({ log: [1, 2] });
      const sent = subject.hear(append({ term: 5, prevLogIndex, prevLogTerm })).settle();
      expect(sent).toMatchObject([{ rejected, index }]);
    },
  );

  test.each([
    { log: [1, 2], after: 2, terms: [3], expected: [1, 2, 3], stored: [3] },
    { log: [1, 2], after: 1, terms: [3, 4], expected: [1, 3, 4], stored: [3, 4] },
    { log: [1, 2], after: 0, terms: [1], expected: [1, 2], stored: [] },
    { log: [1, 2], after: 0, terms: [3], expected: [3], stored: [3] },
    { log: [1, 2], after: 0, terms: [1, 2, 4], expected: [1, 2, 4], stored: [4] },
  ])(
    "a conflicting entry goes, with all that follow it: $terms after $after on $log",
    ({ log, after, terms, expected, stored }) => {
      const subject = aFollower({ log });
      const entries = terms.map((term, at) =>
        entry(after + 1 + at, term, bytes(`${term}/${after + 1 + at}`)),
      );
      const prevLogTerm = after === 0 ? 0 : (log[after - 1] ?? 0);
      subject.hear(append({ term: 5, prevLogIndex: after, prevLogTerm, entries }));
      const effects = subject.take();
      expect((effects?.persist?.entries ?? []).map(({ term }) => term)).toEqual(stored);
      subject.store();
      expect(subject.log.all().map(({ term }) => term)).toEqual(expected);
    },
  );

  test.each([
    { name: "(a)", log: [1, 1, 1, 4, 4, 5, 5, 6, 6] },
    { name: "(b)", log: [1, 1, 1, 4] },
    { name: "(c)", log: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6] },
    { name: "(d)", log: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7] },
    { name: "(e)", log: [1, 1, 1, 4, 4, 4, 4] },
    { name: "(f)", log: [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3] },
  ])("the leader brings the logs of Figure 7 $name into agreement with its own", ({ log }) => {
    const leader = aCandidate({ term: 7, log: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6], commitIndex: 3 });
    const follower = new Subject({ id: 2, term: 7, log: logOf(...log), commitIndex: 3 });
    leader.hear(voted({ term: 8, from: 3 }));
    let trips = 0;
    for (let sent = leader.settle(); sent.length > 0; trips++) {
      for (const message of sent) if (message.to === 2) follower.hear(message);
      for (const message of follower.settle()) leader.hear(message);
      sent = leader.settle();
    }
    const terms = (subject: Subject) => subject.log.all().map(({ term }) => term);
    expect(terms(follower)).toEqual([1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 8]);
    expect(terms(leader)).toEqual(terms(follower));
    expect(follower.status.commitIndex).toBe(11);
    // One probe, one answer with everything, the news of the commit.
    expect(trips).toBeLessThanOrEqual(4);
  });
});

describe("§5.4.1", () => {
  test.each([[[1]], [[1, 2]], [[1, 2, 2]]])("RequestVote tells of the last entry of %j", (log) => {
    const subject = new Subject({ ...plain, term: 2, log });
    subject.raft.step({ kind: "campaign" });
    const [request] = ofKind(subject.settle(), "RequestVote");
    expect(request).toMatchObject({ lastLogIndex: log.length, lastLogTerm: log.at(-1) });
  });

  test.each([
    { ours: [1], theirs: { lastLogTerm: 1, lastLogIndex: 1 }, rejected: false },
    { ours: [1], theirs: { lastLogTerm: 1, lastLogIndex: 2 }, rejected: false },
    { ours: [1, 1], theirs: { lastLogTerm: 1, lastLogIndex: 1 }, rejected: true },
    { ours: [1], theirs: { lastLogTerm: 2, lastLogIndex: 1 }, rejected: false },
    { ours: [1, 1], theirs: { lastLogTerm: 2, lastLogIndex: 1 }, rejected: false },
    { ours: [2], theirs: { lastLogTerm: 1, lastLogIndex: 1 }, rejected: true },
    { ours: [2], theirs: { lastLogTerm: 1, lastLogIndex: 2 }, rejected: true },
    { ours: [1, 2], theirs: { lastLogTerm: 1, lastLogIndex: 3 }, rejected: true },
  ])(
    "the voter denies its vote if its own log is more up-to-date: $ours",
    ({ ours, theirs, rejected }) => {
      for (const preVote of [false, true]) {
        const subject = new Subject({ term: 2, log: ours });
        const sent = subject.hear(requestVote({ term: 3, preVote, ...theirs })).settle();
        const [answer] = ofKind(sent, "RequestVoteResult");
        expect(answer?.rejected).toBe(rejected);
      }
    },
  );
});

describe("§5.4.2", () => {
  test.each([
    { index: 1, committed: 0 },
    { index: 2, committed: 0 },
    { index: 3, committed: 3 },
  ])(
    "only entries of the leader's current term are committed by counting replicas: $index",
    ({ index, committed }) => {
      const subject = aLeader({ log: [1, 2] });
      subject.hear(appended({ term: 5, index })).settle();
      expect(subject.status.commitIndex).toBe(committed);
    },
  );

  test("a new leader commits a no-op at the start of its term (§8)", () => {
    const subject = aLeader({ log: [1] });
    expect(subject.raft.ownNoop()).toEqual({ index: 2, term: 5 });
    expect(subject.log.all().at(-1)).toMatchObject({ index: 2, term: 5, kind: "noop" });
    expect(subject.raft.hasCommittedInTerm()).toBe(false);
    subject.hear(appended({ term: 5, index: 2 }));
    expect(subject.raft.hasCommittedInTerm()).toBe(true);
  });
});
