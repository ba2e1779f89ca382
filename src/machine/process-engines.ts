/** What the loops of the child processes drive: SQLite with the state machine on it. Declared here, joined in the entries. */

import type {
  DigestMismatch,
  ExecuteJob,
  ExecuteOutcome,
  MachineState,
  Verdict,
} from "../node/ports.ts";
import type { Configuration, Entry, EntryId } from "../raft/entry.ts";

/** Anything it throws ends the process: the message is the reason that the node is told. */
export interface WriterEngine {
  readonly state: MachineState;
  execute(job: ExecuteJob): ExecuteOutcome;
  apply(entries: readonly Entry[]): {
    readonly last: EntryId;
    readonly mismatch: DigestMismatch | null;
  };
  commit(last: EntryId): void;
  configure(configuration: Configuration): void;
  /** What is applied from now on is applied under this verdict, as far as it goes. */
  settle(verdict: Verdict): void;
  /** In bytes: the WAL, and what of it no checkpoint has copied into the file. 0 while a transaction is open. */
  walSize(): { readonly all: number; readonly uncopied: number };
  /** Does nothing while a transaction is open. Waits for no reader. `complete`: the file holds all that is applied. */
  checkpoint(): { readonly complete: boolean } | null;
  /** Outside a transaction. @throws FileChanged if somebody else has written to the file */
  look(): void;
  /** Rolls back what is open. The file holds all that is applied, and its WAL nothing; false: a reader is in the way. */
  emptyWal(): boolean;
  /** Rolls back what is open. */
  close(): void;
}

export interface Chunk {
  readonly bytes: Uint8Array;
  readonly done: boolean;
}

/** One query at a time: begun, continued until done or stopped. What it throws is the query's failure. */
export interface ReaderEngine {
  start(statement: Uint8Array): Chunk;
  /** `step`: what to read in the snapshot that an empty statement has begun. */
  next(step?: Uint8Array): Chunk;
  /** Ends the query that is not done, and with it its snapshot, unless that is held. */
  stop(): void;
  /** All queries until `release` see one snapshot, taken by the first of them. */
  hold(): void;
  /** Does nothing if none is held. */
  release(): void;
  close(): void;
}
