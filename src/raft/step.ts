/** What a message means: first by its term (§5.1), then by role. The one place where both are decided. */

import { invariant, unreachable } from "../sql/invariant.ts";
import type { Core } from "./core.ts";
import { hup, learnCommit, onRequestVote, onRequestVoteResult, rejectVote } from "./elections.ts";
import type { NodeId } from "./entry.ts";
import { NOBODY } from "./entry.ts";
import { onAppendEntries, onHeartbeat, onReadIndexResult } from "./follower.ts";
import { onAppendEntriesResult, onHeartbeatResult, onReadIndex } from "./leader.ts";
import type { AppendEntries, Heartbeat, InstallSnapshot, Message, RequestVote } from "./message.ts";
import { isMember } from "./quorum.ts";
import { becomeFollower } from "./roles.ts";
import { onInstallSnapshot } from "./snapshots.ts";

export function onMessage(core: Core, message: Message): void {
  if (message.to !== core.id || message.from === core.id) return;
  if (isStrangersAnswer(core, message)) return;
  if (carriesTerm(message) && !settleTerm(core, message)) return;
  dispatch(core, message);
}

/** A removed server's answers, and the term in them, disturb nobody (trap A9). */
function isStrangersAnswer(core: Core, message: Message): boolean {
  switch (message.kind) {
    case "AppendEntriesResult":
    case "HeartbeatResult":
    case "RequestVoteResult":
      return !isMember(core.configuration, message.from);
    default:
      return false;
  }
}

function carriesTerm(message: Message): boolean {
  return message.kind !== "ReadIndex" && message.kind !== "ReadIndexResult";
}

/** §5.1. False if the message needs nothing more. */
function settleTerm(core: Core, message: Message): boolean {
  if (message.term === core.currentTerm) return true;
  if (message.term < core.currentTerm) {
    onLowerTerm(core, message);
    return false;
  }
  switch (message.kind) {
    case "RequestVote":
      if (!message.transfer && isLeased(core, message)) return false;
      // A pre-vote changes nobody's term.
      if (!message.preVote) becomeFollower(core, message.term, NOBODY);
      return true;
    case "RequestVoteResult":
      // Granted, it echoes the term that we asked for, in which we are not yet (trap A4).
      if (message.preVote && !message.rejected) return true;
      becomeFollower(core, message.term, NOBODY);
      return true;
    case "AppendEntries":
    case "Heartbeat":
    case "InstallSnapshot":
      becomeFollower(core, message.term, message.from);
      return true;
    default:
      becomeFollower(core, message.term, NOBODY);
      return true;
  }
}

/**
 * Who hears from a leader keeps it, whatever others ask (thesis §4.2.3). The leader itself may ask: its asking says
 * that it no longer leads (trap A6).
 */
function isLeased(core: Core, message: RequestVote): boolean {
  const { checkQuorum, electionTicks } = core.options;
  return (
    checkQuorum &&
    core.leader !== NOBODY &&
    core.leader !== message.from &&
    core.electionElapsed < electionTicks
  );
}

function onLowerTerm(core: Core, message: Message): void {
  const { checkQuorum, preVote } = core.options;
  switch (message.kind) {
    case "AppendEntries":
    case "Heartbeat":
      // Without this a node that came back with a higher term could neither follow the leader, whom it does not
      // accept, nor depose it, as nobody gives it a vote (trap A5).
      if (checkQuorum || preVote) tellTerm(core, message.from);
      return;
    case "RequestVote":
      // Dropping it would leave a pre-candidate in an old term for ever (trap A4).
      if (message.preVote) rejectVote(core, message);
      return;
    case "RequestVoteResult":
      // A removed node that stayed in an older term refuses for ever, and may be the only one who knows that its vote is
      // not needed any more (trap C5).
      learnCommit(core, message);
      return;
    default:
      return;
  }
}

function tellTerm(core: Core, to: NodeId): void {
  core.sendWhenStored({
    kind: "AppendEntriesResult",
    from: core.id,
    to,
    term: core.currentTerm,
    index: 0,
    rejected: false,
    hintIndex: 0,
    hintTerm: 0,
  });
}

/** The message is of the current term, or of none. */
function dispatch(core: Core, message: Message): void {
  const { leadership } = core;
  switch (message.kind) {
    case "RequestVote":
      onRequestVote(core, message);
      return;
    case "RequestVoteResult":
      onRequestVoteResult(core, message);
      return;
    case "AppendEntries":
      hearLeader(core, message);
      onAppendEntries(core, message);
      return;
    case "Heartbeat":
      hearLeader(core, message);
      onHeartbeat(core, message);
      return;
    case "InstallSnapshot":
      hearLeader(core, message);
      onInstallSnapshot(core, message);
      return;
    case "AppendEntriesResult":
      if (leadership !== null) onAppendEntriesResult(core, leadership, message);
      return;
    case "HeartbeatResult":
      if (leadership !== null) onHeartbeatResult(core, leadership, message);
      return;
    case "ReadIndex":
      if (leadership !== null) onReadIndex(core, leadership, message);
      return;
    case "ReadIndexResult":
      onReadIndexResult(core, message);
      return;
    case "TimeoutNow":
      if (core.role === "follower") hup(core, "transfer");
      return;
    default:
      unreachable(message);
  }
}

/** §5.2: whoever leads this term is followed. */
function hearLeader(core: Core, message: AppendEntries | Heartbeat | InstallSnapshot): void {
  invariant(
    core.role !== "leader" && (core.leader === NOBODY || core.leader === message.from),
    `two leaders in term ${core.currentTerm}: ${core.leader} and ${message.from}`,
  );
  if (core.role !== "follower") becomeFollower(core, core.currentTerm, message.from);
  core.followLeader(message.from);
  core.electionElapsed = 0;
}
