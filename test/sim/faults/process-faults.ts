/** Processes and machines: they are killed, lose power, stand still, keep bad time, and lose their disks. */

import type { Host } from "../host.ts";
import { anyHost, type Strike } from "./strike.ts";

/** One, or now and then all at once. Now and then for longer than the others' logs reach back. */
export function crash(strike: Strike): void {
  const { world, dice } = strike;
  const how = dice.chance(0.4) ? "killed" : "power cut";
  const victims = dice.chance(0.12) ? world.hosts : [anyHost(strike)];
  for (const host of victims) {
    if (host.life === null) continue;
    world.coverage.add(how === "killed" ? "kills" : "power cuts");
    world.end(host, how);
    const awayMs = dice.chance(0.15) ? 6_000 : 1_500;
    strike.mend(20 + dice.next() * awayMs, () => world.start(host));
  }
}

export function pause(strike: Strike): void {
  const { world, dice } = strike;
  const host = anyHost(strike);
  if (host.life === null || host.paused) return;
  world.coverage.add("pauses");
  world.pause(host);
  strike.mend(dice.next() * 2_500, () => world.resume(host));
}

/** ±10 % of speed, or an hour's jump. */
export function clock(strike: Strike): void {
  const { world, dice } = strike;
  const host = anyHost(strike);
  if (dice.chance(0.5)) {
    world.coverage.add("clock drifts");
    host.clockRate = 0.9 + dice.next() * 0.2;
    host.life?.environment.drift(host.clockRate);
    return;
  }
  world.coverage.add("wall clock jumps");
  host.wallOffsetMs += Math.floor((dice.next() - 0.5) * 7_200_000);
  if (host.life !== null) host.life.environment.wallOffsetMs = host.wallOffsetMs;
}

/** The disk dies and is replaced by an empty one; unless too many are already. */
export function wipe(strike: Strike): void {
  const { world, dice } = strike;
  const host = anyHost(strike);
  if (!world.atlas.allows(host.id, world.configurations())) return;
  world.coverage.add("wipes");
  replaceDisk(strike, host);
  strike.mend(50 + dice.next() * 1_500, () => world.start(host));
}

export function replaceDisk({ world }: Strike, host: Host): void {
  world.end(host, "power cut");
  world.wipe(host);
}
