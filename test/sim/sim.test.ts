import { describe, expect, it } from "vitest";
import { simulate } from "./run.ts";

describe("the simulator", () => {
  it("replays a seed exactly", () => {
    const [first, second] = [simulate({ seed: 7 }), simulate({ seed: 7 })];
    expect(first.error).toBe("");
    expect(second.trace).toBe(first.trace);
    expect(simulate({ seed: 9 }).trace).not.toBe(first.trace);
  });

  it("does what it says: elections, crashes, cuts and acknowledged work in every run", () => {
    const { error, acknowledged, reads, coverage, strikes } = simulate({ seed: 11 });
    expect(error).toBe("");
    expect(coverage["elections"]).toBeGreaterThan(0);
    expect(acknowledged).toBeGreaterThan(50);
    expect(reads).toBeGreaterThan(20);
    expect(strikes.length).toBeGreaterThan(10);
  });

  it("keeps blobs where SQLite is real: made visible, deleted and taken back", () => {
    const runs = [8, 16, 24].map((seed) => simulate({ seed }));
    expect(runs.map(({ error }) => error)).toEqual(["", "", ""]);
    const count = (what: string) => runs.reduce((sum, run) => sum + (run.coverage[what] ?? 0), 0);
    expect(count("blobs published")).toBeGreaterThan(10);
    expect(count("blobs deleted")).toBeGreaterThan(0);
    expect(count("blobs taken back")).toBeGreaterThan(0);
  });

  it("leaves out what it is told to leave out, and strikes alike otherwise", () => {
    const all = simulate({ seed: 11 }).strikes;
    const some = simulate({ seed: 11, without: new Set(["crash"]) }).strikes;
    expect(some).toEqual(all.filter(({ kind }) => kind !== "crash"));
    const only = new Set([2, 3]);
    const few = simulate({ seed: 11, only }).strikes;
    expect(few).toEqual(all.filter(({ number }) => only.has(number)));
  });

  // Each planted bug must be seen by some checker within a few seeds.
  const plants = ["answer-before-quorum", "no-dedup", "skip-read-index"] as const;
  for (const plant of plants) {
    it(`catches the planted bug "${plant}"`, () => {
      let caught = "";
      for (let seed = 1; seed <= 40 && caught === ""; seed += 1) {
        caught = simulate({ seed, plant }).error;
      }
      expect(caught).toMatch(/lost|missing|linearizable|exactly once|not-applied|invent/);
    });
  }
});
