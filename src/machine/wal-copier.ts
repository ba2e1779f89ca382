/**
 * The copier as its writer sees it: a thread of the writer's process, started when it is first needed. The two speak through a
 * word of shared memory, as the writer never returns to an event loop. It dies with the process, in whatever it does.
 */

import { Worker } from "node:worker_threads";
import { identifyFiles } from "./wal-copy.ts";

/** Places in `control`. */
export const STATE = 0;
export const STOPPING = 1;
const HELD_PAGES = 2;
const REASON_BYTES = 3;

/** The writer sets COPYING, also to be heard when it stops the thread, and the thread all others. */
const RESTING = 0;
export const COPYING = 1;
export const FAILED = 2;
export const CLOSED = 3;

const REASON_BYTES_MAX = 1_024;

/** What the thread is given. */
export interface CopierMemory {
  readonly path: string;
  /** See `identifyFiles`. */
  readonly files: string;
  readonly control: Int32Array;
  /** Why it failed last, as UTF-8. */
  readonly reason: Uint8Array;
}

export interface Copier {
  readonly state: "resting" | "copying" | "failed";
  /** Why it failed last. */
  readonly reason: string;
  /** Of the WAL, what readers kept the last pass from copying. */
  readonly heldPages: number;
  /** Beside the writer: a pass over what is in the WAL now. Does nothing while it copies. To be called outside a transaction. */
  begin(): void;
  /** Blocks while it copies. False: it still does after so long. */
  wait(msMax: number): boolean;
  /** Closes its connection, for good. False: it has not within that time. */
  stop(msMax: number): boolean;
}

export interface WalCopierParts {
  /** Of the database. */
  readonly path: string;
  /** @throws FileChanged if its names do not lead to the files that the writer has open */
  demandSameFiles(): void;
  /** Another program instead of the built thread, for tests. */
  readonly program?: URL;
}

export class WalCopier implements Copier {
  readonly #parts: WalCopierParts;
  readonly #control = new Int32Array(new SharedArrayBuffer(16));
  readonly #reason = new Uint8Array(new SharedArrayBuffer(REASON_BYTES_MAX));
  #thread: Worker | null = null;

  constructor(parts: WalCopierParts) {
    this.#parts = parts;
  }

  get state(): Copier["state"] {
    const state = Atomics.load(this.#control, STATE);
    if (state === COPYING) return "copying";
    return state === FAILED ? "failed" : "resting";
  }

  get reason(): string {
    const length = Atomics.load(this.#control, REASON_BYTES);
    return Buffer.from(this.#reason.slice(0, length)).toString();
  }

  get heldPages(): number {
    return Atomics.load(this.#control, HELD_PAGES);
  }

  begin(): void {
    const state = Atomics.load(this.#control, STATE);
    if (state === COPYING || state === CLOSED) return;
    Atomics.store(this.#control, STATE, COPYING);
    if (this.#thread === null) this.#start();
    else Atomics.notify(this.#control, STATE);
  }

  wait(msMax: number): boolean {
    if (this.state === "copying") Atomics.wait(this.#control, STATE, COPYING, msMax);
    return this.state !== "copying";
  }

  stop(msMax: number): boolean {
    if (this.#thread === null) return true;
    const endMs = performance.now() + msMax;
    Atomics.store(this.#control, STOPPING, 1);
    for (;;) {
      this.begin();
      if (Atomics.load(this.#control, STATE) === CLOSED) return true;
      const leftMs = endMs - performance.now();
      if (leftMs <= 0) return false;
      Atomics.wait(this.#control, STATE, COPYING, leftMs);
    }
  }

  #start(): void {
    const { path, demandSameFiles, program } = this.#parts;
    demandSameFiles();
    const memory: CopierMemory = {
      path,
      files: identifyFiles(path),
      control: this.#control,
      reason: this.#reason,
    };
    try {
      this.#thread = new Worker(program ?? new URL("./copier-thread.js", import.meta.url), {
        workerData: memory,
        // It runs a few lines of JavaScript a second.
        resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 1, stackSizeMb: 1 },
        // Its file must stay open when it ends.
        trackUnmanagedFds: false,
      });
      this.#thread.unref();
    } catch (error) {
      setFailed(memory, error);
    }
  }
}

export function setPassed(memory: CopierMemory, heldPages: number): void {
  Atomics.store(memory.control, HELD_PAGES, heldPages);
  setState(memory, RESTING);
}

/** Told to whoever waits. */
export function setState({ control }: CopierMemory, state: number): void {
  Atomics.store(control, STATE, state);
  Atomics.notify(control, STATE);
}

export function setFailed(memory: CopierMemory, error: unknown): void {
  const text = error instanceof Error ? error.message : String(error);
  const { written } = new TextEncoder().encodeInto(text, memory.reason);
  Atomics.store(memory.control, REASON_BYTES, written);
  setState(memory, FAILED);
}
