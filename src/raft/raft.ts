/**
 * The door of the consensus core: a pure function of its inputs (DESIGN D7). Each call changes the state and leaves
 * effects, which takeEffects() hands out; it never does anything itself, keeps no clock and throws no dice but the
 * given ones. A thrown InvariantViolation means that the node must halt.
 */

import { invariant, unreachable } from "../sql/invariant.ts";
import { Core, type Stored } from "./core.ts";
import type {
  Effects,
  Input,
  Persist,
  ProposalResult,
  RaftOptions,
  RaftStatus,
  SnapshotMark,
} from "./effect.ts";
import { hup, onOwnVoteStored, setEligible } from "./elections.ts";
import type { Entry, EntryId, HardState, LogIndex, NodeId } from "./entry.ts";
import { NOBODY } from "./entry.ts";
import { forwardRead } from "./follower.ts";
import {
  checkQuorum,
  followConfiguration,
  onOwnEntriesStored,
  onStalled,
  onUnreachable,
  requestRead,
} from "./leader.ts";
import type { ConfigurationChange } from "./membership.ts";
import type { ProgressView } from "./progress.ts";
import { payloadBytes } from "./raft-log.ts";
import { leaveOffice, proposeChange, settleConfiguration } from "./reconfiguration.ts";
import { broadcastHeartbeat, flush, owesCommit, propose, tellCommit } from "./replication.ts";
import { becomeFollower } from "./roles.ts";
import { onSnapshotEnded, onSnapshotReady, repeatOffers } from "./snapshots.ts";
import { onMessage } from "./step.ts";
import { abortTransfer, startTransfer } from "./transfer.ts";

export type { Stored } from "./core.ts";
export type { ProgressView } from "./progress.ts";

/** All but who it is and its dice. With a tick of 50 ms: heartbeats every 100 ms, elections after 500 to 1000 ms. */
export const DEFAULT_RAFT_OPTIONS: Omit<RaftOptions, "id" | "random"> = {
  electionTicks: 10,
  heartbeatTicks: 2,
  maxMessageBytes: 256 * 1024,
  maxInflightMessages: 64,
  maxInflightBytes: 4 * 1024 * 1024,
  maxUncommittedBytes: 64 * 1024 * 1024,
  maxApplyBytes: 16 * 1024 * 1024,
  maxPendingReads: 65_536,
  preVote: true,
  checkQuorum: true,
};

export class Raft {
  readonly #core: Core;
  #askedSeq = 0;
  #persistedSeq = 0;
  /** When each write that is under way was asked for, in ticks; the oldest has seq #persistedSeq + 1. */
  readonly #askedAtTicks: number[] = [];
  /** As last handed out to be stored. */
  #askedHardState: HardState;
  /** As last told by `changed`. */
  #told: RaftStatus;
  /** Offered and not yet applied: last index and payload bytes of each batch. */
  readonly #applying: { readonly last: LogIndex; readonly bytes: number }[] = [];
  #applyingBytes = 0;

  /** Starts as a follower. `stored` is what the disk holds; its log may only change as effects ask. */
  constructor(options: RaftOptions, stored: Stored) {
    this.#core = new Core(options, stored);
    this.#askedHardState = stored.hardState;
    this.#told = this.status();
  }

  step(input: Input): void {
    const core = this.#core;
    switch (input.kind) {
      case "tick":
        this.#onTick();
        break;
      case "message":
        onMessage(core, input.message);
        break;
      case "persisted":
        this.#onPersisted(input.seq, input.last, input.term);
        break;
      case "applied":
        this.#onApplied(input.index);
        break;
      case "campaign":
        hup(core, core.options.preVote ? "preVote" : "election");
        break;
      case "eligible":
        setEligible(core, input.mayLead);
        break;
      case "abstain":
        this.#onAbstain(input.isAbstaining);
        break;
      case "forgetLeader":
        if (core.role === "follower") core.followLeader(NOBODY);
        break;
      case "unreachable":
        if (core.leadership !== null) onUnreachable(core.leadership, input.peer);
        break;
      case "peerReset":
        core.leadership?.progressOf(input.peer)?.forget();
        break;
      case "transferLeadership":
        this.#onTransfer(input.to);
        break;
      case "tellCommit":
        if (core.leadership !== null) tellCommit(core, core.leadership);
        break;
      case "snapshotReady":
        this.#onSnapshotReady(input.snapshot);
        break;
      case "snapshotEnded":
        if (core.leadership !== null) onSnapshotEnded(core.leadership, input);
        break;
      default:
        unreachable(input);
    }
    this.#flushIfEager();
  }

  /** At least one payload; all are taken or none. They get consecutive indexes. */
  propose(payloads: readonly Uint8Array[]): ProposalResult {
    const result = propose(this.#core, "command", payloads);
    this.#flushIfEager();
    return result;
  }

  /**
   * A change of the members. It is in force once its entry is committed, and over once `status().configuration` is not
   * joint any more. One at a time. `expected`: refused unless the configuration's index is this.
   */
  proposeConfiguration(change: ConfigurationChange, expected?: LogIndex): ProposalResult {
    const result = proposeChange(this.#core, change, expected);
    this.#flushIfEager();
    return result;
  }

  /**
   * Asks for an index at which a read is linearizable. Accepted: `readStates` or `readsDropped` will name the
   * context. Refused: no leader is known, or too many reads wait.
   */
  readIndex(context: number): "accepted" | "refused" {
    const core = this.#core;
    const { leadership } = core;
    const answer =
      leadership === null
        ? forwardRead(core, context)
        : requestRead(core, leadership, { from: core.id, context });
    this.#flushIfEager();
    return answer;
  }

  status(): RaftStatus {
    const core = this.#core;
    const last = core.log.last;
    return {
      id: core.id,
      role: core.role,
      currentTerm: core.currentTerm,
      votedFor: core.votedFor,
      leader: core.leader,
      commitIndex: core.commitIndex,
      lastIndex: last.index,
      lastTerm: last.term,
      configuration: core.configuration,
      isStalled: core.isStalled,
    };
  }

  /** The entry this leader began its term with; null while it does not lead. Applied: it has all that was committed. */
  ownNoop(): EntryId | null {
    return this.#core.leadership?.noop ?? null;
  }

  /** True when this node leads and an entry of its term is committed. */
  hasCommittedInTerm(): boolean {
    const { leadership, commitIndex } = this.#core;
    return leadership !== null && commitIndex >= leadership.noop.index;
  }

  /** Who is to lead next; NOBODY while no transfer is under way. */
  transferee(): NodeId {
    return this.#core.leadership?.transferee ?? NOBODY;
  }

  /** A follower could commit more, and no message is on its way that says so: `tellCommit` is due in a moment. */
  owesCommit(): boolean {
    const core = this.#core;
    return core.leadership !== null && owesCommit(core, core.leadership);
  }

  /** Highest index that is durable here. */
  stableIndex(): LogIndex {
    return this.#core.log.stableIndex;
  }

  /** Of the members, ascending by id; empty while this node does not lead. */
  progress(): readonly ProgressView[] {
    return this.#core.leadership?.peers.map((peer) => peer.view()) ?? [];
  }

  /** How long this one wait for a leader may last, in ticks from its start; drawn anew for the next. */
  setElectionTimeout(ticks: number): void {
    this.#core.electionTimeout = ticks;
  }

  /** Everything asked since the last call; null when there is nothing to do. To be called after each turn. */
  takeEffects(): Effects | null {
    const core = this.#core;
    if (core.leadership !== null) flush(core, core.leadership);
    const { readStates, readsDropped, fetchSnapshot } = core;
    const persist = this.#takePersist();
    const apply = this.#takeApply();
    const changed = this.#takeChanged();
    const { send } = core;
    if (
      persist === null &&
      send.length === 0 &&
      apply.length === 0 &&
      readStates.length === 0 &&
      readsDropped.length === 0 &&
      fetchSnapshot === null &&
      changed === null
    ) {
      return null;
    }
    if (send.length > 0) core.send = [];
    if (readStates.length > 0) core.readStates = [];
    if (readsDropped.length > 0) core.readsDropped = [];
    core.fetchSnapshot = null;
    return { persist, send, apply, readStates, readsDropped, fetchSnapshot, changed };
  }

  #flushIfEager(): void {
    const { options, leadership } = this.#core;
    if (options.eager === true && leadership !== null) flush(this.#core, leadership);
  }

  #onTick(): void {
    const core = this.#core;
    core.ticks++;
    core.electionElapsed++;
    for (const context of core.forwarded.takeExpired(core.ticks)) core.readsDropped.push(context);
    this.#watchDisk();
    const { leadership, options } = core;
    if (leadership === null) {
      if (core.electionElapsed < core.electionTimeout) return;
      // Who does not stand loses its belief all the same: how long there has been no leader is asked of it.
      if (!core.isEligible) core.followLeader(NOBODY);
      if (core.isAbstaining) core.followLeader(NOBODY);
      if (!core.isPromotable) return;
      hup(core, options.preVote ? "preVote" : "election");
      return;
    }
    core.heartbeatElapsed++;
    if (core.electionElapsed >= options.electionTicks) {
      core.electionElapsed = 0;
      if (options.eager !== true) repeatOffers(core, leadership);
      if (options.checkQuorum) checkQuorum(core, leadership);
      if (core.leadership === null) return;
      // §3.10 of the thesis: the target did not take over in time, so this leader goes on.
      if (leadership.transferee !== NOBODY) {
        abortTransfer(leadership);
        settleConfiguration(core, leadership);
        if (core.leadership === null) return;
      }
    }
    if (core.heartbeatElapsed >= options.heartbeatTicks) {
      core.heartbeatElapsed = 0;
      broadcastHeartbeat(core, leadership);
    }
  }

  #onTransfer(to: NodeId): void {
    const core = this.#core;
    const { leadership } = core;
    if (leadership === null) return;
    startTransfer(core, leadership, to);
    // Called off: a joint configuration may have waited for that.
    if (to === core.id && core.options.eager !== true) settleConfiguration(core, leadership);
  }

  /** As leader it would show others what its machine holds. Time goes on for it: a vote is leased no longer than others'. */
  #onAbstain(isAbstaining: boolean): void {
    const core = this.#core;
    core.isAbstaining = isAbstaining;
    if (!isAbstaining) return;
    if (core.leadership !== null) leaveOffice(core, core.leadership);
    else if (core.role !== "follower") becomeFollower(core, core.currentTerm, NOBODY);
  }

  /** The write that hangs is the probe as well: once it has returned, this node may lead again. */
  #watchDisk(): void {
    const core = this.#core;
    const { electionTicks, eager } = core.options;
    const oldest = this.#askedAtTicks[0] ?? core.ticks;
    core.isStalled = eager !== true && core.ticks - oldest >= 2 * electionTicks;
    if (core.isStalled && core.leadership !== null) onStalled(core, core.leadership);
  }

  #onPersisted(seq: number, last: EntryId, term: number): void {
    const core = this.#core;
    invariant(seq > this.#persistedSeq, `persist ${seq} completed twice or out of order`);
    invariant(seq <= this.#askedSeq, `persist ${seq} was never asked for`);
    invariant(term <= core.currentTerm, `persist ${seq} completed in a term of the future`);
    this.#askedAtTicks.splice(0, seq - this.#persistedSeq);
    this.#persistedSeq = seq;
    // An older term's completion may speak of entries that were replaced since. Nothing is lost: the term that came
    // since had to be stored as well, and every persist attests the end of the log anew (trap D9).
    if (term !== core.currentTerm) return;
    core.log.stableTo(last);
    // A candidate's term begins with its vote: the first write of that term holds it.
    if (core.role === "candidate") onOwnVoteStored(core);
    else if (core.leadership !== null) onOwnEntriesStored(core, core.leadership);
  }

  #onApplied(index: LogIndex): void {
    const core = this.#core;
    // A snapshot may have overtaken the machine.
    if (index <= core.appliedIndex) return;
    invariant(index <= core.offeredIndex, `applied ${index} was never offered`);
    core.appliedIndex = index;
    let batch = this.#applying[0];
    while (batch !== undefined && batch.last <= index) {
      this.#applyingBytes -= batch.bytes;
      this.#applying.shift();
      batch = this.#applying[0];
    }
    if (core.options.eager !== true) return;
    const hasMoved = core.activateChanges(index);
    if (core.leadership === null) return;
    if (hasMoved) followConfiguration(core, core.leadership);
    settleConfiguration(core, core.leadership);
  }

  #onSnapshotReady(snapshot: SnapshotMark): void {
    const core = this.#core;
    onSnapshotReady(core, snapshot);
    if (core.appliedIndex < snapshot.index) return;
    this.#applying.length = 0;
    this.#applyingBytes = 0;
  }

  #takePersist(): Persist | null {
    const core = this.#core;
    const { currentTerm, votedFor, commitIndex, log } = core;
    const asked = this.#askedHardState;
    const isVoteNew = currentTerm !== asked.currentTerm || votedFor !== asked.votedFor;
    const isCommitNew = commitIndex !== asked.commitIndex;
    const mustStore =
      isVoteNew ||
      log.hasUnasked ||
      log.hasUnaskedSnapshot ||
      (core.options.eager === true && isCommitNew);
    const thenSend = core.thenSend;
    if (!mustStore) {
      if (thenSend.length === 0) return null;
      if (this.#persistedSeq === this.#askedSeq && core.options.eager !== true) {
        // Everything that these messages attest is durable already.
        core.send.push(...thenSend);
        core.thenSend = [];
        return null;
      }
    }
    core.thenSend = [];
    const seq = ++this.#askedSeq;
    this.#askedAtTicks.push(core.ticks);
    // The commit index is worth storing, but not worth a write of its own.
    const isHardStateNew = isVoteNew || (mustStore && isCommitNew);
    const hardState = isHardStateNew ? { currentTerm, votedFor, commitIndex } : null;
    if (hardState !== null) this.#askedHardState = hardState;
    const snapshot = log.takeUnaskedSnapshot();
    const entries = log.takeUnasked();
    return { seq, snapshot, hardState, entries, last: log.last, term: currentTerm, thenSend };
  }

  /** Committed, and on this node's own disk (trap D10). */
  #takeApply(): readonly Entry[] {
    const core = this.#core;
    const { log, options } = core;
    const through = Math.min(core.commitIndex, log.stableIndex);
    const room = options.maxApplyBytes - this.#applyingBytes;
    let entries: readonly Entry[] = [];
    if (through > core.offeredIndex && (room > 0 || this.#applying.length === 0)) {
      entries = log.slice(core.offeredIndex + 1, through, room);
      const bytes = payloadBytes(entries);
      core.offeredIndex += entries.length;
      this.#applying.push({ last: core.offeredIndex, bytes });
      this.#applyingBytes += bytes;
    }
    log.release(core.offeredIndex);
    return entries;
  }

  #takeChanged(): RaftStatus | null {
    const core = this.#core;
    const told = this.#told;
    if (
      told.currentTerm === core.currentTerm &&
      told.role === core.role &&
      told.leader === core.leader &&
      told.commitIndex === core.commitIndex &&
      told.configuration === core.configuration &&
      told.isStalled === core.isStalled
    ) {
      return null;
    }
    invariant(core.commitIndex >= told.commitIndex, "commitIndex never falls");
    invariant(core.currentTerm >= told.currentTerm, "currentTerm never falls");
    this.#told = this.status();
    return this.#told;
  }
}
