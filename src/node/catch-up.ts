/**
 * Brings a node forward that needs entries which are gone: has a snapshot fetched from another node, offers it to the
 * core, and puts it in the place of log and database when the core says so. The order of the steps is what makes a
 * crash harmless (docs/decisions/0007-snapshots.md). Bytes and files are its ports' business.
 */

import type { RaftStatus, SnapshotMark, SnapshotRequest } from "../raft/effect.ts";
import type { Configuration, EntryId, NodeId } from "../raft/entry.ts";
import type { Log, Logger, Machine, SnapshotFetcher } from "./ports.ts";

export interface CatchUpParts {
  readonly log: Log;
  readonly logger: Logger;
  readonly machine: Machine;
  readonly fetcher: SnapshotFetcher;
  status(): RaftStatus;
  /** The snapshot is here, checked and durable. */
  ready(snapshot: SnapshotMark): void;
  /** The machine stops for good; `resume` opens another writer. */
  suspend(): void;
  resume(): void;
  /** A snapshot has taken the database's place. */
  replaced(mark: EntryId): void;
  broken(error: Error): void;
}

export class CatchUp {
  readonly #parts: CatchUpParts;
  #fetching: { cancel(): void } | null = null;
  /** Failed attempts since the last success: each goes to another source. */
  #attempts = 0;
  /** The file that is to be installed must not make room for another. */
  #installing = false;
  #stopped = false;

  constructor(parts: CatchUpParts) {
    this.#parts = parts;
  }

  /** It fetches or installs one. */
  get isBusy(): boolean {
    return this.#fetching !== null || this.#installing;
  }

  /** Repeated by the core while the need is there. */
  request(request: SnapshotRequest): void {
    if (this.#fetching !== null || this.#installing || this.#stopped) return;
    const { logger, fetcher } = this.#parts;
    const source = this.#source(request.from);
    const { index } = request;
    logger.info({ source, index }, "this node needs entries that are gone: fetching a snapshot");
    this.#fetching = fetcher.fetch(source, index, {
      ready: (mark, configuration) => this.#ready(mark, configuration),
      failed: (reason) => {
        this.#fetching = null;
        this.#attempts += 1;
        logger.warn({ source, reason }, "fetching a snapshot failed");
      },
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#fetching?.cancel();
    this.#fetching = null;
  }

  /** Followers first: the leader has enough to do. It is asked last, and it has everything. */
  #source(leader: NodeId): NodeId {
    const { id, configuration } = this.#parts.status();
    const { voters, outgoing } = configuration;
    const others = [...new Set([...voters, ...outgoing])].filter(
      (member) => member !== id && member !== leader,
    );
    const sources = [...others, leader];
    return sources[this.#attempts % sources.length] ?? leader;
  }

  #ready(mark: EntryId, configuration: Configuration | null): void {
    this.#fetching = null;
    this.#attempts = 0;
    if (this.#stopped) return;
    const { logger, status, ready } = this.#parts;
    const { index, term } = mark;
    logger.info({ index, term }, "a snapshot is here");
    ready({ index, term, configuration: configuration ?? status().configuration });
  }

  /**
   * Seen by readers of the log at once. When the log is durably empty behind the snapshot, the snapshot is this node's
   * past whatever happens: a restart finishes what is not done by then.
   */
  install(mark: SnapshotMark): void {
    const { log, logger, machine, suspend, resume, replaced, broken } = this.#parts;
    const { index, term } = mark;
    this.#installing = true;
    suspend();
    log.restart({ index, term }, () => {
      machine.install({ index, term }, (error) => {
        if (error !== null)
          return broken(new Error(`a snapshot cannot be installed: ${error.message}`));
        this.#installing = false;
        logger.info({ index, term }, "the snapshot has taken the database's place");
        replaced({ index, term });
        resume();
      });
    });
  }
}
