/** What a leader does: proposes, replicates, commits, keeps its quorum, and confirms reads (§5.3, §5.4.2; thesis §6). */

import { invariant } from "../sql/invariant.ts";
import type { Core } from "./core.ts";
import type { ProposalResult } from "./effect.ts";
import { type EntryKind, NOBODY } from "./entry.ts";
import type { Leadership } from "./leadership.ts";
import type { AppendEntriesResult, HeartbeatResult, ReadIndex } from "./message.ts";
import type { AppendWish, Progress } from "./progress.ts";
import { isSingleton, quorumTally, quorumValue } from "./quorum.ts";
import { payloadBytes } from "./raft-log.ts";
import type { Asker } from "./read-index.ts";
import { becomeFollower } from "./roles.ts";

export function propose(
  core: Core,
  kind: EntryKind,
  payloads: readonly Uint8Array[],
): ProposalResult {
  const { leadership, log, currentTerm } = core;
  if (leadership === null) return { kind: "refused", reason: "notLeader" };
  invariant(payloads.length > 0, "a proposal holds at least one payload");
  const { uncommitted } = leadership;
  let bytes = 0;
  for (const payload of payloads) bytes += payload.length;
  // An empty tail always admits one, however large: else it could never be written.
  const tooMuch = uncommitted.total + bytes > core.options.maxUncommittedBytes;
  if (uncommitted.total > 0 && bytes > 0 && tooMuch) {
    return { kind: "refused", reason: "tooMuchUncommitted" };
  }
  const first = log.lastIndex + 1;
  let index = first;
  for (const payload of payloads) {
    log.append({ index, term: currentTerm, kind, payload });
    uncommitted.add(index, payload.length);
    index++;
  }
  wishAll(leadership, "ifAny");
  return {
    kind: "accepted",
    first: { index: first, term: currentTerm },
    last: { index: index - 1, term: currentTerm },
  };
}

function wishAll(leadership: Leadership, wish: AppendWish): void {
  for (const peer of leadership.peers) if (peer.wish !== "always") peer.wish = wish;
}

/** Sends what this turn made due: appends, and one round of heartbeats for all reads that it brought. */
export function flush(core: Core, leadership: Leadership): void {
  for (const peer of leadership.peers) {
    const { wish } = peer;
    peer.wish = "none";
    if (wish === "none" || peer.id === core.id) continue;
    if (!sendAppend(core, peer, wish)) continue;
    // Ends when the window is full or the log is sent.
    while (sendAppend(core, peer, "ifAny"));
  }
  if (leadership.reads.needsRound) broadcastHeartbeat(core, leadership);
}

/** True if something was sent. */
function sendAppend(core: Core, peer: Progress, wish: AppendWish): boolean {
  if (peer.isPaused) return false;
  const { log, options } = core;
  const prevLogIndex = peer.nextIndex - 1;
  if (prevLogIndex < log.firstIndex - 1) return false;
  // A full window still lets an empty append through, to find out what was lost (raft.md §2 D7).
  const isFull = peer.state === "replicate" && peer.inflights.full;
  const entries = isFull ? [] : log.slice(peer.nextIndex, log.lastIndex, options.maxMessageBytes);
  if (entries.length === 0 && wish !== "always") return false;
  core.send.push({
    kind: "AppendEntries",
    from: core.id,
    to: peer.id,
    term: core.currentTerm,
    prevLogIndex,
    prevLogTerm: log.term(prevLogIndex),
    entries,
    leaderCommit: core.commitIndex,
  });
  peer.sentEntries(entries.length, payloadBytes(entries));
  peer.sentCommit(core.commitIndex);
  return true;
}

export function broadcastHeartbeat(core: Core, leadership: Leadership): void {
  const readPosition = leadership.reads.announce();
  for (const peer of leadership.peers) {
    if (peer.id === core.id) continue;
    // Never tell a follower to commit what it is not known to have (raft.md §2 D4).
    const leaderCommit = Math.min(peer.matchIndex, core.commitIndex);
    core.send.push({
      kind: "Heartbeat",
      from: core.id,
      to: peer.id,
      term: core.currentTerm,
      leaderCommit,
      readPosition,
    });
    peer.sentCommit(leaderCommit);
  }
}

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
    // Our own log may show an even earlier place where the two can agree (raft.md §2 D5).
    const hint = hintTerm > 0 ? core.log.findConflictByTerm(hintIndex, hintTerm).index : hintIndex;
    if (!peer.retreat(message.index, hint)) return;
    if (peer.state === "replicate") peer.becomeProbe();
    peer.wish = "always";
    return;
  }
  if (message.index > core.log.lastIndex) return;
  const isNews = peer.advance(message.index);
  if (!isNews && !(peer.state === "probe" && peer.matchIndex === message.index)) return;
  switch (peer.state) {
    case "probe":
      peer.becomeReplicate();
      break;
    case "snapshot":
      // Any answer that reconnects it to our log will do, also an older one (raft.md §2 E3).
      if (peer.matchIndex + 1 >= core.log.firstIndex) {
        peer.becomeProbe();
        peer.becomeReplicate();
      }
      break;
    case "replicate":
      peer.inflights.freeThrough(message.index);
      break;
  }
  if (!advanceCommit(core, leadership) && peer.id !== core.id) {
    if (peer.canBumpCommit(core.commitIndex)) peer.wish = "always";
  }
  if (peer.wish === "none") peer.wish = "ifAny";
}

/** Own entries count when they are on the own disk, like everyone's (thesis §10.2.1). */
export function onOwnEntriesStored(core: Core, leadership: Leadership): void {
  if (leadership.progressOf(core.id)?.advance(core.log.stableIndex) === true) {
    advanceCommit(core, leadership);
  }
}

/**
 * §5.4.2: only entries of the own term are committed by counting; older ones come along. True if the commit index
 * moved.
 */
export function advanceCommit(core: Core, leadership: Leadership): boolean {
  const index = quorumValue(core.configuration, (id) => leadership.progressOf(id)?.matchIndex ?? 0);
  if (index <= core.commitIndex || !core.log.matches(index, core.currentTerm)) return false;
  core.commitTo(index);
  leadership.uncommitted.commitTo(index);
  for (const asker of leadership.reads.takeHeldBack()) admitRead(core, leadership, asker);
  wishAll(leadership, "always");
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
  // Until an own entry is committed, earlier leaders may have committed more than we know (raft.md §2 B1).
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

/** raft.md §2 A8: a leader that no longer hears from a quorum would only keep clients waiting. */
export function checkQuorum(core: Core, leadership: Leadership): void {
  const active = new Map(leadership.peers.map((peer) => [peer.id, peer.isActive]));
  if (quorumTally(core.configuration, active) !== "won") {
    becomeFollower(core, core.currentTerm, NOBODY);
    return;
  }
  for (const peer of leadership.peers) if (peer.id !== core.id) peer.isActive = false;
}

/** Appends under way to this peer are probably lost: do not build on them. */
export function onUnreachable(leadership: Leadership, id: number): void {
  const peer = leadership.progressOf(id);
  if (peer?.state === "replicate") peer.becomeProbe();
}
