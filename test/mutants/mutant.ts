/**
 * A mutant: the program without one of its guards, and the tests that must fail then. Says nothing of how it is made or
 * tried; see docs/SPEC.md for what the guards are.
 */

/** In `file`, the text `find`, which stands there once, becomes `replace`. */
export interface Edit {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

/** Tests of one file whose full name, groups first, contains `name`; at least one of them must fail. */
export interface TestKiller {
  readonly kind: "test";
  readonly file: string;
  readonly name: string;
}

/** Seeds of the simulator, `from` and the next ones; at least one of them must fail. */
export interface SeedKiller {
  readonly kind: "seeds";
  readonly from: number;
  readonly count: number;
}

export type Killer = TestKiller | SeedKiller;

export interface Mutant {
  /** Unique, and says what is gone. */
  readonly name: string;
  /** Rows of docs/SPEC.md whose guard it removes: traps and invariants. */
  readonly guards: readonly string[];
  /** What the program no longer does, or does instead. */
  readonly removes: string;
  /** More than one where a guard stands in two places, and one place would do. */
  readonly edits: readonly Edit[];
  /** Each must fail, for itself. */
  readonly killedBy: readonly Killer[];
  /** Without the guard something never ends: a test that runs into its time limit has failed. */
  readonly hangs?: boolean;
}

type Text = string | readonly string[];

/** A list of texts stands for lines that follow each other. */
export function edit(file: string, find: Text, replace: Text): Edit {
  return { file, find: joined(find), replace: joined(replace) };
}

function joined(text: Text): string {
  return typeof text === "string" ? text : text.join("\n");
}

/** `file` without `test/` and `.test.ts`. */
export function test(file: string, name: string): TestKiller {
  return { kind: "test", file: `test/${file}.test.ts`, name };
}

/** A script in test/raft/interactions/, whose transcript must differ. */
export function script(name: string): TestKiller {
  return test("raft/interaction", `interaction: ${name}.txt`);
}

export function seeds(from: number, count: number): SeedKiller {
  return { kind: "seeds", from, count };
}

export function describeKiller(killer: Killer): string {
  return killer.kind === "test" ? killer.file : `seeds ${killer.from} to ${lastSeed(killer)}`;
}

export function lastSeed({ from, count }: SeedKiller): number {
  return from + count - 1;
}
