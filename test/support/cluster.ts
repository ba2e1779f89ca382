/**
 * A cluster of real processes to be ill-treated: behind a proxy for every link, with power cuts if wanted. It hurts and
 * heals on demand and waits for conditions; what to do when is nemesis.ts's, what clients do meanwhile is load.ts's.
 */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "vitest";
import { type ConnectOptions, connect, type Database } from "../../src/client/index.ts";
import { readFileContent } from "../../src/machine/content-digest.ts";
import type { Plant } from "../../src/node/config.ts";
import { TestCluster } from "../../src/testing/cluster.ts";
import type { NodeProcess } from "../../src/testing/node-process.ts";
import { PowerCut, type PowerCutOptions, type RewindOptions } from "./power-cut.ts";
import { CLIENTS, Network } from "./proxy.ts";

export interface HarshClusterOptions {
  /** Default 3. */
  readonly nodes?: number;
  /** A fault built into every node. */
  readonly plant?: Plant;
  /** Record what is durable, for `cutPower`. */
  readonly powerCut?: PowerCutOptions;
  /** Who makes the nodes' data directories. Default `operator`: they are there, and durable, before a node starts. */
  readonly directoriesMadeBy?: "operator" | "node";
  /** More flags for every `balsa serve`. */
  readonly args?: readonly string[];
  /** Called with each data directory before its node starts. */
  readonly onDirectory?: (id: number, dir: string) => void;
  /** Called when all processes are gone, before the files are removed. */
  readonly onStopped?: () => void;
}

const LOG_LINES_SHOWN = 60;

export class HarshCluster {
  readonly network: Network;
  readonly power: PowerCut | null;
  readonly #cluster: TestCluster;
  readonly #home: string;
  readonly #clients: Database[] = [];
  #onStopped: () => void = () => {};

  private constructor(home: string, network: Network, power: PowerCut | null, inner: TestCluster) {
    this.#home = home;
    this.network = network;
    this.power = power;
    this.#cluster = inner;
  }

  /** Starts it and waits for a leader. */
  static async start(options: HarshClusterOptions = {}): Promise<HarshCluster> {
    const { nodes = 3, plant, powerCut, args = [] } = options;
    const home = mkdtempSync(join(tmpdir(), "balsa-harsh-"));
    const dir = join(home, "data");
    mkdirSync(dir);
    if (options.directoriesMadeBy !== "node") {
      for (let id = 1; id <= nodes; id += 1) mkdirSync(join(dir, `node${id}`));
    }
    for (let id = 1; id <= nodes; id += 1) options.onDirectory?.(id, join(dir, `node${id}`));
    const network = await Network.open(nodes);
    const power = powerCut === undefined ? null : new PowerCut(dir, powerCut);
    const planted = plant === undefined ? [] : ["--plant", plant];
    const inner = await TestCluster.start({
      nodes,
      dir,
      args: ["--log-format", "json", ...planted, ...args],
      env: power?.environment() ?? {},
      route: (from, to, endpoint) => network.route(from, to, endpoint),
    });
    const cluster = new HarshCluster(home, network, power, inner);
    cluster.#onStopped = options.onStopped ?? (() => {});
    for (const node of inner.nodes) network.route(CLIENTS, node.id, node.endpoint);
    try {
      await inner.ready();
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  get ids(): number[] {
    return this.#cluster.nodes.map((node) => node.id);
  }

  logs(): string {
    return this.#cluster.nodes
      .map((node) => `--- node ${node.id}\n${node.lastWords(LOG_LINES_SHOWN)}`)
      .join("\n");
  }

  // --- clients -----------------------------------------------------------------------------------------------------

  /** A client of all nodes, or of `only` one, through the proxies. Closed by `stop`. */
  connect(options: Partial<ConnectOptions> & { readonly only?: number } = {}): Database {
    const { only, ...rest } = options;
    const ids = only === undefined ? this.ids : [only];
    const endpoints = ids.map((id) => `127.0.0.1:${this.network.link(CLIENTS, id).port}`);
    const db = connect({ endpoints, discover: false, ...rest });
    this.#clients.push(db);
    return db;
  }

  // --- processes ---------------------------------------------------------------------------------------------------

  async leader(): Promise<number> {
    return (await this.#cluster.leader()).id;
  }

  async followers(): Promise<number[]> {
    const leader = await this.leader();
    return this.ids.filter((id) => id !== leader);
  }

  /** SIGKILL; its connections break and new ones are refused. */
  async kill(...ids: number[]): Promise<void> {
    for (const id of ids) this.network.gone(id);
    await Promise.all(ids.map((id) => this.#node(id).kill()));
  }

  async restart(...ids: number[]): Promise<void> {
    for (const id of ids) {
      await this.network.back(id);
      this.#node(id).start();
    }
  }

  pause(id: number): void {
    this.#node(id).signal("SIGSTOP");
  }

  resume(id: number): void {
    this.#node(id).signal("SIGCONT");
  }

  isRunning(id: number): boolean {
    return this.#node(id).pid !== null;
  }

  /** null when it does not run. */
  pidOf(id: number): number | null {
    return this.#node(id).pid;
  }

  /** Asks again and again; after `limitMs` throws with the nodes' last words. */
  until<T>(failure: string, limitMs: number, ask: () => Promise<T | null>): Promise<T> {
    return this.#cluster.until(failure, limitMs, ask);
  }

  /** Every node runs and follows one leader. */
  async recovered(limitMs = 60_000): Promise<void> {
    await this.#cluster.ready(limitMs);
    const dead = this.ids.filter((id) => !this.isRunning(id));
    if (dead.length > 0) throw new Error(`node ${dead.join(" and ")} ended by itself`);
  }

  /** Every node has applied all that is committed. */
  async caughtUp(limitMs = 60_000): Promise<void> {
    await this.#cluster.caughtUp(limitMs);
  }

  /** All machines lose their power at once; what survives is on their disks. `restart` starts them again. */
  async cutPower(options: RewindOptions = {}): Promise<void> {
    if (this.power === null) throw new Error("start the cluster with { powerCut }");
    for (const id of this.ids) this.network.gone(id);
    const pids = this.power.processes();
    for (const pid of pids) killIfAlive(pid);
    await Promise.all(this.ids.map((id) => this.#node(id).kill()));
    await this.#cluster.until("processes outlive the power cut", 10_000, async () => {
      const left = this.power?.processes() ?? [];
      for (const pid of left) killIfAlive(pid);
      return left.length === 0 ? true : null;
    });
    const logs = readdirSync(this.#cluster.dir).filter((name) => name.endsWith(".log"));
    for (const name of logs) renameSync(join(this.#cluster.dir, name), join(this.#home, name));
    this.power.rewind(options);
    for (const name of logs) renameSync(join(this.#home, name), join(this.#cluster.dir, name));
  }

  // --- the end -----------------------------------------------------------------------------------------------------

  /** Stops all nodes in order and gives the digest of each one's content. */
  async contents(): Promise<string[]> {
    await this.#cluster.stopNodes();
    return this.#cluster.nodes.map((node) => readFileContent(join(node.dir, "main.db")).digest);
  }

  /** The data directory of node `id`. */
  dirOf(id: number): string {
    return this.#node(id).dir;
  }

  /** What node `id` has written to its log so far. */
  logOf(id: number): string {
    return readFileSync(join(this.#cluster.dir, `node${id}.log`), "utf8");
  }

  /** For `afterEach`: prints the ends of the nodes' logs if the test has failed, then stops everything. */
  async finish({ task }: TestContext): Promise<void> {
    if (task.result?.state === "fail") process.stderr.write(`${this.logs()}\n`);
    await this.stop();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#clients.map((db) => db.close()));
    await this.#cluster.stop();
    await this.network.close();
    this.#onStopped();
    this.power?.dispose();
    rmSync(this.#home, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }

  #node(id: number): NodeProcess {
    return this.#cluster.node(id);
  }
}

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}
