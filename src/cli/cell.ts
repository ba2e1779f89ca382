/** Values of the database as text: for people in a table, and as JSON for programs. Loses no digit of an integer. */

import type { Row, Value } from "../sql/value.ts";

/** Control characters would break the table, or the terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g;

/** As SQL writes it, but text without its quotes; a control character as its escape. */
export function cellText(value: Value): string {
  if (value === null) return "NULL";
  if (typeof value === "string") return value.replaceAll(CONTROL, escapeControl);
  if (typeof value === "object") return `x'${Buffer.from(value).toString("hex")}'`;
  return String(value);
}

function escapeControl(character: string): string {
  if (character === "\n") return "\\n";
  if (character === "\t") return "\\t";
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
}

/**
 * One JSON value: integers with all their digits, a blob as `{"base64":"…"}`, an infinite REAL as ±9e999 (JSON has no
 * infinity, and every parser reads that as one).
 */
export function jsonText(value: Value): string {
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number" && !Number.isFinite(value)) {
    if (Number.isNaN(value)) return "null";
    return value > 0 ? "9e999" : "-9e999";
  }
  if (typeof value === "object" && value !== null) {
    return `{"base64":${JSON.stringify(Buffer.from(value).toString("base64"))}}`;
  }
  return JSON.stringify(value);
}

/** One row as a JSON object on one line. */
export function jsonRow(row: Row): string {
  const members = Object.entries(row).map(([name, value]) => {
    return `${JSON.stringify(name)}:${jsonText(value)}`;
  });
  return `{${members.join(",")}}`;
}
