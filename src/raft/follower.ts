/** How a follower answers its leader (§5.2, §5.3). */

import type { Core } from "./core.ts";
import type { LogIndex } from "./entry.ts";
import { NOBODY } from "./entry.ts";
import type { AppendEntries, Heartbeat, ReadIndexResult } from "./message.ts";

export function onAppendEntries(core: Core, message: AppendEntries): void {
  const { log } = core;
  const { prevLogIndex, prevLogTerm, entries } = message;
  if (prevLogIndex < core.commitIndex) {
    // Overtaken: everything committed matches, so say so and leave the log alone (trap D6).
    acknowledge(core, message, core.commitIndex);
    return;
  }
  if (!log.matches(prevLogIndex, prevLogTerm)) {
    refuse(core, message);
    return;
  }
  const lastNew = prevLogIndex + entries.length;
  log.merge(entries, core.commitIndex);
  // §5.3: not beyond the last new entry; what stands after it may yet be replaced.
  core.commitTo(Math.min(message.leaderCommit, lastNew));
  acknowledge(core, message, lastNew);
}

function acknowledge(core: Core, message: AppendEntries, index: LogIndex): void {
  core.sendWhenStored({
    kind: "AppendEntriesResult",
    from: core.id,
    to: message.from,
    term: core.currentTerm,
    index,
    rejected: false,
    hintIndex: 0,
    hintTerm: 0,
  });
}

/** Names the place where the logs may still agree, so that the leader skips whole terms (trap D5). */
function refuse(core: Core, message: AppendEntries): void {
  const { log } = core;
  const from = Math.min(message.prevLogIndex, log.lastIndex);
  const hint = log.findConflictByTerm(from, message.prevLogTerm);
  core.sendWhenStored({
    kind: "AppendEntriesResult",
    from: core.id,
    to: message.from,
    term: core.currentTerm,
    index: message.prevLogIndex,
    rejected: true,
    hintIndex: hint.index,
    hintTerm: hint.term,
  });
}

export function onHeartbeat(core: Core, message: Heartbeat): void {
  // A leader that was deposed meanwhile may still speak to the directory that this one replaces (trap A12).
  const isForPredecessor = !core.mayVote && message.leaderCommit > core.log.lastIndex;
  if (!isForPredecessor) core.commitTo(message.leaderCommit);
  core.send.push({
    kind: "HeartbeatResult",
    from: core.id,
    to: message.from,
    term: core.currentTerm,
    readPosition: message.readPosition,
  });
}

/** Asks the leader; refused without one, or when too many wait. */
export function forwardRead(core: Core, context: number): "accepted" | "refused" {
  const { leader, forwarded, options } = core;
  if (leader === NOBODY || forwarded.isFull) return "refused";
  // The question or its answer may be lost; nobody must wait for ever.
  const wireContext = forwarded.add(context, core.ticks + options.electionTicks);
  core.send.push({
    kind: "ReadIndex",
    from: core.id,
    to: leader,
    term: 0,
    context: wireContext,
  });
  return "accepted";
}

export function onReadIndexResult(core: Core, message: ReadIndexResult): void {
  const context = core.forwarded.take(message.context);
  if (context === null) return;
  core.readStates.push({ context, index: message.index });
}
