/** The adversary: crashes, restarts, pauses and cuts at random, and worse weather on the network from time to time. */

import type { Prng } from "./prng.ts";
import type { World } from "./world.ts";

export interface FaultCounts {
  crashes: number;
  pauses: number;
  cuts: number;
  storms: number;
}

export class Adversary {
  readonly counts: FaultCounts = { crashes: 0, pauses: 0, cuts: 0, storms: 0 };
  readonly #world: World;
  readonly #dice: Prng;
  #active = true;

  constructor(world: World, dice: Prng) {
    this.#world = world;
    this.#dice = dice;
  }

  start(): void {
    this.#plan();
  }

  /** No more faults; whatever is broken is mended: the liveness phase. */
  heal(): void {
    this.#active = false;
    const world = this.#world;
    world.network.faults = { loss: 0, duplicate: 0, straggle: 0, latencyMs: 1 };
    for (const host of world.hosts) {
      world.resume(host);
      world.start(host);
    }
    world.network.heal();
  }

  #plan(): void {
    this.#world.scheduler.after(50 + this.#dice.next() * 600, () => {
      if (!this.#active) return;
      this.#strike();
      this.#plan();
    });
  }

  #strike(): void {
    switch (this.#dice.below(6)) {
      case 0:
      case 1:
        return this.#crash();
      case 2:
        return this.#pause();
      case 3:
        return this.#cut();
      case 4:
        return this.#storm();
      default:
        return this.#world.network.heal();
    }
  }

  /** One, or now and then all at once. */
  #crash(): void {
    const world = this.#world;
    const victims = this.#dice.chance(0.15) ? world.hosts : [this.#dice.pick(world.hosts)];
    for (const host of victims) {
      if (host.life !== null) this.counts.crashes += 1;
      world.crash(host);
      // Now and then for longer than the others' logs reach back.
      const awayMs = this.#dice.chance(0.15) ? 6_000 : 1_500;
      world.scheduler.after(20 + this.#dice.next() * awayMs, () => world.start(host));
    }
  }

  #pause(): void {
    const world = this.#world;
    const host = this.#dice.pick(world.hosts);
    this.counts.pauses += 1;
    world.pause(host);
    world.scheduler.after(this.#dice.next() * 2_500, () => world.resume(host));
  }

  /** A node alone, a pair, or one direction only. */
  #cut(): void {
    const { network, hosts } = this.#world;
    const victim = this.#dice.pick(hosts);
    this.counts.cuts += 1;
    const kind = this.#dice.below(3);
    for (const { id } of hosts) {
      if (id === victim.id) continue;
      if (kind === 0) network.cutBothWays(victim.id, id);
      else if (kind === 1) network.cut.add(`${victim.id}>${id}`);
      else if (this.#dice.chance(0.5)) network.cut.add(`${id}>${victim.id}`);
    }
  }

  #storm(): void {
    this.counts.storms += 1;
    this.#world.network.faults = {
      loss: this.#dice.next() * 0.3,
      duplicate: this.#dice.next() * 0.3,
      straggle: this.#dice.next() * 0.2,
      latencyMs: 0.2 + this.#dice.next() * 20,
    };
  }
}
