/**
 * Replaces a database that is worth nothing by the snapshot of a healthy node, while the log stays: fetches it, waits until
 * the own log holds the entry at which it stands, committed and durable, and exchanges the files. Whether the database is
 * worth nothing, and whose is not, others decide (sickness.ts).
 */

import type { EntryId, LogIndex, NodeId } from "../raft/entry.ts";
import type { Environment, Log, Logger, Machine, SnapshotFetcher } from "./ports.ts";

export interface ReseedParts {
  readonly log: Log;
  readonly logger: Logger;
  readonly machine: Machine;
  readonly fetcher: SnapshotFetcher;
  readonly environment: Environment;
  /** Committed and durable in the own log. */
  applicable(): LogIndex;
  /** The machine stops for good; `resume` opens another writer. */
  suspend(): void;
  resume(): void;
  replaced(mark: EntryId): void;
  broken(error: Error): void;
}

/** After a failure another source is asked, after so long. */
const RETRY_MS = 500;

interface Wish {
  readonly sources: readonly NodeId[];
  readonly atLeast: LogIndex;
}

export class Reseed {
  readonly #parts: ReseedParts;
  #wish: Wish | null = null;
  #attempts = 0;
  #notBeforeMs = 0;
  #fetching: { cancel(): void } | null = null;
  /** Fetched, checked and durable. */
  #ready: EntryId | null = null;
  #installing = false;

  constructor(parts: ReseedParts) {
    this.#parts = parts;
  }

  get isWanted(): boolean {
    return this.#wish !== null;
  }

  /** From one of these, in this order, as of `atLeast` or later. A later wish replaces an earlier one. */
  begin(sources: readonly NodeId[], atLeast: LogIndex): void {
    if (this.#installing) return;
    this.end();
    this.#wish = { sources, atLeast };
    this.sweep();
  }

  /** Nothing is wanted any more. An exchange that has begun goes on. */
  end(): void {
    this.#drop();
    this.#wish = null;
    this.#attempts = 0;
    this.#notBeforeMs = 0;
  }

  /** Another snapshot is fetched instead. False: the exchange has begun. */
  giveWay(): boolean {
    if (!this.#installing) this.#drop();
    return !this.#installing;
  }

  /** To be called from time to time, while nobody else fetches. */
  sweep(): void {
    const wish = this.#wish;
    if (wish === null || this.#installing || this.#fetching !== null) return;
    const mark = this.#ready;
    if (mark === null) return this.#fetch(wish);
    const { log, applicable, logger } = this.#parts;
    if (mark.index > applicable()) return;
    const isHeld = mark.index >= log.firstIndex() - 1 && log.term(mark.index) === mark.term;
    if (isHeld) return this.#exchange(mark);
    logger.warn({ ...mark }, "the snapshot does not fit the log: another one is fetched");
    this.#drop();
  }

  #drop(): void {
    this.#fetching?.cancel();
    this.#fetching = null;
    this.#ready = null;
  }

  #fetch({ sources, atLeast }: Wish): void {
    const { log, logger, fetcher, environment } = this.#parts;
    const source = sources[this.#attempts % sources.length];
    if (source === undefined || environment.monotonicMs() < this.#notBeforeMs) return;
    const index = Math.max(atLeast, log.firstIndex() - 1);
    logger.info({ source, index }, "fetching another database for this node");
    this.#fetching = fetcher.fetch(source, index, {
      ready: ({ index: at, term }) => {
        this.#fetching = null;
        this.#ready = { index: at, term };
        logger.info({ source, index: at, term }, "another database is here");
        this.sweep();
      },
      failed: (reason) => {
        this.#fetching = null;
        this.#attempts += 1;
        this.#notBeforeMs = environment.monotonicMs() + RETRY_MS;
        logger.warn({ source, reason }, "fetching another database failed");
      },
    });
  }

  /** Until this is done nothing else happens to the database; after a crash the start finishes it. */
  #exchange(mark: EntryId): void {
    const { machine, logger, suspend, resume, replaced, broken } = this.#parts;
    this.#installing = true;
    suspend();
    machine.exchange(mark, (error) => {
      this.#installing = false;
      if (error !== null)
        return broken(new Error(`the database cannot be replaced: ${error.message}`));
      logger.info({ ...mark }, "another database has taken the place of this node's");
      this.end();
      replaced(mark);
      resume();
    });
  }
}
