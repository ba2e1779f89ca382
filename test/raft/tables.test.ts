/**
 * Membership changes and quorums as tables, and against slow definitions under random input. After an intended change of
 * a table: run with BALSA_REWRITE_TABLES=1 and read the difference.
 */

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Configuration, votersOnly } from "../../src/raft/entry.ts";
import {
  type ChangeKind,
  type ChangeStep,
  changeConfiguration,
  changeSimply,
  LEAVE_JOINT,
} from "../../src/raft/membership.ts";
import { memberIds, quorumTally, quorumValue, type Tally } from "../../src/raft/quorum.ts";
import { runTable } from "./table-language.ts";

const FOLDER = new URL("./tables/", import.meta.url);
const REWRITE = process.env.BALSA_REWRITE_TABLES === "1";

for (const name of readdirSync(FOLDER)) {
  test(`table: ${name}`, () => {
    const file = new URL(name, FOLDER);
    const table = readFileSync(file, "utf8");
    if (REWRITE) writeFileSync(file, runTable(table));
    else expect(runTable(table)).toBe(table);
  });
}

const someVoters = fc.uniqueArray(fc.integer({ min: 1, max: 7 }), { maxLength: 6 });
const halves = fc.record({ voters: someVoters, outgoing: someVoters });

const joint = ({ voters, outgoing }: Pick<Configuration, "voters" | "outgoing">) => ({
  ...votersOnly(voters),
  outgoing,
});

const isMajority = (voters: readonly number[], who: (id: number) => boolean) =>
  voters.length === 0 || voters.filter(who).length * 2 > voters.length;

describe("quorums, whatever the configuration", () => {
  test("have reached what a majority of each half has, and nothing more", () => {
    const reached = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(halves, reached, ({ voters, outgoing }, values) => {
        const holds = (index: number) =>
          [voters, outgoing].every((half) => isMajority(half, (id) => (values[id] ?? 0) >= index));
        const index = quorumValue(joint({ voters, outgoing }), (id) => values[id] ?? 0);
        const isNobody = voters.length + outgoing.length === 0;
        if (isNobody) return index === Number.POSITIVE_INFINITY;
        return holds(index) && !holds(index + 1);
      }),
    );
  });

  test("have decided exactly when no missing vote can change it", () => {
    const votes = fc.array(fc.constantFrom(true, false, null), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(halves, votes, ({ voters, outgoing }, cast) => {
        const wonIf = (missing: boolean) =>
          [voters, outgoing].every((half) => isMajority(half, (id) => cast[id] ?? missing));
        const known = new Map<number, boolean>();
        for (const [id, vote] of cast.entries()) if (vote !== null) known.set(id, vote);
        let expected: Tally = "pending";
        if (wonIf(false)) expected = "won";
        else if (!wonIf(true)) expected = "lost";
        expect(quorumTally(joint({ voters, outgoing }), known)).toBe(expected);
      }),
    );
  });
});

const kinds: readonly ChangeKind[] = ["addVoter", "addLearner", "remove", "update"];
const step: fc.Arbitrary<ChangeStep> = fc.record({
  kind: fc.constantFrom(...kinds),
  id: fc.integer({ min: 1, max: 6 }),
});
const someSteps = fc.array(step, { maxLength: 8 });

/** Nobody is two things at once, and what belongs to a joint configuration is not found outside of one. */
function checkSound({ voters, outgoing, learners, learnersNext, autoLeave }: Configuration): void {
  expect(voters.length).toBeGreaterThan(0);
  for (const list of [voters, outgoing, learners, learnersNext]) {
    expect(list).toEqual([...new Set(list)].sort((a, b) => a - b));
  }
  for (const id of learners) expect([...voters, ...outgoing, ...learnersNext]).not.toContain(id);
  for (const id of learnersNext) {
    expect(outgoing).toContain(id);
    expect(voters).not.toContain(id);
  }
  if (outgoing.length === 0) {
    expect(learnersNext).toEqual([]);
    expect(autoLeave).toBe(false);
  }
}

/** The members who vote and who learn in the end, by the plain meaning of the steps. */
function meaningOf(base: Configuration, steps: readonly ChangeStep[]): string {
  const voters = new Set(base.voters);
  const learners = new Set(base.learners);
  for (const { kind, id } of steps) {
    if (kind === "update") continue;
    voters.delete(id);
    learners.delete(id);
    if (kind === "addVoter") voters.add(id);
    if (kind === "addLearner") learners.add(id);
  }
  const list = (ids: Iterable<number>) => [...ids].sort((a, b) => a - b).join();
  return `${list(voters)}|${list(learners)}`;
}

describe("any change", () => {
  const start = fc.record({ voters: someVoters, learners: someVoters }).map((drawn) => {
    const voters = drawn.voters.length === 0 ? [1] : [...drawn.voters].sort((a, b) => a - b);
    const learners = drawn.learners.filter((id) => !voters.includes(id)).sort((a, b) => a - b);
    return { ...votersOnly(voters), learners };
  });

  test("means the same by way of a joint configuration as its steps say, and is sound on the way", () => {
    fc.assert(
      fc.property(start, someSteps, fc.boolean(), (base, steps, isImplicit) => {
        const transition = isImplicit ? "implicit" : "explicit";
        const entered = changeConfiguration(base, { transition, steps });
        const meaning = meaningOf(base, steps);
        expect(entered.kind === "invalid").toBe(meaning.startsWith("|"));
        if (entered.kind === "invalid") return;
        checkSound(entered.configuration);
        expect(entered.configuration.outgoing).toEqual(base.voters);
        // Nobody that has to be told is lost while both halves decide.
        for (const id of base.voters) expect(memberIds(entered.configuration)).toContain(id);
        const left = changeConfiguration(entered.configuration, LEAVE_JOINT);
        if (left.kind === "invalid") throw new Error(left.reason);
        checkSound(left.configuration);
        expect(meaningOf(left.configuration, [])).toBe(meaning);
      }),
    );
  });

  test("made simply moves one voter at most, and then leads to the same", () => {
    fc.assert(
      fc.property(start, someSteps, (base, steps) => {
        const result = changeSimply(base, { transition: "auto", steps });
        const meaning = meaningOf(base, steps);
        const after = (meaning.split("|")[0] ?? "").split(",").filter((id) => id !== "");
        const before = base.voters.map(String);
        const moved =
          before.filter((id) => !after.includes(id)).length +
          after.filter((id) => !before.includes(id)).length;
        expect(result.kind).toBe(after.length > 0 && moved <= 1 ? "changed" : "invalid");
        if (result.kind === "invalid") return;
        checkSound(result.configuration);
        expect(meaningOf(result.configuration, [])).toBe(meaning);
        // Two majorities of neighbouring configurations overlap.
        const all = [...new Set([...before, ...after])];
        const need = (voters: readonly string[]) => Math.floor(voters.length / 2) + 1;
        expect(need(before) + need(after)).toBeGreaterThan(all.length);
      }),
    );
  });
});
