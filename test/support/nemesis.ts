/**
 * Faults for a cluster under load, in an order that a seed decides. Each does harm for a while and then undoes it; the
 * cluster must have recovered before the next one comes.
 */

import { setTimeout as pause } from "node:timers/promises";
import type { HarshCluster } from "./cluster.ts";
import { CLIENTS } from "./proxy.ts";
import { randomOf } from "./random.ts";

/** Does the harm; what it returns undoes it. */
type Fault = (cluster: HarshCluster, dice: () => number) => Promise<() => Promise<void> | void>;

const pick = <T>(from: readonly T[], dice: () => number): T =>
  from[Math.floor(dice() * from.length)] as T;

const heal = (cluster: HarshCluster) => () => cluster.network.heal();

export const FAULTS = {
  "kill the leader": async (cluster) => {
    const id = await cluster.leader();
    await cluster.kill(id);
    return () => cluster.restart(id);
  },
  "kill a follower": async (cluster, dice) => {
    const id = pick(await cluster.followers(), dice);
    await cluster.kill(id);
    return () => cluster.restart(id);
  },
  "kill the leader and a follower": async (cluster, dice) => {
    const ids = [await cluster.leader(), pick(await cluster.followers(), dice)];
    await cluster.kill(...ids);
    return () => cluster.restart(...ids);
  },
  "kill all": async (cluster) => {
    await cluster.kill(...cluster.ids);
    return () => cluster.restart(...cluster.ids);
  },
  "pause the leader": async (cluster) => {
    const id = await cluster.leader();
    cluster.pause(id);
    return () => cluster.resume(id);
  },
  "pause a follower": async (cluster, dice) => {
    const id = pick(await cluster.followers(), dice);
    cluster.pause(id);
    return () => cluster.resume(id);
  },
  "isolate the leader": async (cluster) => {
    cluster.network.isolate(await cluster.leader());
    return heal(cluster);
  },
  "isolate a follower": async (cluster, dice) => {
    cluster.network.isolate(pick(await cluster.followers(), dice));
    return heal(cluster);
  },
  "isolate the leader, and reset its connections before healing": async (cluster) => {
    cluster.network.isolate(await cluster.leader());
    return () => {
      cluster.network.resetAll();
      cluster.network.heal();
    };
  },
  "nobody hears the leader": async (cluster) => {
    cluster.network.cutOneWay(await cluster.leader(), "from");
    return heal(cluster);
  },
  "the leader hears nobody": async (cluster) => {
    cluster.network.cutOneWay(await cluster.leader(), "to");
    return heal(cluster);
  },
  "cut one link, both ways": async (cluster, dice) => {
    cluster.network.partition([await cluster.leader()], [pick(await cluster.followers(), dice)]);
    return heal(cluster);
  },
  "a slow network": async (cluster, dice) => {
    cluster.network.delayAll(10 + dice() * 70);
    return heal(cluster);
  },
  "a slow leader": async (cluster, dice) => {
    cluster.network.delayFrom(await cluster.leader(), 20 + dice() * 150);
    return heal(cluster);
  },
  "reset all connections between nodes": async (cluster) => {
    cluster.network.resetAll();
    return () => {};
  },
  "reset the clients' connections": async (cluster) => {
    for (const id of cluster.ids) cluster.network.link(CLIENTS, id).reset();
    return () => {};
  },
  "cut the clients off the leader": async (cluster) => {
    cluster.network.link(CLIENTS, await cluster.leader()).cut();
    return heal(cluster);
  },
} satisfies { readonly [name: string]: Fault };

export type FaultName = keyof typeof FAULTS;
export const FAULT_NAMES = Object.keys(FAULTS) as FaultName[];

export interface NemesisOptions {
  readonly seed: number;
  /** How long a fault lasts, in milliseconds. Default 300 to 1,500. */
  readonly durationMs?: readonly [min: number, max: number];
}

export class Nemesis {
  readonly #cluster: HarshCluster;
  readonly #dice: () => number;
  readonly #durationMs: readonly [number, number];
  /** What was done, for a human. */
  readonly done: string[] = [];

  constructor(cluster: HarshCluster, { seed, durationMs = [300, 1_500] }: NemesisOptions) {
    this.#cluster = cluster;
    this.#dice = randomOf(seed);
    this.#durationMs = durationMs;
  }

  /** `count` faults: every kind once before any comes again. */
  draw(count: number): FaultName[] {
    const drawn: FaultName[] = [];
    while (drawn.length < count) drawn.push(...this.#shuffled());
    return drawn.slice(0, count);
  }

  /** Harms, waits, undoes, and waits until the cluster has recovered. */
  async strike(name: FaultName): Promise<void> {
    const [min, max] = this.#durationMs;
    const durationMs = min + this.#dice() * (max - min);
    const began = performance.now();
    const undo = await (FAULTS[name] as Fault)(this.#cluster, this.#dice);
    await pause(durationMs);
    await undo();
    const undone = performance.now();
    await this.#cluster.recovered();
    const recoveredMs = performance.now() - undone;
    const times = `for ${(undone - began).toFixed(0)} ms, recovered ${recoveredMs.toFixed(0)} ms later`;
    this.done.push(`${name} ${times}`);
  }

  #shuffled(): FaultName[] {
    const names = [...FAULT_NAMES];
    for (let at = names.length - 1; at > 0; at -= 1) {
      const other = Math.floor(this.#dice() * (at + 1));
      [names[at], names[other]] = [names[other] as FaultName, names[at] as FaultName];
    }
    return names;
  }
}
