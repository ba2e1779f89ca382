/**
 * What one simulated process sees of time and dice. When it dies its timers die; while paused they wait. Its clocks are
 * its own: the monotonic one runs a little too fast or too slow, the wall clock is off and jumps.
 */

import type { Environment, Logger, Timer } from "../../src/node/ports.ts";
import type { Prng } from "./prng.ts";
import type { Scheduler } from "./scheduler.ts";

export class SimEnvironment implements Environment {
  alive = true;
  /** Added to the wall clock: nodes' clocks differ and jump. */
  wallOffsetMs = 0;
  readonly #scheduler: Scheduler;
  readonly #dice: Prng;
  /** What became due while the process was stopped; null when it runs. */
  #held: (() => void)[] | null = null;
  /** The monotonic clock stood at `#baseMs` when the true time was `#sinceMs`, and has run at `#rate` since. */
  #rate = 1;
  #baseMs = 0;
  #sinceMs = 0;

  constructor(scheduler: Scheduler, dice: Prng) {
    this.#scheduler = scheduler;
    this.#dice = dice;
  }

  /** 1: true time. Timers that run already keep their end. */
  drift(rate: number): void {
    this.#baseMs = this.monotonicMs();
    this.#sinceMs = this.#scheduler.nowMs;
    this.#rate = rate;
  }

  monotonicMs(): number {
    return this.#baseMs + (this.#scheduler.nowMs - this.#sinceMs) * this.#rate;
  }

  wallMs(): number {
    return Math.floor(1_700_000_000_000 + this.#scheduler.nowMs + this.wallOffsetMs);
  }

  random(): number {
    return this.#dice.next();
  }

  after(delayMs: number, run: () => void): Timer {
    return new SimTimer(this, this.#scheduler, delayMs / this.#rate, run);
  }

  soon(run: () => void): void {
    this.#scheduler.after(0, () => this.run(run));
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

class SimTimer implements Timer {
  #work: (() => void) | null;

  constructor(
    environment: SimEnvironment,
    scheduler: Scheduler,
    delayMs: number,
    work: () => void,
  ) {
    this.#work = work;
    scheduler.after(delayMs, () => {
      if (this.#work !== null) environment.run(() => this.#work?.());
    });
  }

  cancel(): void {
    this.#work = null;
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
