/**
 * A whole cluster in one process, on virtual time: real core, node, log and executor; simulated clock, network, disk
 * and processes. It starts, crashes, pauses and restarts nodes, and shows every checker what happens.
 */

import { openLogNow } from "../../src/log/open-log.ts";
import { checkOptions, type Plant } from "../../src/node/config.ts";
import { Node } from "../../src/node/node.ts";
import type { Log } from "../../src/node/ports.ts";
import type { NodeStatus } from "../../src/node/service.ts";
import type { NodeId } from "../../src/raft/entry.ts";
import { CommittedLog, type LogView } from "./checkers/committed-log.ts";
import { ElectionSafety } from "./checkers/election-safety.ts";
import { checkLogMatching } from "./checkers/log-matching.ts";
import { Monotony } from "./checkers/monotony.ts";
import { SimulatedDisk } from "./disk.ts";
import { SimEnvironment, SimLogger } from "./environment.ts";
import { SimFetcher } from "./fetcher.ts";
import { SimMachine, type Store } from "./machine.ts";
import { SimNetwork, type SimTransport } from "./network.ts";
import { Prng } from "./prng.ts";
import { Scheduler } from "./scheduler.ts";

export interface Life {
  readonly node: Node;
  readonly log: Log;
  readonly environment: SimEnvironment;
  readonly transport: SimTransport;
  readonly machine: SimMachine;
}

/** What a node keeps when its process dies. */
interface Host {
  readonly id: NodeId;
  readonly disk: SimulatedDisk;
  readonly store: Store;
  life: Life | null;
  /** Only of the running life: a paused process is alive. */
  paused: boolean;
}

export class World {
  readonly scheduler = new Scheduler();
  readonly network: SimNetwork;
  readonly elections = new ElectionSafety();
  readonly committed = new CommittedLog();
  readonly monotony = new Monotony();
  readonly lines: string[] = [];
  readonly hosts: Host[];
  crashes = 0;
  /** Times that some log was cut, and that some node took a snapshot. */
  compactions = 0;
  snapshots = 0;
  /** Installations that a crash interrupted and a restart finished. */
  finished = 0;
  error: unknown = null;
  readonly #seed: number;
  readonly #plant: Plant | null;
  readonly #tailEntries: number;
  #lives = 0;

  constructor(
    seed: number,
    size: number,
    makeStore: (id: NodeId, dice: Prng) => Store,
    plant: Plant | null,
  ) {
    this.#seed = seed;
    this.#plant = plant;
    this.#tailEntries = new Prng(seed, "tail").pick([5, 5, 20, 20, 100, 100_000]);
    this.network = new SimNetwork(this.scheduler, new Prng(seed, "network"));
    this.network.onSend = (_from, _to, message) =>
      this.#guard(() => {
        this.elections.sent(message);
        this.monotony.sent(message);
      });
    this.hosts = Array.from({ length: size }, (_, at) => {
      const id = at + 1;
      const disk = new SimulatedDisk({
        random: dice(seed, `disk${id}`),
        schedule: (delayMs, run) => {
          // A completion is told to the process that asked, and waits while that is stopped.
          const environment = this.hosts[at]?.life?.environment;
          this.scheduler.after(delayMs, () => (environment ? environment.run(run) : run()));
        },
      });
      const store = makeStore(id, new Prng(seed, `store${id}`));
      return { id, disk, store, life: null, paused: false };
    });
  }

  get running(): Life[] {
    return this.hosts.flatMap(({ life, paused }) => (life === null || paused ? [] : [life]));
  }

  start(host: Host): void {
    if (host.life !== null) return;
    this.#lives += 1;
    const label = `life${this.#lives}`;
    const environment = new SimEnvironment(this.scheduler, new Prng(this.#seed, label));
    environment.wallOffsetMs = Math.floor(environment.random() * 4_000) - 2_000;
    const logger = new SimLogger(
      this.lines,
      () => `${this.scheduler.nowMs.toFixed(1)} n${host.id}`,
    );
    const log = openLogNow({
      dir: "log",
      nodeId: host.id,
      disk: host.disk,
      random: () => environment.random(),
      segmentBytes: 64 * 1024,
      cacheBytes: 16 * 1024,
    });
    const peers = new Map(this.hosts.map(({ id }) => [id, `node${id}:1`]));
    const config = checkOptions({
      id: host.id,
      dir: "simulated",
      peers,
      advertise: `node${host.id}:1`,
      // Small, so that whoever was away for a while needs a snapshot.
      logTailEntries: this.#tailEntries,
      ...(this.#plant === null ? {} : { plant: this.#plant }),
    });
    const transport = this.network.transport(host.id);
    const machine = new SimMachine(
      host.store,
      environment,
      new Prng(this.#seed, `machine${label}`),
    );
    const dropped = log.firstIndex() - 1;
    const base = { index: dropped, term: log.term(dropped) };
    if (host.store.recover(base)) this.finished += 1;
    this.#watchCompaction(host.id, log);
    const fetcher = new SimFetcher({
      environment,
      dice: new Prng(this.#seed, `fetcher${label}`),
      store: host.store,
      sourceOf: (from) => this.#source(from, host.id),
    });
    const node = new Node(config, { log, machine, transport, fetcher, environment, logger });
    node.onHalt = (error) => this.fail(error);
    const life: Life = { node, log, environment, transport, machine };
    host.life = life;
    host.paused = false;
    this.committed.restarted(host.id);
    this.#guard(() => this.monotony.restarted(host.id, log.hardState.currentTerm));
    node.watch((status) => this.#guard(() => this.#saw(life, status)));
    machine.onApplied = () => this.#guard(() => this.#saw(life, node.status()));
    node.start();
  }

  #source(from: NodeId, to: NodeId): Store | null {
    const host = this.hosts[from - 1];
    const { cut } = this.network;
    const isCut = cut.has(`${from}>${to}`) || cut.has(`${to}>${from}`);
    if (host === undefined || host.life === null || host.paused || isCut) return null;
    const { node, log } = host.life;
    this.#guard(() => this.committed.committed(from, node.status().appliedIndex, log));
    return host.store;
  }

  /** What is about to be dropped must be what everybody knows it to be: later nobody can look. */
  #watchCompaction(id: NodeId, log: Log): void {
    const compactTo = log.compactTo.bind(log);
    log.compactTo = (index, done) => {
      this.compactions += 1;
      this.#guard(() => this.committed.committed(id, index, log));
      compactTo(index, done);
    };
    const restart = log.restart.bind(log);
    log.restart = (base, done) => {
      this.snapshots += 1;
      this.#guard(() => this.committed.installed(id, base));
      restart(base, done);
    };
  }

  crash(host: Host): void {
    const { life } = host;
    if (life === null) return;
    this.crashes += 1;
    this.lines.push(`${this.scheduler.nowMs.toFixed(1)} n${host.id} --- crashes`);
    host.life = null;
    life.environment.alive = false;
    this.network.down(life.transport, "crashed");
    host.disk.crash();
    life.machine.die();
    host.store.crashed();
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

  fail(error: unknown): void {
    this.error ??= error;
  }

  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.fail(error);
    }
  }

  #saw(life: Life, status: NodeStatus): void {
    this.monotony.saw(status);
    const durable = Math.min(status.commitIndex, life.log.lastIndex());
    this.committed.committed(status.id, durable, life.log);
    if (status.role === "leader") {
      this.elections.leads(status.id, status.term);
      this.committed.elected(status.id, life.log);
    }
  }

  /** Log matching, over all that run. */
  checkLogs(): void {
    const logs = new Map<NodeId, LogView>();
    for (const { id, life } of this.hosts) if (life !== null) logs.set(id, life.log);
    checkLogMatching(logs);
  }
}

function dice(seed: number, label: string): () => number {
  const prng = new Prng(seed, label);
  return () => prng.next();
}
