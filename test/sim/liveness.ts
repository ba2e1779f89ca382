/**
 * The liveness phase: a random healthy quorum, the core, is mended and must make progress, whatever the others do: they
 * stay down, or cut off in part. Then all are mended, and all must come to the same. It waits for nothing itself.
 */

import { isQuorum } from "./checkers/configuration-chain.ts";
import { shuffled } from "./faults/strike.ts";
import type { Host } from "./host.ts";
import { FAIR } from "./network.ts";
import type { Prng } from "./prng.ts";
import type { World } from "./world.ts";

/** A quorum of every configuration that may be in force, of nodes whose disks are whole. */
export function chooseCore(world: World, dice: Prng): readonly Host[] {
  const configurations = world.configurations();
  const core: Host[] = [];
  for (const host of shuffled(world.hosts, dice)) {
    const isBlank = world.referee.disks.of(host.id).lastIndex === 0;
    if (isBlank || !world.atlas.isWhole(host.id)) continue;
    core.push(host);
    const ids = core.map(({ id }) => id);
    if (configurations.every((configuration) => isQuorum(configuration, ids))) return core;
  }
  return world.hosts;
}

export function mendCore(world: World, core: readonly Host[], dice: Prng): void {
  world.network.weather = FAIR;
  for (const host of core) mendHost(world, host);
  for (const a of core) {
    for (const b of core) if (a !== b) world.network.mend(a.id, b.id);
  }
  for (const host of world.hosts) if (!core.includes(host)) giveUp(world, host, core, dice);
}

function giveUp(world: World, host: Host, core: readonly Host[], dice: Prng): void {
  const { network } = world;
  if (dice.chance(0.5)) {
    world.end(host, "killed");
    world.givenUp.add(host);
  }
  for (const { id } of core) {
    if (dice.chance(0.5)) network.link(id, host.id).isCut = true;
    if (dice.chance(0.5)) network.link(host.id, id).isCut = true;
  }
  network.givenUp.add(host.id);
}

export function mendAll(world: World): void {
  world.givenUp.clear();
  world.network.givenUp.clear();
  world.network.weather = FAIR;
  world.network.heal();
  for (const host of world.hosts) mendHost(world, host);
}

function mendHost(world: World, host: Host): void {
  host.faults.mend();
  world.resume(host);
  world.start(host);
}
