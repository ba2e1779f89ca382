/**
 * The adversary: one strike after the other, at random times, of the kinds that this seed has (not every seed has all:
 * faults that are rare beside others get their chance). Each strike has dice of its own, so that a failing seed can be
 * tried again without some of them.
 */

import { Prng } from "../prng.ts";
import type { World } from "../world.ts";
import { clog, cut, heal, replay, reset, slowLink, storm } from "./network-faults.ts";
import { clock, crash, pause, wipe } from "./process-faults.ts";
import { failDisk, fillDisk, garble, hangDisk, plant, rot, slowDisk } from "./storage-faults.ts";
import type { Strike } from "./strike.ts";
import { upgrade } from "./upgrades.ts";

const FAULTS = {
  crash,
  pause,
  clock,
  wipe,
  upgrade,
  cut,
  heal,
  storm,
  clog,
  "slow-link": slowLink,
  replay,
  reset,
  "slow-disk": slowDisk,
  "hang-disk": hangDisk,
  "full-disk": fillDisk,
  "failing-disk": failDisk,
  rot,
  garble,
  plant,
} as const;

export type FaultKind = keyof typeof FAULTS;
export const FAULT_KINDS = Object.keys(FAULTS) as FaultKind[];

/** What a run can do without. */
export const OPTIONAL: readonly string[] = [...FAULT_KINDS, "operator"];

/** How often, compared with others. */
const WEIGHTS: { readonly [kind in FaultKind]?: number } = {
  crash: 6,
  cut: 5,
  heal: 3,
  pause: 2,
  upgrade: 2,
  plant: 3,
  storm: 2,
};
/** Without these a run shows little. */
const ALWAYS: ReadonlySet<FaultKind> = new Set(["crash", "heal"]);

export interface Choice {
  /** Kinds that this run does without. */
  readonly without?: ReadonlySet<string>;
  /** Numbers of the strikes that happen, from 1; default: all. */
  readonly only?: ReadonlySet<number>;
}

export class Adversary {
  /** What struck, in order: number and kind. */
  readonly struck: { readonly number: number; readonly kind: FaultKind }[] = [];
  readonly #world: World;
  readonly #seed: number;
  readonly #dice: Prng;
  readonly #choice: Choice;
  readonly #deck: readonly FaultKind[];
  #number = 0;
  #active = true;

  constructor(world: World, seed: number, choice: Choice) {
    this.#world = world;
    this.#seed = seed;
    this.#choice = choice;
    this.#dice = new Prng(seed, "faults");
    const kinds = FAULT_KINDS.filter((kind) => ALWAYS.has(kind) || this.#dice.chance(0.6));
    this.#deck = kinds.flatMap((kind) => Array<FaultKind>(WEIGHTS[kind] ?? 1).fill(kind));
  }

  start(): void {
    this.#plan();
  }

  stop(): void {
    this.#active = false;
  }

  #plan(): void {
    const delayMs = 50 + this.#dice.next() * 500;
    const kind = this.#dice.pick(this.#deck);
    this.#number += 1;
    const number = this.#number;
    this.#world.scheduler.after(delayMs, () => {
      if (!this.#active) return;
      this.#plan();
      const { without, only } = this.#choice;
      if (without?.has(kind) || (only !== undefined && !only.has(number))) return;
      this.#strike(number, kind);
    });
  }

  #strike(number: number, kind: FaultKind): void {
    const { scheduler, trace, lines } = this.#world;
    this.struck.push({ number, kind });
    trace.event(kind, scheduler.nowMs);
    lines.push(`${scheduler.nowMs.toFixed(1)} === strike ${number}: ${kind}`);
    const strike: Strike = {
      world: this.#world,
      dice: new Prng(this.#seed, `strike${number}`),
      later: (delayMs, run) => {
        scheduler.after(delayMs, () => {
          if (this.#active) run();
        });
      },
      mend: (delayMs, run) => {
        scheduler.after(delayMs, run);
      },
    };
    FAULTS[kind](strike);
  }
}
