/**
 * A real cluster inside a test: `balsa serve` processes on free loopback ports, with their data in a temporary directory.
 * For tests of what a service does when its database fails over. Whatever ends the test ends the nodes.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  ClusterAdmin,
  type ClusterStatus,
  type ConnectOptions,
  connect,
  type Database,
  type NodeStatus,
} from "../client/index.ts";
import { NodeProcess } from "./node-process.ts";

export interface TestClusterOptions {
  /** Default 3. */
  readonly nodes?: number;
  /** Flags for every `balsa serve`. */
  readonly args?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Where `from` reaches `to`, if not at its own endpoint: for proxies. */
  readonly route?: (from: number, to: number, endpoint: string) => string;
  /** Default: a new directory under the system's temporary one, removed by `stop()`. */
  readonly dir?: string;
}

const READY_MS_MAX = 30_000;
const POLL_MS = 50;

export class TestCluster {
  /** By id; those that were removed, too. */
  readonly nodes: NodeProcess[];
  readonly dir: string;
  /** Changes the members and hands the leadership over. */
  readonly admin: ClusterAdmin;
  readonly #options: TestClusterOptions;
  readonly #temporary: boolean;
  readonly #clients = new Set<Database>();
  /** For the cluster's own questions. */
  readonly #db: Database;
  readonly #onExit = () => this.#cleanUp();

  private constructor(dir: string, options: TestClusterOptions, nodes: NodeProcess[]) {
    this.dir = dir;
    this.#options = options;
    this.#temporary = options.dir === undefined;
    this.nodes = nodes;
    this.admin = new ClusterAdmin({ endpoints: this.endpoints, deadlineMs: READY_MS_MAX });
    this.#db = connect({ endpoints: this.endpoints, discover: false, deadlineMs: 2_000 });
    process.once("exit", this.#onExit);
  }

  /** Starts the processes; `ready()` waits for a leader. */
  static async start(options: TestClusterOptions = {}): Promise<TestCluster> {
    const { nodes: count = 3, args = [], env = {}, route } = options;
    const dir = options.dir ?? mkdtempSync(join(tmpdir(), "balsa-test-"));
    const ports = await freePorts(count);
    const endpoints = new Map(ports.map((port, at) => [at + 1, `127.0.0.1:${port}`]));
    const nodes = [...endpoints].map(([id, endpoint]) => {
      const seen = ([to, address]: [number, string]): [number, string] => {
        return [to, to === id || route === undefined ? address : route(id, to, address)];
      };
      const peers = new Map([...endpoints].map(seen));
      const [nodeDir, logFile] = [join(dir, `node${id}`), join(dir, `node${id}.log`)];
      return new NodeProcess({ id, endpoint, dir: nodeDir, logFile, peers, args, env });
    });
    const cluster = new TestCluster(dir, options, nodes);
    for (const node of nodes) node.start();
    return cluster;
  }

  /** Starts another node and adds it; resolves when it is a voter. Its id was never used before. */
  async add(): Promise<NodeProcess> {
    const id = this.nodes.length + 1;
    const [port] = await freePorts(1);
    const { args = [], env = {} } = this.#options;
    const [dir, logFile] = [join(this.dir, `node${id}`), join(this.dir, `node${id}.log`)];
    const endpoint = `127.0.0.1:${port}`;
    const node = new NodeProcess({ id, endpoint, dir, logFile, peers: null, args, env });
    this.nodes.push(node);
    node.start();
    await this.admin.changeMembers({ steps: [{ kind: "add", id, address: endpoint }] });
    await this.voter(id);
    return node;
  }

  /** Takes it out of the cluster and stops its process. */
  async remove(id: number): Promise<void> {
    await this.admin.changeMembers({ steps: [{ kind: "remove", id }] });
    await this.node(id).stop();
  }

  /** Waits until this node has a vote and takes part. */
  async voter(id: number, limitMs = READY_MS_MAX): Promise<void> {
    await this.until(`node ${id} got no vote`, limitMs, async () => {
      const { members } = await this.admin.leader();
      const member = members.find((one) => one.id === id);
      return (member?.role === "voter" && member.connected) || null;
    });
  }

  get endpoints(): string[] {
    return this.nodes.map((node) => node.endpoint);
  }

  /** @throws RangeError for an id that is none. */
  node(id: number): NodeProcess {
    const node = this.nodes[id - 1];
    if (node === undefined) throw new RangeError(`no node ${id}`);
    return node;
  }

  /** A client of all nodes, or of those given; closed by `stop()`. */
  connect(options: Partial<ConnectOptions> = {}): Database {
    const db = connect({ endpoints: this.endpoints, ...options });
    this.#clients.add(db);
    return db;
  }

  /** A client of one node alone. */
  connectTo(id: number): Database {
    return this.connect({ endpoints: [this.node(id).endpoint], discover: false });
  }

  status(): Promise<ClusterStatus> {
    return this.#db.status();
  }

  /** Waits until every running node follows one leader; gives the leader. */
  ready(limitMs = READY_MS_MAX): Promise<NodeProcess> {
    return this.until("no leader was elected", limitMs, async () => {
      const status = await this.status();
      const leader = leaderOf(status);
      const running = this.nodes.filter(({ pid }) => pid !== null).map(({ endpoint }) => endpoint);
      const all = status.nodes.every(({ endpoint, status: node }) => {
        return !running.includes(endpoint) || (node !== null && node.leader === leader?.id);
      });
      return all && leader !== null ? this.node(leader.id) : null;
    });
  }

  /** Waits for a node that leads, whatever the others say. */
  leader(limitMs = READY_MS_MAX): Promise<NodeProcess> {
    return this.until("no leader was found", limitMs, async () => {
      const leader = leaderOf(await this.status());
      return leader === null ? null : this.node(leader.id);
    });
  }

  /** SIGKILL to the process that leads; gives it, dead. */
  async killLeader(): Promise<NodeProcess> {
    const leader = await this.leader();
    await leader.kill();
    return leader;
  }

  /** Waits until all nodes have applied all that is committed. */
  async caughtUp(limitMs = READY_MS_MAX): Promise<void> {
    await this.until("the nodes did not catch up", limitMs, async () => {
      const status = await this.status();
      const newest = Math.max(...status.nodes.map(({ status: node }) => node?.lastIndex ?? 0));
      const all = status.nodes.every(({ status: node }) => node?.appliedIndex === newest);
      return all && leaderOf(status) !== null ? true : null;
    });
  }

  /** Asks again and again; after `limitMs` throws with the nodes' last words. */
  async until<T>(failure: string, limitMs: number, ask: () => Promise<T | null>): Promise<T> {
    const end = performance.now() + limitMs;
    let last: unknown;
    do {
      const answer = await ask().catch((error: unknown) => {
        last = error;
        return null;
      });
      if (answer !== null) return answer;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    } while (performance.now() < end);
    throw new Error(`${failure} within ${limitMs / 1000} s\n${this.lastWords()}`, { cause: last });
  }

  /** The last lines of each node's log. */
  lastWords(lines = 10): string {
    return this.nodes.map((node) => `--- node ${node.id}\n${node.lastWords(lines)}`).join("\n");
  }

  /** Stops the processes in order; their files stay until `remove()`. */
  async stopNodes(): Promise<void> {
    for (const node of this.nodes) node.signal("SIGCONT");
    await Promise.all(this.nodes.map((node) => node.stop()));
  }

  /** Ends everything and removes what it made. */
  async stop(): Promise<void> {
    this.admin.close();
    await Promise.all([...this.#clients, this.#db].map((db) => db.close()));
    for (const node of this.nodes) node.signal("SIGKILL");
    await Promise.all(this.nodes.map((node) => node.kill()));
    process.removeListener("exit", this.#onExit);
    this.#cleanUp();
  }

  #cleanUp(): void {
    for (const node of this.nodes) node.signal("SIGKILL");
    if (!this.#temporary) return;
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}

/** The node that says it leads, in the newest term if two do. */
export function leaderOf(status: ClusterStatus): NodeStatus | null {
  let leader: NodeStatus | null = null;
  for (const { status: node } of status.nodes) {
    if (node?.role === "leader" && node.term > (leader?.term ?? 0)) leader = node;
  }
  return leader;
}

/** Held all at once, so that they differ. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const listening = servers.map((server) => {
    return new Promise<number>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", () => {
        const address = server.address();
        resolve(typeof address === "object" && address !== null ? address.port : 0);
      });
    });
  });
  const ports = await Promise.all(listening);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
