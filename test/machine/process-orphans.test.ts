/** A node dies while its children start: before they are ready, and before they have a watchdog. Real processes. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { BECOME, FrameBatch } from "../../src/machine/frames.ts";
import { type ChildRole, encodeJson } from "../../src/machine/process-messages.ts";
import { DEFAULT_LIMITS } from "../../src/sql/limits.ts";
import { freshDirectory, toyMachine, WatchedWriter } from "./support/toy-machine.ts";

const ENTRY = fileURLToPath(new URL("../../dist/machine/machine-process.js", import.meta.url));

async function dieRightAfterStarting(role: ChildRole, dir: string): Promise<unknown[]> {
  const child = spawn(process.execPath, [ENTRY], {
    stdio: ["ignore", "ignore", "inherit", "pipe", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const exited = once(child, "exit");
  const batch = new FrameBatch();
  const given = { role, dir, limits: DEFAULT_LIMITS, lockWaitMs: 1_000, walBytesMax: 1 << 22 };
  batch.add(BECOME, 0, encodeJson(given));
  const [pipe, watchdog] = [child.stdio[3] as Duplex, child.stdio[4] as Duplex];
  pipe.on("error", () => undefined);
  for (const bytes of batch.take()) await new Promise((resolve) => pipe.write(bytes, resolve));
  // As the kernel does for a process that is killed.
  pipe.destroy();
  watchdog.destroy();
  return exited;
}

test("a writer that finds its node gone when it is ready ends, and with it its lock", async () => {
  const dir = freshDirectory();
  expect(await dieRightAfterStarting("writer", dir)).toEqual([null, "SIGKILL"]);
  const next = new WatchedWriter(toyMachine({ dir }));
  expect((await next.expect("ready")).kind).toBe("ready");
});

test("so does a reader", async () => {
  const dir = freshDirectory();
  await dieRightAfterStarting("writer", dir);
  expect(await dieRightAfterStarting("reader", dir)).toEqual([null, "SIGKILL"]);
});
