/**
 * `balsa verify`: compares the whole content of all nodes as of one log index, table by table, while writes go on, and says
 * which table differs and on which node. Each node reads its own file; an open transaction on the leader holds writes back
 * only until every node has taken its snapshot. It changes nothing.
 */

import { ContentDigest, type NodeContent, type TableDigest } from "../client/content-digest.ts";
import { BalsaError, ClusterAdmin, connect, type Transaction } from "../client/index.ts";
import { withInterrupt } from "./database-copy.ts";
import { CliError, EXIT, type ExitCode } from "./exit-code.ts";
import type { Output } from "./output.ts";

export interface VerifyOptions {
  readonly endpoints: readonly string[];
  /** How long a node may say nothing. */
  readonly deadlineMs: number;
  /** SQLite's own check of each file, too. */
  readonly deep?: boolean;
  readonly json?: boolean;
}

interface Member {
  readonly id: number;
  readonly address: string;
}

/** Finding the leader, and its answer to the transaction that holds writes back. */
const LEADER_MS_MAX = 10_000;
/** Writes are held back for so long at most. */
const HOLD_MS_MAX = 2_000;
/** A change of the members or of the leader may come between two snapshots: then they are taken again. */
const ATTEMPTS_MAX = 3;
const PROGRESS_MS = 1_000;

export async function verifyNodes(options: VerifyOptions, output: Output): Promise<ExitCode> {
  const contents = await withInterrupt(
    (signal) => readAll(options, output, signal),
    async () => undefined,
  );
  return report(contents, options, output);
}

async function membersOf(endpoints: readonly string[]): Promise<Member[]> {
  const admin = new ClusterAdmin({ endpoints, deadlineMs: LEADER_MS_MAX });
  try {
    const { members } = await admin.leader();
    return members.map(({ id, address }) => ({ id, address }));
  } finally {
    admin.close();
  }
}

async function readAll(
  options: VerifyOptions,
  output: Output,
  signal: AbortSignal,
): Promise<NodeContent[]> {
  for (let attempt = 1; ; attempt += 1) {
    const members = await membersOf(options.endpoints);
    const { deep = false, deadlineMs: silenceMs } = options;
    const digests = members.map(({ address }) => {
      return new ContentDigest({ endpoint: address, deep, silenceMs });
    });
    const cancel = () => {
      for (const digest of digests) digest.cancel();
    };
    signal.addEventListener("abort", cancel, { once: true });
    try {
      if (signal.aborted) cancel();
      const named = digests.map((digest, at) => new NamedDigest(digest, members[at]?.id ?? 0));
      const indexes = await openAtOnce(options.endpoints, named);
      if (new Set(indexes).size === 1) return await watch(named, output);
      const all = indexes.map((index, at) => `node ${members[at]?.id} at ${index}`).join(", ");
      if (attempt < ATTEMPTS_MAX) continue;
      throw new CliError(EXIT.failed, `the log went on between the snapshots: ${all}; try again`);
    } finally {
      signal.removeEventListener("abort", cancel);
      cancel();
    }
  }
}

/** A node's failure says whose it is. */
class NamedDigest {
  readonly digest: ContentDigest;
  readonly id: number;

  constructor(digest: ContentDigest, id: number) {
    this.digest = digest;
    this.id = id;
  }

  async of<T>(promise: Promise<T>): Promise<T> {
    try {
      return await promise;
    } catch (error) {
      if (!(error instanceof BalsaError) || error.code === "CANCELLED") throw error;
      const { code, message } = error;
      throw new BalsaError(code, `node ${this.id} cannot be compared: ${message}`, {
        cause: error,
      });
    }
  }
}

/** The index of each one's snapshot. Nothing is written between the first and the last. */
async function openAtOnce(
  endpoints: readonly string[],
  nodes: readonly NamedDigest[],
): Promise<number[]> {
  // Whatever takes long is done before anybody is held up.
  await Promise.all(nodes.map((node) => node.of(node.digest.ready)));
  const writer = connect({ endpoints, deadlineMs: LEADER_MS_MAX });
  try {
    const hold = async (tx: Transaction) => {
      await tx.prepare("SELECT 1").get();
      for (const { digest } of nodes) digest.open();
      const indexes = await Promise.all(nodes.map((node) => node.of(node.digest.opened)));
      // It is still open.
      await tx.prepare("SELECT 1").get();
      return indexes;
    };
    return await writer.transaction(hold, { idleMs: HOLD_MS_MAX });
  } finally {
    await writer.close();
  }
}

async function watch(nodes: readonly NamedDigest[], output: Output): Promise<NodeContent[]> {
  const reading = new Map<number, string>();
  for (const { digest, id } of nodes) {
    digest.onProgress = (table, rows) => reading.set(id, `node ${id}: ${table} ${rows} rows`);
  }
  const timer = setInterval(() => {
    if (reading.size > 0) output.err(`reading: ${[...reading.values()].join("; ")}\n`);
  }, PROGRESS_MS);
  try {
    const done = nodes.map(async (node) => {
      const content = await node.of(node.digest.content);
      reading.delete(node.id);
      return content;
    });
    return await Promise.all(done);
  } finally {
    clearInterval(timer);
  }
}

// --- what is told -----------------------------------------------------------------------------------------------

interface ComparedTable {
  readonly name: string;
  readonly same: boolean;
  readonly nodes: readonly (TableDigest & { readonly id: number })[];
  /** Those that differ from a majority; empty if there is none. */
  readonly odd: readonly number[];
}

export function compareContents(contents: readonly NodeContent[]): ComparedTable[] {
  const names = [...new Set(contents.flatMap(({ tables }) => tables.map(({ name }) => name)))];
  return names.map((name) => {
    const nodes = contents.map(({ node: id, tables }) => {
      const found = tables.find((table) => table.name === name);
      return { id, name, rows: found?.rows ?? 0, hash: found?.hash ?? "" };
    });
    const counts = new Map<string, number>();
    for (const { hash } of nodes) counts.set(hash, (counts.get(hash) ?? 0) + 1);
    const most = [...counts].find(([, count]) => count * 2 > nodes.length)?.[0];
    const odd = most === undefined ? [] : nodes.filter(({ hash }) => hash !== most);
    return { name, same: counts.size <= 1, nodes, odd: odd.map(({ id }) => id) };
  });
}

function report(
  contents: readonly NodeContent[],
  { json = false, deep = false }: VerifyOptions,
  output: Output,
): ExitCode {
  const tables = compareContents(contents);
  const differing = tables.filter(({ same }) => !same);
  const damaged = contents.filter(({ damage }) => damage.length > 0);
  const isSame = differing.length === 0;
  const index = contents[0]?.index ?? 0;
  if (json) {
    const damage = contents.map(({ node: id, damage: lines }) => ({ id, lines }));
    const told = { same: isSame, index, tables, ...(deep ? { damage } : {}) };
    output.out(`${JSON.stringify(told, null, 2)}\n`);
  } else {
    for (const table of differing) output.out(differenceText(table));
    for (const { node, damage } of damaged) {
      for (const line of damage) output.out(`node ${node} is damaged: ${line}\n`);
    }
    const ids = contents.map(({ node }) => node).join(", ");
    const checked = deep && damaged.length === 0 ? ", and undamaged" : "";
    const what = `${tables.length - 1} tables at log index ${index}`;
    if (isSame) output.out(`nodes ${ids} are the same${checked}: ${what}\n`);
  }
  if (contents.length < 2) throw new CliError(EXIT.failed, "one node: there is nothing to compare");
  return isSame && damaged.length === 0 ? EXIT.ok : EXIT.failed;
}

function differenceText({ name, nodes, odd }: ComparedTable): string {
  const where = odd.length === 0 ? "" : ` on node ${odd.join(", ")}`;
  const each = nodes.map(({ id, rows, hash }) => {
    if (hash === "") return `node ${id}: none`;
    if (hash.startsWith("unreadable")) return `node ${id}: ${hash}`;
    return `node ${id}: ${rows} rows, ${hash.slice(0, 12)}`;
  });
  return `${name} differs${where}: ${each.join("; ")}\n`;
}
