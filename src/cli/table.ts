/** Columns of text for people. Knows no values: its cells are text already. */

export interface Column {
  readonly title: string;
  /** Default `left`. */
  readonly align?: "left" | "right";
}

const GAP = "  ";

/** Lines without trailing blanks, the title first, each ending in a newline. */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string {
  const titles = columns.map((column) => column.title);
  const widths = columnWidths([titles, ...rows], columns.length);
  return [titles, ...rows].map((cells) => formatLine(columns, widths, cells)).join("");
}

export function columnWidths(rows: readonly (readonly string[])[], count: number): number[] {
  const widths = new Array<number>(count).fill(0);
  for (const row of rows) {
    for (let i = 0; i < count; i++)
      widths[i] = Math.max(widths[i] ?? 0, displayWidth(row[i] ?? ""));
  }
  return widths;
}

export function formatLine(
  columns: readonly Column[],
  widths: readonly number[],
  cells: readonly string[],
): string {
  const parts = columns.map((column, i) => {
    const cell = cells[i] ?? "";
    const filling = " ".repeat(Math.max(0, (widths[i] ?? 0) - displayWidth(cell)));
    return column.align === "right" ? filling + cell : cell + filling;
  });
  return `${parts.join(GAP).trimEnd()}\n`;
}

/** Scripts whose characters take two cells of a terminal. */
const WIDE =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}]/u;
const NO_WIDTH = /\p{Mark}/u;

function displayWidth(text: string): number {
  let width = 0;
  for (const character of text) {
    if (NO_WIDTH.test(character)) continue;
    width += WIDE.test(character) ? 2 : 1;
  }
  return width;
}
