import { describe, expect, it } from "vitest";
import { simulate } from "./run.ts";

describe("the simulator", () => {
  it("replays a seed exactly", () => {
    const [first, second] = [simulate({ seed: 7 }), simulate({ seed: 7 })];
    expect(first.error).toBe("");
    expect(second.trace).toBe(first.trace);
  });

  it("does what it says: elections, crashes, cuts and acknowledged work in every run", () => {
    const report = simulate({ seed: 11 });
    expect(report.error).toBe("");
    expect(report.elections).toBeGreaterThan(0);
    expect(report.acknowledged).toBeGreaterThan(50);
    expect(report.reads).toBeGreaterThan(20);
    expect(report.faults.crashes + report.faults.cuts + report.faults.pauses).toBeGreaterThan(3);
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
