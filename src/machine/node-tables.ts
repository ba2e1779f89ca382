/**
 * Tables beneath FTS5 that are not the same on all nodes: the record of its index's structure begins with a counter that
 * depends on what a connection did first. A read may look at them; what writes must not. Found by the schema's text, and
 * proven by SQLite's own program for the statement. It never reads such a table itself.
 */

import type { Database } from "better-sqlite3";
import { BalsaError } from "../sql/errors.ts";
import type { PreparedStatement } from "./prepared-statement.ts";
import type { SchemaFacts, SchemaRow } from "./schema-facts.ts";
import { nameOf, tokenize } from "./tokenizer.ts";

const FTS5 = /^\s*create\s+virtual\b[\s\S]*?\busing\s+["'`[]?fts5\b/i;
const VIRTUAL = /^\s*create\s+virtual\b/i;

export type NodeTableFacts = Pick<
  SchemaFacts,
  "nodeTables" | "nodeTablesInTriggers" | "overNodeTable"
>;
const NONE: NodeTableFacts = {
  nodeTables: new Set(),
  nodeTablesInTriggers: false,
  overNodeTable: null,
};

export function findNodeTables(objects: readonly SchemaRow[]): NodeTableFacts {
  const found = new Set(
    objects.flatMap(([, name, sql]) => (FTS5.test(sql) ? [`${name.toLowerCase()}_data`] : [])),
  );
  if (found.size === 0) return NONE;
  const mentions = objects.map(([type, name, sql]) => {
    const names = new Set(tokenize(sql).map((token) => nameOf(sql, token)));
    return { type, name: name.toLowerCase(), names, isVirtual: VIRTUAL.test(sql) };
  });
  // Views over views.
  for (let size = 0; size !== found.size; ) {
    size = found.size;
    for (const { type, name, names } of mentions) {
      if (type === "view" && meets(names, found)) found.add(name);
    }
  }
  const over = mentions.find(({ isVirtual, names }) => isVirtual && meets(names, found));
  return {
    nodeTables: found,
    nodeTablesInTriggers: mentions.some(
      ({ type, names }) => type === "trigger" && meets(names, found),
    ),
    overNodeTable: over?.name ?? null,
  };
}

/** @throws BalsaError REFUSED if a virtual table takes its content from one: nobody would see what it reads */
export function refuseOverNodeTable({ overNodeTable }: NodeTableFacts): void {
  if (overNodeTable === null) return;
  throw refused(`${overNodeTable} would be over a table that FTS5 keeps its index in, which`);
}

export class NodeTables {
  readonly #database: Database;
  /** For the schema as it is, and for as long as the statement is kept prepared. */
  #known = new WeakMap<PreparedStatement, boolean>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** The schema has changed. */
  clear(): void {
    this.#known = new WeakMap();
  }

  /** Whether a read shows one. @throws BalsaError REFUSED if a write does. */
  check(prepared: PreparedStatement, args: readonly unknown[], facts: SchemaFacts): boolean {
    const { shape } = prepared;
    const writes = prepared.class === "replicated";
    const named = meets(shape.names, facts.nodeTables) || meets(shape.strings, facts.nodeTables);
    if (!named && !(writes && facts.nodeTablesInTriggers)) return false;
    // What such a table reads, SQLite's program does not say.
    const isOver = named && shape.verb === "create" && shape.names.has("virtual");
    if (!isOver && !this.#opensOne(prepared, args, facts)) return false;
    if (writes) throw refused("the table that FTS5 keeps its index in");
    return true;
  }

  #opensOne(prepared: PreparedStatement, args: readonly unknown[], facts: SchemaFacts): boolean {
    const known = this.#known.get(prepared);
    if (known !== undefined) return known;
    const roots = new Set(
      this.#database
        .prepare<unknown[], [name: string, page: bigint]>(
          "SELECT lower(name), rootpage FROM main.sqlite_schema WHERE type = 'table'",
        )
        .raw(true)
        .all()
        .flatMap(([name, page]) => (facts.nodeTables.has(name) ? [page] : [])),
    );
    const opens = this.#database
      .prepare<unknown[], { opcode: string; p2: bigint; p3: bigint }>(
        `EXPLAIN ${prepared.shape.text}`,
      )
      .all(...args)
      .some(({ opcode, p2, p3 }) => opcode.startsWith("Open") && p3 === 0n && roots.has(p2));
    this.#known.set(prepared, opens);
    return opens;
  }
}

function meets(names: ReadonlySet<string>, others: ReadonlySet<string>): boolean {
  for (const name of others) if (names.has(name)) return true;
  return false;
}

function refused(what: string): BalsaError {
  return new BalsaError(
    "REFUSED",
    `${what} differs between nodes: in a write, ask the full-text table itself, or an fts5vocab table over it`,
  );
}
