/** Handing the leadership over (thesis §3.10). While it is under way proposals are refused (trap D12). */

import type { Core } from "./core.ts";
import type { NodeId } from "./entry.ts";
import { NOBODY } from "./entry.ts";
import type { Leadership } from "./leadership.ts";
import type { Progress } from "./progress.ts";
import { isVoter } from "./quorum.ts";

/** Lasts one election timeout at most. A later call for another node replaces an earlier one. */
export function startTransfer(core: Core, leadership: Leadership, to: NodeId): void {
  const peer = leadership.progressOf(to);
  if (peer === undefined || !isVoter(core.configuration, to)) return;
  if (leadership.transferee === to) return;
  abortTransfer(leadership);
  if (to === core.id) return;
  leadership.transferee = to;
  core.electionElapsed = 0;
  if (peer.matchIndex === core.log.lastIndex) sendTimeoutNow(core, to);
  else peer.wish = "always";
}

export function abortTransfer(leadership: Leadership): void {
  leadership.transferee = NOBODY;
}

/** The follower has moved on: if it has everything, it may take over. */
export function continueTransfer(core: Core, leadership: Leadership, peer: Progress): void {
  if (leadership.transferee !== peer.id || peer.matchIndex !== core.log.lastIndex) return;
  sendTimeoutNow(core, peer.id);
}

export function sendTimeoutNow(core: Core, to: NodeId): void {
  core.send.push({ kind: "TimeoutNow", from: core.id, to, term: core.currentTerm });
}
