/** Rolling upgrades, and their way back: nodes are replaced by other programs, and operators say which of them is to lead. */

import { isBalsaCode } from "../../../src/sql/errors.ts";
import { FIRST_MACHINE } from "../world.ts";
import { anyHost, type Strike } from "./strike.ts";

const OTHER_MACHINE = "engine 2";
const TIMEOUT_MS = 1_500;

/** One node, or one after the other, comes back with the other program; often somebody asks for the raise. */
export function upgrade(strike: Strike): void {
  const { world, dice } = strike;
  const first = anyHost(strike);
  const to = first.machineVersion === FIRST_MACHINE ? OTHER_MACHINE : FIRST_MACHINE;
  const all = dice.chance(0.4) ? world.hosts : [first];
  for (const [at, host] of all.entries()) {
    strike.later(at * (100 + dice.next() * 900), () => {
      if (host.machineVersion === to) return;
      world.coverage.add("programs replaced");
      host.machineVersion = to;
      world.note(host, `is to run ${to}`);
      if (host.life === null) return;
      world.end(host, dice.chance(0.8) ? "killed" : "power cut");
      strike.mend(20 + dice.next() * 600, () => world.start(host));
    });
  }
  if (dice.chance(0.6)) strike.later(dice.next() * 3_000, () => ask(strike, to));
}

function ask({ world, dice }: Strike, version: string): void {
  const leader = world.running.find(({ view }) => view.raft?.status().role === "leader");
  if (leader === undefined) return;
  const call = {
    version: dice.chance(0.5) ? version : "",
    majority: dice.chance(0.7),
    timeoutMs: TIMEOUT_MS,
  };
  world.guard(() => {
    leader.node.upgrade(call, {
      done: () => world.coverage.add("upgrades asked for"),
      failed: ({ code, message }) => {
        if (!isBalsaCode(code)) throw new Error(`an operator is told ${code}: ${message}`);
      },
    });
  });
}
