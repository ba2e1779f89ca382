/**
 * One seed, start to end: a safety phase in which everything may go wrong, then a liveness phase in which first a quorum
 * and then everything is mended and the cluster must make progress within a bound; then every node's database is
 * compared.
 */

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Plant } from "../../src/node/config.ts";
import { BlobClient } from "./blob-client.ts";
import { demand } from "./checkers/violation.ts";
import { WholeBlobs } from "./checkers/whole-blobs.ts";
import { ClientHistory } from "./client-history.ts";
import { Adversary, type Choice } from "./faults/adversary.ts";
import type { Host } from "./host.ts";
import { chooseCore, mendAll, mendCore } from "./liveness.ts";
import { ModelStore } from "./model-engine.ts";
import { Operator } from "./operator.ts";
import { Prng } from "./prng.ts";
import type { SimSession } from "./sim-session.ts";
import { SqliteStore } from "./sqlite-store.ts";
import { SimClient, type WorkloadParts } from "./workload.ts";
import { World } from "./world.ts";

export interface SimOptions extends Choice {
  readonly seed: number;
  readonly plant?: Plant | null;
  /** `model`: fast; `sqlite`: the real executor. Default: by the seed, one in eight is real. */
  readonly machine?: "model" | "sqlite";
  /** Virtual milliseconds of faults. Default 12,000. */
  readonly faultsMs?: number;
}

export interface SimReport {
  readonly seed: number;
  readonly ok: boolean;
  readonly error: string;
  /** The last things that the nodes logged; for a failing seed. */
  readonly lines: readonly string[];
  readonly virtualMs: number;
  readonly steps: number;
  readonly committed: number;
  readonly acknowledged: number;
  readonly reads: number;
  readonly coverage: { readonly [name: string]: number };
  /** The strikes of the run, in order. */
  readonly strikes: readonly { readonly number: number; readonly kind: string }[];
  /** Two runs of one seed give the same: a hash of all that happened, in order. */
  readonly trace: string;
}

/** After the last fault, so many writes must be acknowledged within this, in milliseconds of virtual time. */
const PROGRESS_MS = 20_000;
/** For what was planted: until an entry meets it, and a healthy database is here. */
const HEALING_MS = 10_000;
const PROGRESS_WRITES = 20;
/** Then all nodes must be equal within this. */
const CONVERGENCE_MS = 30_000;

/** What a simulated crash leaves is copied by hand; so the real files may lie in memory, where a sync costs nothing. */
const MEMORY = "/dev/shm";

export function simulate(options: SimOptions): SimReport {
  const real = (options.machine ?? (options.seed % 8 === 0 ? "sqlite" : "model")) === "sqlite";
  if (!real) return new Simulation(options, null).run();
  const directory = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), "balsa-sim-"));
  try {
    return new Simulation(options, directory).run();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

class Simulation {
  readonly #options: SimOptions;
  readonly #world: World;
  readonly #history = new ClientHistory();
  readonly #adversary: Adversary;
  readonly #operator: Operator | null;
  readonly #clients: readonly SimSession[];
  readonly #blobs = new WholeBlobs();

  /** `directory`: for real database files; null for the model. */
  constructor(options: SimOptions, directory: string | null) {
    const { seed } = options;
    this.#options = options;
    const dice = new Prng(seed, "shape");
    const founders = dice.pick([1, 3, 3, 3, 3, 5, 5]);
    // In every other seed the members change, and up to two machines stand ready.
    const hasSpares = dice.chance(0.5);
    const hosts = founders + (hasSpares ? 1 + dice.below(2) : 0);
    const makeStore = (id: number, storeDice: Prng) =>
      directory === null ? new ModelStore(storeDice) : new SqliteStore(directory, id, storeDice);
    const plant = options.plant ?? null;
    this.#world = new World({ seed, founders, hosts, plant, makeStore });
    this.#adversary = new Adversary(this.#world, seed, options);
    const isOperated = hasSpares && options.without?.has("operator") !== true;
    this.#operator = isOperated ? new Operator(this.#world, new Prng(seed, "operator")) : null;
    let rows = 0;
    const parts: WorkloadParts = {
      ...this.#world,
      dice: new Prng(seed, "clients"),
      history: this.#history,
      nextRow: () => {
        rows += 1;
        return rows;
      },
      nodes: () => this.#world.running.map(({ node }) => node),
      fail: (error) => this.#world.fail(error),
    };
    const clients = [1, 2, 3, 4].map((id) => new SimClient(parts, id, 5));
    // The model knows no blobs.
    const keepers = directory === null ? [] : [new Prng(seed, "blobs")];
    const blobs = keepers.map((own) => new BlobClient({ ...parts, dice: own }, this.#blobs));
    this.#clients = [...clients, ...blobs];
  }

  run(): SimReport {
    let error = "";
    try {
      this.#phases();
    } catch (reason) {
      error = reason instanceof Error ? (reason.stack ?? reason.message) : String(reason);
    }
    return this.#report(error);
  }

  #phases(): void {
    const world = this.#world;
    for (const host of world.founders) world.start(host);
    for (const client of this.#clients) client.start();
    this.#until(3_000, () => this.#history.acknowledged > 0);
    this.#adversary.start();
    this.#operator?.start();
    this.#until(this.#options.faultsMs ?? 12_000, () => false);
    this.#adversary.stop();
    this.#operator?.stop();
    this.#healPlants();
    const dice = new Prng(this.#options.seed, "liveness");
    const core = chooseCore(world, dice);
    world.lines.push(`=== the core is ${core.map(({ id }) => id).join(", ")}`);
    mendCore(world, core, dice);
    this.#mustProgress("a healthy majority makes progress");
    if (core.length < world.hosts.length) world.coverage.add("liveness with a broken minority");
    world.lines.push("=== all are mended");
    mendAll(world);
    this.#mustProgress("a healthy cluster makes progress");
    for (const client of this.#clients) client.stop();
    this.#until(CONVERGENCE_MS, () => this.#isQuiet());
    demand(this.#isQuiet(), "convergence", () => JSON.stringify(this.#indexes()));
    this.#compareDatabases();
  }

  /**
   * What no entry has met by then, and what nobody can judge any more because their databases are copies, somebody replaces
   * by hand: the atlas counts it as broken already.
   */
  #healPlants(): void {
    const world = this.#world;
    const planted = () => world.hosts.filter(({ id }) => world.atlas.isPlanted(id));
    if (planted().length === 0) return;
    world.lines.push("=== what was planted must heal");
    mendAll(world);
    this.#until(HEALING_MS, () => planted().length === 0);
    for (const host of planted()) world.replaceByHand(host);
  }

  #mustProgress(property: string): void {
    const before = this.#history.acknowledged;
    const goal = before + PROGRESS_WRITES;
    this.#until(PROGRESS_MS, () => this.#history.acknowledged >= goal);
    demand(this.#history.acknowledged >= goal, property, () => {
      const done = `${this.#history.acknowledged - before} of ${PROGRESS_WRITES} writes`;
      return `${done} within ${PROGRESS_MS} ms; ${JSON.stringify(this.#indexes())}`;
    });
  }

  /** Runs events until the time is over or `done` holds. */
  #until(ms: number, done: () => boolean): void {
    const { scheduler } = this.#world;
    const end = scheduler.nowMs + ms;
    while (!done() && scheduler.step(end)) {
      if (this.#world.error !== null) throw this.#world.error;
    }
  }

  #members(): readonly Host[] {
    const { voters, learners } = this.#world.referee.configurations.last.configuration;
    return [...voters, ...learners].map((id) => this.#world.host(id));
  }

  #indexes(): object[] {
    return this.#world.running.map(({ node, view }) => {
      const { id, role, term, leader, lastIndex, commitIndex, appliedIndex, trouble } =
        node.status();
      const { voters, outgoing, learners } = view.raft?.status().configuration ?? {};
      const members = { voters, outgoing, learners };
      return { id, role, term, leader, lastIndex, commitIndex, appliedIndex, trouble, ...members };
    });
  }

  /** No client waits, nobody waits for a vote, and every member has applied the same last entry. */
  #isQuiet(): boolean {
    if (this.#clients.some((client) => client.busy)) return false;
    const { outgoing, records } = this.#world.referee.configurations.last.configuration;
    if (outgoing.length > 0 || records.some(({ awaitsVote }) => awaitsVote)) return false;
    const { length } = this.#world.referee.ledger;
    return this.#members().every(({ life }) => {
      if (life === null || life.view.raft === null) return false;
      const { appliedIndex, raft } = life.view;
      return appliedIndex === length && raft.status().commitIndex === length;
    });
  }

  #compareDatabases(): void {
    const contents = this.#members().map(({ id, store, life }) => {
      const content = store.content();
      this.#history.checkRows(id, content.rows);
      if (content.blobs !== null) this.#blobs.check(id, content.blobs.rows);
      const lost = content.blobs?.lost ?? 0;
      demand(lost === 0, "a content's state tells what it is", () => `${lost} on node ${id}`);
      const trouble = life?.node.status().trouble ?? "it does not run";
      demand(trouble === "", "all serve in the end", () => `node ${id}: ${trouble}`);
      return { id, digest: content.digest };
    });
    const first = contents[0]?.digest;
    const areEqual = contents.every(({ digest }) => digest === first);
    demand(areEqual, "equal databases", () => JSON.stringify(contents));
  }

  #report(error: string): SimReport {
    const { scheduler, referee, lines, coverage, trace } = this.#world;
    const { acknowledged, reads } = this.#history;
    coverage.add("elections", referee.elections.elections);
    coverage.add("machine version set anew", Math.max(0, referee.versions.changes - 1));
    trace.event("end", scheduler.steps, scheduler.nowMs, acknowledged, reads);
    return {
      seed: this.#options.seed,
      ok: error === "",
      error,
      lines: lines.slice(-80),
      virtualMs: scheduler.nowMs,
      steps: scheduler.steps,
      committed: referee.ledger.length,
      acknowledged,
      reads,
      coverage: coverage.toJSON(),
      strikes: this.#adversary.struck,
      trace: trace.hash,
    };
  }
}
