/** What comes through the door for reads, and what does not. */

import { expect, test } from "vitest";
import { Admission } from "../../src/node/admission.ts";
import type { NodeConfig } from "../../src/node/config.ts";
import { Reads, type ReadsParts } from "../../src/node/reads.ts";
import type { Failure } from "../../src/sql/errors.ts";
import { DEFAULT_LIMITS } from "../../src/sql/limits.ts";

test("a query without a statement is refused: to a reader it would be a snapshot that nobody lets go", () => {
  let admitted = 0;
  const soon: (() => void)[] = [];
  const parts = {
    environment: { monotonicMs: () => 0, soon: (run: () => void) => soon.push(run) },
    appliedIndex: () => 0,
    refuseRead: () => null,
    admit: () => (admitted += 1),
  } as unknown as ReadsParts;
  const admission = new Admission({ ...DEFAULT_LIMITS, pendingReads: 1 });
  const config = { id: 1, readDeadlineMs: 1_000 } as NodeConfig;
  const reads = new Reads(config, admission, parts);
  const failures: Failure[] = [];
  const ask = (statement: Uint8Array) => {
    const call = { statement, consistency: "stale", atLeast: 0, maxStalenessMs: 0 } as const;
    const sink = { chunk() {}, failed: (failure: Failure) => void failures.push(failure) };
    reads.query({ ...call, timeoutMs: 0, window: 0 }, sink);
    for (const run of soon.splice(0)) run();
  };
  ask(new Uint8Array(0));
  expect(failures).toMatchObject([{ code: "INVALID_ARGUMENT", outcome: "not-applied" }]);
  expect(admitted).toBe(0);
  // It left the room that it took.
  ask(Uint8Array.of(1));
  expect(admitted).toBe(1);
});
