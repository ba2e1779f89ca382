/**
 * Of a blob all bytes are seen or nothing, on every node, at any time; and under a name stands what was last said to be there.
 * Each name has one writer, who does one thing after another.
 */

import { createHash } from "node:crypto";
import { demand } from "./violation.ts";

/** What a look at the tables gives, a row a chunk, in the order of names and parts. */
export interface BlobRow {
  readonly name: string;
  readonly size: number;
  readonly sha256: string;
  /** Null: it has no chunks. */
  readonly data: Uint8Array | null;
}

/** All blobs with all their bytes, in one moment. */
export const LOOK_AT_BLOBS = `SELECT b.name, b.size, b.sha256, k.data FROM db_blob AS b
LEFT JOIN db_blob_chunk AS k ON k.content = b.content ORDER BY b.name, k.part`;

/** Contents whose state does not tell what they are; none. */
export const LOST_CONTENTS = `SELECT c.id FROM db_blob_content AS c LEFT JOIN db_blob AS b ON b.content = c.id
WHERE (c.state = 'stored') <> (b.id IS NOT NULL)`;

export function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Null: there is none of that name. */
type Version = string | null;

export class WholeBlobs {
  /** What may stand under each name. */
  readonly #possible = new Map<string, ReadonlySet<Version>>();
  readonly #before = new Map<string, ReadonlySet<Version>>();

  /** From now on it may be there. */
  attempted(name: string, version: Version): void {
    const before = this.#of(name);
    this.#before.set(name, before);
    this.#possible.set(name, new Set([...before, version]));
  }

  acknowledged(name: string, version: Version): void {
    this.#possible.set(name, new Set([version]));
  }

  /** What was attempted last was not applied, and never will be. */
  refused(name: string): void {
    this.#possible.set(name, this.#before.get(name) ?? this.#of(name));
  }

  /** Every node, at any time: whole ones alone. */
  checkWhole(node: number, rows: readonly BlobRow[]): ReadonlyMap<string, string> {
    const pieces = new Map<string, { row: BlobRow; data: Uint8Array[] }>();
    for (const row of rows) {
      const found = pieces.get(row.name) ?? { row, data: [] };
      if (row.data !== null) found.data.push(row.data);
      pieces.set(row.name, found);
    }
    const versions = new Map<string, string>();
    for (const [name, { row, data }] of pieces) {
      const bytes = Buffer.concat(data);
      const isWhole = bytes.length === row.size && digestOf(bytes) === row.sha256;
      demand(isWhole, "a blob is whole", () => {
        return `${name} has ${bytes.length} of ${row.size} bytes on node ${node}`;
      });
      versions.set(name, row.sha256);
    }
    return versions;
  }

  /** Who has seen all that was acknowledged. */
  check(node: number, rows: readonly BlobRow[]): void {
    const versions = this.checkWhole(node, rows);
    for (const [name, possible] of this.#possible) {
      const version = versions.get(name) ?? null;
      demand(possible.has(version), "a blob is what was written last", () => {
        return `${name} is ${version ?? "not there"} on node ${node}, and not ${[...possible].join(" or ")}`;
      });
    }
    for (const name of versions.keys()) {
      demand(this.#possible.has(name), "no blob is invented", () => `${name} on node ${node}`);
    }
  }

  #of(name: string): ReadonlySet<Version> {
    return this.#possible.get(name) ?? new Set([null]);
  }
}
