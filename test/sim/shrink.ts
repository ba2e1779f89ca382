/**
 * Makes a failing seed smaller: leaves out kinds of faults, then strikes, then shortens, as long as it still fails in the
 * same way. What is left is what a person reads.
 */

import { type SimOptions, type SimReport, simulate } from "./run.ts";

/** Runs that shrinking may take; each takes a fraction of a second. */
const RUNS_MAX = 150;

export interface Shrunk {
  readonly options: SimOptions;
  readonly report: SimReport;
  readonly runs: number;
}

/** `report`: of `options`, failed. */
export function shrink(options: SimOptions, report: SimReport): Shrunk {
  return new Shrinking(options, report).run();
}

class Shrinking {
  readonly #property: string;
  #options: SimOptions;
  #report: SimReport;
  #runs = 0;

  constructor(options: SimOptions, report: SimReport) {
    this.#options = options;
    this.#report = report;
    this.#property = propertyOf(report);
  }

  run(): Shrunk {
    this.#dropKinds();
    this.#dropTail();
    this.#dropStrikes();
    return { options: this.#options, report: this.#report, runs: this.#runs };
  }

  get #strikes(): number[] {
    return this.#report.strikes.map(({ number }) => number);
  }

  #dropKinds(): void {
    const kinds = new Set([...this.#report.strikes.map(({ kind }) => kind), "operator"]);
    for (const kind of kinds) {
      this.#try({ without: new Set([...(this.#options.without ?? []), kind]) });
    }
  }

  /** The first so many strikes may be enough: bisection. */
  #dropTail(): void {
    const all = this.#strikes;
    let [low, high] = [0, all.length];
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.#try({ only: new Set(all.slice(0, middle)) })) high = middle;
      else low = middle + 1;
    }
  }

  /** Halves, quarters, ... single ones. */
  #dropStrikes(): void {
    for (let size = Math.ceil(this.#strikes.length / 2); size >= 1; size = Math.floor(size / 2)) {
      for (let at = 0; at < this.#strikes.length; ) {
        const all = this.#strikes;
        const rest = [...all.slice(0, at), ...all.slice(at + size)];
        if (!this.#try({ only: new Set(rest) })) at += size;
      }
    }
  }

  #try(change: Partial<SimOptions>): boolean {
    if (this.#runs >= RUNS_MAX) return false;
    this.#runs += 1;
    const options = { ...this.#options, ...change };
    const report = simulate(options);
    if (report.ok || propertyOf(report) !== this.#property) return false;
    this.#options = options;
    this.#report = report;
    return true;
  }
}

/** What failed, without the evidence. */
function propertyOf({ error }: SimReport): string {
  return (error.split("\n")[0] ?? "").split(":").slice(0, 2).join(":").replace(/\d+/g, "#");
}

export function commandOf({ seed, without, only, machine }: SimOptions): string {
  const parts = [`make sim SEED=${seed}`];
  if (without !== undefined && without.size > 0) parts.push(`WITHOUT=${[...without].join(",")}`);
  if (only !== undefined) parts.push(`ONLY=${[...only].join(",") || "0"}`);
  if (machine !== undefined) parts.push(`MACHINE=${machine}`);
  return parts.join(" ");
}
