/** `balsa sql`: one statement or one script through the client library. Decides the way, prints what comes back. */

import { text as readText } from "node:stream/consumers";
import { type ConnectOptions, connect, type Database } from "../client/index.ts";
import { routeOf } from "../client/sql-text.ts";
import type { RunResult } from "../sql/result.ts";
import type { Consistency } from "../sql/statement.ts";
import type { Row } from "../sql/value.ts";
import { cellText, jsonRow, jsonText } from "./cell.ts";
import { CliError, EXIT, type ExitCode } from "./exit-code.ts";
import type { Output } from "./output.ts";
import { columnWidths, formatLine } from "./table.ts";

export interface SqlOptions {
  readonly endpoints: readonly string[];
  readonly consistency: Consistency;
  readonly maxStalenessMs?: number;
  readonly deadlineMs: number;
  readonly json?: boolean;
}

/** `argument`: the SQL, or `-` for standard input. @throws SqlError, BalsaError, CliError */
export async function runSql(
  argument: string,
  options: SqlOptions,
  output: Output,
): Promise<ExitCode> {
  const sql = argument === "-" ? await readText(process.stdin) : argument;
  const kind = kindOf(sql);
  if (kind === "nothing") throw new CliError(EXIT.usage, "there is no SQL in what was given");
  const db = connect(connectOptions(options));
  try {
    if (kind === "script") showResult(await db.exec(sql), options, output);
    else if (kind === "write") showResult(await db.prepare(sql).run(), options, output);
    else await showRows(db, sql, options, output);
    return EXIT.ok;
  } finally {
    await db.close();
  }
}

function connectOptions(options: SqlOptions): ConnectOptions {
  const { endpoints, consistency, maxStalenessMs, deadlineMs } = options;
  const bound = maxStalenessMs === undefined ? {} : { maxStalenessMs };
  return { endpoints, consistency, deadlineMs, ...bound };
}

export type SqlKind = "nothing" | "read" | "write" | "script";

/** Begins what has rows to show; a write with RETURNING has them too. */
const READS = /^(SELECT|VALUES|WITH|EXPLAIN|PRAGMA)\b/i;

/** A pragma that sets something, or moves free pages. */
const WRITING_PRAGMA =
  /^PRAGMA\s+(\w+\s*\.\s*)?(\w+\s*=|incremental_vacuum\b|(user_version|application_id|foreign_keys|recursive_triggers)\s*\()/i;

/** Quoted text, comments, and what may stand between statements. An unterminated one runs to the end. */
const SKIPPED = /'[^']*('|$)|"[^"]*("|$)|`[^`]*(`|$)|\[[^\]]*(\]|$)|--[^\n]*|\/\*[\s\S]*?(\*\/|$)/g;

/**
 * A script is more than one statement; it takes effect as a whole and shows no rows. A trigger's body makes a script of
 * its statement too, which comes to the same. What the SQL may do is for the nodes to judge.
 */
export function kindOf(sql: string): SqlKind {
  const bare = sql.replaceAll(SKIPPED, (skipped) => (/^[-/]/.test(skipped) ? " " : "x"));
  const parts = bare.split(";").map((part) => part.trim());
  const statements = parts.filter((part) => part !== "");
  if (statements.length === 0) return "nothing";
  if (statements.length > 1) return "script";
  if (routeOf(sql) === "read") {
    const [first = ""] = statements;
    return READS.test(first) && !WRITING_PRAGMA.test(first) ? "read" : "write";
  }
  return routeOf(sql) === "returning" ? "read" : "write";
}

function showResult(result: RunResult, options: SqlOptions, output: Output): void {
  const { changes, lastInsertRowid, index } = result;
  if (options.json === true) {
    const rowid = jsonText(lastInsertRowid);
    output.out(`{"changes":${changes},"lastInsertRowid":${rowid},"index":${index}}\n`);
  } else {
    output.out(`ok: ${changes} ${changes === 1 ? "row" : "rows"} changed\n`);
  }
}

/** Rows from which the widths of the columns are taken; what comes after may be wider. */
const MEASURED_ROWS = 500;

async function showRows(
  db: Database,
  sql: string,
  options: SqlOptions,
  output: Output,
): Promise<void> {
  const table = new RowTable(output);
  for await (const row of db.prepare(sql).iterate()) {
    if (options.json === true) output.out(`${jsonRow(row)}\n`);
    else table.add(row);
  }
  table.end();
}

/** A table of a length not known beforehand, without keeping more than its first part. */
class RowTable {
  readonly #output: Output;
  #waiting: string[][] = [];
  #titles: string[] | null = null;
  #widths: number[] | null = null;

  constructor(output: Output) {
    this.#output = output;
  }

  add(row: Row): void {
    this.#titles ??= Object.keys(row);
    this.#waiting.push(Object.values(row).map(cellText));
    if (this.#widths !== null || this.#waiting.length >= MEASURED_ROWS) this.end();
  }

  /** Prints what waits. */
  end(): void {
    if (this.#titles === null) return;
    if (this.#widths === null) {
      this.#widths = columnWidths([this.#titles, ...this.#waiting], this.#titles.length);
      this.#waiting.unshift(this.#titles);
    }
    const columns = this.#titles.map((title) => ({ title }));
    const widths = this.#widths;
    const lines = this.#waiting.map((cells) => formatLine(columns, widths, cells));
    this.#waiting = [];
    this.#output.out(lines.join(""));
  }
}
