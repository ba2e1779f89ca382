/** The examples of docs/SQL.md, as its tables give them: what works, what is read where, what is refused. It runs none. */

import { readFileSync } from "node:fs";

export const PAGE = readFileSync(new URL("../../docs/SQL.md", import.meta.url), "utf8");

export interface PageRow {
  readonly what: string;
  readonly examples: readonly string[];
}

/** Rows of the tables under a heading whose second column is "example". */
function rowsUnder(heading: string): PageRow[] {
  const section = PAGE.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? "";
  const rows: PageRow[] = [];
  let counts = false;
  for (const line of section.split("\n")) {
    const cells = line.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
    if (cells.length < 4) counts = false;
    else if (cells[2] === "example") counts = true;
    else if (counts && !/^-+$/.test(cells[2] ?? "")) {
      const examples = [...(cells[2] ?? "").matchAll(/`([^`]+)`/g)].map(([, sql]) => sql ?? "");
      rows.push({ what: cells[1] ?? "", examples });
    }
  }
  return rows;
}

export const WORKS = rowsUnder("Works as in SQLite");
export const ANYWHERE = rowsUnder("Read anywhere, also within a write");
export const ALONE = rowsUnder("Read alone");
export const REFUSED = rowsUnder("Refused");

export function examplesOf(rows: readonly PageRow[]): string[] {
  return rows.flatMap(({ examples }) => [...examples]);
}
