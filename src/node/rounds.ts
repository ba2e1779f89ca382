/** What is done again and again, until all of it is stopped. */

import type { Environment, Timer } from "./ports.ts";

export class Rounds {
  readonly #environment: Environment;
  readonly #timers = new Set<{ timer: Timer }>();
  #stopped = false;

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** 0: never. */
  every(intervalMs: number, run: () => void): void {
    if (this.#stopped || intervalMs === 0) return;
    const plan = (): Timer =>
      this.#environment.after(intervalMs, () => {
        if (this.#stopped) return;
        slot.timer = plan();
        run();
      });
    const slot = { timer: plan() };
    this.#timers.add(slot);
  }

  stop(): void {
    this.#stopped = true;
    for (const { timer } of this.#timers) timer.cancel();
  }
}
