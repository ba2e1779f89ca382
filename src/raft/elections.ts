/** Standing for election, voting, and counting (§5.2, §5.4.1; thesis §9.6). */

import { unreachable } from "../sql/invariant.ts";
import type { Core } from "./core.ts";
import type { EntryId, Term } from "./entry.ts";
import { NOBODY } from "./entry.ts";
import type { RequestVote, RequestVoteResult } from "./message.ts";
import { voterIds } from "./quorum.ts";
import { becomeCandidate, becomeFollower, becomeLeader, becomePreCandidate } from "./roles.ts";

/** `preVote`: ask first. `election`: at once. `transfer`: at once, and voters need not protect their leader. */
export type CampaignKind = "preVote" | "election" | "transfer";

/** Starts an election if this node may stand for one; a leader has no need to. */
export function hup(core: Core, kind: CampaignKind): void {
  if (core.role === "leader" || !core.isPromotable) return;
  // Where a configuration is in force only once it is applied, a committed one may still be unknown (trap A11).
  if (core.options.eager === true && core.log.hasChanges(core.commitIndex)) return;
  campaign(core, kind);
}

/** A vote that was given stays given; only standing for leader ends. A leader goes on until somebody takes over. */
export function setEligible(core: Core, mayLead: boolean): void {
  core.isEligible = mayLead;
  const isStanding = core.role === "preCandidate" || core.role === "candidate";
  if (!mayLead && isStanding) becomeFollower(core, core.currentTerm, NOBODY);
}

function campaign(core: Core, kind: CampaignKind): void {
  const preVote = kind === "preVote";
  if (preVote) {
    becomePreCandidate(core);
    // Asking costs nothing durable. The vote itself counts when it is stored (trap A1).
    core.votes?.record(core.id, true);
    if (core.votes?.tally(core.configuration) === "won") {
      campaign(core, "election");
      return;
    }
  } else {
    becomeCandidate(core);
  }
  const last = core.log.last;
  for (const to of voterIds(core.configuration)) {
    if (to === core.id) continue;
    core.send.push({
      kind: "RequestVote",
      from: core.id,
      to,
      // A pre-vote names the term it would campaign in.
      term: preVote ? core.currentTerm + 1 : core.currentTerm,
      preVote,
      lastLogIndex: last.index,
      lastLogTerm: last.term,
      transfer: kind === "transfer",
    });
  }
}

/** Whatever the role and whatever the own configuration says: refusing could deadlock the cluster (trap A10). */
export function onRequestVote(core: Core, message: RequestVote): void {
  // As if it were not there: a refusal would count as one, too (trap A12).
  if (!core.mayVote) return;
  const { from, preVote, term } = message;
  const free =
    core.votedFor === from ||
    (core.votedFor === NOBODY && core.leader === NOBODY) ||
    (preVote && term > core.currentTerm);
  if (!free || !core.log.isUpToDate(message.lastLogIndex, message.lastLogTerm)) {
    rejectVote(core, message);
    return;
  }
  // The grant echoes the asked term: for a pre-vote that is above our own (trap A4).
  answerVote(core, message, { term, rejected: false });
  if (!preVote) {
    core.voteFor(from);
    // Only a real vote postpones our own election; a pre-vote promises nothing (trap A6).
    core.electionElapsed = 0;
  }
}

export function rejectVote(core: Core, message: RequestVote): void {
  answerVote(core, message, { term: core.currentTerm, rejected: true });
}

/**
 * What a refusal tells besides. The candidate may not know that the configuration which needs our vote is past: without
 * this a removed leader with the longest log would block the voter that is left for ever (trap C4, C5).
 */
function committedTo(core: Core): EntryId {
  const { commitIndex: index, options } = core;
  return options.eager === true ? { index: 0, term: 0 } : { index, term: core.log.term(index) };
}

function answerVote(
  core: Core,
  message: RequestVote,
  answer: { readonly term: Term; readonly rejected: boolean },
): void {
  const committed = answer.rejected ? committedTo(core) : { index: 0, term: 0 };
  core.sendWhenStored({
    kind: "RequestVoteResult",
    from: core.id,
    to: message.from,
    term: answer.term,
    preVote: message.preVote,
    rejected: answer.rejected,
    commitIndex: committed.index,
    commitTerm: committed.term,
  });
}

export function onRequestVoteResult(core: Core, message: RequestVoteResult): void {
  learnCommit(core, message);
  const { votes, role } = core;
  // Only answers to the question now being asked (trap A3, A7).
  const isAsking = message.preVote ? role === "preCandidate" : role === "candidate";
  if (votes === null || !isAsking) return;
  votes.record(message.from, !message.rejected);
  countVotes(core);
}

/** What is committed anywhere is committed here, if it is here: whoever says it, and in whatever term. */
export function learnCommit(core: Core, message: RequestVoteResult): void {
  const { rejected, commitIndex, commitTerm } = message;
  if (!rejected || core.role === "leader") return;
  if (commitIndex <= core.commitIndex || !core.log.matches(commitIndex, commitTerm)) return;
  const hasMoved = core.commitTo(commitIndex);
  // Votes of another configuration say nothing.
  if (hasMoved && core.role !== "follower") becomeFollower(core, core.currentTerm, NOBODY);
}

/** The candidate's vote for itself is on its disk. */
export function onOwnVoteStored(core: Core): void {
  core.votes?.record(core.id, true);
  countVotes(core);
}

function countVotes(core: Core): void {
  const { votes } = core;
  if (votes === null) return;
  const tally = votes.tally(core.configuration);
  switch (tally) {
    case "pending":
      return;
    case "lost":
      becomeFollower(core, core.currentTerm, NOBODY);
      return;
    case "won":
      if (core.role === "preCandidate") campaign(core, "election");
      // With the others' votes alone it would lead a term that its own disk does not know: after a crash it could
      // campaign in the same term again and write other entries under the same index and term.
      else if (votes.hasGranted(core.id)) becomeLeader(core);
      return;
    default:
      unreachable(tally);
  }
}
