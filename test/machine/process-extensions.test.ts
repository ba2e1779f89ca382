/** Extensions in the processes that load them: what crashes or hangs there costs the node's start, not the node. */

import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkExtensions } from "../../src/machine/extension-check.ts";
import { readExtensions } from "../../src/machine/extension-files.ts";
import type { ExtensionOptions } from "../../src/sql/extension.ts";
import { compileExtension, compilerTrouble } from "../support/extension.ts";

const trouble = compilerTrouble();
const skipped = trouble === null ? "" : ` (skipped: ${trouble})`;

const SILENT = { debug() {}, info() {}, warn() {}, error() {} };
let dir = "";
let good = "";

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "balsa-extensions-"));
  if (trouble === null) good = compileExtension(dir, "good");
});

afterAll(() => rmSync(dir, { recursive: true, force: true }));

function check(options: readonly ExtensionOptions[], loadMsMax = 10_000) {
  return checkExtensions(readExtensions(options), { logger: SILENT, loadMsMax });
}

describe.skipIf(trouble !== null)(`a node's start${skipped}`, () => {
  test("learns what its extensions bring, in the order of their names", async () => {
    const other = compileExtension(dir, "first", 'PREFIX="a_"');
    const known = await check([{ path: good, deterministic: true }, { path: other }]);
    expect(known).toMatchObject([
      { name: "first", deterministic: false, functions: ["a_times"], modules: ["a_upto"] },
      { name: "good", deterministic: true, functions: ["times"], collations: ["backwards"] },
    ]);
  });

  test("starts no process when there are none", async () => {
    expect(await checkExtensions([], { logger: SILENT, command: ["/does/not/exist"] })).toEqual([]);
  });

  test.each([
    ["crashes", "CRASHES", /extension crashes cannot be used: the process ended with signal SIG/],
    ["hangs", "HANGS", /extension hangs cannot be used: it took longer than 1500 ms/],
    ["fails", "FAILS", /extension fails cannot be loaded: .*not today/],
  ])("ends with its reason when one %s", async (name, definition, message) => {
    const bad = compileExtension(dir, name, definition);
    const checked = check([{ path: bad }, { path: good }], name === "hangs" ? 1_500 : 10_000);
    await expect(checked).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message),
    });
  });

  test("ends when two bring the same name", async () => {
    const twin = compileExtension(dir, "twin");
    await expect(check([{ path: good }, { path: twin }])).rejects.toThrow(
      "times is among the functions of both good and twin; use only one of them",
    );
  });

  test("ends when the file is changed between its measurement and its load", async () => {
    const path = compileExtension(dir, "changing", 'PREFIX="c_"');
    const extensions = readExtensions([{ path }]);
    appendFileSync(path, "x");
    await expect(checkExtensions(extensions, { logger: SILENT })).rejects.toThrow(
      /changing.so was changed since the node began/,
    );
  });
});
