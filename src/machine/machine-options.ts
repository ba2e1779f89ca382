/** What the state machine is given when it opens a file, and what it says of entries that it applied. */

import type { DigestMismatch } from "../node/ports.ts";
import type { EntryId } from "../raft/entry.ts";
import type { KnownExtension } from "../sql/extension.ts";
import type { Limits } from "../sql/limits.ts";
import type { AutoVacuum } from "../sql/settings.ts";
import type { SessionLimits } from "./sessions.ts";

export interface MachineCoreOptions {
  /** The database file, made if missing; `:memory:` for tests. */
  readonly path: string;
  readonly limits?: Limits;
  readonly sessionLimits?: SessionLimits;
  /** What this node runs; it executes nothing for a cluster of another. Empty: for any. Default empty. */
  readonly machineVersion?: string;
  /** Of a file that is made now. Default none. What the tables hold does not depend on it. */
  readonly autoVacuum?: AutoVacuum;
  /** Statements kept prepared. Default 500. What the file holds does not depend on it. */
  readonly preparedStatements?: number;
  /** Loaded into the connection. Default none. */
  readonly extensions?: readonly KnownExtension[];
}

export interface Applied {
  /** Committed up to here. */
  readonly last: EntryId;
  readonly mismatch: DigestMismatch | null;
}
