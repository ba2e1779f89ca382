/** Sequences of membership changes as tables: each line is a change and what the members are after it, or why it was refused. */

import { describe, expect, test } from "vitest";
import { type Configuration, votersOnly } from "../../src/raft/entry.ts";
import {
  type ChangeStep,
  changeConfiguration,
  isJoint,
  LEAVE_JOINT,
  type Transition,
} from "../../src/raft/membership.ts";
import { memberIds, quorumTally } from "../../src/raft/quorum.ts";
import { describeConfiguration, parseSteps } from "./interaction-describe.ts";

type Line = readonly [change: string, after: string];

/** `simple v1`, `joint v1 r2` (left by hand), `auto v1 r2`, `leave`. A refused change changes nothing. */
function play(lines: readonly Line[]): Line[] {
  let configuration = votersOnly([]);
  return lines.map(([change]) => {
    const [how = "", ...rest] = change.split(" ");
    const steps = parseSteps(rest.join(" "));
    const transition: Transition =
      how === "joint" ? "explicit" : how === "auto" ? "implicit" : "auto";
    const result = changeConfiguration(
      configuration,
      how === "leave" ? LEAVE_JOINT : { transition, steps },
    );
    if (result.kind === "invalid") return [change, result.reason];
    configuration = result.configuration;
    return [change, describeConfiguration(configuration)];
  });
}

describe.each<[string, readonly Line[]]>([
  [
    "the same change twice is the same as once",
    [
      ["simple v1", "voters=(1)"],
      ["simple v1", "voters=(1)"],
      ["simple v2", "voters=(1 2)"],
      ["simple l1", "voters=(2) learners=(1)"],
      ["simple l1", "voters=(2) learners=(1)"],
      ["simple r1", "voters=(2)"],
      ["simple r1", "voters=(2)"],
      ["simple v3", "voters=(2 3)"],
      ["simple r9", "voters=(2 3)"],
    ],
  ],
  [
    "promoting and demoting one at a time",
    [
      ["simple v1", "voters=(1)"],
      ["simple v2", "voters=(1 2)"],
      ["simple v3", "voters=(1 2 3)"],
      ["simple l1", "voters=(2 3) learners=(1)"],
      ["simple v1", "voters=(1 2 3)"],
      ["simple l3", "voters=(1 2) learners=(3)"],
      ["auto l2 v3", "voters=(1 3)&&(1 2) learners_next=(2) autoleave"],
      ["leave", "voters=(1 3) learners=(2)"],
    ],
  ],
  [
    "the last voter stays",
    [
      ["simple v1", "voters=(1)"],
      ["simple r1", "no voter would be left"],
      ["simple l1", "no voter would be left"],
      ["simple l2", "voters=(1) learners=(2)"],
      ["joint r1", "no voter would be left"],
      ["joint r1 v2", "voters=(2)&&(1)"],
      ["leave", "voters=(2)"],
    ],
  ],
  [
    "a joint configuration is entered once and left once",
    [
      ["leave", "the configuration is not joint"],
      ["simple v1", "voters=(1)"],
      ["leave", "the configuration is not joint"],
      ["joint v4", "voters=(1 4)&&(1)"],
      ["joint v5", "the configuration is joint already"],
      ["auto v5", "the configuration is joint already"],
      ["simple v5", "the configuration is joint already"],
      ["leave", "voters=(1 4)"],
      ["leave", "the configuration is not joint"],
    ],
  ],
  [
    "an empty cluster gets its first voter by itself, not jointly",
    [
      ["joint v1", "no voters to leave behind"],
      ["auto v1 v2", "no voters to leave behind"],
      ["simple v1", "voters=(1)"],
      ["auto v2 v3", "voters=(1 2 3)&&(1) autoleave"],
      ["leave", "voters=(1 2 3)"],
    ],
  ],
  [
    "a step undone by the next one leaves no trace but the joint form",
    [
      ["simple v1", "voters=(1)"],
      ["joint v2 r2", "voters=(1)&&(1)"],
      ["leave", "voters=(1)"],
      ["joint v2 v3 v4 r2 l4", "voters=(1 3)&&(1) learners=(4)"],
      ["leave", "voters=(1 3) learners=(4)"],
      ["joint l3 v3", "voters=(1 3)&&(1 3) learners=(4)"],
      ["leave", "voters=(1 3) learners=(4)"],
    ],
  ],
  [
    "who votes in the outgoing half becomes a learner only when that is left",
    [
      ["simple v1", "voters=(1)"],
      ["simple v2", "voters=(1 2)"],
      ["joint l2", "voters=(1)&&(1 2) learners_next=(2)"],
      ["leave", "voters=(1) learners=(2)"],
      ["joint l3 v2", "voters=(1 2)&&(1) learners=(3)"],
      ["leave", "voters=(1 2) learners=(3)"],
      ["joint l1 r1", "voters=(2)&&(1 2) learners=(3)"],
      ["leave", "voters=(2) learners=(3)"],
    ],
  ],
])("%s", (_name, lines) => {
  test("as written", () => expect(play(lines)).toEqual(lines));
});

/** Every configuration without a joint half of up to four nodes. */
function simpleConfigurations(): Configuration[] {
  const ids = [1, 2, 3, 4];
  const found: Configuration[] = [];
  for (let number = 0; number < 3 ** ids.length; number += 1) {
    const role = (at: number) => Math.floor(number / 3 ** at) % 3;
    const voters = ids.filter((_id, at) => role(at) === 1);
    const learners = ids.filter((_id, at) => role(at) === 2);
    if (voters.length > 0) found.push({ ...votersOnly(voters), learners });
  }
  return found;
}

const STEPS: readonly ChangeStep[] = [1, 2, 3, 4, 5].flatMap((id) =>
  (["addVoter", "addLearner", "remove"] as const).map((kind) => ({ kind, id })),
);

function quorumsOf(configuration: Configuration): number[][] {
  const ids = memberIds(configuration);
  const subsets = Array.from({ length: 2 ** ids.length }, (_, bits) =>
    ids.filter((_id, at) => ((bits >> at) & 1) === 1),
  );
  return subsets.filter((subset) => {
    return quorumTally(configuration, new Map(subset.map((id) => [id, true]))) === "won";
  });
}

function alwaysMeet(left: Configuration, right: Configuration): boolean {
  const others = quorumsOf(right);
  return quorumsOf(left).every((one) => others.every((two) => two.some((id) => one.includes(id))));
}

test("any one step, taken simply, leads to a configuration whose majorities meet the old ones", () => {
  let changes = 0;
  for (const before of simpleConfigurations()) {
    for (const step of STEPS) {
      const result = changeConfiguration(before, { transition: "auto", steps: [step] });
      if (result.kind === "invalid") continue;
      changes += 1;
      expect(isJoint(result.configuration)).toBe(false);
      if (!alwaysMeet(before, result.configuration)) {
        expect.unreachable(`${describeConfiguration(before)}: ${step.kind} ${step.id}`);
      }
    }
  }
  expect(changes).toBeGreaterThan(500);
});

test("any two steps lead through a joint configuration whose quorums meet those before and after", () => {
  let changes = 0;
  for (const before of simpleConfigurations()) {
    for (const first of STEPS.filter(({ id }) => id !== 4)) {
      for (const second of STEPS.filter(({ id }) => id === 1 || id > 3)) {
        const result = changeConfiguration(before, { transition: "auto", steps: [first, second] });
        if (result.kind === "invalid") continue;
        const joint = result.configuration;
        const left = changeConfiguration(joint, LEAVE_JOINT);
        if (left.kind === "invalid") return expect.unreachable(left.reason);
        changes += 1;
        expect(joint.autoLeave).toBe(true);
        const after = left.configuration;
        // Nobody is voter and learner at once, and nobody is lost on the way.
        expect(after.voters.filter((id) => after.learners.includes(id))).toEqual([]);
        if (changes % 7 !== 0) continue;
        expect(alwaysMeet(before, joint) && alwaysMeet(joint, after)).toBe(true);
      }
    }
  }
  expect(changes).toBeGreaterThan(3_000);
});
