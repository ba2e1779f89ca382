/**
 * `balsa verify`: compares the whole content of all nodes as of one moment, table by table, while writes go on. An open
 * transaction on the leader holds writes back only until every node has opened a read transaction of its own: so all see
 * the same entries, and none of them moves while it is read. It changes nothing.
 */

import { createHash, type Hash } from "node:crypto";
import {
  BalsaError,
  ClusterAdmin,
  connect,
  type Database,
  type Row,
  type Transaction,
} from "../client/index.ts";
import { CliError, EXIT, type ExitCode } from "./exit-code.ts";
import type { Output } from "./output.ts";

export interface VerifyOptions {
  readonly endpoints: readonly string[];
  readonly deadlineMs: number;
  readonly json?: boolean;
}

interface TableFacts {
  readonly rows: number;
  /** SHA-256 of all rows in order, hex. */
  readonly hash: string;
}

interface NodeContent {
  readonly id: number;
  readonly tables: ReadonlyMap<string, TableFacts>;
}

const SCHEMA = "(schema)";
const PAGE_ROWS = 500;
/** Writes are held back for so long at most. */
const HOLD_MS_MAX = 2_000;
/** This process hashes: it may be slow to see that a node lives. */
const SILENCE_MS = 30_000;
const ROWID_MIN = -(2n ** 63n);
const ROWID_MAX = 2n ** 63n - 1n;
const ROWID_NAMES = ["rowid", "_rowid_", "oid"];
const TABLES = `SELECT name, wr FROM pragma_table_list
  WHERE schema = 'main' AND type IN ('table', 'virtual')
    AND name NOT LIKE 'balsa\\_%' ESCAPE '\\' AND name <> 'sqlite_schema' ORDER BY name`;
const SCHEMA_TEXT = `SELECT type, name, tbl_name, sql FROM sqlite_schema
  WHERE tbl_name NOT LIKE 'balsa\\_%' ESCAPE '\\' ORDER BY type, name`;

export async function verifyNodes(options: VerifyOptions, output: Output): Promise<ExitCode> {
  const members = await membersOf(options);
  const { endpoints, deadlineMs } = options;
  const common = { deadlineMs, silenceMs: SILENCE_MS };
  const clients = members.map(({ address }) => {
    return connect({ endpoints: [address], discover: false, ...common, integers: "bigint" });
  });
  const writer = connect({ endpoints, ...common });
  try {
    const contents = await readAll(writer, clients, members, deadlineMs);
    return report(contents, options, output);
  } finally {
    await Promise.all([writer, ...clients].map((client) => client.close()));
  }
}

async function membersOf({ endpoints, deadlineMs }: VerifyOptions) {
  const admin = new ClusterAdmin({ endpoints, deadlineMs });
  try {
    const { members } = await admin.leader();
    return members.map(({ id, address }) => ({ id, address }));
  } finally {
    admin.close();
  }
}

/** Every node's content; all of one moment. */
async function readAll(
  writer: Database,
  clients: readonly Database[],
  members: readonly { readonly id: number }[],
  totalMs: number,
): Promise<NodeContent[]> {
  let open: () => void = () => {};
  const mayOpen = new Promise<void>((resolve) => {
    open = resolve;
  });
  const opened: Promise<void>[] = [];
  const reading = clients.map((client, at) => {
    let isOpen: () => void = () => {};
    opened.push(
      new Promise((resolve) => {
        isOpen = resolve;
      }),
    );
    // Begun here, outside of the transaction that holds the writes.
    return mayOpen.then(() =>
      client.transaction(
        async (tx) => {
          await tx.prepare("SELECT 1").get();
          isOpen();
          return { id: members[at]?.id ?? 0, tables: await readTables(tx) };
        },
        { readOnly: true, consistency: "linearizable", totalMs },
      ),
    );
  });
  const all = Promise.all(reading);
  // Told below, or by what ended the transaction first.
  all.catch(() => undefined);
  // A node that does not answer is found before anybody is held up.
  await Promise.all(clients.map((client) => client.prepare("SELECT 1").get()));
  const hold = async (tx: Transaction) => {
    await tx.prepare("SELECT 1").get();
    open();
    await Promise.race([Promise.all(opened), all]);
    // It is still open: nothing was written between the first snapshot and the last.
    await tx.prepare("SELECT 1").get();
  };
  await writer.transaction(hold, { idleMs: HOLD_MS_MAX });
  return all;
}

async function readTables(tx: Transaction): Promise<Map<string, TableFacts>> {
  const found = new Map<string, TableFacts>();
  const schema = createHash("sha256");
  const lines = await tx.prepare(SCHEMA_TEXT).all();
  for (const line of lines) feed(schema, line);
  for (const pragma of ["user_version", "application_id"]) {
    feed(schema, (await tx.prepare(`PRAGMA ${pragma}`).get()) ?? {});
  }
  found.set(SCHEMA, { rows: lines.length, hash: schema.digest("hex") });
  for (const { name, wr } of await tx.prepare<{ name: string; wr: bigint }>(TABLES).all()) {
    found.set(name, await readTable(tx, name, wr !== 0n));
  }
  return found;
}

async function readTable(
  tx: Transaction,
  name: string,
  withoutRowid: boolean,
): Promise<TableFacts> {
  const columns = await tx
    .prepare<{ name: string }>(
      "SELECT lower(name) AS name FROM pragma_table_xinfo(?) WHERE hidden <> 1",
    )
    .all(name);
  const taken = new Set(columns.map((column) => column.name));
  const rowid = withoutRowid ? undefined : ROWID_NAMES.find((alias) => !taken.has(alias));
  const from = `"${name.replaceAll('"', '""')}"`;
  const order = columns.map((_, at) => at + 1).join(", ");
  const page = tx.prepare(
    rowid === undefined
      ? `SELECT * FROM ${from} ORDER BY ${order} LIMIT ?2 OFFSET ?1`
      : `SELECT ${rowid} AS " at", * FROM ${from} WHERE ${rowid} >= ?1 ORDER BY ${rowid} LIMIT ?2`,
  );
  const hash = createHash("sha256");
  let [rows, limit] = [0, PAGE_ROWS];
  let next = rowid === undefined ? 0n : ROWID_MIN;
  for (;;) {
    const found = await page.all(next, limit).catch(tooLarge);
    if (found === null && limit > 1) {
      limit = Math.ceil(limit / 8);
      continue;
    }
    if (found === null) throw new CliError(EXIT.failed, `a row of ${name} is too large to be read`);
    for (const row of found) feed(hash, row);
    rows += found.length;
    const last = rowid === undefined ? BigInt(rows - 1) : (found.at(-1)?.[" at"] as bigint);
    if (found.length < limit || last === ROWID_MAX) return { rows, hash: hash.digest("hex") };
    next = last + 1n;
  }
}

/** Null: fewer rows may be read at a time. */
function tooLarge(error: unknown): null {
  if (error instanceof BalsaError && error.code === "LIMIT_EXCEEDED") return null;
  throw error;
}

/** Each value with its kind and its length: integers come as bigint, reals as number. */
function feed(hash: Hash, row: Row): void {
  for (const value of Object.values(row)) {
    if (value instanceof Uint8Array) {
      hash.update(`blob ${value.length} `);
      hash.update(value);
    } else {
      const text = Object.is(value, -0) ? "-0" : `${value}`;
      hash.update(`${typeof value} ${text.length} ${text}`);
    }
  }
}

function report(
  contents: readonly NodeContent[],
  { json = false }: VerifyOptions,
  output: Output,
): ExitCode {
  const names = [...new Set(contents.flatMap(({ tables }) => [...tables.keys()]))];
  const tables = names.map((name) => {
    const nodes = contents.map(({ id, tables: own }) => {
      const facts = own.get(name);
      return { id, rows: facts?.rows ?? 0, hash: facts?.hash ?? "" };
    });
    return { name, same: new Set(nodes.map(({ hash }) => hash)).size === 1, nodes };
  });
  const differing = tables.filter(({ same }) => !same);
  if (json) output.out(`${JSON.stringify({ same: differing.length === 0, tables }, null, 2)}\n`);
  else {
    for (const { name, nodes } of differing) {
      const each = nodes.map(({ id, rows, hash }) => {
        return `node ${id}: ${hash === "" ? "none" : `${rows} rows, ${hash.slice(0, 12)}`}`;
      });
      output.out(`${name} differs: ${each.join("; ")}\n`);
    }
    const ids = contents.map(({ id }) => id).join(", ");
    if (differing.length === 0)
      output.out(`nodes ${ids} are the same: ${names.length - 1} tables\n`);
  }
  if (contents.length < 2) throw new CliError(EXIT.failed, "one node: there is nothing to compare");
  return differing.length === 0 ? EXIT.ok : EXIT.failed;
}
