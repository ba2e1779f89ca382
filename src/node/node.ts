/**
 * A node: joins core, log, machine and peers through ports, and offers NodeService. It decides who may be served and
 * counts what is under way; each part's own rules live in that part. Callers, sockets and files are unknown to it.
 */

import type { RaftStatus } from "../raft/effect.ts";
import type { EntryId, NodeId } from "../raft/entry.ts";
import type { Raft } from "../raft/raft.ts";
import type { Failure } from "../sql/errors.ts";
import { Admission } from "./admission.ts";
import type { NodeConfig } from "./config.ts";
import type { DriverEvents, ObservedOutcome } from "./driver-events.ts";
import { EffectLoop } from "./effect-loop.ts";
import { Failover } from "./failover.ts";
import { Formation } from "./formation.ts";
import { Freshness } from "./freshness.ts";
import { Handover } from "./handover.ts";
import { LogKeeper } from "./log-keeper.ts";
import { LowSpace, noSpace } from "./low-space.ts";
import { describeNode, idleStatus } from "./node-status.ts";
import { openCore, tickMs } from "./open-core.ts";
import { PendingQuery, queryBounds } from "./pending-query.ts";
import type {
  Identity,
  MachineState,
  NodeParts,
  PeerHello,
  RunningQuery,
  Timer,
  TransportEvents,
} from "./ports.ts";
import { type Answer, give, Proposals } from "./proposals.ts";
import { ReadGate } from "./read-gate.ts";
import { notLeader, notReady, notServing } from "./refusals.ts";
import type {
  BeginCall,
  BeginSink,
  ExecuteCall,
  ExecuteSink,
  NodeService,
  NodeStatus,
  QueryCall,
  QueryCallSink,
  RunningTransaction,
} from "./service.ts";
import { failure, saysNothingOfData, type WriteRequest } from "./write-request.ts";
import { WriterDriver } from "./writer-driver.ts";
import { Writes } from "./writes.ts";

const SWEEP_MS = 100;

export class Node implements NodeService {
  /** The node has stopped by itself: a broken invariant, a failed disk. Set before start(). */
  onHalt: (error: Error) => void = () => {};

  readonly #config: NodeConfig;
  readonly #parts: NodeParts;
  readonly #proposals = new Proposals();
  readonly #admission: Admission;
  readonly #freshness = new Freshness();
  readonly #driver: WriterDriver;
  readonly #writes: Writes;
  readonly #gate: ReadGate;
  readonly #formation: Formation;
  readonly #failover: Failover;
  readonly #keeper: LogKeeper;
  readonly #handover: Handover;
  readonly #space: LowSpace;
  readonly #watchers = new Set<(status: NodeStatus) => void>();
  readonly #addresses = new Map<NodeId, string>();
  /** Cluster id that each peer named in its last hello; empty while it was blank. */
  readonly #clusters = new Map<NodeId, string>();

  #loop: EffectLoop | null = null;
  #machineState: MachineState | null = null;
  #formed = false;
  #identity: Identity;
  /** Set while this node leads; null otherwise. */
  #leading: { readonly term: number } | null = null;
  #trouble = "";
  /** Not serving for good until restarted: another digest, a halt, a stop. */
  #sick = false;
  #halted = false;
  #stopped = false;
  #timers: Timer[] = [];
  /** Role, leader and term as last told: a commit alone is no news to watchers. */
  #told = "";

  constructor(config: NodeConfig, parts: NodeParts) {
    this.#config = config;
    this.#parts = parts;
    this.#identity = parts.log.identity;
    this.#admission = new Admission(config.limits);
    const { environment, logger } = parts;
    this.#driver = new WriterDriver(
      { writeDeadlineMs: config.writeDeadlineMs, dedup: config.plant !== "no-dedup" },
      { ...parts, events: this.#driverEvents() },
    );
    this.#writes = new Writes(config, this.#driver, this.#admission, {
      environment,
      refusal: () => this.#refuseWrite(),
    });
    this.#keeper = new LogKeeper({
      ...parts,
      limits: config.log,
      driver: this.#driver,
      status: () => this.#raftStatus(),
      progress: () => this.#loop?.progress() ?? [],
      ready: (snapshot) => this.#loop?.step({ kind: "snapshotReady", snapshot }),
      broken: (error) => this.#halt(error),
    });
    this.#gate = new ReadGate({
      environment,
      readIndex: (context) => this.#loop?.readIndex(context) ?? "refused",
      appliedIndex: () => this.#driver.applied,
      demand: (index) => this.#driver.demand(index),
      skipReadIndex: config.plant === "skip-read-index",
    });
    this.#formation = new Formation({
      environment,
      logger,
      members: config.members,
      identity: () => this.#identity,
      store: (identity, done) => this.#storeIdentity(identity, done),
      sendForm: (to, request) => parts.transport.sendForm(to, request),
      sendFormResult: (to, answer) => parts.transport.sendFormResult(to, answer),
      formed: () => {
        this.#formed = true;
        this.#startRaft();
      },
      trouble: (text) => this.#setTrouble(text),
    });
    this.#failover = new Failover({
      id: config.id,
      environment,
      status: () => this.#raftStatus(),
      forgetLeader: () => this.#loop?.step({ kind: "forgetLeader" }),
      campaign: () => this.#loop?.step({ kind: "campaign" }),
      mayLead: (dead) => !this.#sick && this.#space.mayLead(dead),
    });
    this.#handover = new Handover({
      environment,
      status: () => this.#raftStatus(),
      progress: () => this.#loop?.progress() ?? [],
      drain: (done) => this.#driver.drain(done),
      transfer: (to) => this.#transfer(to),
      hasSpace: (peer) => this.#space.hasSpace(peer),
    });
    this.#space = new LowSpace({
      ...config,
      ...parts,
      status: () => this.#raftStatus(),
      progress: () => this.#loop?.progress() ?? [],
      transfer: (to) => this.#transfer(to),
      refuse: (why) => this.#driver.refuseWaiting(why),
    });
    parts.log.onFailure = (error) => this.#halt(error);
  }

  start(): void {
    for (const [id, address] of this.#config.peers) this.#addresses.set(id, address);
    this.#addresses.set(this.#config.id, this.#config.advertise);
    this.#parts.transport.start(this.#transportEvents(), () => this.#hello());
    this.#driver.start((state) => {
      this.#machineState = state;
      this.#startRaft();
    });
    this.#formation.start();
    this.#space.start();
  }

  #driverEvents(): DriverEvents {
    return {
      propose: (request, payload, result) => this.#propose(request, payload, result),
      observed: (request, outcome, seen) => this.#observed(request, outcome, seen),
      applied: (index) => {
        this.#freshness.applied(index);
        this.#gate.applied(index);
      },
      checkpointed: (index) => this.#keeper.checkpointed(index),
      mismatch: (mismatch) => this.#mismatch(mismatch),
      resting: (isResting) => this.#space.writer(isResting),
      isLowOnSpace: () => this.#space.isLow,
      broken: (error) => this.#halt(error),
    };
  }

  // --- starting -----------------------------------------------------------------------------------------------

  #hello(): PeerHello {
    const { clusterId, phase, incarnation } = this.#identity;
    const { id, members, advertise } = this.#config;
    return { id, clusterId, phase, members, incarnation, address: advertise };
  }

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
    const { log, transport, environment } = this.#parts;
    let raft: Raft;
    try {
      raft = openCore(this.#config, this.#identity.members, log, state, environment);
    } catch (error) {
      return this.#halt(error instanceof Error ? error : new Error(String(error)));
    }
    this.#loop = new EffectLoop(raft, {
      log,
      transport,
      environment,
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
    this.#every(tickMs(this.#config), () => this.#tick());
    this.#every(SWEEP_MS, () => this.#proposals.expire(environment.monotonicMs()));
    this.#every(SWEEP_MS, () => this.#keeper.sweep());
    // Alone, there is nobody to wait for.
    if (this.#identity.members.length === 1) this.#loop.step({ kind: "campaign" });
    this.#tell();
  }

  #every(intervalMs: number, run: () => void): void {
    const slot = this.#timers.length;
    const again = () => {
      this.#timers[slot] = this.#parts.environment.after(intervalMs, () => {
        if (this.#stopped) return;
        again();
        run();
      });
    };
    again();
  }

  /** A sick node lets no time pass for its core: it never runs for leader, and a sick leader falls silent. */
  #tick(): void {
    if (!this.#sick) this.#loop?.step({ kind: "tick" });
  }

  // --- from peers ---------------------------------------------------------------------------------------------

  #transportEvents(): TransportEvents {
    return {
      hello: (peer) => {
        if (!this.#config.peers.has(peer.id)) return;
        this.#addresses.set(peer.id, peer.address);
        this.#clusters.set(peer.id, peer.clusterId);
        this.#formation.hello(peer);
      },
      messages: (from, messages, _clockMs, lowSpace) => {
        // A member of another cluster must not be heard: its terms and votes mean nothing here.
        const cluster = this.#clusters.get(from) ?? "";
        if (cluster !== "" && cluster !== this.#identity.clusterId) return;
        this.#space.heard(from, lowSpace === true);
        const nowMs = this.#parts.environment.monotonicMs();
        for (const message of messages) {
          this.#freshness.heard(message, this.#driver.applied, nowMs);
          this.#loop?.step({ kind: "message", message });
        }
      },
      form: (from, request) => this.#formation.form(from, request),
      formResult: (from, answer) => this.#formation.formResult(from, answer),
      disconnected: (peer) => {
        this.#loop?.step({ kind: "unreachable", peer });
        this.#failover.disconnected(peer);
      },
      unreachable: (peer, how) => {
        if (how === "refused") this.#failover.refused(peer);
      },
    };
  }

  // --- from the core ------------------------------------------------------------------------------------------

  #raftStatus(): RaftStatus {
    return this.#loop?.status() ?? idleStatus(this.#config.id, this.#identity.members);
  }

  #changed(status: RaftStatus): void {
    const term = status.role === "leader" ? status.currentTerm : null;
    const before = this.#leading?.term ?? null;
    if (before !== null && before !== term) this.#lost();
    this.#proposals.committed(status.commitIndex, (index) => this.#keeper.termAt(index));
    if (term !== null && before !== term) {
      this.#leading = { term };
      this.#driver.lead({ index: status.lastIndex, term });
    }
    const told = `${status.role}/${status.leader}/${status.currentTerm}`;
    if (told === this.#told) return;
    this.#told = told;
    this.#failover.changed(status);
    this.#handover.changed(status);
    this.#tell();
  }

  #transfer(to: NodeId): void {
    this.#loop?.step({ kind: "transferLeadership", to });
  }

  #lost(): void {
    this.#leading = null;
    this.#proposals.leadershipLost();
    this.#driver.follow(this.#notLeader());
  }

  #propose(request: WriteRequest, payload: Uint8Array, result: Uint8Array): EntryId | null {
    const proposed = this.#loop?.propose([payload]);
    if (proposed?.kind !== "accepted") {
      request.fail(
        proposed?.reason === "tooMuchUncommitted"
          ? failure(
              "OVERLOADED",
              "too many writes wait for a majority of the nodes; try again later",
            )
          : this.#notLeader(),
      );
      return null;
    }
    if (this.#config.plant === "answer-before-quorum") request.done(result, proposed.last.index);
    this.#proposals.write(proposed.last, request, result);
    return proposed.last;
  }

  /** An answer that read the open transaction leaves when what it saw is committed (D1). */
  #observed(request: WriteRequest, outcome: ObservedOutcome, seen: EntryId): void {
    const answer: Answer =
      outcome.kind === "answer"
        ? // A first answer whose entry was still on its way: it is among what was seen.
          { kind: "result", bytes: outcome.result, index: outcome.index || seen.index }
        : { kind: "failure", failure: outcome.failure };
    // Of the machine, not of the data.
    if (outcome.kind === "broken" && outcome.failure.code === "SQLITE_FULL") {
      return request.fail(noSpace(`the disk is full: ${outcome.failure.message}`));
    }
    if (outcome.kind === "answer" && request.isProvisional) return give(request, answer);
    const early = this.#config.plant === "error-before-commit";
    if (outcome.kind !== "answer" && (early || saysNothingOfData(outcome.failure.code))) {
      return give(request, answer);
    }
    if (seen.index > this.#raftStatus().commitIndex) {
      this.#proposals.read(seen, request, answer);
      return;
    }
    this.#gate.barrier({
      deadlineAtMs: request.deadlineAtMs,
      cancelled: false,
      admit: () => give(request, answer),
      refuse: (why) => request.fail(why),
    });
  }

  // --- callers ------------------------------------------------------------------------------------------------

  execute(call: ExecuteCall, sink: ExecuteSink): { cancel(): void } {
    return this.#writes.execute(call, sink);
  }

  begin(call: BeginCall, sink: BeginSink): RunningTransaction {
    return this.#writes.begin(call, sink);
  }

  #refuseWrite(): Failure | null {
    if (this.#sick || this.#stopped) return this.#notServing();
    return this.#leading === null ? this.#notLeader() : this.#space.refusal();
  }

  query(call: QueryCall, sink: QueryCallSink): RunningQuery {
    const { environment, machine } = this.#parts;
    const bounds = queryBounds(call, this.#config.readDeadlineMs, environment.monotonicMs());
    const query = new PendingQuery(call, bounds, sink, {
      dispatch: (statement, readerLimits, querySink) =>
        machine.readers.query(statement, readerLimits, querySink),
      served: (lagMs) => ({ node: this.#config.id, index: this.#driver.applied, lagMs }),
      ended: (ended) => this.#admission.leaveRead(ended.bytes),
    });
    const full = this.#admission.enterRead(query.bytes);
    const refusal = this.#refuseRead() ?? full;
    if (refusal === null) this.#gate.admit(call, query);
    else environment.soon(() => query.refuse(refusal));
    return query;
  }

  #refuseRead(): Failure | null {
    if (this.#sick || this.#stopped) return this.#notServing();
    return this.#loop === null ? notReady(this.#trouble) : null;
  }

  #notServing(): Failure {
    return notServing(this.#trouble, this.#stopped && !this.#halted);
  }

  #notLeader(): Failure {
    if (this.#loop === null) return notReady(this.#trouble);
    return notLeader(this.#raftStatus(), this.#addresses);
  }

  // --- trouble, the end -----------------------------------------------------------------------------------------

  #setTrouble(text: string): void {
    if (text === this.#trouble) return;
    this.#trouble = text;
    if (text !== "") this.#parts.logger.error({ node: this.#config.id }, text);
    this.#tell();
  }

  /** This node's data differs from the leader's (D5): it votes and appends on, but shows nothing to anybody. */
  #mismatch(found: { index: number; detail: string }): void {
    this.#sick = true;
    const at = `the effects of log entry ${found.index} differ from the leader's`;
    this.#setTrouble(`${at}: ${found.detail}. This node has stopped applying and serving`);
    this.#refuseAll(this.#notServing());
  }

  #refuseAll(why: Failure): void {
    this.#failover.stop();
    this.#gate.abandon(why);
    this.#driver.follow(why);
    this.#proposals.abandon(why.code === "CLOSED" ? "CLOSED" : "NOT_SERVING", why.message);
  }

  #halt(error: Error): void {
    if (this.#halted || this.#stopped) return;
    this.#halted = true;
    this.#sick = true;
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
    for (const timer of this.#timers) timer.cancel();
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
    const { transport, machine, log } = this.#parts;
    transport.stop(() => {
      this.#driver.stop(() => machine.readers.close(() => log.close(done)));
    });
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
      addresses: this.#addresses,
      trouble: this.#trouble,
    });
  }

  watch(changed: (status: NodeStatus) => void): () => void {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  }

  #tell(): void {
    if (this.#watchers.size === 0) return;
    const status = this.status();
    for (const watcher of this.#watchers) watcher(status);
  }
}
