/**
 * Deletes the bytes of contents that are no blob's any more, in steps that are small enough for those who write beside it. What
 * may go, the statements decide by log time; several sweeps at once do no harm.
 */

import { ABANDON, DUE, isWithoutTables, REMOVE_CHUNKS, REMOVE_CONTENT } from "./blob-tables.ts";
import { execute } from "./blob-upload.ts";
import type { Client } from "./client.ts";
import type { ResolvedCallOptions } from "./options.ts";
import { Statement } from "./statement.ts";

/** Chunks deleted by one request: 8 MiB. */
const STEP_CHUNKS = 32;

/** Returns how many contents it removed. @throws as every write does; what it has done is done. */
export async function sweep(client: Client, options: ResolvedCallOptions): Promise<number> {
  let removed = 0;
  for (;;) {
    const due = await findDue(client, options);
    let progress = 0;
    for (const content of due) if (await remove(client, content, options)) progress += 1;
    removed += progress;
    // By the log's time, which may be behind this node's, nothing more is due.
    if (progress === 0) return removed;
  }
}

async function findDue(client: Client, options: ResolvedCallOptions): Promise<number[]> {
  const terms = { ...options, consistency: "session" } as const;
  try {
    const rows = await new Statement<{ id: number }>(client, DUE, terms).all();
    return rows.map(({ id }) => id);
  } catch (error) {
    if (isWithoutTables(error)) return [];
    throw error;
  }
}

async function remove(
  client: Client,
  content: number,
  options: ResolvedCallOptions,
): Promise<boolean> {
  const abandon = { sql: ABANDON, args: { content } };
  const chunks = { sql: REMOVE_CHUNKS, args: { content, chunks: STEP_CHUNKS } };
  const last = { sql: REMOVE_CONTENT, args: { content } };
  for (;;) {
    const { results } = await execute(client, [abandon, chunks, last], options);
    if (results[2]?.changes === 1) return true;
    if (results[1]?.changes === 0) return false;
  }
}
