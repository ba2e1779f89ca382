/**
 * Every role meets every message, of an older term, of its own (5) and of a newer one. The tables are total by type:
 * a new role or message does not compile until its cells are filled.
 */

import { describe, expect, test } from "vitest";
import type { Role } from "../../src/raft/effect.ts";
import type { Message, MessageKind } from "../../src/raft/message.ts";
import {
  aCandidate,
  aFollower,
  aLeader,
  aPreCandidate,
  append,
  appended,
  entry,
  heartbeat,
  heartbeatResult,
  requestVote,
  type Subject,
  voted,
} from "./raft-harness.ts";

const LOG = { log: [1, 3] };

const ROLES: Record<Role, () => Subject> = {
  follower: () => aFollower(LOG),
  preCandidate: () => aPreCandidate(LOG),
  candidate: () => aCandidate(LOG),
  leader: () => aLeader(LOG),
};

const MESSAGES: Record<MessageKind, (term: number) => Message> = {
  AppendEntries: (term) =>
    append({ term, prevLogIndex: 2, prevLogTerm: 3, entries: [entry(3, term)], leaderCommit: 2 }),
  AppendEntriesResult: (term) => appended({ term, index: 3 }),
  Heartbeat: (term) => heartbeat({ term, leaderCommit: 1 }),
  HeartbeatResult: (term) => heartbeatResult({ term }),
  RequestVote: (term) => requestVote({ term, from: 3, lastLogIndex: 9, lastLogTerm: 4 }),
  RequestVoteResult: (term) => voted({ term, from: 3 }),
  ReadIndex: () => ({ kind: "ReadIndex", from: 2, to: 1, term: 0, context: 8 }),
  ReadIndexResult: () => ({
    kind: "ReadIndexResult",
    from: 2,
    to: 1,
    term: 0,
    context: 8,
    index: 1,
  }),
  TimeoutNow: (term) => ({ kind: "TimeoutNow", from: 2, to: 1, term }),
  InstallSnapshot: (term) => ({
    kind: "InstallSnapshot",
    from: 2,
    to: 1,
    term,
    lastIncludedIndex: 9,
    lastIncludedTerm: 4,
  }),
};

/** `role term leader/vote`, then what was sent; ! marks a rejection. In the order: older, own, newer term. */
type Outcomes = readonly [older: string, own: string, newer: string];

const always = (outcome: string): Outcomes => [outcome, outcome, outcome];

const FOLLOWER = "follower 5 2/0";
const PRE = "preCandidate 5 0/0";
const CANDIDATE = "candidate 5 0/1";
const LEADER = "leader 5 1/1";
const ACK = ": AppendEntriesResult>2";
const HEARD = ": HeartbeatResult>2";
const ASKS = ": RequestVote>2 RequestVote>3";
const TWO_LEADERS = "halt: two leaders in term 5: 1 and 2";

const TABLE: Record<Role, Record<MessageKind, Outcomes>> = {
  follower: {
    AppendEntries: [FOLLOWER + ACK, FOLLOWER + ACK, `follower 6 2/0${ACK}`],
    AppendEntriesResult: [FOLLOWER, FOLLOWER, "follower 6 0/0"],
    Heartbeat: [FOLLOWER + ACK, FOLLOWER + HEARD, `follower 6 2/0${HEARD}`],
    HeartbeatResult: [FOLLOWER, FOLLOWER, "follower 6 0/0"],
    RequestVote: [FOLLOWER, `${FOLLOWER}: RequestVoteResult!>3`, FOLLOWER],
    RequestVoteResult: [FOLLOWER, FOLLOWER, "follower 6 0/0"],
    ReadIndex: always(FOLLOWER),
    ReadIndexResult: always(FOLLOWER),
    TimeoutNow: [FOLLOWER, `candidate 6 0/1${ASKS}`, `candidate 7 0/1${ASKS}`],
    InstallSnapshot: [FOLLOWER, FOLLOWER, "follower 6 2/0"],
  },
  preCandidate: {
    AppendEntries: [PRE + ACK, FOLLOWER + ACK, `follower 6 2/0${ACK}`],
    AppendEntriesResult: [PRE, PRE, "follower 6 0/0"],
    Heartbeat: [PRE + ACK, FOLLOWER + HEARD, `follower 6 2/0${HEARD}`],
    HeartbeatResult: [PRE, PRE, "follower 6 0/0"],
    RequestVote: [
      PRE,
      "preCandidate 5 0/3: RequestVoteResult>3",
      "follower 6 0/3: RequestVoteResult>3",
    ],
    RequestVoteResult: [PRE, PRE, "follower 6 0/0"],
    ReadIndex: always(PRE),
    ReadIndexResult: always(PRE),
    TimeoutNow: [PRE, PRE, `candidate 7 0/1${ASKS}`],
    InstallSnapshot: [PRE, FOLLOWER, "follower 6 2/0"],
  },
  candidate: {
    AppendEntries: [CANDIDATE + ACK, `follower 5 2/1${ACK}`, `follower 6 2/0${ACK}`],
    AppendEntriesResult: [CANDIDATE, CANDIDATE, "follower 6 0/0"],
    Heartbeat: [CANDIDATE + ACK, `follower 5 2/1${HEARD}`, `follower 6 2/0${HEARD}`],
    HeartbeatResult: [CANDIDATE, CANDIDATE, "follower 6 0/0"],
    RequestVote: [
      CANDIDATE,
      `${CANDIDATE}: RequestVoteResult!>3`,
      "follower 6 0/3: RequestVoteResult>3",
    ],
    RequestVoteResult: [CANDIDATE, `${LEADER}: AppendEntries>2 AppendEntries>3`, "follower 6 0/0"],
    ReadIndex: always(CANDIDATE),
    ReadIndexResult: always(CANDIDATE),
    TimeoutNow: [CANDIDATE, CANDIDATE, `candidate 7 0/1${ASKS}`],
    InstallSnapshot: [CANDIDATE, "follower 5 2/1", "follower 6 2/0"],
  },
  leader: {
    AppendEntries: [LEADER + ACK, TWO_LEADERS, `follower 6 2/0${ACK}`],
    // It commits, and says so.
    AppendEntriesResult: [LEADER, `${LEADER}: AppendEntries>2`, "follower 6 0/0"],
    Heartbeat: [LEADER + ACK, TWO_LEADERS, `follower 6 2/0${HEARD}`],
    HeartbeatResult: [LEADER, `${LEADER}: AppendEntries>2`, "follower 6 0/0"],
    RequestVote: [LEADER, `${LEADER}: RequestVoteResult!>3`, LEADER],
    RequestVoteResult: [LEADER, LEADER, "follower 6 0/0"],
    // It waits until the leader has committed in its term.
    ReadIndex: always(LEADER),
    ReadIndexResult: always(LEADER),
    TimeoutNow: [LEADER, LEADER, `candidate 7 0/1${ASKS}`],
    InstallSnapshot: [LEADER, TWO_LEADERS, "follower 6 2/0"],
  },
};

function outcomeOf(subject: Subject, message: Message): string {
  try {
    const sent = subject
      .hear(message)
      .settle()
      .map((each) => `${each.kind}${"rejected" in each && each.rejected ? "!" : ""}>${each.to}`);
    const { role, currentTerm, leader, votedFor } = subject.status;
    const state = `${role} ${currentTerm} ${leader}/${votedFor}`;
    return sent.length === 0 ? state : `${state}: ${sent.join(" ")}`;
  } catch (error) {
    return `halt: ${(error as Error).message}`;
  }
}

for (const role of Object.keys(TABLE) as Role[]) {
  describe(`a ${role}`, () => {
    for (const kind of Object.keys(TABLE[role]) as MessageKind[]) {
      test(`meets ${kind}`, () => {
        const outcomes = [4, 5, 6].map((term) => outcomeOf(ROLES[role](), MESSAGES[kind](term)));
        expect(outcomes).toEqual(TABLE[role][kind]);
      });
    }
  });
}
