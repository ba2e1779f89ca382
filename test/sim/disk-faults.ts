/**
 * What goes wrong with one simulated disk: it is slow, it hangs, it refuses, it is full, it changes what it holds. It
 * decides nothing: the adversary does. The disk itself knows how to lose what was not synced (disk.ts).
 */

import { type Operation, SimulatedDisk } from "./disk.ts";
import { DiskError } from "./disk-error.ts";
import type { Prng } from "./prng.ts";
import type { Scheduler } from "./scheduler.ts";

const SECTOR = 512;

/** How a durable sector changes. */
export type Rot = "bit" | "lost" | "misdirected";

interface Failing {
  readonly operations: readonly Operation[];
  left: number;
}

export class DiskFaults {
  readonly disk: SimulatedDisk;
  /** Mean of the time added to each operation, milliseconds. */
  slowMs = 0;
  /** Chance that an operation takes much longer. */
  tail = 0;
  isFull = false;
  /** Of a power cut: the chance that a sector which was being written holds garbage. */
  garble = 0;
  /** Operations refused since the process began. */
  refusals = { EIO: 0, ENOSPC: 0 };
  /** Sectors that a power cut left as garbage, ever. */
  garbled = 0;
  onCompleted: (operation: Operation) => void = () => {};
  readonly #scheduler: Scheduler;
  readonly #dice: Prng;
  /** Completions that wait while the disk hangs; null when it answers. */
  #held: (() => void)[] | null = null;
  #failing: Failing | null = null;

  constructor(scheduler: Scheduler, dice: Prng, run: (work: () => void) => void) {
    this.#scheduler = scheduler;
    this.#dice = dice;
    this.disk = new SimulatedDisk({
      random: () => dice.next(),
      schedule: (delayMs, work, kind) => {
        const perform = (): void => run(work);
        if (kind === "operation") this.#complete(delayMs, perform);
        else scheduler.after(delayMs, perform);
      },
    });
    this.disk.onOperation = (operation, path) => this.#judge(operation, path);
    this.disk.onCompleted = (operation) => this.onCompleted(operation);
  }

  get hangs(): boolean {
    return this.#held !== null;
  }

  hang(): void {
    this.#held ??= [];
  }

  /** What waited completes, in order. */
  answer(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const run of held) this.#scheduler.after(0, run);
  }

  /** The next so many writes or syncs fail with EIO. */
  fail(what: "write" | "sync", times: number): void {
    const operations: Operation[] = what === "write" ? ["write", "writeDurably"] : ["sync"];
    this.#failing = { operations: [...operations, "syncDirectory"], left: times };
  }

  /** The next life starts with a disk that does as it is told, if slowly. */
  restarted(): void {
    this.refusals = { EIO: 0, ENOSPC: 0 };
    this.#failing = null;
  }

  mend(): void {
    this.slowMs = 0;
    this.tail = 0;
    this.isFull = false;
    this.garble = 0;
    this.#failing = null;
    this.answer();
  }

  powerCut(): void {
    const { garble } = this;
    if (garble === 0) return this.disk.crash();
    this.disk.crash({
      sector: (_path, _sector, states) => {
        if (!this.#dice.chance(garble)) return this.#dice.below(states);
        this.garbled += 1;
        return -1;
      },
    });
  }

  /** Changes one durable sector of the log; false if there is none. */
  rot(kind: Rot): boolean {
    const { disk } = this;
    const segments = disk.paths().filter((path) => path.endsWith(".wal"));
    if (segments.length === 0) return false;
    const path = this.#dice.pick(segments);
    const bytes = disk.content(path);
    // Of the last write nobody can tell, when it is gone as a whole, whether it had ever reached the disk.
    const last = Math.floor((disk.lastWriteAt(path) ?? 0) / SECTOR) * SECTOR;
    const written = kind === "bit" ? lastWritten(bytes) : last;
    if (written === 0) return false;
    const at = this.#dice.below(written);
    if (kind === "bit") {
      disk.flipBit(path, at, this.#dice.below(8));
      return true;
    }
    const sector = at - (at % SECTOR);
    const from = this.#dice.below(Math.ceil(written / SECTOR)) * SECTOR;
    const other = kind === "lost" ? new Uint8Array(SECTOR) : bytes.slice(from, from + SECTOR);
    const before = bytes.subarray(sector, sector + SECTOR);
    if (Buffer.compare(before, other) === 0) return false;
    disk.damage(path, sector, other);
    return true;
  }

  #complete(delayMs: number, run: () => void): void {
    this.#scheduler.after(delayMs, () => {
      if (this.#held === null) run();
      else this.#held.push(run);
    });
  }

  #judge(operation: Operation, path: string): Error | number | null {
    const failing = this.#failing;
    if (failing !== null && failing.left > 0 && failing.operations.includes(operation)) {
      failing.left -= 1;
      this.refusals.EIO += 1;
      return new DiskError("EIO", operation, path, this.#dice.chance(0.5));
    }
    if (this.isFull && (operation === "create" || operation === "write")) {
      this.refusals.ENOSPC += 1;
      return new DiskError("ENOSPC", operation, path);
    }
    const tailMs = this.tail > 0 && this.#dice.chance(this.tail) ? this.#dice.next() * 400 : 0;
    // Exponential: most are quick, some are not.
    return this.slowMs === 0 ? tailMs : tailMs - Math.log(1 - this.#dice.next()) * this.slowMs;
  }
}

/** Behind it there are zeros only. */
function lastWritten(bytes: Uint8Array): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  return end;
}
