/** The log's writer against pipes that work, hang and break. */

import { execFileSync, spawn } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LogWriter } from "../../src/service/log-writer.ts";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "balsa-log-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test("everything arrives, in order", async () => {
  const path = join(dir, "log");
  const descriptor = openSync(path, "w");
  const writer = new LogWriter(descriptor);
  const lines = Array.from({ length: 10_000 }, (_, at) => `line ${at} é\n`);
  for (const line of lines) writer.write(line);
  expect(await writer.flush(5_000)).toBe(true);
  closeSync(descriptor);
  expect(readFileSync(path, "utf8")).toBe(lines.join(""));
});

test("B7: a pipe that nobody reads blocks nothing; what is beyond the bound is counted", async () => {
  const path = join(dir, "pipe");
  execFileSync("mkfifo", [path]);
  // Open for reading too, so that opening does not wait; non-blocking, so that no thread hangs in the test.
  const descriptor = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const writer = new LogWriter(descriptor);
  const line = `${"x".repeat(1023)}\n`;
  for (let i = 0; i < 6_000; i++) writer.write(line);
  expect(await writer.flush(100)).toBe(false);

  const reader = spawn("cat", [path], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  reader.stdout.on("data", (chunk) => {
    text += chunk;
  });
  expect(await writer.flush(10_000)).toBe(true);
  closeSync(descriptor);
  await new Promise((resolve) => reader.stdout.once("close", resolve));
  expect(text.length).toBeGreaterThan(4 * 1024 * 1024);
  expect(text).toMatch(/balsa: \d+ log lines dropped\n$/);
});

test("a descriptor that takes nothing is borne in silence", async () => {
  const descriptor = openSync("/dev/null", "r");
  const writer = new LogWriter(descriptor);
  writer.write("lost\n");
  expect(await writer.flush(5_000)).toBe(true);
  writer.write("lost too\n");
  expect(await writer.flush(5_000)).toBe(true);
  closeSync(descriptor);
});
