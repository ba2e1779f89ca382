/**
 * Reads the tables of docs/SPEC.md and says where they and the mutants disagree: each trap of Raft has a row with the
 * mutants that take its guard out, or with the reason why it cannot occur, and tests that carry its name.
 */

import type { Mutant } from "../mutants/mutant.ts";

/** How many traps there are of each kind. */
const TRAPS: { readonly [letter: string]: number } = { A: 13, B: 7, C: 10, D: 13, E: 9, F: 7 };
/** Why a trap cannot occur takes more than a word. */
const REASON_CHARACTERS_MIN = 40;

export interface GuardRow {
  readonly id: string;
  /** The last cell: names of mutants, a dash, or `none: ` and why. */
  readonly mutants: string;
  /** The cell before it. */
  readonly tests: string;
}

/** Of all tables whose rows begin with an id, in order. */
export function readGuardRows(markdown: string): GuardRow[] {
  return markdown.split("\n").flatMap((line) => {
    const cells = line.split("|").map((cell) => cell.trim());
    const id = cells[1] ?? "";
    if (!/^[A-Z]\d+$/.test(id)) return [];
    return [{ id, tests: cells.at(-3) ?? "", mutants: cells.at(-2) ?? "" }];
  });
}

export function trapIds(): string[] {
  return Object.entries(TRAPS).flatMap(([letter, count]) =>
    Array.from({ length: count }, (_, at) => `${letter}${at + 1}`),
  );
}

/** `readTest`: text of test/NAME.test.ts; null if there is none. */
export function guardFindings(
  rows: readonly GuardRow[],
  mutants: readonly Mutant[],
  readTest: (name: string) => string | null,
): string[] {
  const traps = trapIds();
  const ids = rows.map(({ id }) => id);
  const missing = traps.filter((id) => !ids.includes(id));
  const twice = ids.filter((id, at) => ids.indexOf(id) !== at);
  const guarded = [...new Set(mutants.flatMap(({ guards }) => guards))];
  return [
    ...missing.map((id) => `${id} has no row; add one with its mutant, or why it cannot occur`),
    ...twice.map((id) => `${id} has two rows`),
    ...guarded
      .filter((id) => !ids.includes(id))
      .map((id) => `${id} has mutants and no row; add it, or correct their guards`),
    ...rows.flatMap((row) => rowFindings(row, mutants)),
    ...rows.filter(({ id }) => traps.includes(id)).flatMap((row) => testFindings(row, readTest)),
  ];
}

function rowFindings({ id, mutants: cell }: GuardRow, mutants: readonly Mutant[]): string[] {
  const expected = mutants.filter(({ guards }) => guards.includes(id)).map(({ name }) => name);
  if (cell.startsWith("none: ")) {
    if (cell.length < REASON_CHARACTERS_MIN) return [`${id}: say why it cannot occur`];
    return expected.map((name) => `${id} says that it has no mutant, but there is ${name}`);
  }
  const named = quoted(cell);
  const isTrap = trapIds().includes(id);
  if (named.length === 0 && isTrap) return [`${id} has no mutant and no reason: none: ...`];
  return [
    ...named
      .filter((name) => !expected.includes(name))
      .map((name) => `${id}: no mutant ${name} takes its guard out`),
    ...expected
      .filter((name) => !named.includes(name))
      .map((name) => `${id}: the mutant ${name} is missing`),
  ];
}

/** All tests that are named exist, and one of them carries the trap's name. */
function testFindings(
  { id, tests, mutants }: GuardRow,
  readTest: (name: string) => string | null,
): string[] {
  const texts = quoted(tests).map((name) => ({ name, text: readTest(name) }));
  const absent = texts.filter(({ text }) => text === null);
  if (absent.length > 0) return absent.map(({ name }) => `${id}: no file test/${name}.test.ts`);
  if (mutants.startsWith("none: ")) return [];
  // A title: behind a quote or in a list of ids, and followed by a colon or another id.
  const title = new RegExp(`["'\`(]([A-F]\\d+, )*${id}[:,)]`);
  if (texts.some(({ text }) => title.test(text ?? ""))) return [];
  return [`${id}: none of its tests is named after it, as in test("${id}: ...")`];
}

/** A row of the table of what could differ between nodes. */
export interface HazardRow {
  readonly hazard: string;
  /** `file: words of a title`. */
  readonly tests: readonly string[];
}

/** Fewer are not all that was found. */
const HAZARDS_MIN = 45;

export function readHazardRows(markdown: string): HazardRow[] {
  const section = markdown.split(/^## /m).find((part) => part.startsWith("Of determinism\n")) ?? "";
  return section.split("\n").flatMap((line) => {
    const cells = line.split(/(?<!\\)\|/).map((cell) => cell.trim());
    if (cells.length !== 5 || /^-+$/.test(cells[1] ?? "") || cells[3] === "tests") return [];
    return [{ hazard: cells[1] ?? "", tests: quoted(cells[3] ?? "") }];
  });
}

/** Each hazard has a test, and each test that is named is there. */
export function hazardFindings(
  rows: readonly HazardRow[],
  readTest: (name: string) => string | null,
  rowsMin = HAZARDS_MIN,
): string[] {
  const few = rows.length < rowsMin ? [`only ${rows.length} rows; ${rowsMin} were there`] : [];
  return [
    ...few,
    ...rows.flatMap(({ hazard, tests }) => {
      if (tests.length === 0) return [`${hazard}: no test`];
      return tests.flatMap((test) => {
        const [, file = "", words = ""] = /^([^:]+): (.+)$/.exec(test) ?? [];
        if (words === "") return [`${hazard}: \`${test}\` names no title, as in \`file: words\``];
        const text = readTest(file);
        if (text === null) return [`${hazard}: no file test/${file}.test.ts`];
        return text.includes(words) ? [] : [`${hazard}: ${file} has no test "${words}"`];
      });
    }),
  ];
}

function quoted(cell: string): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? "");
}
