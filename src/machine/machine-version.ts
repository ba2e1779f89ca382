/**
 * What this program makes of a log entry: which SQLite runs it, and in which way. Nodes for which this is the same come to the
 * same, for all that is known; nodes for which it is not need not, so one of them is the cluster's (docs/decisions/0015).
 */

import { createRequire } from "node:module";

/** To be raised when the same entry would come to something else, or could not be read, by an older program. */
const MACHINE = 1;

/** Such as `better-sqlite3 12.6.2, machine 1`: the binding fixes SQLite's version and how it is built. */
export function ownMachineVersion(): string {
  const manifest: unknown = createRequire(import.meta.url)("better-sqlite3/package.json");
  const { version } = manifest as { readonly version: string };
  return `better-sqlite3 ${version}, machine ${MACHINE}`;
}
