/**
 * Members of a real cluster come and go, die and lose their disks, from three to five and back, while clients are at work:
 * nothing acknowledged is lost. `BALSA_E2E=long` does it for five minutes.
 */

import { afterEach, expect, it } from "vitest";
import { Churn, type Deed } from "../support/churn.ts";
import { assertLinearizable } from "../support/linearizability.ts";
import { appendList, register } from "../support/linearizability-models.ts";
import { Load } from "../support/load.ts";

const isLong = process.env["BALSA_E2E"] === "long";
const LONG_MS = Number(process.env["BALSA_E2E_MINUTES"] ?? 5) * 60_000;
const seed = Number(process.env["BALSA_E2E_SEED"] ?? Math.floor(Math.random() * 1e6));

/** From three to five and back, with a loss of each kind on the way. */
const SHORT: readonly Deed[] = [
  "wipe",
  "grow",
  "kill",
  "grow",
  "damage",
  "transfer",
  "shrink",
  "shrink",
];

let churn: Churn;

afterEach(async ({ task }) => {
  if (task.result?.state === "fail") process.stderr.write(`${churn.cluster.lastWords(80)}\n`);
  await churn.cluster.stop();
});

it("members come, go, die and lose their disks under load", { timeout: 1_200_000 }, async () => {
  churn = await Churn.start(seed);
  const load = new Load(churn, { seed, deadlineMs: 5_000 });
  await load.start();
  if (isLong) {
    const end = performance.now() + LONG_MS;
    while (performance.now() < end) {
      await load.progress(50);
      await churn.act();
    }
    // Back to three.
    while ((await churn.members()).length > 3) await churn.act("shrink");
  } else {
    for (const deed of SHORT) {
      await load.progress(50);
      await churn.act(deed);
    }
  }
  await churn.settled();
  await load.progress(100);
  await load.stop();
  await load.readAll();
  const facts = [`seed ${seed}`, ...churn.done, JSON.stringify(churn.counts)];
  facts.push(JSON.stringify(Object.fromEntries(load.failures)));
  try {
    load.expectNoSurprise();
    const cells = assertLinearizable(register, load.registers.operations());
    const lists = assertLinearizable(appendList, load.lists.operations());
    const unknown = cells.unknown + lists.unknown;
    facts.push(`${cells.operations + lists.operations} operations, ${unknown} of unknown outcome`);
    const [first, ...others] = await churn.contents();
    expect(others).toHaveLength(2);
    for (const other of others) expect(other).toBe(first);
  } finally {
    process.stdout.write(`${facts.join("\n")}\n`);
  }
});
