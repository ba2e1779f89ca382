/** What a leader makes of answers: commits, keeps its quorum, confirms reads (§5.3, §5.4.2; thesis §6). */

import { unreachable } from "../sql/invariant.ts";
import type { Core } from "./core.ts";
import { NOBODY } from "./entry.ts";
import type { Leadership } from "./leadership.ts";
import type { AppendEntriesResult, HeartbeatResult, ReadIndex } from "./message.ts";
import { isSingleton, quorumTally, quorumValue } from "./quorum.ts";
import type { Asker } from "./read-index.ts";
import { leaveOffice, onConfigurationMoved, settleConfiguration } from "./reconfiguration.ts";
import { commitWish, wishAll } from "./replication.ts";
import { becomeFollower } from "./roles.ts";
import { continueTransfer } from "./transfer.ts";

export function onAppendEntriesResult(
  core: Core,
  leadership: Leadership,
  message: AppendEntriesResult,
): void {
  const peer = leadership.progressOf(message.from);
  if (peer === undefined) return;
  peer.isActive = true;
  if (message.rejected) {
    const { hintIndex, hintTerm } = message;
    // Our own log may show an even earlier place where the two can agree (trap D5).
    const hint = hintTerm > 0 ? core.log.findConflictByTerm(hintIndex, hintTerm).index : hintIndex;
    if (!peer.retreat(message.index, hint)) return;
    if (peer.state === "replicate") peer.becomeProbe();
    peer.wish = "always";
    return;
  }
  if (message.index > core.log.lastIndex) return;
  const isNews = peer.advance(message.index);
  if (peer.isLearner) {
    peer.measureRound(core.ticks, core.log.lastIndex, core.options.electionTicks);
  }
  if (!isNews && !(peer.state === "probe" && peer.matchIndex === message.index)) return;
  switch (peer.state) {
    case "probe":
      peer.becomeReplicate();
      break;
    case "snapshot":
      // Any answer that reconnects it to our log will do, also an older one (trap E3).
      if (peer.matchIndex + 1 >= core.log.firstIndex) {
        peer.becomeProbe();
        peer.becomeReplicate();
      }
      break;
    case "replicate":
      peer.inflights.freeThrough(message.index);
      break;
    default:
      unreachable(peer.state);
  }
  const hasCommitted = advanceCommit(core, leadership);
  if (!hasCommitted && peer.canBumpCommit(core.commitIndex)) peer.want(commitWish(core));
  peer.want("ifAny");
  if (leadership.transferee === peer.id) continueTransfer(core, leadership, peer);
  if (hasCommitted && core.options.eager !== true) settleConfiguration(core, leadership);
}

/** Own entries count when they are on the own disk, like everyone's (thesis §10.2.1). */
export function onOwnEntriesStored(core: Core, leadership: Leadership): void {
  const own = leadership.progressOf(core.id);
  if (own?.advance(core.log.stableIndex) !== true) return;
  const hasCommitted = advanceCommit(core, leadership);
  if (hasCommitted && core.options.eager !== true) settleConfiguration(core, leadership);
}

/** The configuration moved under this leader. */
export function followConfiguration(core: Core, leadership: Leadership): void {
  onConfigurationMoved(core, leadership);
  // A smaller quorum may have reached more.
  advanceCommit(core, leadership);
}

/**
 * §5.4.2: only entries of the own term are committed by counting; older ones come along. True if the commit index
 * moved.
 */
export function advanceCommit(core: Core, leadership: Leadership): boolean {
  const index = quorumValue(core.configuration, (id) => leadership.progressOf(id)?.matchIndex ?? 0);
  if (index <= core.commitIndex || !core.log.matches(index, core.currentTerm)) return false;
  const hasMoved = core.commitTo(index);
  leadership.uncommitted.commitTo(index);
  for (const asker of leadership.reads.takeHeldBack()) admitRead(core, leadership, asker);
  wishAll(leadership, commitWish(core));
  if (hasMoved) followConfiguration(core, leadership);
  return true;
}

export function onHeartbeatResult(
  core: Core,
  leadership: Leadership,
  message: HeartbeatResult,
): void {
  const peer = leadership.progressOf(message.from);
  if (peer === undefined) return;
  peer.isActive = true;
  peer.resume();
  if (peer.matchIndex < core.log.lastIndex || peer.state === "probe") peer.wish = "always";
  const { reads } = leadership;
  if (message.readPosition <= peer.readAck || message.readPosition > reads.announced) return;
  peer.readAck = message.readPosition;
  const confirmed = quorumValue(core.configuration, (id) =>
    id === core.id ? reads.announced : (leadership.progressOf(id)?.readAck ?? 0),
  );
  for (const read of reads.confirm(Math.min(confirmed, reads.announced))) {
    answerRead(core, read, read.index);
  }
}

/** thesis §6.4. Refused only when too many wait. */
export function requestRead(
  core: Core,
  leadership: Leadership,
  asker: Asker,
): "accepted" | "refused" {
  if (leadership.reads.isFull) return "refused";
  // Until an own entry is committed, earlier leaders may have committed more than we know (trap B1).
  if (core.commitIndex < leadership.noop.index) leadership.reads.holdBack(asker);
  else admitRead(core, leadership, asker);
  return "accepted";
}

function admitRead(core: Core, leadership: Leadership, asker: Asker): void {
  if (isSingleton(core.configuration, core.id)) answerRead(core, asker, core.commitIndex);
  else leadership.reads.register(asker, core.commitIndex);
}

function answerRead(core: Core, asker: Asker, index: number): void {
  if (asker.from === core.id) {
    core.readStates.push({ context: asker.context, index });
    return;
  }
  core.send.push({
    kind: "ReadIndexResult",
    from: core.id,
    to: asker.from,
    term: 0,
    context: asker.context,
    index,
  });
}

export function onReadIndex(core: Core, leadership: Leadership, message: ReadIndex): void {
  // When refused, the follower stops waiting by itself.
  requestRead(core, leadership, { from: message.from, context: message.context });
}

/** trap A8: a leader that no longer hears from a quorum would only keep clients waiting. */
export function checkQuorum(core: Core, leadership: Leadership): void {
  const active = new Map(leadership.peers.map((peer) => [peer.id, peer.isActive]));
  if (quorumTally(core.configuration, active) !== "won") {
    becomeFollower(core, core.currentTerm, NOBODY);
    return;
  }
  for (const peer of leadership.peers) {
    if (!peer.isActive) peer.isCaughtUp = false;
    if (peer.id !== core.id) peer.isActive = false;
  }
}

/**
 * The disk has not answered for twice an election timeout: what is proposed here would never be committed, while
 * heartbeats, which need no disk, would keep the others from electing a leader that can (trap D1).
 */
export function onStalled(core: Core, leadership: Leadership): void {
  leaveOffice(core, leadership);
}

/** Appends under way to this peer are probably lost: do not build on them. */
export function onUnreachable(leadership: Leadership, id: number): void {
  const peer = leadership.progressOf(id);
  if (peer?.state === "replicate") peer.becomeProbe();
}
