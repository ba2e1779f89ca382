/** What the writer's driver is told when it is made, and what it tells. */

import type { EntryId, LogIndex } from "../raft/entry.ts";
import type { ClusterSettings } from "../sql/settings.ts";
import type {
  DigestMismatch,
  Environment,
  ExecuteOutcome,
  Log,
  Logger,
  Machine,
  MachineState,
} from "./ports.ts";
import type { WriteRequest } from "./write-request.ts";

export interface DriverEvents {
  /** In execution order. Returns where it went in the log; null if it was refused. */
  propose(request: WriteRequest, payload: Uint8Array, result: Uint8Array): EntryId | null;
  /** An answer that read the open transaction: everything up to `seen` must be committed before it leaves. */
  observed(request: WriteRequest, outcome: ObservedOutcome, seen: EntryId): void;
  /** SQLite has committed up to here. */
  applied(index: LogIndex): void;
  /** The database file alone holds everything up to here, durably. */
  checkpointed(index: LogIndex): void;
  /** As the database file has them. */
  settings(settings: ClusterSettings): void;
  /** A writer has opened the file. */
  opened(state: MachineState): void;
  /** It has stopped in front of this entry. */
  mismatch(mismatch: DigestMismatch): void;
  /** Somebody else wrote to its file: it does nothing any more. What was executed and not proposed did not happen. */
  changed(what: string): void;
  /** Writers end for want of space; the next is tried after a pause. Or they have got on again. */
  resting(isResting: boolean): void;
  /** Of the log, now: milliseconds since 1970. `nowMs`: the monotonic clock. It may run backwards. */
  timeMs(nowMs: number): number;
  /** Little space is left on the disk. */
  isLowOnSpace(): boolean;
  /** The machine cannot go on: the node must halt. */
  broken(error: Error): void;
}

export type ObservedOutcome = Exclude<ExecuteOutcome, { kind: "proposal" | "apart" }>;

export interface DriverOptions {
  readonly writeDeadlineMs: number;
  readonly isReadLocally: boolean;
  /** Sees each request just before it is executed; a test's plant may change it. */
  readonly dedup: boolean;
}

export interface DriverParts {
  readonly machine: Machine;
  readonly log: Log;
  readonly environment: Environment;
  readonly logger: Logger;
  readonly events: DriverEvents;
}
