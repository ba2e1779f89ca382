/**
 * Snapshots as the core sees them (§7): who needs one, and what a node is after it has one. The bytes are fetched by
 * the runtime; until they are here and verified nothing changes, so that a node goes on voting and following meanwhile.
 */

import type { Core } from "./core.ts";
import type { SnapshotMark } from "./effect.ts";
import type { LogIndex, NodeId } from "./entry.ts";
import { NOBODY } from "./entry.ts";
import type { Leadership } from "./leadership.ts";
import type { InstallSnapshot } from "./message.ts";
import type { Progress } from "./progress.ts";

/** True if a snapshot was offered. */
export function offerSnapshot(core: Core, peer: Progress): boolean {
  // A peer that is not there could not take it, and it would keep the log from being sent later (trap E4).
  if (!peer.isActive) return false;
  const index = core.appliedIndex;
  if (index + 1 < core.log.firstIndex || peer.matchIndex >= index) return false;
  core.send.push({
    kind: "InstallSnapshot",
    from: core.id,
    to: peer.id,
    term: core.currentTerm,
    lastIncludedIndex: index,
    lastIncludedTerm: core.log.term(index),
  });
  peer.becomeSnapshot(index);
  return true;
}

/** The offer, the copying or the answer may be lost: who is still there is asked again. A repetition harms nobody. */
export function repeatOffers(core: Core, leadership: Leadership): void {
  for (const peer of leadership.peers) {
    if (peer.state === "snapshot" && peer.isActive) offerSnapshot(core, peer);
  }
}

export function onInstallSnapshot(core: Core, message: InstallSnapshot): void {
  const { lastIncludedIndex, lastIncludedTerm, from } = message;
  if (needsSnapshot(core, lastIncludedIndex, lastIncludedTerm)) {
    core.fetchSnapshot = { from, index: lastIncludedIndex, term: lastIncludedTerm };
  } else {
    // Not needed, and answered all the same: the leader waits (trap E2).
    acknowledge(core, from, core.commitIndex);
  }
}

/** Commits what the snapshot holds if the log has it already: then the log goes on (trap E1). */
function needsSnapshot(core: Core, index: LogIndex, term: number): boolean {
  if (index <= core.commitIndex) return false;
  if (!core.log.matches(index, term)) return true;
  core.commitTo(index);
  return false;
}

/** The snapshot is here. From now on it is this node's past, unless it was overtaken meanwhile. */
export function onSnapshotReady(core: Core, mark: SnapshotMark): void {
  if (core.role !== "follower") return;
  if (needsSnapshot(core, mark.index, mark.term)) {
    core.log.restore(mark);
    core.restore(mark);
  }
  if (core.leader !== NOBODY) acknowledge(core, core.leader, core.commitIndex);
}

/** The transport's word on a snapshot that this leader offered: probe again, once the peer shows a sign of life. */
export function onSnapshotEnded(
  leadership: Leadership,
  { peer: id, outcome }: { readonly peer: NodeId; readonly outcome: "taken" | "failed" },
): void {
  const peer = leadership.progressOf(id);
  if (peer?.state !== "snapshot") return;
  if (outcome === "failed") peer.pendingSnapshot = 0;
  peer.becomeProbe();
  peer.pause();
}

function acknowledge(core: Core, to: NodeId, index: LogIndex): void {
  core.sendWhenStored({
    kind: "AppendEntriesResult",
    from: core.id,
    to,
    term: core.currentTerm,
    index,
    rejected: false,
    hintIndex: 0,
    hintTerm: 0,
  });
}
