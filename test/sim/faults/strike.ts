/** What a fault is given: the world to break, dice of its own, and ways to end by itself. */

import type { Host } from "../host.ts";
import type { Prng } from "../prng.ts";
import type { World } from "../world.ts";

export interface Strike {
  readonly world: World;
  /** Of this strike alone: leaving another one out changes nothing here. */
  readonly dice: Prng;
  /** Breaks more, later: not once the faults are over. */
  later(delayMs: number, run: () => void): void;
  /** Mends, later: also when the faults are over. */
  mend(delayMs: number, run: () => void): void;
}

/** One that takes part now: anybody, rather than only those who run. */
export function anyHost({ world, dice }: Strike): Host {
  return dice.pick(world.hosts);
}

/** Two different ones; null if there is only one. */
export function anyPair({ world, dice }: Strike): readonly [Host, Host] | null {
  if (world.hosts.length < 2) return null;
  const first = dice.pick(world.hosts);
  const second = dice.pick(world.hosts.filter((host) => host !== first));
  return [first, second];
}

/** In random order. */
export function shuffled<T>(items: readonly T[], dice: Prng): T[] {
  const order = [...items];
  for (let at = order.length - 1; at > 0; at -= 1) {
    const other = dice.below(at + 1);
    [order[at], order[other]] = [order[other] as T, order[at] as T];
  }
  return order;
}
