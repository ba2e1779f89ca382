/** How a node changes its role (Figure 4). Each transition starts from a clean slate of what the old role knew. */

import { invariant } from "../sql/invariant.ts";
import type { Core } from "./core.ts";
import type { NodeId, Term } from "./entry.ts";
import { NOBODY } from "./entry.ts";
import { Leadership } from "./leadership.ts";
import { Votes } from "./votes.ts";

const NO_BYTES = new Uint8Array(0);

export function becomeFollower(core: Core, term: Term, leader: NodeId): void {
  if (term !== core.currentTerm) core.enterTerm(term);
  leaveRole(core);
  core.role = "follower";
  core.followLeader(leader);
}

/** Asks whether an election could be won, without a new term and without a vote (thesis §9.6; trap A3). */
export function becomePreCandidate(core: Core): void {
  invariant(core.role !== "leader", "a leader does not stand for election");
  leaveRole(core);
  core.role = "preCandidate";
  core.followLeader(NOBODY);
  core.votes = new Votes();
}

/** §5.2: a new term, and a vote for itself. */
export function becomeCandidate(core: Core): void {
  invariant(core.role !== "leader", "a leader does not stand for election");
  core.enterTerm(core.currentTerm + 1);
  leaveRole(core);
  core.role = "candidate";
  core.followLeader(NOBODY);
  core.voteFor(core.id);
  core.votes = new Votes();
}

export function becomeLeader(core: Core): Leadership {
  invariant(core.role === "candidate", `a ${core.role} cannot become leader`);
  invariant(core.votedFor === core.id, "a leader has voted for itself");
  const { log, currentTerm } = core;
  // Its own vote is durable, and completions come in order: so is everything before it.
  invariant(log.stableIndex === log.lastIndex, "a new leader's log is durable");
  leaveRole(core);
  core.role = "leader";
  core.followLeader(core.id);
  const noop = { index: log.lastIndex + 1, term: currentTerm };
  const leadership = new Leadership(core.options, noop);
  leadership.follow(core.configuration, { nextIndex: noop.index, isActive: false });
  const own = leadership.progressOf(core.id);
  if (own !== undefined) {
    own.advance(log.stableIndex);
    own.becomeReplicate();
    own.isActive = true;
  }
  core.leadership = leadership;
  // §5.4.2: older entries are committed only along with one of this term, so there must be one.
  log.append({ ...noop, kind: "noop", payload: NO_BYTES });
  leadership.uncommitted.add(noop.index, 0);
  for (const peer of leadership.peers) peer.wish = "always";
  return leadership;
}

function leaveRole(core: Core): void {
  const { leadership } = core;
  if (leadership !== null) {
    for (const { from, context } of leadership.reads.takeAll()) {
      if (from === core.id) core.readsDropped.push(context);
    }
  }
  core.leadership = null;
  core.votes = null;
  core.electionElapsed = 0;
  core.heartbeatElapsed = 0;
  core.drawElectionTimeout();
}
