/** What the demo prints for a person. All of it goes to standard output, above the line of JSON. */

const began = performance.now();

export function step(number: number, what: string): void {
  process.stdout.write(`\n[${seconds(performance.now() - began)}] ${number}. ${what}\n`);
}

export function say(what: string): void {
  process.stdout.write(`    ${what}\n`);
}

/** `135,233`. */
export function grouped(count: number): string {
  return Math.round(count).toLocaleString("en-US");
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

/** Tells how far a count is, about once a second, with its rate. Returns how to stop. */
export function watchCount(what: string, count: () => number, total?: number): () => void {
  const start = performance.now();
  let before = count();
  let beforeAt = start;
  const timer = setInterval(() => {
    const now = performance.now();
    const rate = ((count() - before) / (now - beforeAt)) * 1000;
    before = count();
    beforeAt = now;
    const of = total === undefined ? "" : ` of ${grouped(total)}`;
    say(`${seconds(now - start).padStart(6)}  ${grouped(before)}${of} ${what}, ${grouped(rate)}/s`);
  }, 1_000);
  return () => clearInterval(timer);
}

/** Rows as columns of text. */
export function showRows(rows: readonly { readonly [column: string]: unknown }[]): void {
  const columns = Object.keys(rows[0] ?? {});
  const lines = [columns, ...rows.map((row) => columns.map((column) => String(row[column])))];
  const widths = columns.map((_, at) => Math.max(...lines.map((line) => line[at]?.length ?? 0)));
  for (const line of lines) {
    say(`  ${line.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  ")}`.trimEnd());
  }
}
