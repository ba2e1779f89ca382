/** The network: partitions of every shape, bad weather, links that clog or lag, connections that break, old packets. */

import type { NodeId } from "../../../src/raft/entry.ts";
import { FAIR } from "../network.ts";
import { anyHost, anyPair, type Strike, shuffled } from "./strike.ts";

type Cut = (strike: Strike, ids: readonly NodeId[]) => void;

const CUTS: readonly Cut[] = [oneAlone, oneWay, halves, ring, bridge, swizzle];

export function cut(strike: Strike): void {
  const { world, dice } = strike;
  const ids = world.hosts.map(({ id }) => id);
  if (ids.length < 2) return;
  // Otherwise cuts add up until nobody hears anybody.
  world.network.heal();
  dice.pick(CUTS)(strike, ids);
  if (dice.chance(0.7)) strike.mend(300 + dice.next() * 4_000, () => world.network.heal());
}

export function heal({ world }: Strike): void {
  world.network.heal();
  world.network.weather = FAIR;
}

function oneAlone({ world, dice }: Strike, ids: readonly NodeId[]): void {
  world.coverage.add("partitions: one alone");
  const victim = dice.pick(ids);
  for (const id of ids) if (id !== victim) world.network.cutBothWays(victim, id);
}

/** It hears all and is heard by none; or the other way round; or by some. */
function oneWay({ world, dice }: Strike, ids: readonly NodeId[]): void {
  world.coverage.add("partitions: one way");
  const { network } = world;
  const victim = dice.pick(ids);
  const kind = dice.below(3);
  for (const id of ids) {
    if (id === victim) continue;
    if (kind === 0) network.link(victim, id).isCut = true;
    else if (kind === 1) network.link(id, victim).isCut = true;
    else if (dice.chance(0.5)) network.link(id, victim).isCut = true;
  }
}

function halves({ world, dice }: Strike, ids: readonly NodeId[]): void {
  world.coverage.add("partitions: halves");
  const order = shuffled(ids, dice);
  const left = order.slice(0, Math.floor(order.length / 2));
  const right = order.slice(left.length);
  for (const a of left) for (const b of right) world.network.cutBothWays(a, b);
}

/** Each sees its two neighbours only. */
function ring({ world, dice }: Strike, ids: readonly NodeId[]): void {
  world.coverage.add("partitions: ring");
  const order = shuffled(ids, dice);
  order.forEach((a, at) => {
    order.forEach((b, other) => {
      const apart = Math.abs(at - other);
      if (apart > 1 && apart < order.length - 1) world.network.cutBothWays(a, b);
    });
  });
}

/** Two groups that share one node; everybody else sees only the own group. */
function bridge({ world, dice }: Strike, ids: readonly NodeId[]): void {
  world.coverage.add("partitions: bridge");
  const [, ...others] = shuffled(ids, dice);
  const middle = Math.ceil(others.length / 2);
  for (const a of others.slice(0, middle)) {
    for (const b of others.slice(middle)) world.network.cutBothWays(a, b);
  }
}

/** One after the other is cut off, in some order, and comes back in another. */
function swizzle(strike: Strike, ids: readonly NodeId[]): void {
  const { world, dice } = strike;
  const { network } = world;
  world.coverage.add("partitions: swizzle");
  const victims = shuffled(ids, dice).slice(0, Math.ceil(ids.length * dice.next()));
  victims.forEach((victim, at) => {
    strike.later(at * 150, () => {
      for (const id of ids) if (id !== victim) network.cutBothWays(victim, id);
    });
  });
  shuffled(victims, dice).forEach((victim, at) => {
    strike.mend(victims.length * 150 + 400 + at * 150, () => {
      for (const id of ids) {
        network.mend(victim, id);
        network.mend(id, victim);
      }
    });
  });
}

export function storm({ world, dice }: Strike): void {
  world.coverage.add("storms");
  world.network.weather = {
    loss: dice.next() * 0.3,
    duplicate: dice.next() * 0.3,
    straggle: dice.next() * 0.2,
    latencyMs: 0.2 + dice.next() * 20,
  };
}

/** Everything on this link waits, then comes at once. */
export function clog(strike: Strike): void {
  const { world, dice } = strike;
  const pair = anyPair(strike);
  if (pair === null) return;
  world.coverage.add("links clogged");
  const [from, to] = pair;
  world.network.clog(from.id, to.id);
  strike.mend(100 + dice.next() * 3_000, () => world.network.unclog(from.id, to.id));
}

export function slowLink(strike: Strike): void {
  const { world, dice } = strike;
  const pair = anyPair(strike);
  if (pair === null) return;
  world.coverage.add("links slow");
  const link = world.network.link(pair[0].id, pair[1].id);
  link.extraMs = dice.next() * 150;
  link.tail = dice.next() * 0.1;
}

export function replay(strike: Strike): void {
  const { world } = strike;
  const host = anyHost(strike);
  world.coverage.add("replays");
  for (const { id } of world.hosts) if (id !== host.id) world.network.replay(id, host.id);
}

export function reset(strike: Strike): void {
  const pair = anyPair(strike);
  if (pair === null) return;
  strike.world.coverage.add("connections reset");
  strike.world.network.reset(pair[0].id, pair[1].id);
}
