/** What was fetched becomes this node's only when it was checked; the checking process is played by the test. */

import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { ChildEvents } from "../../src/machine/child-process.ts";
import type { ChildSupply } from "../../src/machine/child-supply.ts";
import { FROM_SNAPSHOT, type SnapshotTask } from "../../src/machine/process-messages.ts";
import { SnapshotDirectory } from "../../src/machine/snapshot-directory.ts";
import { ProcessSnapshotFiles } from "../../src/machine/snapshot-files.ts";
import type { IncomingSnapshot, SnapshotManifest } from "../../src/node/ports.ts";
import { silent } from "../node/fakes.ts";

const manifest: SnapshotManifest = {
  id: "a".repeat(64),
  index: 9,
  term: 3,
  configuration: null,
  bytes: 5,
  chunks: [0],
  digest: "d".repeat(64),
};

/** `verdict`: what the checking process finds. */
function files(verdict: string) {
  const dir = mkdtempSync(join(tmpdir(), "balsa-files-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const directory = new SnapshotDirectory(dir);
  const tasks: SnapshotTask[] = [];
  const supply = {
    run: (task: SnapshotTask, events: ChildEvents) => {
      tasks.push(task);
      setImmediate(() => {
        const type = verdict === "" ? FROM_SNAPSHOT.done : FROM_SNAPSHOT.fault;
        events.frame(type, 0, Buffer.from(verdict === "" ? "{}" : verdict));
        events.exited("ended");
      });
      return { kill: () => undefined };
    },
  } as unknown as ChildSupply;
  const options = { directory, supply, logger: silent, keepMs: 1_000, taskMsMax: 10_000 };
  return { directory, tasks, snapshots: new ProcessSnapshotFiles(options) };
}

async function fetched(snapshots: ProcessSnapshotFiles): Promise<Error | null> {
  const incoming = await new Promise<IncomingSnapshot>((resolve, reject) => {
    snapshots.receive(manifest, (error, value) =>
      value === null ? reject(error) : resolve(value),
    );
  });
  await new Promise((resolve) => incoming.write(0, Buffer.from("bytes"), resolve));
  return new Promise((resolve) => incoming.finish(resolve));
}

test("what was fetched gets its name only when it was checked", async () => {
  const { directory, tasks, snapshots } = files("");
  expect(await fetched(snapshots)).toBeNull();
  const { index, term, bytes, digest } = manifest;
  expect(tasks).toEqual([
    { kind: "check", path: directory.incoming, expected: { index, term, bytes, digest } },
  ]);
  expect(existsSync(directory.ready(manifest))).toBe(true);
});

test("what does not pass is removed, and says why", async () => {
  const { directory, snapshots } = files("the digest differs");
  expect(await fetched(snapshots)).toMatchObject({ message: "the digest differs" });
  expect(readdirSync(directory.path)).toEqual([]);
});
