/**
 * The way of one blob out: short reads of a content's rows, one group ahead of the consumer. As a content never changes,
 * any node's rows are right, and a read that is tied to a content needs neither a snapshot nor one connection. It holds two
 * groups at most, and never gives bytes of another content.
 */

import { createHash } from "node:crypto";
import { BalsaError } from "../sql/errors.ts";
import { CHUNKS, isWithoutTables } from "./blob-tables.ts";
import type { Client } from "./client.ts";
import type { ResolvedCallOptions } from "./options.ts";
import { Statement } from "./statement.ts";

/** What one read asks for. */
const GROUP_BYTES = 2 * 1024 * 1024;

/** A content and how it is cut. */
export interface StoredContent {
  readonly name: string;
  readonly content: number;
  readonly size: number;
  readonly chunkBytes: number;
  readonly sha256: string;
}

interface Chunk {
  readonly part: number;
  readonly data: Uint8Array;
}

/**
 * The bytes from `start` up to but not including `end`, in pieces of a chunk at most.
 * @throws BalsaError NO_SUCH_BLOB if the content is removed meanwhile; PROTOCOL if all of it was read and it is not what was
 * written; and as every read does
 */
export async function* readContent(
  client: Client,
  { stored, start, end }: { readonly stored: StoredContent; start: number; end: number },
  options: ResolvedCallOptions,
): AsyncGenerator<Buffer, void> {
  if (start >= end) return;
  const { chunkBytes, size } = stored;
  const last = Math.ceil(end / chunkBytes) - 1;
  const room = Math.min(GROUP_BYTES, client.options.limits.resultBytes / 2);
  const groupParts = Math.max(1, Math.floor(room / chunkBytes));
  const hash = start === 0 && end === size ? createHash("sha256") : null;
  const group = (from: number): Promise<readonly Chunk[]> | null => {
    if (from > last) return null;
    const read = readParts(
      client,
      { stored, from, to: Math.min(last, from + groupParts - 1) },
      options,
    );
    // Whoever takes it sees its error.
    read.catch(ignore);
    return read;
  };
  let from = Math.floor(start / chunkBytes);
  let ahead = group(from);
  while (ahead !== null) {
    const chunks = await ahead;
    from += groupParts;
    ahead = group(from);
    for (const { part, data } of chunks) {
      const offset = part * chunkBytes;
      const piece = data.subarray(Math.max(0, start - offset), Math.min(data.length, end - offset));
      hash?.update(piece);
      yield Buffer.from(piece.buffer, piece.byteOffset, piece.length);
    }
  }
  if (hash === null || hash.digest("hex") === stored.sha256) return;
  throw new BalsaError("PROTOCOL", `the bytes of "${stored.name}" do not match their SHA-256`);
}

/** All of them, from a node that has them. */
async function readParts(
  client: Client,
  { stored, from, to }: { readonly stored: StoredContent; from: number; to: number },
  options: ResolvedCallOptions,
): Promise<readonly Chunk[]> {
  for (const consistency of ["stale", "linearizable"] as const) {
    const terms = { ...options, consistency, maxStalenessMs: 0, integers: "auto" } as const;
    const statement = new Statement<{ part: number; data: Uint8Array }>(client, CHUNKS, terms);
    const chunks = await statement.all(stored.content, from, to).catch((error: unknown) => {
      if (!isWithoutTables(error)) throw error;
      return [];
    });
    if (isWhole(chunks, stored, from, to)) return chunks;
  }
  const message = `"${stored.name}" was removed or replaced while it was read: read it again`;
  throw new BalsaError("NO_SUCH_BLOB", message, { facts: { name: stored.name } });
}

function isWhole(
  chunks: readonly Chunk[],
  { size, chunkBytes }: StoredContent,
  from: number,
  to: number,
): boolean {
  if (chunks.length !== to - from + 1) return false;
  return chunks.every(({ part, data }, at) => {
    const length = Math.min(chunkBytes, size - part * chunkBytes);
    return part === from + at && data instanceof Uint8Array && data.length === length;
  });
}

function ignore(): void {
  // Reported where it is awaited.
}
