/** One `balsa serve` process under a test's control. Signals go to this process alone, by its id. */

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The built command, also when this file runs from its source. */
const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

/** The nodes share one machine: helper threads of V8's collectors take from the others what they give to one. */
const V8_FLAGS = ["--single-threaded-gc"];

export interface NodeProcessOptions {
  readonly id: number;
  /** Where clients reach it, HOST:PORT on loopback. */
  readonly endpoint: string;
  /** Its data directory. */
  readonly dir: string;
  /** What it writes to standard error goes to the end of this file. */
  readonly logFile: string;
  /** HOST:PORT by id, as this node sees its peers; null: it waits until a cluster adds it. */
  readonly peers: ReadonlyMap<number, string> | null;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

export class NodeProcess {
  readonly options: NodeProcessOptions;
  #child: ChildProcess | null = null;
  #exited: Promise<void> = Promise.resolve();

  constructor(options: NodeProcessOptions) {
    this.options = options;
  }

  get id(): number {
    return this.options.id;
  }

  get endpoint(): string {
    return this.options.endpoint;
  }

  get dir(): string {
    return this.options.dir;
  }

  /** null when it does not run. */
  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** Does nothing if it runs. `more`: flags for this run only. */
  start(more: readonly string[] = []): void {
    if (this.#child !== null) return;
    const { id, dir, endpoint, peers, logFile, args, env } = this.options;
    const list = [...(peers ?? [])].map(([peer, address]) => `${peer}=${address}`).join(",");
    const who = peers === null ? ["--join"] : ["--peers", list];
    const flags = ["--id", `${id}`, "--dir", dir, "--listen", endpoint, ...who];
    const log = openSync(logFile, "a");
    // Standard input is a pipe: its end tells the node that the test is gone, also after SIGKILL.
    const child = spawn(
      process.execPath,
      [...V8_FLAGS, MAIN, "serve", ...flags, "--until-eof", ...args, ...more],
      {
        stdio: ["pipe", "ignore", log],
        env: { ...process.env, ...env },
        // A Ctrl-C in the terminal is for the test, which ends its nodes itself.
        detached: true,
      },
    );
    closeSync(log);
    child.stdin?.on("error", () => {});
    this.#child = child;
    this.#exited = new Promise((resolve) => {
      const gone = () => {
        if (this.#child === child) this.#child = null;
        resolve();
      };
      child.once("exit", gone);
      child.once("error", gone);
    });
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.#exited;
  }

  /** SIGTERM: an orderly end. */
  async stop(): Promise<void> {
    this.signal("SIGTERM");
    await this.#exited;
  }

  /** The last lines that it logged. */
  lastWords(lines = 10): string {
    try {
      const text = readFileSync(this.options.logFile, "utf8");
      return text.trimEnd().split("\n").slice(-lines).join("\n");
    } catch {
      return "";
    }
  }
}
