/**
 * Membership on a leader: proposing a change, following the members once it is committed, leaving a joint
 * configuration, and stepping down when it is no longer a voter itself. A configuration takes effect when its entry is
 * committed (DESIGN D7), on every node, in core.ts.
 */

import type { Core } from "./core.ts";
import type { ProposalResult, RaftOptions } from "./effect.ts";
import type { Configuration, LogIndex } from "./entry.ts";
import { NOBODY } from "./entry.ts";
import type { Leadership } from "./leadership.ts";
import {
  type ConfigurationChange,
  changeConfiguration,
  encodeChange,
  isJoint,
  LEAVE_JOINT,
} from "./membership.ts";
import { isVoter, memberIds } from "./quorum.ts";
import { flush, propose, tellCommit } from "./replication.ts";
import { becomeFollower } from "./roles.ts";
import { abortTransfer, sendTimeoutNow } from "./transfer.ts";

/** `expected`: refused unless the configuration is the one of this entry (compare-and-set, trap C7). */
export function proposeChange(
  core: Core,
  change: ConfigurationChange,
  expected?: LogIndex,
): ProposalResult {
  const { leadership, configuration, options } = core;
  if (leadership === null) return { kind: "refused", reason: "notLeader" };
  if (options.validateChanges === false) return proposeValid(core, leadership, change);
  if (expected !== undefined && expected !== configuration.index) {
    return { kind: "refused", reason: "configurationMoved" };
  }
  // Until an own entry is committed, an earlier leader's change may be in force that this one does not know (C1).
  if (options.eager !== true && core.commitIndex < leadership.noop.index) {
    return { kind: "refused", reason: "changePending" };
  }
  // One at a time (docs/SPEC.md C2). A new leader counts everything it found as possibly pending: what it does not know
  // to be committed may hold a change (C1).
  if (core.inForceIndex < leadership.pendingChange) {
    return { kind: "refused", reason: "changePending" };
  }
  const result = changeConfiguration(configuration, change);
  if (result.kind === "invalid") return { kind: "refused", reason: "invalidChange" };
  if (!areCaughtUp(leadership, configuration, result.configuration) && mustCatchUp(options)) {
    return { kind: "refused", reason: "notCaughtUp" };
  }
  return proposeValid(core, leadership, change);
}

function mustCatchUp({ eager, promoteUncaught }: RaftOptions): boolean {
  return eager !== true && promoteUncaught !== true;
}

/** A voter that lags far behind holds up every commit that needs it (trap C8). */
function areCaughtUp(leadership: Leadership, before: Configuration, after: Configuration): boolean {
  const fresh = after.voters.filter((id) => !isVoter(before, id));
  return fresh.every((id) => leadership.progressOf(id)?.isCaughtUp === true);
}

function proposeValid(
  core: Core,
  leadership: Leadership,
  change: ConfigurationChange,
): ProposalResult {
  const result = propose(core, "configuration", [encodeChange(change)]);
  if (result.kind === "accepted") leadership.pendingChange = result.last.index;
  return result;
}

/** The configuration moved under this leader. */
export function onConfigurationMoved(core: Core, leadership: Leadership): void {
  const { configuration, log } = core;
  const members = memberIds(configuration);
  // Who leaves is told that it is committed: nobody will tell it later.
  tellCommit(core, leadership);
  if (leadership.peers.some(({ id }) => !members.includes(id))) flush(core, leadership);
  leadership.follow(configuration, { nextIndex: Math.max(log.lastIndex, 1), isActive: true });
  const { transferee } = leadership;
  if (transferee !== NOBODY && !isVoter(configuration, transferee)) abortTransfer(leadership);
  for (const peer of leadership.peers) if (peer.wish === "none") peer.wish = "ifAny";
}

/** After everything that was committed has been followed: may end the leadership. */
export function settleConfiguration(core: Core, leadership: Leadership): void {
  const { configuration, options } = core;
  if (!isVoter(configuration, core.id) && options.stepDownOnRemoval !== false) {
    leaveOffice(core, leadership);
    return;
  }
  const isSettled = core.inForceIndex >= leadership.pendingChange;
  if (!isJoint(configuration) || !configuration.autoLeave || !isSettled) return;
  if (options.eager === true) flush(core, leadership);
  // A leader that finds a joint configuration leaves it, whoever entered it (trap C6).
  proposeChange(core, LEAVE_JOINT);
}

/** Tells the others that it is committed, and hands over to the one that is furthest. */
export function leaveOffice(core: Core, leadership: Leadership): void {
  flush(core, leadership);
  let best = null;
  for (const peer of leadership.peers) {
    if (peer.id === core.id || !isVoter(core.configuration, peer.id) || !peer.isActive) continue;
    if (best === null || peer.matchIndex > best.matchIndex) best = peer;
  }
  if (best !== null && core.options.eager !== true) sendTimeoutNow(core, best.id);
  becomeFollower(core, core.currentTerm, NOBODY);
}
