/**
 * Shows that the judge is awake: each fault that can be built into the nodes on purpose (`serve --plant`) must be seen in
 * the clients' history. A test that cannot fail proves nothing.
 */

import { afterEach, describe, expect, it } from "vitest";
import type { Plant } from "../../src/node/config.ts";
import { HarshCluster } from "../support/cluster.ts";
import { checkLinearizable } from "../support/linearizability.ts";
import { appendList, register } from "../support/linearizability-models.ts";
import { Load, type LoadOptions, type Mix } from "../support/load.ts";
import { type FaultName, Nemesis } from "../support/nemesis.ts";

const INSERTS: Mix = { read: 3, insert: 7, write: 0, delete: 0, "compare-and-set": 0, list: 0 };

let cluster: HarshCluster;

afterEach((context) => cluster.finish(context));

interface Trap {
  readonly load?: LoadOptions;
  readonly faults?: readonly FaultName[];
  readonly durationMs?: readonly [number, number];
}

/** Loads and harms the cluster until the history is not linearizable; gives the report, or "" if it never is. */
async function findViolation(trap: Trap, rounds: number): Promise<string> {
  const { load: own = {}, faults = [], durationMs = [50, 200] } = trap;
  const load = new Load(cluster, { keys: 6, paceMs: 5, operationsPerKey: 300, ...own });
  const nemesis = new Nemesis(cluster, { seed: 1, durationMs });
  for (let round = 0; round < rounds; round += 1) {
    cluster.network.delayAll(15);
    await load.start();
    await load.progress(150);
    for (const fault of faults) await nemesis.strike(fault);
    await load.progress(50);
    await load.stop();
    const cells = checkLinearizable(register, load.registers.operations());
    const lists = checkLinearizable(appendList, load.lists.operations());
    for (const { kind, report } of [cells, lists]) if (kind === "violation") return report;
  }
  return "";
}

const LATE_ERRORS: Trap = {
  // Many rows that nobody has inserted yet, and two who insert the same into a leader that is cut off.
  load: { keys: 2, operationsPerKey: 12, clients: 18, mix: INSERTS },
  faults: ["isolate the leader"],
  durationMs: [1_200, 1_500],
};
const REPEATS: Trap = { faults: ["reset the clients' connections"] };

describe("a node that breaks the promise on purpose is found out", () => {
  const plants: readonly [Plant, string, Trap][] = [
    ["answer-before-quorum", "answers before a majority has the write", {}],
    ["skip-read-index", "reads without asking whether it is up to date", {}],
    ["error-before-commit", "tells an error whose cause may yet vanish", LATE_ERRORS],
    ["no-dedup", "applies a write again when it is sent again", REPEATS],
  ];

  it.for(plants)("%s: %s", { timeout: 240_000 }, async ([plant, , trap]) => {
    cluster = await HarshCluster.start({ plant });
    expect(await findViolation(trap, 8)).toMatch(/key .*: not linearizable/);
  });

  const traps: readonly [string, Trap][] = [
    ["writes sent again", REPEATS],
    ["errors of a leader that is cut off", LATE_ERRORS],
  ];

  it.for(traps)("and one that keeps it is not: %s", { timeout: 240_000 }, async ([, trap]) => {
    cluster = await HarshCluster.start();
    expect(await findViolation(trap, 2)).toBe("");
  });
});
