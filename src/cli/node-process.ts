/**
 * One `balsa serve` as a child process. It dies with its parent, however that ends: the pipe at its standard input
 * breaks. Terminal signals do not reach it (a process group of its own), so that it is stopped in order.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export interface NodeProcessOptions {
  readonly id: number;
  /** HOST:PORT to listen on. */
  readonly listen: string;
  readonly dir: string;
  /** As `--peers` takes them. */
  readonly peers: string;
  /** Further flags of `balsa serve`. */
  readonly flags: readonly string[];
}

export interface NodeProcessEvents {
  /** A line of its log, or of what else it writes. */
  line(text: string): void;
  /** Last call: the process is gone and every line was told. */
  exited(how: NodeExit): void;
}

export interface NodeExit {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Beside this file: TypeScript when run from the sources, JavaScript when built. */
const MAIN = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "./main.ts" : "./main.js", import.meta.url),
);

/** The nodes share one machine: helper threads of V8's collectors take from the others what they give to one. */
const V8_FLAGS = ["--single-threaded-gc"];

export class NodeProcess {
  readonly options: NodeProcessOptions;
  readonly #events: NodeProcessEvents;
  #child: ChildProcess | null = null;

  constructor(options: NodeProcessOptions, events: NodeProcessEvents) {
    this.options = options;
    this.#events = events;
  }

  /** 0 when it does not run. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#child !== null;
  }

  start(): void {
    const { id, listen, dir, peers, flags } = this.options;
    const own = ["--id", `${id}`, "--listen", listen, "--dir", dir, "--peers", peers];
    const serve = [MAIN, "serve", ...own, "--until-eof", "--log-format", "json", ...flags];
    const child = spawn(process.execPath, [...process.execArgv, ...V8_FLAGS, ...serve], {
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
    });
    this.#child = child;
    child.stdin.on("error", () => {});
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => this.#events.line(line));
    }
    child.once("error", (error) => this.#events.line(`cannot start: ${error.message}`));
    child.once("close", (code, signal) => {
      this.#child = null;
      this.#events.exited({ code, signal });
    });
  }

  /** Asks it to stop in order. */
  stop(): void {
    this.#child?.kill("SIGTERM");
  }

  kill(): void {
    this.#child?.kill("SIGKILL");
  }
}

export function describeExit({ code, signal }: NodeExit): string {
  return signal === null ? `exit status ${code ?? "unknown"}` : signal;
}
