/**
 * The stream of entries from a leader to its followers: taking proposals into the log, sending what is owed, and
 * heartbeats (§5.3; thesis §10.2.1: without waiting for the own disk). Judges no answers: that is leader.ts.
 */

import { invariant } from "../sql/invariant.ts";
import type { Core } from "./core.ts";
import type { ProposalResult } from "./effect.ts";
import { type EntryKind, NOBODY } from "./entry.ts";
import type { Leadership } from "./leadership.ts";
import type { AppendWish, Progress } from "./progress.ts";
import { payloadBytes } from "./raft-log.ts";
import { offerSnapshot } from "./snapshots.ts";

export function propose(
  core: Core,
  kind: EntryKind,
  payloads: readonly Uint8Array[],
): ProposalResult {
  const { leadership, log, currentTerm } = core;
  if (leadership === null) return { kind: "refused", reason: "notLeader" };
  if (leadership.transferee !== NOBODY) return { kind: "refused", reason: "transferring" };
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

export function wishAll(leadership: Leadership, wish: AppendWish): void {
  for (const peer of leadership.peers) peer.want(wish);
}

/** What is owed when the commit index is news: with `holdCommitNews` the next entry is to tell it. */
export function commitWish({ options }: Core): AppendWish {
  return options.holdCommitNews === true ? "commit" : "always";
}

/** The commit index is told now to whom no entry has told it. */
export function tellCommit(core: Core, leadership: Leadership): void {
  for (const peer of leadership.peers) {
    if (peer.wish !== "commit") continue;
    peer.wish = peer.canBumpCommit(core.commitIndex) ? "always" : "ifAny";
  }
}

export function owesCommit({ id }: Core, { peers }: Leadership): boolean {
  return peers.some((peer) => peer.wish === "commit" && peer.id !== id);
}

/** Sends what this turn made due: appends, and one round of heartbeats for all reads that it brought. */
export function flush(core: Core, leadership: Leadership): void {
  for (const peer of leadership.peers) {
    const { wish } = peer;
    peer.wish = "none";
    if (wish === "none" || peer.id === core.id) continue;
    if (!sendAppend(core, peer, wish)) {
      if (wish === "commit") peer.wish = wish;
      continue;
    }
    // Ends when the log is sent or the window is full.
    let more = core.options.maxInflightMessages;
    while (more > 0 && sendAppend(core, peer, "ifAny")) more--;
  }
  if (leadership.reads.needsRound) broadcastHeartbeat(core, leadership);
}

/** True if something was sent. */
function sendAppend(core: Core, peer: Progress, wish: AppendWish): boolean {
  if (peer.isPaused) return false;
  const { log, options } = core;
  const prevLogIndex = peer.nextIndex - 1;
  if (prevLogIndex < log.firstIndex - 1) return offerSnapshot(core, peer);
  // A full window still lets an empty append through, to find out what was lost (trap D7).
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
    // Never tell a follower to commit what it is not known to have (trap D4).
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
