/**
 * Keeps a node's log within bounds at both ends: what is old is dropped (compaction.ts), and a node that needs what
 * others have dropped catches up by a snapshot (catch-up.ts). Joins these two for the node; decides nothing itself.
 */

import type { RaftStatus, SnapshotMark, SnapshotRequest } from "../raft/effect.ts";
import type { LogIndex, Term } from "../raft/entry.ts";
import type { ProgressView } from "../raft/progress.ts";
import { CatchUp } from "./catch-up.ts";
import { Compaction, type CompactionLimits } from "./compaction.ts";
import type { Log, Logger, Machine, SnapshotFetcher } from "./ports.ts";
import type { WriterDriver } from "./writer-driver.ts";

export interface LogKeeperParts {
  readonly log: Log;
  readonly logger: Logger;
  readonly machine: Machine;
  readonly fetcher: SnapshotFetcher;
  readonly limits: CompactionLimits;
  readonly driver: WriterDriver;
  status(): RaftStatus;
  progress(): readonly ProgressView[];
  ready(snapshot: SnapshotMark): void;
  broken(error: Error): void;
}

/** Looking for what can be dropped costs about a millisecond; sweeps come more often. */
const SWEEPS_PER_COMPACTION = 5;

export class LogKeeper {
  readonly #log: Log;
  readonly #compaction: Compaction;
  readonly #catchUp: CatchUp;
  #sweeps = 0;

  constructor(parts: LogKeeperParts) {
    const { driver } = parts;
    this.#log = parts.log;
    this.#compaction = new Compaction(parts);
    this.#catchUp = new CatchUp({
      ...parts,
      suspend: () => driver.suspend(),
      resume: () => driver.resume(),
    });
  }

  checkpointed(index: LogIndex): void {
    this.#compaction.checkpointed(index);
  }

  sweep(): void {
    this.#sweeps += 1;
    if (this.#sweeps % SWEEPS_PER_COMPACTION === 0) this.#compaction.run();
  }

  fetch(request: SnapshotRequest): void {
    this.#catchUp.request(request);
  }

  install(snapshot: SnapshotMark): void {
    this.#catchUp.install(snapshot);
  }

  /** null: the log does not reach back so far. */
  termAt(index: LogIndex): Term | null {
    return index < this.#log.firstIndex() - 1 ? null : this.#log.term(index);
  }

  stop(): void {
    this.#catchUp.stop();
  }
}
