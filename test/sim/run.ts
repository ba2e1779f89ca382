/**
 * One seed, start to end: a safety phase in which everything may go wrong, then a liveness phase in which all is mended
 * and the cluster must make progress within a bound; then every node's database is compared.
 */

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Plant } from "../../src/node/config.ts";
import { ClientHistory } from "./checkers/client-history.ts";
import { demand } from "./checkers/violation.ts";
import { Adversary, type FaultCounts } from "./faults.ts";
import { ModelStore } from "./model-engine.ts";
import { Prng } from "./prng.ts";
import { SqliteStore } from "./sqlite-store.ts";
import { SimClient, type WorkloadParts } from "./workload.ts";
import { World } from "./world.ts";

export interface SimOptions {
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
  readonly elections: number;
  readonly committed: number;
  readonly compactions: number;
  readonly snapshots: number;
  readonly finished: number;
  readonly acknowledged: number;
  readonly reads: number;
  readonly faults: FaultCounts;
  /** Two runs of one seed give the same: all that happened, in order. */
  readonly trace: string;
}

/** After the last fault, all clients must be served within this. */
const LIVENESS_MS = 30_000;

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
  readonly #clients: SimClient[];

  /** `directory`: for real database files; null for the model. */
  constructor(options: SimOptions, directory: string | null) {
    const { seed } = options;
    this.#options = options;
    const dice = new Prng(seed, "shape");
    const size = dice.pick([1, 3, 3, 3, 3, 5, 5]);
    const makeStore = (id: number, storeDice: Prng) =>
      directory === null ? new ModelStore(storeDice) : new SqliteStore(directory, id, storeDice);
    this.#world = new World(seed, size, makeStore, options.plant ?? null);
    this.#adversary = new Adversary(this.#world, new Prng(seed, "faults"));
    let rows = 0;
    const parts: WorkloadParts = {
      scheduler: this.#world.scheduler,
      dice: new Prng(seed, "clients"),
      history: this.#history,
      nextRow: () => {
        rows += 1;
        return rows;
      },
      nodes: () => this.#world.running.map(({ node }) => node),
      fail: (error) => this.#world.fail(error),
    };
    this.#clients = Array.from({ length: 4 }, () => new SimClient(parts, 5));
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
    for (const host of world.hosts) world.start(host);
    for (const client of this.#clients) client.start();
    this.#until(3_000, () => this.#history.acknowledged > 0);
    this.#adversary.start();
    this.#until(this.#options.faultsMs ?? 12_000, () => false);
    this.#adversary.heal();
    const before = this.#history.acknowledged;
    const goal = before + 20;
    this.#until(LIVENESS_MS, () => this.#history.acknowledged >= goal);
    demand(this.#history.acknowledged >= goal, "liveness", () => {
      return `${this.#history.acknowledged - before} of 20 writes within ${LIVENESS_MS} ms`;
    });
    for (const client of this.#clients) client.stop();
    this.#until(LIVENESS_MS, () => this.#quiet());
    demand(this.#quiet(), "convergence", () => JSON.stringify(this.#indexes()));
    world.checkLogs();
    this.#compareDatabases();
  }

  /** Runs events until the time is over or `done` holds. */
  #until(ms: number, done: () => boolean): void {
    const { scheduler } = this.#world;
    const end = scheduler.nowMs + ms;
    while (!done() && scheduler.step(end)) {
      if (this.#world.error !== null) throw this.#world.error;
    }
  }

  #indexes(): object[] {
    return this.#world.running.map(({ node }) => {
      const { id, role, lastIndex, commitIndex, appliedIndex, trouble } = node.status();
      return { id, role, lastIndex, commitIndex, appliedIndex, trouble };
    });
  }

  /** No client waits, and every node has applied the same last entry. */
  #quiet(): boolean {
    if (this.#clients.some((client) => client.busy)) return false;
    const { running, hosts } = this.#world;
    const states = running.map(({ node }) => node.status());
    const newest = Math.max(...states.map(({ commitIndex }) => commitIndex));
    return (
      running.length === hosts.length && states.every(({ appliedIndex }) => appliedIndex === newest)
    );
  }

  #compareDatabases(): void {
    const contents = this.#world.hosts.map(({ id, store }) => {
      const content = store.content();
      this.#history.checkRows(id, content.rows);
      return { id, digest: content.digest };
    });
    const first = contents[0]?.digest;
    demand(
      contents.every(({ digest }) => digest === first),
      "equal databases",
      () => JSON.stringify(contents),
    );
  }

  #report(error: string): SimReport {
    const { scheduler, elections, committed, lines, network } = this.#world;
    const { acknowledged, reads } = this.#history;
    const happened = [scheduler.steps, scheduler.nowMs, network.delivered, network.lost];
    return {
      seed: this.#options.seed,
      ok: error === "",
      error,
      lines: lines.slice(-60),
      virtualMs: scheduler.nowMs,
      steps: scheduler.steps,
      elections: elections.elections,
      committed: committed.length,
      compactions: this.#world.compactions,
      snapshots: this.#world.snapshots,
      finished: this.#world.finished,
      acknowledged,
      reads,
      faults: this.#adversary.counts,
      trace: [...happened, acknowledged, reads, committed.length].join("/"),
    };
  }
}
