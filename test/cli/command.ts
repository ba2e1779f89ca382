/** The built command as a child process, with what it printed. Every process started here is killed by `killAll`. */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";

export const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const WAIT_MS_MAX = 30_000;
const POLL_MS = 20;

const started = new Set<RunningCommand>();

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class RunningCommand {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  out = "";
  err = "";

  constructor(argv: readonly string[], input: "pipe" | "ignore" = "ignore") {
    if (!existsSync(MAIN)) throw new Error("dist/ is not built: npm run build");
    this.child = spawn(process.execPath, [MAIN, ...argv], { stdio: [input, "pipe", "pipe"] });
    this.child.stdout?.on("data", (chunk) => {
      this.out += chunk;
    });
    this.child.stderr?.on("data", (chunk) => {
      this.err += chunk;
    });
    this.ended = new Promise((resolve) => {
      this.child.once("close", (code, signal) => {
        started.delete(this);
        resolve({ code, signal });
      });
    });
    started.add(this);
  }

  get pid(): number {
    const { pid } = this.child;
    if (pid === undefined) throw new Error("not started");
    return pid;
  }

  /** Waits until standard output and error together match. */
  async prints(pattern: RegExp): Promise<RegExpMatchArray> {
    let found: RegExpMatchArray | null = null;
    await until(
      () => {
        found = `${this.out}\n${this.err}`.match(pattern);
        return found !== null;
      },
      () => `${pattern} was not printed:\n${this.out}\n${this.err}`,
    );
    return found as unknown as RegExpMatchArray;
  }
}

/** Runs to the end. */
export async function balsa(...argv: readonly string[]) {
  const command = new RunningCommand(argv);
  const { code } = await command.ended;
  return { code, out: command.out, err: command.err };
}

export function killAll(): void {
  for (const command of started) command.child.kill("SIGKILL");
}

export async function until(
  condition: () => boolean | Promise<boolean>,
  failure: () => string,
): Promise<void> {
  const end = performance.now() + WAIT_MS_MAX;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(failure());
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** The first of `count` ports in a row that are free now. */
export async function freePorts(count: number): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const first = 20_000 + Math.floor(Math.random() * 10_000);
    const free = await Promise.all(Array.from({ length: count }, (_, at) => isFree(first + at)));
    if (free.every(Boolean)) return first;
  }
  throw new Error("no free ports found");
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
