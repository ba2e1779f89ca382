/** The log on a real file system. */

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LogCorruptionError } from "../../src/log/errors.ts";
import { NodeDisk } from "../../src/log/node-disk.ts";
import { openLog } from "../../src/log/open-log.ts";
import type { Log } from "../../src/node/ports.ts";
import { describeEntry, entry, hard } from "./harness.ts";

let dir = "";

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "balsa-log-"));
});

afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

async function append(log: Log, from: number, to: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    log.onFailure = reject;
    for (let index = from; index < to; index += 1) {
      log.append(hard(1, 1, index - 1), [entry(index, 1)], () => {
        if (index === to - 1) resolve();
      });
    }
  });
}

const close = (log: Log): Promise<void> => new Promise((resolve) => log.close(resolve));

describe.each(["dsync", "fdatasync"] as const)("with %s", (durability) => {
  test("a log is there again after closing and opening", async () => {
    const options = {
      dir: join(dir, "deep", "log"),
      nodeId: 4,
      disk: new NodeDisk({ durability }),
      segmentBytes: 4096,
      cacheBytes: 1_000,
    };
    const log = await openLog(options);
    for (let index = 1; index <= 200; index += 20) await append(log, index, index + 20);
    const identity = { ...log.identity, clusterId: "a".repeat(32), phase: "formed", members: [4] };
    await new Promise<void>((resolve) => {
      log.setIdentity({ ...identity, phase: "formed" }, resolve);
    });
    await close(log);
    const again = await openLog(options);
    expect(again.identity).toEqual(identity);
    expect(again.hardState).toEqual(hard(1, 1, 199));
    expect(again.entries(1, 201, 1e9).map(describeEntry)).toEqual(
      Array.from({ length: 200 }, (_, at) => describeEntry(entry(at + 1, 1))),
    );
    await append(again, 201, 210);
    await close(again);
    const names = readdirSync(options.dir);
    expect(names.filter((name) => name.endsWith(".new"))).toEqual([]);
    expect(names.filter((name) => name.endsWith(".wal")).length).toBeGreaterThan(5);
  });
});

test("a path that is a file is refused", async () => {
  const file = join(dir, "file");
  writeFileSync(file, "");
  for (const path of [file, join(file, "below")]) {
    await expect(openLog({ dir: path, nodeId: 1 })).rejects.toMatchObject({
      name: "LogOpenError",
      code: "NOT_A_DIRECTORY",
    });
  }
});

test("a directory that cannot be made is refused", async () => {
  await expect(openLog({ dir: "/proc/balsa/log", nodeId: 1 })).rejects.toMatchObject({
    name: "LogOpenError",
    code: "UNUSABLE_DIRECTORY",
  });
});

test("a damaged segment is refused and left as it is", async () => {
  const log = await openLog({ dir, nodeId: 1, segmentBytes: 4096 });
  await append(log, 1, 50);
  await close(log);
  const before = readdirSync(dir);
  const path = join(dir, "00000001.wal");
  const disk = new NodeDisk();
  const file = disk.openNow(path);
  file.writeNow(Buffer.from("?"), 300);
  file.closeNow();
  await expect(openLog({ dir, nodeId: 1 })).rejects.toThrow(LogCorruptionError);
  expect(readdirSync(dir)).toEqual(before);
});
