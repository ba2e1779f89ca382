/**
 * What nodes must have in common so that the same statement comes to the same result: the processor's architecture and the C
 * library, which round floating point each in its own way; and the extensions of SQLite. Told in the hello; it says only what
 * differs. Which SQLite runs is part of the machine version, which is the node's business.
 */

import { createRequire } from "node:module";
import { extensionConflict } from "./extension-sets.ts";

export interface Platform {
  /** Architecture and C library, `x64 glibc`; empty: not told. */
  readonly machine: string;
  /** The SQLite binding with its version, which fixes SQLite's; empty: not told. */
  readonly engine: string;
  /** As told by extension-sets.ts. */
  readonly extensions: readonly string[];
}

let own: Omit<Platform, "extensions"> | null = null;

export function ownPlatform(extensions: readonly string[] = []): Platform {
  own ??= {
    machine: `${process.arch} ${cLibrary()}`,
    engine: `better-sqlite3 ${bindingVersion()}`,
  };
  return { ...own, extensions };
}

/** Why a node on `other` cannot be a peer of one on `mine`; null if it can. */
export function platformConflict(mine: Platform, other: Platform): string | null {
  if (other.machine !== "" && other.machine !== mine.machine) {
    return (
      `it runs on ${other.machine}, this node on ${mine.machine}: their floating point differs, ` +
      "and so would their data; run all nodes on one architecture and C library"
    );
  }
  return extensionConflict(mine.extensions, other.extensions);
}

function cLibrary(): string {
  if (process.platform !== "linux") return process.platform;
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime === undefined ? "musl" : "glibc";
}

function bindingVersion(): string {
  const manifest: unknown = createRequire(import.meta.url)("better-sqlite3/package.json");
  return (manifest as { readonly version: string }).version;
}
