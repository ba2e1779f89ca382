/**
 * `balsa log`: looks into the log of a stopped node. It takes the directory's lock as a node does, so that none starts
 * meanwhile, and reads; it changes nothing and repairs nothing.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { inspectLog, type LogReport, readEntries, type StartReport } from "../log/inspect.ts";
import { DirectoryLock } from "../machine/directory-lock.ts";
import { CliError, EXIT, type ExitCode } from "./exit-code.ts";
import { entryJson, entryText } from "./log-entry-text.ts";
import type { Output } from "./output.ts";
import { formatTable } from "./table.ts";

/** `dir`: the node's. @throws CliError, also while the node runs */
export function listLog(dir: string, output: Output): ExitCode {
  const { segments } = withLog(dir, (path) => inspectLog(path));
  const right = { align: "right" } as const;
  const columns = [
    { title: "SEGMENT" },
    { title: "STATE" },
    { title: "BYTES", ...right },
    { title: "USED", ...right },
    { title: "BATCHES", ...right },
    { title: "ENTRIES", ...right },
    { title: "TERMS", ...right },
  ];
  const rows = segments.map((segment) => {
    const { firstIndex, lastIndex, firstTerm, lastTerm } = segment;
    const { name, state, bytes, usedBytes, batches } = segment;
    const numbers = [bytes, usedBytes, batches].map(String);
    return [name, state, ...numbers, span(firstIndex, lastIndex), span(firstTerm, lastTerm)];
  });
  output.out(formatTable(columns, rows));
  return EXIT.ok;
}

function span(first: number, last: number): string {
  if (first === 0) return "-";
  return first === last ? String(first) : `${first}-${last}`;
}

export interface DumpOptions {
  readonly from?: number;
  readonly to?: number;
  readonly json?: boolean;
}

/** @throws as listLog */
export function dumpLog(dir: string, options: DumpOptions, output: Output): ExitCode {
  const { from = 1, to = Number.MAX_SAFE_INTEGER, json = false } = options;
  if (from > to) throw new CliError(EXIT.usage, `--from ${from} lies behind --to ${to}`);
  return withLog(dir, (path) => {
    for (const entry of readEntries(path, from, to)) {
      output.out(json ? entryJson(entry) : entryText(entry));
    }
    const { damages } = inspectLog(path);
    tellDamages(damages, output);
    return damages.length === 0 ? EXIT.ok : EXIT.failed;
  });
}

/** @throws as listLog */
export function verifyLog(dir: string, output: Output): ExitCode {
  const { segments, damages, start } = withLog(dir, (path) => inspectLog(path));
  const batches = segments.reduce((sum, segment) => sum + segment.batches, 0);
  tellDamages(damages, output);
  output.out(`checked ${segments.length} segments with ${batches} whole batches\n`);
  output.out(startText(start));
  return damages.length === 0 && start.kind === "opens" ? EXIT.ok : EXIT.failed;
}

function tellDamages(damages: LogReport["damages"], output: Output): void {
  for (const { file, offset, reason } of damages) {
    output.err(`balsa: ${file} at byte ${offset}: ${reason}\n`);
  }
}

function startText(start: StartReport): string {
  if (start.kind === "refuses") return `a start would refuse it: ${start.reason}\n`;
  const { firstIndex, lastIndex, currentTerm, cutBytes, removesMarker } = start;
  const entries = lastIndex < firstIndex ? "no entries" : `entries ${firstIndex} to ${lastIndex}`;
  const cut =
    cutBytes === 0 ? "cut nothing" : `cut ${cutBytes} bytes of a write that was never acknowledged`;
  const marker = removesMarker
    ? ", and forget that a write failed, as the machine was restarted since"
    : "";
  return `a start would open it with ${entries} in term ${currentTerm}, ${cut}${marker}\n`;
}

/** Calls `run` with the log's directory while no node can start. */
function withLog<T>(dir: string, run: (path: string) => T): T {
  const path = join(dir, "log");
  if (!existsSync(path)) {
    const message = `${dir} is no node's data directory: there is no ${path}; name the directory given to --dir`;
    throw new CliError(EXIT.failed, message);
  }
  // Without that file no node has run here, and making it would be a change.
  const lock = existsSync(join(dir, "node.lock")) ? takeLock(dir) : null;
  try {
    return run(path);
  } finally {
    lock?.release();
  }
}

function takeLock(dir: string): DirectoryLock {
  try {
    return DirectoryLock.take(dir);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const message = `${why}. The log can only be read while its node is stopped`;
    throw new CliError(EXIT.failed, message, error);
  }
}
