/** A log entry as text: for people on a few lines, for programs as one line of JSON. Judges nothing, shortens values only. */

import type { Entry } from "../raft/entry.ts";
import { type ConfigurationChange, decodeChange } from "../raft/membership.ts";
import type { TableRange } from "../wire/checksum-codec.ts";
import { type Command, decodeCommand } from "../wire/log-codec.ts";
import { type BoundBatch, type BoundStatement, decodeBatch } from "../wire/statement-codec.ts";
import { cellText, jsonText } from "./cell.ts";

const BLOB_BYTES_SHOWN = 32;
const TEXT_SHOWN = 200;

type SqliteValue = null | bigint | number | string | Uint8Array;

/** Ends in a newline. */
export function entryText(entry: Entry): string {
  const head = `${entry.index} term ${entry.term} ${entry.kind}`;
  try {
    if (entry.kind === "command") return `${head} ${commandText(decodeCommand(entry.payload))}`;
    if (entry.kind === "configuration")
      return `${head} ${changeText(decodeChange(entry.payload))}\n`;
    return `${head}\n`;
  } catch (error) {
    return `${head} cannot be read: ${error instanceof Error ? error.message : error}\n`;
  }
}

function commandText(command: Command): string {
  const { timeMs, session, sequence, openSession, setting } = command;
  const time = new Date(timeMs).toISOString();
  if (openSession) return `${time} opens a session\n`;
  if (command.checksum !== undefined) {
    return `${time} range checksums\n${command.checksum.ranges.map(rangeText).join("")}`;
  }
  const whose = session === 0 ? "no session" : `session ${session} sequence ${sequence}`;
  if (setting !== undefined) {
    return `${time} ${whose} sets ${setting.name} = ${cellText(setting.value)}\n`;
  }
  const { statements, script } = batchOf(command);
  const kind = script ? " script" : "";
  return `${time} ${whose}${kind}\n${statements.map(statementText).join("")}`;
}

function rangeText({ kind, table, after, rows, checksum }: TableRange): string {
  const sum = checksum.toString(16).padStart(8, "0");
  if (kind === "schema") return `    ${sum} the schema\n`;
  const from = after.length === 0 ? "" : " behind a row";
  return `    ${sum} ${cellText(table)}: ${rows} rows${from}\n`;
}

function batchOf(command: Command): BoundBatch {
  return decodeBatch(command.batch);
}

function statementText({ sql, args }: BoundStatement): string {
  const text = sql.trim().replaceAll(/\s*\n\s*/g, " ");
  const values =
    args.kind === "positional"
      ? args.values.map((value, at): [string, SqliteValue] => [`?${at + 1}`, value])
      : Object.entries(args.values).map(([name, value]): [string, SqliteValue] => [name, value]);
  const shown = values.map(([name, value]) => `${name} = ${valueText(value)}`).join(", ");
  return `    ${cellText(text)}\n${shown === "" ? "" : `      ${shown}\n`}`;
}

function valueText(value: SqliteValue): string {
  if (typeof value === "string") {
    const cut = value.length > TEXT_SHOWN ? `… (${value.length} characters)` : "";
    return `'${cellText(value.slice(0, TEXT_SHOWN).replaceAll("'", "''"))}'${cut}`;
  }
  if (value instanceof Uint8Array && value.length > BLOB_BYTES_SHOWN) {
    return `${cellText(value.subarray(0, BLOB_BYTES_SHOWN))}… (${value.length} bytes)`;
  }
  return cellText(value);
}

function changeText(change: ConfigurationChange | null): string {
  if (change === null) return "a change of members in a form that this program does not know";
  if (change.steps.length === 0) return "leaves the joint configuration";
  const steps = change.steps.map(({ kind, id, record }) => {
    const detail = record === undefined ? "" : ` at ${record.address}`;
    return `${STEPS[kind]} ${id}${detail}`;
  });
  return `${steps.join(", ")}${change.transition === "auto" ? "" : ` (${change.transition})`}`;
}

const STEPS: Record<ConfigurationChange["steps"][number]["kind"], string> = {
  addVoter: "makes a voter of node",
  addLearner: "makes a learner of node",
  remove: "removes node",
  update: "changes what is known of node",
};

/** All of it, values whole; ends in a newline. */
export function entryJson(entry: Entry): string {
  const { index, term, kind } = entry;
  const head = `"index":${index},"term":${term},"kind":${JSON.stringify(kind)}`;
  try {
    return `{${head}${detailJson(entry)}}\n`;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return `{${head},"error":${JSON.stringify(why)}}\n`;
  }
}

function detailJson({ kind, payload }: Entry): string {
  if (kind === "noop") return "";
  if (kind === "configuration") return `,"change":${JSON.stringify(decodeChange(payload))}`;
  const command = decodeCommand(payload);
  const { timeMs, session, sequence, acknowledgedThrough, openSession, setting } = command;
  if (command.checksum !== undefined) {
    const ranges = command.checksum.ranges.map(({ after: _key, ...range }) => range);
    return `,${JSON.stringify({ timeMs, checksums: ranges }).slice(1, -1)}`;
  }
  const facts = JSON.stringify({ timeMs, session, sequence, acknowledgedThrough, openSession });
  if (setting !== undefined) return `,${facts.slice(1, -1)},"setting":${JSON.stringify(setting)}`;
  const { statements, script } = batchOf(command);
  return `,${facts.slice(1, -1)},"script":${script},"statements":[${statements.map(statementJson)}]`;
}

function statementJson({ sql, args }: BoundStatement): string {
  const values =
    args.kind === "positional"
      ? `[${args.values.map(jsonText)}]`
      : `{${Object.entries(args.values).map(([name, value]) => `${JSON.stringify(name)}:${jsonText(value)}`)}}`;
  return `{"sql":${JSON.stringify(sql)},"args":${values}}`;
}
