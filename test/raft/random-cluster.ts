/**
 * A whole cluster of cores under a random schedule from one seed: messages are lost, repeated and reordered, writes
 * complete late, nodes crash and start again, logs are compacted, members change. After every event the promises of
 * Raft are checked. Smaller than the simulator: no node, no disk, no machine, so that it points at the core.
 */

import type { Persist, RaftStatus, SnapshotMark, SnapshotRequest } from "../../src/raft/effect.ts";
import {
  type Configuration,
  type Entry,
  type HardState,
  NOBODY,
  votersOnly,
} from "../../src/raft/entry.ts";
import {
  changeConfiguration,
  decodeChange,
  isJoint,
  LEAVE_JOINT,
} from "../../src/raft/membership.ts";
import type { Message } from "../../src/raft/message.ts";
import { isVoter } from "../../src/raft/quorum.ts";
import { DEFAULT_RAFT_OPTIONS, Raft } from "../../src/raft/raft.ts";
import { MemoryLog } from "./interaction-node.ts";
import { check, checkMatching, isDurable, Ledger } from "./random-laws.ts";

/** mulberry32: small, and good enough for schedules. */
export function diceOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Member {
  readonly id: number;
  readonly log: MemoryLog;
  hardState: HardState;
  appliedIndex: number;
  configuration: Configuration;
  raft: Raft | null;
  readonly writes: Persist[];
  readonly reads: Map<number, number>;
  /** Fetched, and not handed to the core yet: it may be overtaken, or another one may come first. */
  readonly snapshots: SnapshotMark[];
  /** In force when its core was last looked at. */
  lastConfiguration: Configuration;
}

/** Steps between two comparisons of all logs. */
const COMPARE_EVERY = 200;

export class RandomCluster {
  readonly #dice: () => number;
  readonly #members: Member[] = [];
  #wire: Message[] = [];
  #clock = 0;
  /** term → who led it. */
  readonly #leaders = new Map<number, number>();
  /** `term/id` → whom it voted for. */
  readonly #votes = new Map<string, number>();
  readonly #ledger = new Ledger();
  readonly #mustCatchUp: boolean;
  #committed = 0;
  #isCalm = false;
  counts = { committed: 0, reads: 0, elections: 0, crashes: 0, snapshots: 0, changes: 0, joint: 0 };

  constructor(seed: number, voters: number, spares: number) {
    this.#dice = diceOf(seed);
    this.#mustCatchUp = seed % 4 === 0;
    const configuration = votersOnly(Array.from({ length: voters }, (_, at) => at + 1));
    for (let id = 1; id <= voters + spares; id++) {
      const member: Member = {
        id,
        log: new MemoryLog(0, 0),
        hardState: { currentTerm: 0, votedFor: NOBODY, commitIndex: 0 },
        appliedIndex: 0,
        // Spares begin with the first configuration, too: the log tells changes only.
        configuration,
        raft: null,
        writes: [],
        reads: new Map(),
        snapshots: [],
        lastConfiguration: configuration,
      };
      this.#members.push(member);
      this.#start(member);
    }
  }

  #start(member: Member): void {
    const { id, hardState, configuration, log, appliedIndex } = member;
    const options = {
      ...DEFAULT_RAFT_OPTIONS,
      promoteUncaught: !this.#mustCatchUp,
      id,
      random: this.#dice,
      maxMessageBytes: 8,
      maxInflightMessages: 4,
      maxUncommittedBytes: 200,
      maxApplyBytes: 20,
    };
    member.raft = new Raft(options, { hardState, configuration, log, appliedIndex });
    member.lastConfiguration = member.raft.status().configuration;
  }

  #chance(probability: number): boolean {
    return this.#dice() < probability;
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.#dice() * items.length)];
  }

  /** One random event. */
  step(): void {
    this.#clock++;
    if (this.#clock % COMPARE_EVERY === 0) this.#compareLogs();
    const member = this.#pick(this.#members);
    if (member === undefined) return;
    const { raft } = member;
    if (raft === null) {
      if (this.#isCalm || this.#chance(0.1)) this.#start(member);
      return;
    }
    const throwOf = this.#dice();
    if (throwOf < 0.12) raft.step({ kind: "tick" });
    else if (throwOf < 0.2) this.#propose(raft);
    else if (throwOf < 0.24) this.#read(member, raft);
    else if (throwOf < 0.6) this.#deliver();
    else if (throwOf < 0.85) this.#complete(member, raft);
    else if (throwOf < 0.88) this.#disturb(member, raft);
    else if (throwOf < 0.93) this.#install(member, raft);
    else if (this.#isCalm) this.#leaveJoint(raft);
    else if (throwOf < 0.97) this.#change(raft);
    if (member.raft !== null && this.#chance(0.7)) this.#take(member, member.raft);
  }

  #propose(raft: Raft): void {
    if (raft.status().role !== "leader") return;
    const result = raft.propose([new TextEncoder().encode(`${this.#clock % 1000}`)]);
    if (result.kind === "accepted") check(result.last.term === raft.status().currentTerm, "term");
  }

  #read(member: Member, raft: Raft): void {
    if (raft.readIndex(this.#clock) === "accepted") member.reads.set(this.#clock, this.#committed);
  }

  #deliver(): void {
    const at = Math.floor(this.#dice() * Math.min(this.#wire.length, 12));
    const message = this.#wire[at];
    if (message === undefined) return;
    const keeps = !this.#isCalm && this.#chance(0.05);
    if (!keeps) this.#wire.splice(at, 1);
    if (!this.#isCalm && this.#chance(0.08)) return;
    this.#members[message.to - 1]?.raft?.step({ kind: "message", message });
  }

  #complete(member: Member, raft: Raft): void {
    const write = member.writes.shift();
    if (write === undefined) return;
    this.#store(member, write);
    for (const message of write.thenSend) this.#post(message);
    raft.step({ kind: "persisted", seq: write.seq, last: write.last, term: write.term });
  }

  #store(member: Member, write: Persist): void {
    if (write.hardState !== null) member.hardState = write.hardState;
    if (write.snapshot !== null) {
      const { index, term, configuration } = write.snapshot;
      member.log.reset(index, term);
      member.appliedIndex = index;
      member.configuration = configuration;
    }
    member.log.write(write.entries);
  }

  #disturb(member: Member, raft: Raft): void {
    if (this.#isCalm) return;
    const throwOf = this.#dice();
    if (throwOf < 0.3) this.#crash(member);
    else if (throwOf < 0.4) raft.step({ kind: "campaign" });
    else if (throwOf < 0.5) raft.step({ kind: "forgetLeader" });
    else if (throwOf < 0.6) raft.step({ kind: "unreachable", peer: 1 + (this.#clock % 3) });
    else if (throwOf < 0.7) raft.step({ kind: "transferLeadership", to: 1 + (this.#clock % 4) });
    else if (throwOf < 0.75) this.#endSnapshot(raft);
    else if (member.appliedIndex > member.log.firstIndex()) member.log.compact(member.appliedIndex);
  }

  #crash(member: Member): void {
    this.counts.crashes++;
    member.raft = null;
    member.reads.clear();
    member.snapshots.length = 0;
    // Some of what was under way may have reached the disk; its messages did not leave.
    for (const write of member.writes.splice(0)) {
      if (this.#chance(0.5)) return;
      this.#store(member, write);
    }
  }

  #change(raft: Raft): void {
    const steps = Array.from({ length: 1 + Math.floor(this.#dice() * 2) }, () => ({
      kind: this.#pick(["addVoter", "addLearner", "remove"] as const) ?? "addVoter",
      id: 1 + Math.floor(this.#dice() * this.#members.length),
    }));
    const transition = this.#pick(["auto", "auto", "implicit", "explicit"] as const) ?? "auto";
    const isLeaving = this.#chance(0.2);
    const result = raft.proposeConfiguration(isLeaving ? LEAVE_JOINT : { transition, steps });
    if (result.kind !== "accepted") return;
    check(raft.hasCommittedInTerm(), "no change before an own entry is committed");
    this.counts.changes++;
    if (!isLeaving && (transition !== "auto" || steps.length > 1)) this.counts.joint++;
  }

  /** Nobody else ends a joint configuration that is to be left explicitly. */
  #leaveJoint(raft: Raft): void {
    const { role, configuration } = raft.status();
    if (role !== "leader" || !isJoint(configuration) || configuration.autoLeave) return;
    raft.proposeConfiguration(LEAVE_JOINT);
  }

  /** The transport's word, true or not. */
  #endSnapshot(raft: Raft): void {
    const peer = 1 + Math.floor(this.#dice() * this.#members.length);
    raft.step({ kind: "snapshotEnded", peer, outcome: this.#chance(0.5) ? "taken" : "failed" });
  }

  #compareLogs(): void {
    for (const [at, member] of this.#members.entries()) {
      for (const other of this.#members.slice(at + 1)) checkMatching(member, other);
    }
  }

  #post(message: Message): void {
    this.#noteVote(message);
    if (this.#wire.length < 2000) this.#wire.push(message);
  }

  #noteVote(message: Message): void {
    if (message.kind !== "RequestVoteResult" || message.preVote || message.rejected) return;
    const key = `${message.term}/${message.from}`;
    const before = this.#votes.get(key) ?? message.to;
    check(before === message.to, `one vote a term: ${key} for ${before} and ${message.to}`);
    this.#votes.set(key, message.to);
  }

  #take(member: Member, raft: Raft): void {
    const effects = raft.takeEffects();
    if (effects === null) return;
    if (effects.persist !== null) member.writes.push(effects.persist);
    for (const message of effects.send) this.#post(message);
    const { currentTerm } = raft.status();
    for (const entry of effects.apply) this.#apply(member, entry, currentTerm);
    if (effects.apply.length > 0) raft.step({ kind: "applied", index: member.appliedIndex });
    for (const { context, index } of effects.readStates) {
      const atLeast = member.reads.get(context) ?? Number.POSITIVE_INFINITY;
      check(index >= atLeast, `read ${context} at ${index}, but ${atLeast} was committed before`);
      this.counts.reads++;
    }
    if (effects.fetchSnapshot !== null) this.#fetch(member, effects.fetchSnapshot);
    this.#checkStatus(member, raft);
  }

  #apply(member: Member, entry: Entry, currentTerm: number): void {
    check(entry.index === member.appliedIndex + 1, `${member.id} applies in order: ${entry.index}`);
    check(entry.index <= member.log.lastIndex(), "what is applied is on the own disk");
    check(member.log.term(entry.index) === entry.term, "what is applied is on the own disk");
    member.appliedIndex = entry.index;
    const before = member.configuration;
    const change = entry.kind === "configuration" ? decodeChange(entry.payload) : null;
    const result = change === null ? null : changeConfiguration(before, change);
    if (result?.kind === "changed") {
      member.configuration = { ...result.configuration, index: entry.index };
    }
    this.#ledger.applied(entry, currentTerm, before, member.configuration);
  }

  #fetch(member: Member, { from, index: atLeast }: SnapshotRequest): void {
    const source = this.#members[from - 1];
    if (source === undefined || (!this.#isCalm && this.#chance(0.3))) return;
    const { appliedIndex: index, configuration } = source;
    if (index < atLeast || member.snapshots.length > 3) return;
    member.snapshots.push({ index, term: this.#ledger.termOf(index), configuration });
  }

  #install(member: Member, raft: Raft): void {
    const snapshot = member.snapshots.shift();
    if (snapshot === undefined) return;
    const before = raft.status().commitIndex;
    raft.step({ kind: "snapshotReady", snapshot });
    if (raft.status().commitIndex > before) this.counts.snapshots++;
  }

  #checkStatus(member: Member, raft: Raft): void {
    const status = raft.status();
    if (status.role === "leader") {
      const known = this.#leaders.get(status.currentTerm);
      check(known === undefined || known === member.id, `one leader in term ${status.currentTerm}`);
      if (known === undefined) {
        this.counts.elections++;
        this.#ledger.checkLeader(member, status.currentTerm);
      }
      this.#leaders.set(status.currentTerm, member.id);
      const { hardState } = member;
      check(hardState.currentTerm === status.currentTerm, "a leader's term is on its disk");
      check(hardState.votedFor === member.id, "a leader's vote is on its disk");
    }
    if (status.commitIndex > this.#committed) {
      this.#committed = status.commitIndex;
      this.counts.committed = this.#committed;
      if (status.role === "leader") this.#checkDurable(member, status);
    }
    member.lastConfiguration = status.configuration;
  }

  /** Counted in the configuration before, or in the one that came into force with it. */
  #checkDurable(member: Member, { commitIndex, currentTerm, configuration }: RaftStatus): void {
    const isHeld = [member.lastConfiguration, configuration].some((each) =>
      isDurable(this.#members, each, commitIndex, currentTerm),
    );
    check(isHeld, `${commitIndex} is on the disks of a quorum`);
  }

  /** No more faults: the cluster must agree, and commit something new. */
  settle(stepsMax: number): void {
    this.#isCalm = true;
    const target = this.#committed + 1;
    for (let at = 0; at < stepsMax; at++) {
      this.step();
      if (at % 64 === 0 && this.#isSettled(target)) return;
    }
    const facts = this.#members.map(({ raft }) => raft?.status());
    throw new Error(`broken: does not settle: ${JSON.stringify(facts)}`);
  }

  #isSettled(target: number): boolean {
    if (this.#committed < target) return false;
    const leader = this.#members.find(({ raft }) => raft?.status().role === "leader");
    if (leader?.raft == null) return false;
    const { configuration } = leader.raft.status();
    if (configuration.outgoing.length > 0) return false;
    return this.#members.every(({ id, appliedIndex, raft }) => {
      return !isVoter(configuration, id) || (raft !== null && appliedIndex >= target);
    });
  }
}
