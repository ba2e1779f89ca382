/** A node's log: pino on standard error, for people or for programs. Writing it never holds up the node. */

import { pino } from "pino";
import type { Logger } from "../node/ports.ts";
import { formatLogRecord, parseLogRecord } from "./log-line.ts";
import type { LogWriter } from "./log-writer.ts";

export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;
export const LOG_FORMATS = ["auto", "text", "json"] as const;

export type LogLevel = (typeof LOG_LEVELS)[number];
/** `auto`: text on a terminal, else JSON. */
export type LogFormat = (typeof LOG_FORMATS)[number];

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Facts of every record. */
  readonly base: object;
}

export function openLogger({ level, format, base }: LogOptions, writer: LogWriter): Logger {
  const isText = format === "text" || (format === "auto" && process.stderr.isTTY === true);
  const target = { write: (line: string) => writer.write(isText ? asText(line) : line) };
  const formatters = { level: (label: string) => ({ level: label }) };
  return pino({ level, base, formatters }, target);
}

function asText(line: string): string {
  const record = parseLogRecord(line);
  return record === null ? line : `${formatLogRecord(record)}\n`;
}
