/** What the log's tests share: a log on a simulated disk in virtual time, and a model of what it must hold. */

import { expect } from "vitest";
import { type OpenLogOptions, openLogNow } from "../../src/log/open-log.ts";
import type { SegmentedLog } from "../../src/log/segmented-log.ts";
import type { Entry, EntryKind, HardState } from "../../src/raft/entry.ts";
import { SimulatedDisk } from "../sim/disk.ts";
import { Prng } from "../sim/prng.ts";
import { Scheduler } from "../sim/scheduler.ts";

export const DIR = "log";

export class Bench {
  readonly scheduler = new Scheduler();
  readonly disk: SimulatedDisk;
  readonly dice: Prng;

  constructor(seed = 1, disk?: SimulatedDisk) {
    this.dice = new Prng(seed, "log");
    const options = {
      random: () => this.dice.next(),
      schedule: (delayMs: number, run: () => void): void => {
        this.scheduler.after(delayMs, run);
      },
    };
    this.disk = disk === undefined ? new SimulatedDisk(options) : disk.clone(options);
  }

  open(options: Partial<OpenLogOptions> = {}): SegmentedLog {
    const { disk } = this;
    const random = (): number => this.dice.next();
    return openLogNow({ dir: DIR, nodeId: 1, disk, random, segmentBytes: 2048, ...options });
  }

  /** Runs what happens next; false if nothing is under way. */
  step(): boolean {
    return this.scheduler.step(this.scheduler.nowMs + 10_000);
  }

  /** Runs until nothing is under way. */
  run(): void {
    while (this.step());
  }

  close(log: SegmentedLog): void {
    let closed = false;
    log.close(() => {
      closed = true;
    });
    this.run();
    if (!closed) throw new Error("the log did not close");
  }

  append(log: SegmentedLog, hardState: HardState | null, entries: readonly Entry[]): void {
    let isDurable = false;
    log.append(hardState, entries, () => {
      isDurable = true;
    });
    this.run();
    if (!isDurable) throw new Error("the append did not become durable");
  }
}

export function entry(
  index: number,
  term: number,
  payload: Uint8Array | string = `entry ${index} of term ${term}`,
  kind: EntryKind = "command",
): Entry {
  return { index, term, kind, payload: Buffer.from(payload) };
}

export function hard(currentTerm: number, votedFor = 0, commitIndex = 0): HardState {
  return { currentTerm, votedFor, commitIndex };
}

export interface Step {
  readonly hardState: HardState | null;
  readonly entries: readonly Entry[];
}

/** One line an entry. */
export function describeEntry({ index, term, kind, payload }: Entry): string {
  return `${index}/${term} ${kind} ${Buffer.from(payload).toString("latin1")}`;
}

function describe(hardState: HardState, lines: readonly string[]): string {
  const { currentTerm, votedFor } = hardState;
  const commitIndex = Math.min(hardState.commitIndex, lines.length);
  return [`${currentTerm} ${votedFor} ${commitIndex}`, ...lines].join("\n");
}

/** All that a log says of itself after opening, as text. Of a log that was never compacted. */
export function contentOf(log: SegmentedLog): string {
  const last = log.lastIndex();
  const entries = last === 0 ? [] : log.entries(1, last + 1, Number.MAX_SAFE_INTEGER);
  return describe(log.hardState, entries.map(describeEntry));
}

/** What a log must hold after each part of each step: a hard state or an entry is a part, stored as a whole. */
export class Model {
  readonly states: string[] = [];
  /** Number of parts up to and including step i. */
  readonly partsThrough: number[] = [];
  #hardState: HardState = hard(0);
  readonly #lines: string[] = [];

  constructor() {
    this.#note();
  }

  add(step: Step): void {
    if (step.hardState !== null) {
      this.#hardState = step.hardState;
      this.#note();
    }
    for (const item of step.entries) {
      this.#lines.length = item.index - 1;
      this.#lines.push(describeEntry(item));
      this.#note();
    }
    this.partsThrough.push(this.states.length - 1);
  }

  /** Parts contained in the first `steps` steps. */
  parts(steps: number): number {
    return steps === 0 ? 0 : (this.partsThrough[steps - 1] as number);
  }

  get now(): string {
    return this.states.at(-1) as string;
  }

  #note(): void {
    this.states.push(describe(this.#hardState, this.#lines));
  }
}

/** Entries and hard states as a follower in bad luck sees them: small, large, empty, zero, and overwritten suffixes. */
export function script(seed: number, entryCount: number, sizeMax = 260): Step[] {
  const dice = new Prng(seed, "script");
  const below = (n: number): number => Math.floor(dice.next() * n);
  const steps: Step[] = [];
  let last = 0;
  let term = 1;
  let commit = 0;
  let made = 0;
  while (made < entryCount) {
    let hardState: HardState | null = null;
    if (steps.length === 0 || below(4) === 0) {
      if (below(3) === 0) term += 1;
      commit = Math.min(last, commit + below(3));
      hardState = hard(term, below(4), commit);
    }
    const entries: Entry[] = [];
    if (below(8) === 0 && last > commit) last = commit + below(last - commit);
    for (let count = below(4); count > 0; count -= 1) {
      last += 1;
      made += 1;
      entries.push(entry(last, term, payload(below, sizeMax), below(9) === 0 ? "noop" : "command"));
    }
    steps.push({ hardState, entries });
  }
  return steps;
}

function payload(below: (n: number) => number, sizeMax: number): Buffer {
  switch (below(12)) {
    case 0:
      return Buffer.alloc(0);
    case 1:
      return Buffer.alloc(below(4 * sizeMax));
    case 2: {
      const sparse = Buffer.alloc(2 * sizeMax);
      sparse[below(sparse.length)] = 1 << below(8);
      return sparse;
    }
    case 3:
      return Buffer.alloc(below(5 * sizeMax), "x");
    default:
      return Buffer.from(Array.from({ length: below(sizeMax) }, () => below(256)));
  }
}

/** What `run` throws. */
export function caught(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return expect.unreachable("nothing was thrown");
}
