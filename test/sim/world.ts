/**
 * A whole cluster in one process, on virtual time: real core, node, log and executor; simulated clock, network, disk
 * and processes. It starts, ends, pauses and restarts nodes, and shows every checker what happens. What goes wrong, and
 * when, others decide.
 */

import { isOutOfSpace, LogCorruptionError, LogUntrustedError } from "../../src/log/errors.ts";
import { loadIdentity } from "../../src/log/identity-store.ts";
import { MARKER_NAME } from "../../src/log/marker.ts";
import type { SegmentedLog } from "../../src/log/segmented-log.ts";
import { checkOptions, type Plant } from "../../src/node/config.ts";
import { Node } from "../../src/node/node.ts";
import type { MemberStep } from "../../src/node/service.ts";
import type { Effects } from "../../src/raft/effect.ts";
import type { Configuration, NodeId } from "../../src/raft/entry.ts";
import type { Raft } from "../../src/raft/raft.ts";
import { next } from "./checkers/configuration-chain.ts";
import { Referee } from "./checkers/referee.ts";
import { Coverage } from "./coverage.ts";
import type { SimulatedDisk } from "./disk.ts";
import { DiskFaults, type Rot } from "./disk-faults.ts";
import { SimEnvironment, SimLogger } from "./environment.ts";
import { FaultAtlas } from "./fault-atlas.ts";
import { SimFetcher } from "./fetcher.ts";
import { type Host, type Life, LiveView } from "./host.ts";
import { SimMachine, type Store } from "./machine.ts";
import { SimNetwork } from "./network.ts";
import { intended, withVotesToCome } from "./possible-configurations.ts";
import { Prng } from "./prng.ts";
import { Scheduler } from "./scheduler.ts";
import { openSimLog, worstCase } from "./sim-log.ts";
import { Trace } from "./trace.ts";
import { watchLog } from "./watch-log.ts";

/** What all hosts run at first. */
export const FIRST_MACHINE = "engine 1";

const MARKER = `log/${MARKER_NAME}`;

export interface WorldOptions {
  readonly seed: number;
  /** The first of these found the cluster; the others may join it later. */
  readonly hosts: number;
  readonly founders: number;
  readonly plant: Plant | null;
  makeStore(id: NodeId, dice: Prng): Store;
}

export class World {
  readonly scheduler = new Scheduler();
  readonly coverage = new Coverage();
  readonly trace = new Trace();
  readonly atlas = new FaultAtlas();
  readonly network: SimNetwork;
  readonly referee: Referee;
  readonly hosts: readonly Host[];
  readonly lines: string[] = [];
  /** Changes that an operator has asked for, or is about to. */
  readonly intents = new Set<readonly MemberStep[]>();
  /** Hosts that nobody starts any more. */
  readonly givenUp = new Set<Host>();
  error: unknown = null;
  readonly #options: WorldOptions;
  readonly #founders: readonly NodeId[];
  readonly tailEntries: number;
  /** Changes that some leader proposed behind what is committed: they may or may not come to be. */
  #proposedChanges: { readonly index: number; readonly payload: Uint8Array }[] = [];
  readonly #dice: Prng;
  #lives = 0;

  constructor(options: WorldOptions) {
    const { seed } = options;
    this.#options = options;
    this.#dice = new Prng(seed, "world");
    this.tailEntries = new Prng(seed, "tail").pick([5, 5, 20, 100, 100, 100_000]);
    this.network = new SimNetwork(this.scheduler, new Prng(seed, "network"), this.coverage);
    this.hosts = Array.from({ length: options.hosts }, (_, at) => this.#makeHost(at + 1));
    this.#founders = this.hosts.slice(0, options.founders).map(({ id }) => id);
    this.referee = new Referee({
      founders: this.#founders,
      isDamaged: (id) => this.atlas.isLost(id),
      worstCase: (id) => {
        const host = this.host(id);
        if (!this.atlas.isWhole(id) || host.isInjured) return null;
        this.coverage.add("worst-case disks opened");
        return worstCase(id, host.faults.disk);
      },
      checkpointOf: (id) => this.host(id).store.checkpointIndex,
    });
    this.#watchNetwork();
  }

  #makeHost(id: NodeId): Host {
    const { seed, makeStore } = this.#options;
    const faults = new DiskFaults(this.scheduler, new Prng(seed, `disk${id}`), (run) => {
      // A completion is told to the process that asked, and waits while that is stopped.
      const environment = this.hosts[id - 1]?.life?.environment;
      if (environment) environment.run(run);
      else run();
    });
    faults.onCompleted = (operation) => this.trace.event(operation, this.scheduler.nowMs, id);
    return {
      id,
      faults,
      store: makeStore(id, new Prng(seed, `store${id}`)),
      life: null,
      paused: false,
      clockRate: 1,
      wallOffsetMs: Math.floor(new Prng(seed, `clock${id}`).next() * 4_000) - 2_000,
      isInjured: false,
      incarnation: "",
      plants: 0,
      clusterId: null,
      machineVersion: FIRST_MACHINE,
      joins: id > this.#options.founders,
    };
  }

  #watchNetwork(): void {
    const { network, trace } = this;
    network.onSend = (from, _to, message) => {
      const view = this.host(from).life?.view;
      if (view !== undefined) this.guard(() => this.referee.sent(view, message));
    };
    network.onDelivered = (from, to, message) => {
      const index = "index" in message ? message.index : 0;
      trace.event(message.kind, this.scheduler.nowMs, from, to, message.term, index);
    };
  }

  host(id: NodeId): Host {
    const host = this.hosts[id - 1];
    if (host === undefined) throw new RangeError(`no host ${id}`);
    return host;
  }

  get founders(): readonly Host[] {
    return this.#founders.map((id) => this.host(id));
  }

  get running(): Life[] {
    return this.hosts.flatMap(({ life, paused }) => (life === null || paused ? [] : [life]));
  }

  /** What is in force, and what changes under way may bring. */
  configurations(): readonly Configuration[] {
    const { ledger, configurations } = this.referee;
    const { configuration } = configurations.last;
    // Who was not told that the last change is committed needs a quorum of the one before (SPEC, known gaps: C4).
    const before = configurations.previous.configuration;
    const open = this.#proposedChanges.filter(({ index }) => index > ledger.length);
    this.#proposedChanges = open;
    const possible = open.flatMap(({ index, payload }) => {
      const after = next(configuration, index, payload);
      return after === null ? [] : [after];
    });
    let all: Configuration[] = [configuration, before, ...possible].flatMap(withVotesToCome);
    for (const steps of this.intents) all = all.flatMap((one) => [one, ...intended(one, steps)]);
    return all;
  }

  // --- processes ----------------------------------------------------------------------------------------------

  start(host: Host): void {
    if (host.life !== null || this.givenUp.has(host)) return;
    // Opening reads and writes: on a disk that hangs the process hangs with it.
    if (host.faults.hangs) return this.#startLater(host, 200);
    this.#lives += 1;
    const { seed } = this.#options;
    const label = `life${this.#lives}`;
    const environment = new SimEnvironment(this.scheduler, new Prng(seed, label));
    environment.wallOffsetMs = host.wallOffsetMs;
    environment.drift(host.clockRate);
    const refusals = host.faults.refusals.EIO;
    let log: SegmentedLog;
    try {
      log = openSimLog(host.id, host.faults.disk, () => environment.random());
    } catch (error) {
      if (host.faults.refusals.EIO > refusals) host.isInjured = true;
      if (this.#setsAside(host, error)) this.#startLater(host, 1);
      else this.#refused(host, error);
      return;
    }
    const { clusterId } = host;
    if (clusterId === null || log.identity.phase !== "blank") {
      return this.#run(host, log, environment, label);
    }
    // As openNode does: a node whose log was set aside remembers its cluster before it does anything else.
    log.setIdentity({ ...log.identity, clusterId, phase: "lost" }, () => {
      if (host.life === null && environment.alive) this.#run(host, log, environment, label);
    });
  }

  /** What openNode does with a log that cannot be trusted: it begins a new one, and waits to be admitted. */
  #setsAside(host: Host, error: unknown): boolean {
    const isHurt = host.isInjured || !this.atlas.isWhole(host.id);
    if (!(error instanceof LogUntrustedError) || !isHurt || this.#founders.length < 2) return false;
    this.coverage.add("logs set aside");
    this.note(host, `sets its log aside: ${error.message}`);
    const { disk } = host.faults;
    host.clusterId = clusterOn(disk) ?? host.clusterId ?? "";
    disk.wipe();
    host.store.wipe();
    this.#lost(host);
    return true;
  }

  #run(host: Host, log: SegmentedLog, environment: SimEnvironment, label: string): void {
    const { seed } = this.#options;
    host.faults.restarted();
    host.isInjured = false;
    this.atlas.foundWhole(host.id);
    host.incarnation = log.identity.incarnation;
    this.#lookWhoIsTakenIn();
    const transport = this.network.transport(host.id, log.identity.incarnation);
    const machine = new SimMachine(
      host.store,
      environment,
      new Prng(seed, `machine${label}`),
      host.machineVersion,
    );
    const dropped = log.firstIndex() - 1;
    if (host.store.recover({ index: dropped, term: log.term(dropped) })) {
      this.coverage.add("installations finished at a start");
    }
    const view = new LiveView(host, log, machine);
    const fetcher = new SimFetcher({
      environment,
      dice: new Prng(seed, `fetcher${label}`),
      store: host.store,
      sourceOf: (from) => this.#source(from, host.id),
    });
    const logger = new SimLogger(this.lines, () => this.#stamp(host));
    const config = this.#configOf(host, (raft) => this.#watchCore(view, raft));
    const node = new Node(config, { log, machine, transport, fetcher, environment, logger });
    node.onHalt = (error) => this.#halted(host, error);
    host.life = { node, log, environment, transport, machine, view };
    host.paused = false;
    this.guard(() => this.referee.started(view, log.hardState));
    watchLog(this, view, log);
    machine.onChecksum = () => this.coverage.add("range checksums");
    machine.onApplied = ({ index }) => {
      this.trace.event("applied", this.scheduler.nowMs, host.id, index);
      const digest = this.atlas.isPlanted(host.id) ? null : host.store.digest();
      this.guard(() => this.referee.applied(view, index, digest));
    };
    machine.onChanged = () => this.coverage.add("changes from outside found");
    machine.onSettled = () => this.coverage.add("verdicts gone by");
    machine.onReplaced = (mark, how) => {
      this.#lookForPlants(host);
      if (how === "install") return;
      this.coverage.add("databases exchanged");
      this.referee.exchanged(view, mark.index);
    };
    node.start();
  }

  #configOf({ id, joins, machineVersion }: Host, onCore: (raft: Raft) => void) {
    return checkOptions({
      id,
      dir: "simulated",
      peers: new Map(this.#founders.map((founder) => [founder, `node${founder}:1`])),
      join: joins,
      advertise: `node${id}:1`,
      machineVersion,
      // Small, so that whoever was away for a while needs a snapshot.
      logTailEntries: this.tailEntries,
      // Several passes in each run.
      checksumIntervalMs: 10,
      onCore,
      ...(this.#options.plant === null ? {} : { plant: this.#options.plant }),
    });
  }

  #startLater(host: Host, delayMs: number): void {
    this.scheduler.after(delayMs, () => this.start(host));
  }

  #stamp({ id }: Host): string {
    return `${this.scheduler.nowMs.toFixed(1)} n${id}`;
  }

  note(host: Host, what: string): void {
    this.lines.push(`${this.#stamp(host)} --- ${what}`);
  }

  /** The process ends: killed, its machine runs on; or with its machine, and what was not synced may be lost. */
  end(host: Host, how: "killed" | "power cut"): void {
    const { life } = host;
    if (life === null) return;
    this.note(host, how);
    host.life = null;
    life.environment.alive = false;
    this.network.down(life.transport, "crashed");
    life.machine.die();
    if (how === "killed") host.faults.disk.kill();
    else this.#losePower(host);
  }

  #losePower(host: Host): void {
    host.faults.powerCut();
    host.store.crashed();
    this.#lookForPlants(host);
  }

  // --- damage ---------------------------------------------------------------------------------------------------

  /** A new disk is put in; the process has ended. */
  wipe(host: Host): void {
    this.note(host, "new disk");
    host.faults.disk.wipe();
    host.store.wipe();
    host.clusterId = null;
    // Who founded alone would do so again.
    if (this.#founders.length === 1) host.joins = true;
    this.#lost(host);
  }

  /** Some durable sector of its log changes behind its back; false if there is none yet. */
  rot(host: Host, kind: Rot): boolean {
    if (!host.faults.rot(kind)) return false;
    this.note(host, `rot: ${kind}`);
    this.atlas.suspect(host.id);
    return true;
  }

  /** Somebody else writes a row into its database; false if that was not possible. */
  plant(host: Host): boolean {
    if (!host.store.plant()) return false;
    this.note(host, "a row was planted");
    this.atlas.planted(host.id);
    return true;
  }

  #lookForPlants(host: Host): void {
    if (this.atlas.isPlanted(host.id) && !host.store.isPlanted) this.atlas.healed(host.id);
  }

  /** What was known of its disk holds no more. */
  #lost(host: Host): void {
    host.incarnation = "";
    this.atlas.lost(host.id);
    this.atlas.healed(host.id);
    this.referee.damaged(host.id);
    this.#lookWhoIsTakenIn();
  }

  /** Whose incarnation the cluster knows, or whom it does not count, is no copy that is missing. */
  #lookWhoIsTakenIn(): void {
    const { configuration } = this.referee.configurations.last;
    const { voters, outgoing, learners, records } = configuration;
    for (const { id, incarnation } of this.hosts) {
      const isMember = [voters, outgoing, learners].some((ids) => ids.includes(id));
      const known = records.find((record) => record.id === id)?.incarnation;
      if (!isMember || known === incarnation) this.atlas.takenIn(id);
      else if (known !== undefined) this.atlas.lost(id);
    }
  }

  pause(host: Host): void {
    if (host.life === null || host.paused) return;
    host.paused = true;
    host.life.environment.pause();
    host.life.transport.held = [];
  }

  resume(host: Host): void {
    if (host.life === null || !host.paused) return;
    host.paused = false;
    const { environment, transport } = host.life;
    environment.resume();
    const held = transport.held ?? [];
    transport.held = null;
    for (const deliver of held) this.scheduler.after(0, () => environment.run(deliver));
  }

  // --- what a node does with a disk that failed it -------------------------------------------------------------

  /** A halt is the right answer to a write that was refused or to bytes that were changed; to nothing else. */
  #halted(host: Host, error: Error): void {
    // Those that could say who is right know it no more: their databases are copies. Somebody comes and decides.
    const isDivided = error.message.includes("no majority of the voters found the same");
    if (isDivided && this.atlas.isPlanted(host.id)) return this.replaceByHand(host);
    const isRefused = host.faults.refusals.EIO > 0;
    const isHurt = isRefused || host.isInjured || !this.atlas.isWhole(host.id);
    const isExpected = error instanceof LogUntrustedError && isHurt;
    if (!isExpected) return this.fail(error);
    if (isRefused) host.isInjured = true;
    this.coverage.add("halts expected");
    // The node still tells its callers and writes its marker; then the process ends, or the whole machine is restarted.
    this.scheduler.after(5, () => {
      this.end(host, this.#dice.chance(0.5) ? "killed" : "power cut");
      this.#startLater(host, 300);
    });
  }

  /** Somebody empties its directory: it is taken in anew. */
  replaceByHand(host: Host): void {
    this.coverage.add("decided by hand");
    this.scheduler.after(5, () => {
      this.end(host, "killed");
      this.wipe(host);
      this.#startLater(host, 300);
    });
  }

  #refused(host: Host, error: unknown): void {
    this.note(host, `does not start: ${error instanceof Error ? error.message : error}`);
    const wasRefused = isOutOfSpace(error) && host.faults.isFull;
    const isHurt = host.isInjured || !this.atlas.isWhole(host.id);
    const isExpected = wasRefused || (error instanceof LogUntrustedError && isHurt);
    if (!isExpected) return this.fail(error);
    this.coverage.add("starts refused");
    // Whoever founded alone cannot know that it is not alone any more: somebody replaces it.
    if (error instanceof LogCorruptionError && this.#founders.length === 1) this.wipe(host);
    // Somebody comes, restarts the machine, and takes away a marker that was not written to its end.
    if (!wasRefused) {
      this.#losePower(host);
      const { disk } = host.faults;
      const isTorn = String(error).includes("cannot be read");
      if (isTorn && disk.paths().includes(MARKER)) disk.removeNow(MARKER);
    }
    this.#startLater(host, 500);
  }

  // --- what is shown to checkers --------------------------------------------------------------------------------

  #watchCore(view: LiveView, raft: Raft): void {
    view.raft = raft;
    const take = raft.takeEffects.bind(raft);
    raft.takeEffects = () => {
      const effects = take();
      if (effects !== null) this.#stepped(view, effects);
      return effects;
    };
  }

  #stepped(view: LiveView, effects: Effects): void {
    const { changed, persist } = effects;
    if (changed !== null) {
      const { role, currentTerm, commitIndex } = changed;
      this.trace.event(role, this.scheduler.nowMs, view.id, currentTerm, commitIndex);
    }
    for (const entry of persist?.entries ?? []) {
      if (entry.kind === "configuration") this.#proposedChanges.push(entry);
    }
    const before = this.referee.configurations.length;
    this.guard(() => view.during(effects, () => this.referee.stepped(view, effects)));
    if (this.referee.configurations.length > before) this.#lookWhoIsTakenIn();
  }

  #source(from: NodeId, to: NodeId): Store | null {
    const { life, paused, store } = this.host(from);
    if (life === null || paused || !this.network.connects(from, to)) return null;
    // A copy of what was planted would be one more broken database than the cluster bears.
    const mayGive = life.node.status().trouble === "" && !this.atlas.isPlanted(from);
    return mayGive ? store : null;
  }

  fail(error: unknown): void {
    this.error ??= error;
  }

  guard(look: () => void): void {
    try {
      look();
    } catch (error) {
      // A checker that reads may be the first to meet rot; the log has heard of it, too.
      if (!(error instanceof LogUntrustedError)) this.fail(error);
    }
  }
}

/** null: that cannot be read either. */
function clusterOn(disk: SimulatedDisk): string | null {
  try {
    return loadIdentity(disk, "log")?.identity.clusterId ?? null;
  } catch {
    return null;
  }
}
