/** One determinism run: plays a plan, replays its log on followers, compares; and shortens a plan that fails. */

import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import type { Statement } from "../../src/sql/statement.ts";
import { Directory, Divergence, follow, Leader, type Life } from "./cluster.ts";
import { differences, factsOf, rowsApart } from "./compare.ts";
import { makePlan } from "./make-plan.ts";
import { Coverage, type Plan, type Step } from "./plan.ts";

/** Nothing here is about disks: memory, where the system has a file system for it, saves their time. */
const MEMORY = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

export interface RunReport {
  readonly seed: number;
  readonly entries: number;
  readonly requests: number;
  readonly coverage: readonly (readonly [string, number])[];
  /** Null if all nodes came to the same. */
  readonly failure: string | null;
}

/** Between them: each entry alone, all at once, restarts and re-seeds between any two, one prepared statement. */
function livesOf(seed: number): Life[] {
  // Between every two entries a restart, or a re-seed; each takes its time.
  const restless = seed % 4;
  return [
    {
      seed: seed + 1,
      entriesMax: 1,
      restarts: 0,
      reseeds: 0,
      preparedStatements: 1,
      autoVacuum: "incremental",
    },
    {
      seed: seed + 2,
      entriesMax: 1000,
      restarts: 0,
      reseeds: 0,
      preparedStatements: 500,
      autoVacuum: "none",
    },
    {
      seed: seed + 3,
      entriesMax: 5,
      restarts: 0.15,
      reseeds: 0.06,
      preparedStatements: 4,
      autoVacuum: "full",
    },
    {
      seed: seed + 4,
      entriesMax: restless === 0 ? 2 : 1,
      restarts: restless === 0 ? 0.4 : restless === 1 ? 1 : 0,
      reseeds: restless === 2 ? 1 : 0,
      preparedStatements: 500,
      autoVacuum: "incremental",
    },
  ];
}

export function run(seed: number): RunReport {
  return play(makePlan(seed));
}

export function play(plan: Plan): RunReport {
  const coverage = new Coverage();
  const directory = new Directory(MEMORY);
  const zone = process.env["TZ"];
  const requests = plan.steps.filter(({ kind }) => kind === "request" || kind === "script").length;
  let entries = 0;
  let failure: string | null = null;
  try {
    const leader = new Leader(plan, directory, coverage);
    try {
      for (const step of plan.steps) leader.play(step);
      leader.commit();
    } finally {
      leader.close();
    }
    entries = leader.log.length;
    compareAll(plan, leader, directory, coverage);
  } catch (error) {
    failure = error instanceof Divergence ? error.message : `${(error as Error).stack}`;
  } finally {
    if (zone === undefined) delete process.env["TZ"];
    else process.env["TZ"] = zone;
    directory.remove();
  }
  return { seed: plan.seed, entries, requests, coverage: [...coverage.counts], failure };
}

function compareAll(plan: Plan, leader: Leader, directory: Directory, coverage: Coverage): void {
  const expected = factsOf(leader.path);
  if (expected.integrity !== "ok") throw new Divergence(`the leader's file: ${expected.integrity}`);
  for (const life of livesOf(plan.seed)) {
    const path = follow(leader.log, life, directory, coverage);
    const found = factsOf(path);
    const [first, ...rest] = differences(expected, found);
    if (first === undefined) continue;
    const apart = rowsApart(leader.path, path, first);
    const names = [first, ...rest].join(", ");
    throw new Divergence(`a follower (${JSON.stringify(life)}) differs in ${names}\n${apart}`);
  }
}

/** Leaves out steps as long as it still fails as it should. Bounded by `attempts`. */
export function shorten(plan: Plan, attempts: number, wanted: (failure: string) => boolean): Plan {
  let steps = [...plan.steps];
  let left = attempts;
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = steps.length - size; at > -size && left > 0; at -= size) {
      const fewer = [...steps.slice(0, Math.max(0, at)), ...steps.slice(at + size)];
      left -= 1;
      const { failure } = play({ ...plan, steps: fewer });
      if (failure !== null && wanted(failure)) steps = fewer;
    }
  }
  return { ...plan, steps };
}

export function describe(step: Step): string {
  switch (step.kind) {
    case "request":
      return `${step.goOn ? "-- goes on:\n" : ""}${describeStatements(step.statements)}`;
    case "script":
      return step.sql;
    case "transaction":
      return describeTransaction(step);
    case "lose":
      return `-- leadership lost, ${step.share} of the open cycle thrown away`;
    default:
      return `-- ${step.kind}`;
  }
}

function describeStatements(statements: readonly Statement[]): string {
  return statements
    .map(({ sql, args }) => `${sql}${args === undefined ? "" : `  -- ${show(args)}`}`)
    .join("\n   ; ");
}

function describeTransaction({ parts, commits }: Extract<Step, { kind: "transaction" }>): string {
  const lines = parts.map((part) =>
    part.kind === "run" ? describeStatements(part.statements) : `-- ${part.kind}`,
  );
  return ["-- begin", ...lines, commits ? "-- commit" : "-- rollback"].join("\n  ");
}

function show(args: unknown): string {
  return JSON.stringify(args, (_key, value) => (typeof value === "bigint" ? `${value}n` : value));
}
