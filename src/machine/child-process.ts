/**
 * A child process as its node sees it: started, spoken to in frames, poked when it is silent, killed, and its end
 * told once with the reason. Runs on the node's thread and never blocks it. Knows nothing of what the frames mean,
 * and never opens the database.
 */

import { type ChildProcess as NodeChild, spawn } from "node:child_process";
import type { Duplex, Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Logger } from "../node/ports.ts";
import { invariant } from "../sql/invariant.ts";
import { BECOME, FrameBatch, FrameError, FrameParser, type TakeFrame } from "./frames.ts";
import { type ChildArguments, type ChildRole, encodeJson } from "./process-messages.ts";

export interface ChildOptions {
  /** The program and its first arguments; default: this Node and the built entry. */
  readonly command?: readonly string[];
  readonly logger: Logger;
}

export interface ChildEvents {
  readonly frame: TakeFrame;
  /** Once, last, also if the process never started. */
  exited(reason: string): void;
}

/**
 * A young generation grows with its load, so an idle child stays near 45 MiB; the old one is bounded so that a runaway
 * query ends its own process, not the machine's memory.
 */
const V8_FLAGS = ["--max-semi-space-size=8", "--max-old-space-size=1024", "--stack-size=984"];
/** Of what a child says on its standard error, kept to explain its death. */
const STDERR_BYTES_KEPT = 4_096;

export class ChildProcess {
  readonly #options: ChildOptions;
  /** Null until it has a role. */
  #events: ChildEvents | null = null;
  /** Told instead of `exited` if it ends without ever having had a role. */
  unassigned: (reason: string) => void = () => undefined;
  #role: ChildRole | "reserve" = "reserve";
  readonly #batch = new FrameBatch();
  #process: NodeChild | null = null;
  #pipe: Duplex | null = null;
  #watchdog: Duplex | null = null;
  #flushing = false;
  #ended = false;
  /** Why we ended it, if we did. */
  #why = "";
  #stderr = "";

  constructor(options: ChildOptions) {
    this.#options = options;
  }

  /** 0 if it never started. */
  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** Frames of this turn of the event loop are still being gathered. */
  get isGathering(): boolean {
    return this.#flushing;
  }

  /** Bytes of frames that the process has not taken yet. */
  get queuedBytes(): number {
    return this.#batch.bytes + (this.#pipe?.writableLength ?? 0);
  }

  start(): void {
    try {
      this.#spawn();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Gives it its role, once. If it is dead already, `exited` follows all the same. */
  become(given: ChildArguments, events: ChildEvents): void {
    invariant(this.#events === null, `a process that is a ${this.#role} already`);
    this.#events = events;
    this.#role = given.role;
    if (this.#ended) setImmediate(() => events.exited(this.#why));
    else this.send(BECOME, 0, encodeJson(given));
  }

  /** Frames of one turn of the event loop leave in one write. */
  send(type: number, id: number, ...parts: readonly Uint8Array[]): void {
    if (this.#ended || this.#pipe === null) return;
    this.#batch.add(type, id, ...parts);
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => this.#flush());
  }

  /** The process writes what it holds back, even while a query runs, and then a frame of type POKED. */
  poke(): void {
    if (this.#ended || this.#watchdog === null || this.#watchdog.writableLength > 0) return;
    this.#watchdog.write(POKE);
  }

  /** SIGKILL. `why` becomes the reason of the exit, unless it died of something else before. */
  kill(why: string): void {
    if (this.#ended) return;
    if (this.#why === "") this.#why = why;
    this.#process?.kill("SIGKILL");
  }

  /** It said that it is about to end, and why. */
  expectExit(why: string): void {
    this.#why = why;
  }

  #spawn(): void {
    const { command, logger } = this.#options;
    const [program, ...first] = command ?? [process.execPath, ...V8_FLAGS, ENTRY];
    // Pipes 3 and 4 are socket pairs whose other ends close on exec: no other child inherits them.
    const child = spawn(program ?? process.execPath, first, {
      stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"],
      env: environmentOf(),
    });
    this.#process = child;
    child.on("error", (error) => this.#failed(error));
    // Not "exit": answers written before the end are still in the pipe.
    child.once("close", (code, signal) => this.#closed(code, signal));
    const [, , stderr, pipe, watchdog] = child.stdio as unknown as [
      null,
      null,
      Readable | undefined,
      Duplex | undefined,
      Duplex | undefined,
    ];
    if (stderr === undefined || pipe === undefined || watchdog === undefined) return;
    this.#pipe = pipe;
    this.#watchdog = watchdog;
    const parser = new FrameParser((type, id, payload) => {
      if (!this.#ended) this.#events?.frame(type, id, payload);
    });
    pipe.on("data", (chunk: Buffer) => {
      try {
        parser.push(chunk);
      } catch (error) {
        // What the events throw is not ours to judge.
        if (!(error instanceof FrameError)) throw error;
        this.kill(`its answers cannot be read: ${error.message}`);
      }
    });
    watchdog.resume();
    // A pipe breaks when the process dies; its end is told by "close".
    for (const stream of [stderr, pipe, watchdog]) stream.on("error", () => undefined);
    stderr.on("data", (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString()).slice(-STDERR_BYTES_KEPT);
      const text = chunk.toString().trimEnd();
      const facts = { role: this.#role, pid: this.pid, text: text.slice(0, 2_000) };
      logger.warn(facts, "child process says");
    });
  }

  #flush(): void {
    this.#flushing = false;
    const pipe = this.#pipe;
    const buffers = this.#batch.take();
    if (pipe === null || this.#ended || pipe.destroyed) return;
    if (buffers.length > 1) pipe.cork();
    for (const buffer of buffers) pipe.write(buffer);
    if (buffers.length > 1) pipe.uncork();
  }

  #failed(error: unknown): void {
    const why = `cannot start a ${this.#role} process: ${messageOf(error)}`;
    setImmediate(() => this.#end(why));
  }

  #closed(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#why !== "") return this.#end(this.#why);
    const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
    const words = this.#stderr.trim();
    const tail = words === "" ? "" : `: ${words.slice(-500)}`;
    this.#end(`the process ended with ${how}${tail}`);
  }

  #end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#why = reason;
    if (this.#events === null) this.unassigned(reason);
    else this.#events.exited(reason);
  }
}

const POKE = Uint8Array.of(1);

/** Children run the built program, also when the node itself runs from its sources. */
const ENTRY = entryFor(import.meta.url);

function entryFor(here: string): string {
  const base = here.endsWith(".ts")
    ? here.replace(/\/src\/machine\/[^/]*$/, "/dist/machine/")
    : here;
  return fileURLToPath(new URL("./machine-process.js", base));
}

/** Local time does not exist in a child, and Node's own settings for the parent are not for it. */
function environmentOf(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _options, NODE_CHANNEL_FD: _channel, ...rest } = process.env;
  return { ...rest, TZ: "UTC" };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
