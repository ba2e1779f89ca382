/**
 * Keeps a node's log within bounds at both ends: what is old is dropped (compaction.ts), and a node that needs what
 * others have dropped catches up by a snapshot (catch-up.ts); one whose database is worth nothing takes another's
 * (reseed.ts). Joins these for the node, so that they are never at work at once; decides nothing else.
 */

import type { RaftStatus, SnapshotMark, SnapshotRequest } from "../raft/effect.ts";
import type { EntryId, LogIndex, NodeId, Term } from "../raft/entry.ts";
import type { ProgressView } from "../raft/progress.ts";
import { CatchUp } from "./catch-up.ts";
import { Compaction, type CompactionLimits } from "./compaction.ts";
import type { Environment, Log, Logger, Machine, SnapshotFetcher } from "./ports.ts";
import { Reseed } from "./reseed.ts";
import type { WriterDriver } from "./writer-driver.ts";

export interface LogKeeperParts {
  readonly log: Log;
  readonly logger: Logger;
  readonly machine: Machine;
  readonly fetcher: SnapshotFetcher;
  readonly limits: CompactionLimits;
  readonly driver: WriterDriver;
  readonly environment: Environment;
  status(): RaftStatus;
  progress(): readonly ProgressView[];
  ready(snapshot: SnapshotMark): void;
  /** A snapshot has taken the database's place. */
  replaced(mark: EntryId): void;
  broken(error: Error): void;
}

/** Looking for what can be dropped costs about a millisecond; sweeps come more often. */
const SWEEPS_PER_COMPACTION = 5;

export class LogKeeper {
  readonly #log: Log;
  readonly #compaction: Compaction;
  readonly #catchUp: CatchUp;
  readonly #reseed: Reseed;
  #sweeps = 0;

  constructor(parts: LogKeeperParts) {
    const { driver } = parts;
    this.#log = parts.log;
    this.#compaction = new Compaction(parts);
    const ways = {
      ...parts,
      suspend: () => driver.suspend(),
      resume: () => driver.resume(),
      replaced: (mark: EntryId) => {
        this.#compaction.replaced(mark.index);
        this.#reseed.end();
        parts.replaced(mark);
      },
    };
    this.#catchUp = new CatchUp(ways);
    this.#reseed = new Reseed({ ...ways, applicable: () => driver.applicableIndex });
  }

  /**
   * The database is worth nothing: a snapshot of one of these is to take its place, while the log goes on. Meanwhile the log
   * drops nothing.
   */
  reseed(sources: readonly NodeId[], atLeast: LogIndex): void {
    this.#reseed.begin(sources, atLeast);
  }

  checkpointed(index: LogIndex): void {
    this.#compaction.checkpointed(index);
  }

  sweep(): void {
    if (!this.#catchUp.isBusy) this.#reseed.sweep();
    if (this.#reseed.isWanted) return;
    this.#sweeps += 1;
    if (this.#sweeps % SWEEPS_PER_COMPACTION === 0) this.#compaction.run();
  }

  fetch(request: SnapshotRequest): void {
    // The core's need comes first: without these entries the log never holds what a new database stands at.
    if (this.#reseed.giveWay()) this.#catchUp.request(request);
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
    this.#reseed.end();
  }
}
