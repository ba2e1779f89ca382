/** Disks: slow, hanging, full, failing, rotting. What a disk loses for good is bounded by the fault atlas. */

import type { Rot } from "../disk-faults.ts";
import { anyHost, type Strike } from "./strike.ts";

export function slowDisk(strike: Strike): void {
  const { world, dice } = strike;
  const { faults } = anyHost(strike);
  world.coverage.add("disk slow");
  faults.slowMs = dice.next() * dice.next() * 60;
  faults.tail = dice.next() * 0.05;
  strike.mend(1_000 + dice.next() * 4_000, () => {
    faults.slowMs = 0;
    faults.tail = 0;
  });
}

/** For a while, or until somebody comes: the liveness phase may have to do without this node. */
export function hangDisk(strike: Strike): void {
  const { world, dice } = strike;
  const { faults } = anyHost(strike);
  const comesBack = dice.chance(0.7);
  world.coverage.add(comesBack ? "disk stalls" : "disk hangs");
  faults.hang();
  if (comesBack) strike.mend(dice.next() * 3_000, () => faults.answer());
}

export function fillDisk(strike: Strike): void {
  const { world, dice } = strike;
  const { faults } = anyHost(strike);
  world.coverage.add("disk full");
  faults.isFull = true;
  strike.mend(200 + dice.next() * 4_000, () => {
    faults.isFull = false;
  });
}

export function failDisk(strike: Strike): void {
  const { world, dice } = strike;
  const host = anyHost(strike);
  if (host.life === null || !world.atlas.allows(host.id, world.configurations())) return;
  world.atlas.suspect(host.id);
  const what = dice.chance(0.5) ? "write" : "sync";
  world.coverage.add(what === "write" ? "failed writes" : "failed syncs");
  host.faults.fail(what, 1 + dice.below(3));
}

export function rot(strike: Strike): void {
  const { world, dice } = strike;
  const host = anyHost(strike);
  if (!world.atlas.allows(host.id, world.configurations())) return;
  const kind = dice.pick<Rot>(["bit", "bit", "lost", "misdirected"]);
  if (!world.rot(host, kind)) return;
  if (kind === "bit") world.coverage.add("bits rotten");
  else world.coverage.add(kind === "lost" ? "sectors lost" : "sectors misdirected");
  // Sooner or later it is started again, and looks.
  strike.mend(500 + dice.next() * 4_000, () => {
    if (world.atlas.isSuspect(host.id)) world.end(host, "killed");
    world.start(host);
  });
}

/** More entries than a run makes: nobody needs a copy because he was away. */
const WHOLE_LOG = 100_000;

/** Another program writes into the database of a node that runs; a second time only when the first has healed. */
export function plant(strike: Strike): void {
  const { world, dice } = strike;
  // With less of a log, those who lag need a copy before they can say what they found, and nobody healthy has one to give
  // (SPEC, known gaps).
  if (world.tailEntries < WHOLE_LOG) return;
  // A leader more often than its share: that is the harder case.
  const leader = world.hosts.find(({ life }) => life?.node.status().role === "leader");
  const host = leader !== undefined && dice.chance(0.4) ? leader : anyHost(strike);
  if (host.life === null || host.plants >= 2) return;
  if (!world.atlas.allows(host.id, world.configurations()) || !world.plant(host)) return;
  host.plants += 1;
  world.coverage.add("rows planted");
}

/** A power cut in the middle of a write: what was being written is neither old nor new. */
export function garble(strike: Strike): void {
  const { world, dice } = strike;
  const host = anyHost(strike);
  if (host.life === null || !world.atlas.allows(host.id, world.configurations())) return;
  host.faults.garble = 0.5;
  const before = host.faults.garbled;
  world.end(host, "power cut");
  host.faults.garble = 0;
  if (host.faults.garbled > before) {
    world.coverage.add("sectors garbled");
    world.atlas.suspect(host.id);
  }
  strike.mend(50 + dice.next() * 1_000, () => world.start(host));
}
