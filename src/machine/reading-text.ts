/**
 * What a connection that only reads may be asked, judged by the text alone: the same for a node's readers and for an app that
 * reads its node's file itself. It prepares and runs nothing.
 */

import { DEFAULT_SETTINGS, isSwitch, SWITCHES } from "../sql/settings.ts";
import { judge } from "./gate.ts";
import { onlyStatement } from "./split-text.ts";
import { type StatementShape, shapeOf } from "./statement-shape.ts";

export interface ReadingText {
  /** For SQLite to prepare. */
  readonly text: string;
  /** It changes nothing, whatever SQLite says of it: it explains another, or is a pragma that only tells. */
  readonly onlyTells: boolean;
}

/** @throws BalsaError REFUSED with the way out; INVALID_ARGUMENT unless it is one statement. */
export function readingText(sql: string): ReadingText {
  const shape = shapeOf(onlyStatement(sql));
  const found = judge(shape, "read");
  const onlyTells = found === "inspection" || found === "readonly";
  return { text: readerText(shape), onlyTells };
}

/** How the cluster is set is asked of the file: a reader's own switches mean nothing. */
export function readerText({ text, pragma, explain }: StatementShape): string {
  if (pragma === null || explain || !isSwitch(pragma.name)) return text;
  const { name } = pragma;
  const field = SWITCHES[name];
  const otherwise = DEFAULT_SETTINGS[field] ? 1 : 0;
  return `SELECT coalesce(settings ->> '${field}', ${otherwise}) AS ${name} FROM main.balsa_meta`;
}
