/** Every mutant still fits the program; and its list is sound. Whether they are killed is what `make mutants` tries. */

import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { edit } from "./mutant.ts";
import { MUTANTS } from "./mutants.ts";
import { applyEdit } from "./workshop.ts";

const ROOT = new URL("../..", import.meta.url);

function read(file: string): string {
  return readFileSync(new URL(file, ROOT), "utf8");
}

describe("the mutants", () => {
  test.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))("%s fits", (_name, mutant) => {
    for (const each of mutant.edits) {
      const before = read(each.file);
      expect(applyEdit(each, before)).not.toBe(before);
    }
  });

  test("have names of their own", () => {
    const names = MUTANTS.map(({ name }) => name);
    expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
    expect(names.filter((name) => !/^[a-z0-9]+(-[a-z0-9]+)*$/.test(name))).toEqual([]);
  });

  test("change the program only, and name tests that are there", () => {
    for (const { name, edits, killedBy } of MUTANTS) {
      expect([edits.length > 0, killedBy.length > 0], name).toEqual([true, true]);
      for (const { file } of edits) expect(file, name).toMatch(/^src\//);
      for (const killer of killedBy) {
        const found = killer.kind === "seeds" || existsSync(new URL(killer.file, ROOT));
        expect(found, `${name}: ${killer.kind === "test" ? killer.file : ""}`).toBe(true);
      }
    }
  });

  test("an edit that fits nowhere or twice is refused", () => {
    expect(applyEdit(edit("a", "x", "y"), "1x2")).toBe("1y2");
    expect(() => applyEdit(edit("a", "x", "y"), "12")).toThrow("found 0 times");
    expect(() => applyEdit(edit("a", "x", "y"), "1x2x")).toThrow("found 2 times");
  });
});
