/**
 * The main promise under every kind of fault: what clients of a real cluster were told, while its processes are killed
 * and paused and its network is cut, is what one database used by one client at a time would have told them.
 * `BALSA_E2E=long` runs it at length: at least 20,000 operations and 34 faults.
 */

import { afterEach, expect, it } from "vitest";
import { HarshCluster } from "../support/cluster.ts";
import { assertLinearizable } from "../support/linearizability.ts";
import { appendList, register } from "../support/linearizability-models.ts";
import { Load } from "../support/load.ts";
import { type FaultName, Nemesis } from "../support/nemesis.ts";

const isLong = process.env["BALSA_E2E"] === "long";
const seed = Number(process.env["BALSA_E2E_SEED"] ?? Math.floor(Math.random() * 1e6));

let cluster: HarshCluster;

afterEach((context) => cluster.finish(context));

/** Three runs of a few faults each, or one of all of them twice. Each has its own cluster. */
const RUNS: readonly (readonly FaultName[])[] = [
  ["kill the leader", "pause the leader", "isolate the leader", "kill a follower"],
  ["nobody hears the leader", "kill all", "cut the clients off the leader", "a slow leader"],
];

const runs = isLong
  ? [{ name: "every fault, twice", faults: [] }]
  : RUNS.map((faults) => ({ name: faults.join(", "), faults }));

it.for(runs)("clients see one database: $name", { timeout: 900_000 }, async ({ faults }) => {
  cluster = await HarshCluster.start();
  const load = new Load(cluster, { seed });
  const nemesis = new Nemesis(cluster, { seed });
  await load.start();
  for (const name of isLong ? nemesis.draw(34) : faults) {
    await load.progress(isLong ? 500 : 250);
    await nemesis.strike(name);
  }
  await load.progress(isLong ? Math.max(500, 20_500 - load.answered) : 250, 300_000);
  await load.stop();
  await load.readAll();
  const facts = [
    `seed ${seed}`,
    ...nemesis.done,
    JSON.stringify(Object.fromEntries(load.failures)),
  ];
  try {
    load.expectNoSurprise();
    const cells = assertLinearizable(register, load.registers.operations());
    const lists = assertLinearizable(appendList, load.lists.operations());
    const unknown = cells.unknown + lists.unknown;
    facts.push(`${cells.operations + lists.operations} operations, ${unknown} of unknown outcome`);
    if (isLong) expect(load.answered).toBeGreaterThan(20_000);
    await cluster.caughtUp();
    const [first, ...others] = await cluster.contents();
    for (const other of others) expect(other).toBe(first);
  } finally {
    process.stdout.write(`${facts.join("\n")}\n`);
  }
});
