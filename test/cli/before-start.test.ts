/** What is checked before a node or a cluster starts: directories and ports. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { prepareDirectory } from "../../src/cli/data-directory.ts";
import { CliError } from "../../src/cli/exit-code.ts";
import { checkFree } from "../../src/cli/port-check.ts";

describe("a data directory", () => {
  let dir = "";
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "balsa-dir-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  test("is made with its parents, and may exist", () => {
    prepareDirectory(join(dir, "a", "b"));
    prepareDirectory(join(dir, "a", "b"));
  });

  test("must not be a file, nor lie below one", () => {
    writeFileSync(join(dir, "file"), "");
    for (const path of [join(dir, "file"), join(dir, "file", "below")]) {
      expect(() => prepareDirectory(path)).toThrow(CliError);
      expect(() => prepareDirectory(path)).toThrow(/is a file, or lies below one; .* --dir/);
    }
  });

  test("must be one that the system lets us make", () => {
    expect(() => prepareDirectory("/proc/balsa")).toThrow(/cannot make the data directory/);
  });
});

describe("a port", () => {
  test("in use is named, with the way out", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const address = { host: "127.0.0.1", port };
    const message = `port ${port} is in use (127.0.0.1:${port}); take another`;
    await expect(checkFree(address, "take another")).rejects.toThrow(message);
    await new Promise((resolve) => server.close(resolve));
    await expect(checkFree(address, "take another")).resolves.toBeUndefined();
  });

  test("of another machine is refused", async () => {
    const address = { host: "192.0.2.1", port: 4001 };
    await expect(checkFree(address, "take another")).rejects.toThrow(/no address of this machine/);
  });
});
