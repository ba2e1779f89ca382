/** `balsa blob`: in and out by files and pipes, listed, removed, and what goes wrong with it. */

import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestCluster } from "../../src/testing/cluster.ts";
import { MAIN } from "./command.ts";

let home = "";
let cluster: TestCluster;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "balsa-blob-"));
  cluster = await TestCluster.start();
  await cluster.ready();
});

afterAll(async () => {
  await cluster?.stop();
  rmSync(home, { recursive: true, force: true });
});

function blob(args: readonly string[], input?: Buffer) {
  const argv = [MAIN, "blob", ...args, "--endpoints", cluster.endpoints.join(",")];
  const ended = spawnSync(process.execPath, argv, { maxBuffer: 2 ** 26, ...(input && { input }) });
  return { code: ended.status, out: ended.stdout, err: String(ended.stderr) };
}

test("a file goes in and comes out; a pipe too", () => {
  const bytes = randomBytes(700_000);
  const file = join(home, "in");
  writeFileSync(file, bytes);
  expect(blob(["put", "a/1", file, "--type", "x/y"])).toMatchObject({ code: 0, err: "" });
  const copy = join(home, "out");
  expect(blob(["get", "a/1", copy])).toMatchObject({ code: 0, err: "" });
  expect(readFileSync(copy).equals(bytes)).toBe(true);
  expect(blob(["put", "b", "-"], bytes.subarray(0, 100)).code).toBe(0);
  expect(blob(["get", "b", "-"]).out.equals(bytes.subarray(0, 100))).toBe(true);
  const listed = String(blob(["list", "a/", "--json"]).out)
    .trim()
    .split("\n");
  expect(listed.map((line) => JSON.parse(line) as unknown)).toMatchObject([
    { name: "a/1", type: "x/y", size: 700_000 },
  ]);
  expect(String(blob(["list"]).out)).toMatch(/name\n.* a\/1\n.* b\n$/s);
});

test("what is not there, or in the way, is said, and nothing is left behind", () => {
  const file = join(home, "kept");
  writeFileSync(file, "kept");
  expect(blob(["get", "b", file])).toMatchObject({ code: 1 });
  expect(readFileSync(file, "utf8")).toBe("kept");
  const missing = blob(["get", "nosuch", join(home, "never")]);
  expect(missing.code).toBe(1);
  expect(missing.err).toContain('NO_SUCH_BLOB: there is no blob "nosuch"');
  expect(existsSync(join(home, "never"))).toBe(false);
  expect(readdirSync(home).filter((name) => name.endsWith(".part"))).toEqual([]);
  expect(blob(["put", "c", join(home, "nosuch")])).toMatchObject({ code: 1 });
  expect(blob(["rm", "b"])).toMatchObject({ code: 0 });
  expect(blob(["rm", "b"])).toMatchObject({ code: 1 });
});
