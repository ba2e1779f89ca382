/**
 * A node: joins core, log, machine and peers through ports, and offers NodeService. It decides who may be served and
 * counts what is under way; each part's own rules live in that part. Callers, sockets and files are unknown to it.
 */

import type { ProposalResult, RaftStatus } from "../raft/effect.ts";
import type { NodeId } from "../raft/entry.ts";
import type { Raft } from "../raft/raft.ts";
import type { Failure } from "../sql/errors.ts";
import type { TransactionTerms } from "../sql/transaction.ts";
import { Admission } from "./admission.ts";
import { Answers } from "./answers.ts";
import type { NodeConfig } from "./config.ts";
import type { DriverEvents } from "./driver-events.ts";
import { EffectLoop } from "./effect-loop.ts";
import { Failover } from "./failover.ts";
import { Formation } from "./formation.ts";
import { Freshness } from "./freshness.ts";
import { Handover } from "./handover.ts";
import { LogClock } from "./log-clock.ts";
import { LogKeeper } from "./log-keeper.ts";
import { LowSpace } from "./low-space.ts";
import { MachineVersions } from "./machine-versions.ts";
import { Membership } from "./membership.ts";
import { endParts } from "./node-end.ts";
import { describeNode, idleStatus } from "./node-status.ts";
import { type CoreView, openCore, tickMs } from "./open-core.ts";
import { Operators } from "./operators.ts";
import { PeerBook } from "./peer-book.ts";
import { helloOf, peerDoor } from "./peer-door.ts";
import type { Identity, MachineState, NodeParts, RunningQuery } from "./ports.ts";
import { Proposals } from "./proposals.ts";
import { ReadGate, type Waiter } from "./read-gate.ts";
import { Reads } from "./reads.ts";
import { elsewhere, notLeader, notReady, notServing } from "./refusals.ts";
import { Rounds } from "./rounds.ts";
import type {
  BeginSink,
  ChangeCall,
  ChangeSink,
  ExecuteCall,
  ExecuteSink,
  NodeService,
  NodeStatus,
  QueryCall,
  QueryCallSink,
  RunningTransaction,
  TransferCall,
  TransferSink,
  UpgradeCall,
  UpgradeSink,
} from "./service.ts";
import { Sickness } from "./sickness.ts";
import { Watchers } from "./watchers.ts";
import { failure } from "./write-request.ts";
import { WriterDriver } from "./writer-driver.ts";
import { Writes } from "./writes.ts";

const SWEEP_MS = 100;
const NOT_RUNNING: ProposalResult = { kind: "refused", reason: "notLeader" };

export class Node implements NodeService {
  /** The node has stopped by itself: a broken invariant, a failed disk. Set before start(). */
  onHalt: (error: Error) => void = () => {};

  readonly #config: NodeConfig;
  readonly #parts: NodeParts;
  readonly #proposals = new Proposals();
  readonly #answers: Answers;
  readonly #admission: Admission;
  readonly #freshness = new Freshness();
  readonly #clock: LogClock;
  readonly #driver: WriterDriver;
  readonly #writes: Writes;
  readonly #reads: Reads;
  readonly #gate: ReadGate;
  readonly #formation: Formation;
  readonly #failover: Failover;
  readonly #keeper: LogKeeper;
  readonly #handover: Handover;
  readonly #space: LowSpace;
  readonly #watchers = new Watchers();
  readonly #book: PeerBook;
  readonly #membership: Membership;
  readonly #operators: Operators;
  readonly #versions: MachineVersions;
  readonly #sickness: Sickness;
  #loop: EffectLoop | null = null;
  #machineState: MachineState | null = null;
  #formed = false;
  #identity: Identity;
  /** Set while this node leads; null otherwise. */
  #leading: { readonly term: number } | null = null;
  #trouble = "";
  #halted = false;
  #stopped = false;
  readonly #rounds: Rounds;
  /** Role, leader and term as last told: a commit alone is no news to watchers. */
  #told = "";

  readonly #door = {
    refusal: () => this.#refuseWrite(),
    refuseRead: () => this.#refuseRead(),
    admit: (call: QueryCall, waiter: Waiter) => this.#gate.admit(call, waiter),
  };

  constructor(config: NodeConfig, parts: NodeParts) {
    this.#config = config;
    this.#parts = parts;
    this.#identity = parts.log.identity;
    this.#admission = new Admission(config.limits);
    this.#rounds = new Rounds(parts.environment);
    const core: CoreView = {
      status: () => this.#raftStatus(),
      progress: () => this.#loop?.progress() ?? [],
      transfer: (to) => this.#loop?.step({ kind: "transferLeadership", to }),
    };
    const shared = { ...config, ...parts, ...core };
    this.#answers = new Answers({
      proposals: this.#proposals,
      plant: config.plant,
      gate: () => this.#gate,
      propose: (payload) => this.#loop?.propose([payload]) ?? NOT_RUNNING,
      commitIndex: () => this.#raftStatus().commitIndex,
      notLeader: () => this.#notLeader(),
    });
    this.#clock = new LogClock(shared);
    this.#driver = new WriterDriver(
      { ...config, dedup: config.plant !== "no-dedup" },
      { ...parts, events: this.#driverEvents() },
    );
    this.#writes = new Writes(config, this.#driver, this.#admission, { ...parts, ...this.#door });
    const look = { ...this.#door, appliedIndex: () => this.#driver.applied };
    this.#reads = new Reads(config, this.#admission, { ...parts, ...look });
    this.#keeper = new LogKeeper({
      ...shared,
      limits: config.log,
      driver: this.#driver,
      ready: (snapshot) => this.#loop?.step({ kind: "snapshotReady", snapshot }),
      replaced: (mark) => this.#sickness.replaced(mark),
      broken: (error) => this.#halt(error),
    });
    this.#gate = this.#makeGate();
    this.#formation = this.#makeFormation();
    this.#failover = new Failover({
      ...shared,
      forgetLeader: () => this.#loop?.step({ kind: "forgetLeader" }),
      campaign: () => this.#loop?.step({ kind: "campaign" }),
      mayLead: (dead) =>
        this.#sickness.mayLead && this.#versions.mayLead() && this.#space.mayLead(dead),
    });
    this.#handover = new Handover({
      ...shared,
      drain: (done) => this.#driver.drain(done),
      resume: () => this.#driver.resumeExecuting(),
      refuse: () => this.#driver.refuseWaiting(this.#notLeader()),
      hasSpace: (peer) => this.#space.hasSpace(peer),
      fits: (peer) => this.#versions.fits(peer),
    });
    this.#space = new LowSpace({
      ...shared,
      fits: (peer) => this.#versions.fits(peer),
      refuse: (why) => this.#driver.refuseWaiting(why),
    });
    this.#book = new PeerBook(config, (peers) => parts.transport.setPeers(peers));
    this.#membership = this.#makeMembership(core);
    this.#versions = this.#makeVersions(core);
    this.#operators = new Operators({
      ...shared,
      membership: this.#membership,
      handover: this.#handover,
      versions: this.#versions,
      refusal: () => this.#refuseRead() ?? (this.#leading === null ? this.#notLeader() : null),
    });
    this.#sickness = this.#makeSickness(core);
  }

  #makeSickness(core: CoreView): Sickness {
    return new Sickness({
      ...this.#config,
      ...this.#parts,
      ...core,
      driver: this.#driver,
      fallSick: () => this.#refuseAll(this.#notServing()),
      mayLead: (may) => this.#loop?.step({ kind: "abstain", isAbstaining: !may }),
      propose: (payload) => this.#loop?.propose([payload]) ?? NOT_RUNNING,
      reseed: (sources, atLeast) => this.#keeper.reseed(sources, atLeast),
      trouble: (text) => this.#setTrouble(text),
      halt: (error) => this.#halt(error),
    });
  }

  #makeGate(): ReadGate {
    return new ReadGate({
      environment: this.#parts.environment,
      readIndex: (context) => this.#loop?.readIndex(context) ?? "refused",
      appliedIndex: () => this.#driver.applied,
      demand: (index) => this.#driver.demand(index),
      hurry: () => this.#driver.hurry(),
      readStale: () => this.#driver.readStale(),
      skipReadIndex: this.#config.plant === "skip-read-index",
    });
  }

  #makeFormation(): Formation {
    return new Formation({
      ...this.#config,
      ...this.#parts,
      identity: () => this.#identity,
      store: (identity, done) => this.#storeIdentity(identity, done),
      formed: () => {
        this.#formed = true;
        this.#startRaft();
      },
      trouble: (text) => this.#setTrouble(text),
    });
  }

  #makeMembership(core: CoreView): Membership {
    return new Membership({
      ...this.#config,
      ...this.#parts,
      book: this.#book,
      identity: () => this.#identity,
      ...core,
      propose: (change, expected) =>
        this.#loop?.proposeConfiguration(change, expected) ?? NOT_RUNNING,
      notLeader: () => this.#notLeader(),
      configure: (configuration) => this.#driver.configure(configuration),
      trouble: (text) => this.#setTrouble(text),
    });
  }

  #makeVersions(core: CoreView): MachineVersions {
    const config = this.#config;
    return new MachineVersions({
      ...config,
      ...this.#parts,
      book: this.#book,
      ...core,
      eligible: (mayLead) => this.#loop?.step({ kind: "eligible", mayLead }),
      giveWay: (to) => {
        if (!this.#handover.isUnderWay) this.#handover.to(to, config.electionMs, () => {});
      },
      raise: (version, timeoutMs, sink) => this.#writes.setMachineVersion(version, timeoutMs, sink),
    });
  }

  start(): void {
    const { transport, environment, log } = this.#parts;
    log.onFailure = (error) => this.#halt(error);
    const door = peerDoor({
      book: this.#book,
      formation: this.#formation,
      failover: this.#failover,
      identity: () => this.#identity,
      loop: () => this.#loop,
      heard: (from, messages, { lowSpace, clockMs }) => {
        this.#space.heard(from, lowSpace);
        const nowMs = environment.monotonicMs();
        this.#clock.heard(from, clockMs, nowMs);
        for (const one of messages) this.#freshness.heard(one, this.#driver.applied, nowMs);
      },
      sendFormResult: (to, answer) => transport.sendFormResult(to, answer),
      removed: (index) => this.#membership.removed(index),
      finding: (from, finding) => this.#sickness.heard(from, finding),
    });
    transport.start(door, () => helloOf(this.#config, this.#identity));
    this.#driver.start((state) => {
      this.#machineState = state;
      this.#startRaft();
    });
    this.#formation.start();
    this.#space.start();
  }

  #driverEvents(): DriverEvents {
    return {
      propose: (request, payload, result) => this.#answers.propose(request, payload, result),
      observed: (request, outcome, seen) => this.#answers.observed(request, outcome, seen),
      applied: (index) => {
        this.#freshness.applied(index);
        this.#gate.applied(index);
      },
      checkpointed: (index) => this.#keeper.checkpointed(index),
      settings: ({ machineVersion }) => this.#versions.applied(machineVersion),
      opened: (state) => this.#sickness.opened(state),
      mismatch: (mismatch) => this.#sickness.mismatch(mismatch),
      changed: (what) => this.#sickness.changed(what),
      resting: (isResting) => {
        this.#space.writer(isResting);
        this.#gate.stuck(isResting);
      },
      timeMs: (nowMs) => this.#clock.timeMs(nowMs),
      isLowOnSpace: () => this.#space.isLow,
      broken: (error) => this.#halt(error),
    };
  }

  // --- starting -----------------------------------------------------------------------------------------------

  #storeIdentity(identity: Identity, done: () => void): void {
    this.#parts.log.setIdentity(identity, () => {
      if (this.#stopped) return;
      this.#identity = identity;
      done();
    });
  }

  /** Once the cluster is formed and the machine has said what it has applied. */
  #startRaft(): void {
    const state = this.#machineState;
    if (!this.#formed || state === null || this.#loop !== null || this.#stopped) return;
    const { log, environment } = this.#parts;
    let raft: Raft;
    try {
      raft = openCore(this.#config, this.#identity, log, state, environment);
    } catch (error) {
      return this.#halt(error instanceof Error ? error : new Error(String(error)));
    }
    this.#loop = new EffectLoop(raft, {
      ...this.#parts,
      isLowOnSpace: () => this.#space.isLow,
      events: {
        applicable: (index) => this.#driver.applicable(index),
        readStates: (states) => this.#gate.readStates(states),
        readsDropped: (contexts) => this.#gate.readsDropped(contexts),
        changed: (status) => this.#changed(status),
        fetchSnapshot: (request) => this.#keeper.fetch(request),
        install: (snapshot) => this.#keeper.install(snapshot),
        broken: (error) => this.#halt(error instanceof Error ? error : new Error(String(error))),
      },
    });
    this.#rounds.every(tickMs(this.#config), () => this.#loop?.step({ kind: "tick" }));
    this.#rounds.every(SWEEP_MS, () => this.#proposals.expire(environment.monotonicMs()));
    for (const part of [this.#keeper, this.#membership, this.#versions, this.#sickness]) {
      this.#rounds.every(SWEEP_MS, () => part.sweep());
    }
    this.#rounds.every(this.#writes.sweepMs, () => this.#writes.sweep());
    if (!this.#sickness.mayLead) this.#loop.step({ kind: "abstain", isAbstaining: true });
    this.#membership.moved(raft.status());
    this.#versions.started();
    // Alone, there is nobody to wait for.
    if (this.#identity.members.length === 1) this.#loop.step({ kind: "campaign" });
    this.#tell();
  }

  // --- from the core ------------------------------------------------------------------------------------------

  #raftStatus(): RaftStatus {
    return this.#loop?.status() ?? idleStatus(this.#config.id, this.#identity.members);
  }

  #changed(status: RaftStatus): void {
    this.#membership.moved(status);
    const term = status.role === "leader" ? status.currentTerm : null;
    const before = this.#leading?.term ?? null;
    if (before !== null && before !== term) {
      this.#leading = null;
      this.#proposals.leadershipLost();
      this.#driver.follow(this.#notLeader(), this.#handover.isUndecided);
    }
    this.#proposals.committed(status.commitIndex, (index) => this.#keeper.termAt(index));
    if (term !== null && before !== term) {
      this.#leading = { term };
      this.#driver.lead({ index: status.lastIndex, term });
    }
    const told = `${status.role}/${status.leader}/${status.currentTerm}`;
    if (told === this.#told) return;
    this.#told = told;
    this.#failover.changed(status);
    const { isRemoved } = this.#membership;
    if (!this.#sickness.isSick && !isRemoved) this.#formation.leader(status.leader > 0);
    this.#handover.changed(status);
    this.#versions.sweep();
    this.#tell();
  }

  // --- callers ------------------------------------------------------------------------------------------------

  execute(call: ExecuteCall, sink: ExecuteSink): { cancel(): void } {
    return this.#writes.execute(call, sink);
  }

  begin(call: TransactionTerms, sink: BeginSink): RunningTransaction {
    return this.#writes.begin(call, sink);
  }

  #refuseWrite(): Failure | null {
    if (this.#sickness.isSick || this.#stopped) return this.#notServing();
    if (this.#leading === null && !this.#handover.isUndecided) return this.#notLeader();
    return this.#versions.refusal() ?? this.#space.refusal();
  }

  readonly query = (call: QueryCall, sink: QueryCallSink): RunningQuery =>
    this.#reads.query(call, sink);

  readonly overloaded = (kind: "write" | "read"): Failure | null =>
    kind === "write" && (!this.#leading || this.#refuseWrite()) ? null : this.#admission.full(kind);

  readonly leaderElsewhere = (): string =>
    this.#leading !== null || this.#sickness.isSick || this.#stopped
      ? ""
      : elsewhere(this.#raftStatus(), this.#book, this.#config);

  #refuseRead(): Failure | null {
    const { isRemoved } = this.#membership;
    if (this.#sickness.isSick || isRemoved || this.#stopped) return this.#notServing();
    return this.#loop === null ? notReady(this.#trouble) : null;
  }

  #notServing(): Failure {
    return notServing(this.#trouble, this.#stopped && !this.#halted);
  }

  #notLeader(): Failure {
    if (this.#loop === null) return notReady(this.#trouble);
    return notLeader(this.#raftStatus(), (id) => this.#book.addressOf(id));
  }

  readonly changeMembers = (call: ChangeCall, sink: ChangeSink): void =>
    this.#operators.changeMembers(call, sink);
  readonly transferLeadership = (call: TransferCall, sink: TransferSink): void =>
    this.#operators.transferLeadership(call, sink);
  readonly upgrade = (call: UpgradeCall, sink: UpgradeSink): void =>
    this.#operators.upgrade(call, sink);

  // --- trouble, the end -----------------------------------------------------------------------------------------

  #setTrouble(text: string): void {
    if (text === this.#trouble) return;
    this.#trouble = text;
    if (text !== "") this.#parts.logger.error({ node: this.#config.id }, text);
    this.#tell();
  }

  #refuseAll(why: Failure): void {
    this.#failover.stop();
    this.#gate.abandon(why);
    this.#driver.follow(why);
    this.#membership.stop(why);
    this.#proposals.abandon(why.code === "CLOSED" ? "CLOSED" : "NOT_SERVING", why.message);
  }

  #halt(error: Error): void {
    if (this.#halted || this.#stopped) return;
    this.#halted = true;
    this.#stopped = true;
    this.#stopParts();
    this.#setTrouble(`halted: ${error.message}`);
    this.#refuseAll(failure("NOT_SERVING", this.#trouble));
    this.onHalt(error);
  }

  #stopParts(): void {
    this.#loop?.stop();
    this.#keeper.stop();
    this.#space.stop();
    this.#formation.stop();
    this.#rounds.stop();
  }

  /** Ends in order: leadership is handed over, what waits is answered, peers are told goodbye. */
  stop(done: () => void): void {
    if (this.#stopped) this.#end(done);
    else this.#handover.start(() => this.#end(done));
  }

  #end(done: () => void): void {
    const already = this.#stopped;
    this.#stopped = true;
    this.#stopParts();
    if (!already) this.#refuseAll(failure("CLOSED", "the node is stopping"));
    endParts(this.#parts, this.#driver, done);
  }

  status(): NodeStatus {
    const nowMs = this.#parts.environment.monotonicMs();
    return describeNode({
      config: this.#config,
      identity: this.#identity,
      raft: this.#raftStatus(),
      phase: this.#halted ? "halted" : this.#loop === null ? "waiting" : "running",
      appliedIndex: this.#driver.applied,
      lagMs: this.#leading !== null ? 0 : this.#freshness.lagMs(nowMs),
      databaseBytes: this.#parts.machine.readers.databaseBytes(),
      book: this.#book,
      progress: this.#loop?.progress() ?? [],
      trouble: this.#trouble,
      machineVersion: this.#versions.cluster,
    });
  }

  readonly routeTo = (id: NodeId): string => this.#book.routeTo(id);

  readonly watch = (changed: (status: NodeStatus) => void): (() => void) =>
    this.#watchers.add(changed);

  readonly #tell = (): void => this.#watchers.tell(() => this.status());
}
