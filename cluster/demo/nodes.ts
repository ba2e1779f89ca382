/** The demo's three nodes: `balsa serve` as child processes in a temporary directory. Whatever ends the demo ends them. */

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ClusterStatus, connect, type Database, type NodeStatus } from "balsa";

const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const COUNT = 3;
const READY_MS_MAX = 30_000;
const STOP_MS_MAX = 15_000;
const POLL_MS = 100;

export interface DemoNode {
  readonly id: number;
  readonly endpoint: string;
  readonly dir: string;
  process: ChildProcess | null;
}

export class DemoCluster {
  readonly nodes: readonly DemoNode[];
  readonly #root: string;

  private constructor(root: string, ports: readonly number[]) {
    this.#root = root;
    this.nodes = ports.map((port, at) => {
      const dir = join(root, `node${at + 1}`);
      return { id: at + 1, endpoint: `127.0.0.1:${port}`, dir, process: null };
    });
  }

  static async start(): Promise<DemoCluster> {
    const root = mkdtempSync(join(tmpdir(), "balsa-demo-"));
    const cluster = new DemoCluster(root, await freePorts(COUNT));
    process.once("exit", () => cluster.#cleanUp());
    for (const node of cluster.nodes) cluster.startNode(node);
    return cluster;
  }

  get endpoints(): string[] {
    return this.nodes.map((node) => node.endpoint);
  }

  startNode(node: DemoNode): void {
    const peers = this.nodes.map(({ id, endpoint }) => `${id}=${endpoint}`).join(",");
    const flags = ["--id", `${node.id}`, "--dir", node.dir, "--listen", node.endpoint];
    const more = ["--peers", peers, "--until-eof", "--log-format", "text", "--log-level", "info"];
    const log = openSync(this.#logFile(node), "a");
    // Standard input is a pipe: its end tells the node that the demo is gone, also after SIGKILL.
    const child = spawn(process.execPath, [MAIN, "serve", ...flags, ...more], {
      stdio: ["pipe", "ignore", log],
      detached: true,
    });
    closeSync(log);
    child.stdin?.on("error", () => {});
    child.once("exit", () => {
      if (node.process === child) node.process = null;
    });
    node.process = child;
  }

  /** Waits for a leader that all nodes follow. */
  async ready(db: Database): Promise<NodeStatus> {
    const leader = await this.until(READY_MS_MAX, "no leader was elected", async () => {
      const status = await db.status();
      const found = leaderOf(status);
      const all = status.nodes.every(
        ({ status }) => status !== null && status.leader === found?.id,
      );
      return all ? found : null;
    });
    return leader;
  }

  /** Waits until every node has applied all that is committed. */
  async caughtUp(db: Database, limitMs: number): Promise<void> {
    await this.until(limitMs, "the nodes did not catch up", async () => {
      const status = await db.status();
      const newest = Math.max(...status.nodes.map(({ status }) => status?.commitIndex ?? 0));
      const all = status.nodes.every(({ status }) => status?.appliedIndex === newest);
      return all && leaderOf(status) !== null ? true : null;
    });
  }

  /** Stops all nodes in order, so that their files can be looked at. */
  async stop(): Promise<void> {
    for (const node of this.nodes) node.process?.kill("SIGTERM");
    await this.until(STOP_MS_MAX, "the nodes did not stop", async () => {
      return this.nodes.every((node) => node.process === null) ? true : null;
    });
  }

  /** Asks again and again; a node that has ended by itself meanwhile is an error with its last words. */
  async until<T>(limitMs: number, failure: string, ask: () => Promise<T | null>): Promise<T> {
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
  lastWords(): string {
    const parts = this.nodes.map((node) => {
      const lines = readText(this.#logFile(node)).trimEnd().split("\n").slice(-10);
      return `--- node ${node.id}\n${lines.join("\n")}`;
    });
    return parts.join("\n");
  }

  #logFile(node: DemoNode): string {
    return join(this.#root, `node${node.id}.log`);
  }

  #cleanUp(): void {
    for (const node of this.nodes) node.process?.kill("SIGKILL");
    rmSync(this.#root, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
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

/** A client of one node alone. */
export function connectTo(node: DemoNode): Database {
  return connect({ endpoints: [node.endpoint], discover: false });
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Held all at once, so that they differ. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = servers.map((server) => {
    return new Promise<number>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", () => {
        const address = server.address();
        resolve(typeof address === "object" && address !== null ? address.port : 0);
      });
    });
  });
  const free = await Promise.all(ports);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return free;
}
