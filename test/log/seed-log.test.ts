/** The log of a directory that was prepared with a file: it stands behind the file, and holds nothing before it. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openLog } from "../../src/log/open-log.ts";
import { seedLog } from "../../src/log/seed-log.ts";

const SEED = "5eed".repeat(16);
let dir = "";

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "balsa-seed-"));
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

test("it begins behind the file, blank, and keeps what the file was", async () => {
  await seedLog(dir, 3, SEED, { index: 1, term: 1 });
  const log = await openLog({ dir: join(dir, "log"), nodeId: 3 });
  expect([log.firstIndex(), log.lastIndex(), log.term(1)]).toEqual([2, 1, 1]);
  expect(log.identity).toMatchObject({ phase: "blank", clusterId: "", members: [], seed: SEED });
  expect(log.hardState).toEqual({ currentTerm: 1, votedFor: 0, commitIndex: 1 });
  const entry = { index: 2, term: 2, kind: "noop", payload: new Uint8Array(0) } as const;
  await new Promise<void>((resolve) => log.append(null, [entry], resolve));
  await new Promise<void>((resolve) => log.close(resolve));
  const again = await openLog({ dir: join(dir, "log"), nodeId: 3 });
  expect([again.firstIndex(), again.lastIndex(), again.identity.seed]).toEqual([2, 2, SEED]);
  await new Promise<void>((resolve) => again.close(resolve));
});

test("it is of the node that it was made for", async () => {
  await seedLog(dir, 3, SEED, { index: 1, term: 1 });
  await expect(openLog({ dir: join(dir, "log"), nodeId: 2 })).rejects.toThrow(/belongs to node 3/);
});
