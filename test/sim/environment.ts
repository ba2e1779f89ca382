/** What one simulated process sees of time and dice. When it dies its timers die; while paused they wait. */

import type { Environment, Logger, Timer } from "../../src/node/ports.ts";
import type { Prng } from "./prng.ts";
import type { Scheduler } from "./scheduler.ts";

export class SimEnvironment implements Environment {
  alive = true;
  /** Added to the wall clock: nodes' clocks differ and jump. */
  wallOffsetMs = 0;
  /** What became due while the process was stopped; null when it runs. */
  #held: (() => void)[] | null = null;
  readonly #scheduler: Scheduler;
  readonly #dice: Prng;

  constructor(scheduler: Scheduler, dice: Prng) {
    this.#scheduler = scheduler;
    this.#dice = dice;
  }

  monotonicMs(): number {
    return this.#scheduler.nowMs;
  }

  wallMs(): number {
    return Math.floor(1_700_000_000_000 + this.#scheduler.nowMs + this.wallOffsetMs);
  }

  random(): number {
    return this.#dice.next();
  }

  after(delayMs: number, run: () => void): Timer {
    let cancelled = false;
    this.#scheduler.after(delayMs, () => {
      this.run(() => {
        if (!cancelled) run();
      });
    });
    return {
      cancel: () => {
        cancelled = true;
      },
    };
  }

  soon(run: () => void): void {
    this.after(0, run);
  }

  /** Runs now if the process runs, later if it is paused, never if it is dead. */
  run(work: () => void): void {
    if (!this.alive) return;
    if (this.#held === null) work();
    else this.#held.push(work);
  }

  pause(): void {
    this.#held ??= [];
  }

  resume(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const work of held) this.#scheduler.after(0, () => this.run(work));
  }
}

/** Keeps the last lines for a failing seed's report. */
export class SimLogger implements Logger {
  readonly #lines: string[];
  readonly #label: () => string;

  constructor(lines: string[], label: () => string) {
    this.#lines = lines;
    this.#label = label;
  }

  debug(): void {}

  info(facts: object, message: string): void {
    this.#line(facts, message);
  }

  warn(facts: object, message: string): void {
    this.#line(facts, message);
  }

  error(facts: object, message: string): void {
    this.#line(facts, message);
  }

  #line(facts: object, message: string): void {
    this.#lines.push(`${this.#label()} ${message} ${JSON.stringify(facts)}`);
    if (this.#lines.length > 2_000) this.#lines.splice(0, 1_000);
  }
}
