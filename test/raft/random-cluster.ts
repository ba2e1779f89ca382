/**
 * A whole cluster of cores under a random schedule from one seed: messages are lost, repeated and reordered, writes
 * complete late, nodes crash and start again, logs are compacted, members change. After every event the promises of
 * Raft are checked. Smaller than the simulator: no node, no disk, no machine, so that it points at the core.
 */

import type { Persist } from "../../src/raft/effect.ts";
import {
  type Configuration,
  type Entry,
  type HardState,
  NOBODY,
  votersOnly,
} from "../../src/raft/entry.ts";
import { changeConfiguration, decodeChange } from "../../src/raft/membership.ts";
import type { Message } from "../../src/raft/message.ts";
import { isVoter } from "../../src/raft/quorum.ts";
import { DEFAULT_RAFT_OPTIONS, Raft } from "../../src/raft/raft.ts";
import { MemoryLog } from "./interaction-node.ts";

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
}

function check(condition: boolean, promise: string): void {
  if (!condition) throw new Error(`broken: ${promise}`);
}

export class RandomCluster {
  readonly #dice: () => number;
  readonly #members: Member[] = [];
  #wire: Message[] = [];
  #clock = 0;
  /** term → who led it. */
  readonly #leaders = new Map<number, number>();
  /** `term/id` → whom it voted for. */
  readonly #votes = new Map<string, number>();
  /** What was committed, by index: term and text. */
  readonly #ledger = new Map<number, string>();
  readonly #configurations = new Map<number, string>();
  #committed = 0;
  #isCalm = false;
  counts = { committed: 0, reads: 0, elections: 0, crashes: 0, snapshots: 0, changes: 0 };

  constructor(seed: number, voters: number, spares: number) {
    this.#dice = diceOf(seed);
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
      };
      this.#members.push(member);
      this.#start(member);
    }
  }

  #start(member: Member): void {
    const { id, hardState, configuration, log, appliedIndex } = member;
    const options = {
      ...DEFAULT_RAFT_OPTIONS,
      promoteUncaught: true,
      id,
      random: this.#dice,
      maxMessageBytes: 8,
      maxInflightMessages: 4,
      maxUncommittedBytes: 200,
      maxApplyBytes: 20,
    };
    member.raft = new Raft(options, { hardState, configuration, log, appliedIndex });
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
    else if (throwOf < 0.85) this.#change(raft);
    else if (member.appliedIndex > member.log.firstIndex()) member.log.compact(member.appliedIndex);
  }

  #crash(member: Member): void {
    this.counts.crashes++;
    member.raft = null;
    member.reads.clear();
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
    // Leaves the cluster a quorum that can be there.
    const result = raft.proposeConfiguration({ transition: "auto", steps });
    if (result.kind === "accepted") this.counts.changes++;
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
    for (const entry of effects.apply) this.#apply(member, entry);
    if (effects.apply.length > 0) raft.step({ kind: "applied", index: member.appliedIndex });
    for (const { context, index } of effects.readStates) {
      const atLeast = member.reads.get(context) ?? Number.POSITIVE_INFINITY;
      check(index >= atLeast, `read ${context} at ${index}, but ${atLeast} was committed before`);
      this.counts.reads++;
    }
    if (effects.fetchSnapshot !== null) this.#fetch(raft, effects.fetchSnapshot.from);
    this.#checkStatus(member, raft);
  }

  #apply(member: Member, entry: Entry): void {
    check(entry.index === member.appliedIndex + 1, `${member.id} applies in order: ${entry.index}`);
    check(entry.index <= member.log.lastIndex(), "what is applied is on the own disk");
    check(member.log.term(entry.index) === entry.term, "what is applied is on the own disk");
    this.#remember(entry.index, `${entry.term}:${new TextDecoder().decode(entry.payload)}`);
    member.appliedIndex = entry.index;
    const change = entry.kind === "configuration" ? decodeChange(entry.payload) : null;
    const result = change === null ? null : changeConfiguration(member.configuration, change);
    if (result?.kind === "changed") member.configuration = result.configuration;
    const text = JSON.stringify(member.configuration);
    const known = this.#configurations.get(entry.index) ?? text;
    check(known === text, `one configuration at ${entry.index}`);
    this.#configurations.set(entry.index, text);
  }

  #remember(index: number, text: string): void {
    const known = this.#ledger.get(index);
    check(known === undefined || known === text, `state machines agree at ${index}`);
    this.#ledger.set(index, text);
  }

  #fetch(raft: Raft, from: number): void {
    const source = this.#members[from - 1];
    if (source === undefined || (!this.#isCalm && this.#chance(0.3))) return;
    const { appliedIndex: index, configuration } = source;
    if (index === 0) return;
    const term = Number(this.#ledger.get(index)?.split(":")[0]);
    raft.step({ kind: "snapshotReady", snapshot: { index, term, configuration } });
    this.counts.snapshots++;
  }

  #checkStatus(member: Member, raft: Raft): void {
    const status = raft.status();
    if (status.role === "leader") {
      const known = this.#leaders.get(status.currentTerm);
      check(known === undefined || known === member.id, `one leader in term ${status.currentTerm}`);
      if (known === undefined) this.counts.elections++;
      this.#leaders.set(status.currentTerm, member.id);
      // Leader completeness: everything committed is in the log of every leader of a later term.
      const { hardState } = member;
      check(hardState.currentTerm === status.currentTerm, "a leader's term is on its disk");
      check(hardState.votedFor === member.id, "a leader's vote is on its disk");
    }
    if (status.commitIndex > this.#committed) {
      this.#committed = status.commitIndex;
      this.counts.committed = this.#committed;
      this.#checkDurable(status.commitIndex, status.configuration);
    }
  }

  /** Whoever committed it: it is on the disks of a majority, of whatever configuration holds now. */
  #checkDurable(index: number, { voters }: Configuration): void {
    const holders = this.#members.filter(({ log }) => log.lastIndex() >= index);
    check(holders.length > 0, `${index} is on a disk`);
    const known = voters.filter((id) => holders.some((member) => member.id === id));
    // A change may have just brought voters that have nothing yet.
    check(known.length * 2 > voters.length || this.counts.changes > 0, `${index} is on a majority`);
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
