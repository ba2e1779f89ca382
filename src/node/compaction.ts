/**
 * Decides how much of the log is kept. What the database file holds durably could go at once; a tail stays, so that a
 * node that was away for a moment needs no snapshot, and more of it stays on a leader whose followers are at work on it.
 * It never drops what the file might lose (DESIGN D10).
 */

import type { LogIndex } from "../raft/entry.ts";
import type { ProgressView } from "../raft/progress.ts";
import type { Log, Logger } from "./ports.ts";

export interface CompactionLimits {
  /** Entries kept, and bytes of their payloads: whichever is less. */
  readonly tailEntries: number;
  readonly tailBytes: number;
  /** Bytes of payload that are kept at most for followers that are behind. */
  readonly holdBytes: number;
}

export interface CompactionParts {
  readonly log: Log;
  readonly logger: Logger;
  readonly limits: CompactionLimits;
  /** Of the followers; empty while this node does not lead. */
  progress(): readonly ProgressView[];
}

/** The log grows this much beyond its tail before it is cut: a cut costs a write. */
const SLACK = 1.125;

export class Compaction {
  readonly #parts: CompactionParts;
  /** The database file alone holds everything up to here, durably. */
  #checkpoint: LogIndex = 0;
  #busy = false;

  constructor(parts: CompactionParts) {
    this.#parts = parts;
  }

  checkpointed(index: LogIndex): void {
    this.#checkpoint = Math.max(this.#checkpoint, index);
  }

  /** Another file has taken the database's place: it holds this much. */
  replaced(index: LogIndex): void {
    this.#checkpoint = index;
  }

  /** To be called from time to time. */
  run(): void {
    const { log, logger, limits } = this.#parts;
    const base = log.firstIndex() - 1;
    if (this.#busy || this.#checkpoint <= base) return;
    const { tailEntries, tailBytes } = limits;
    if (log.tailFrom(SLACK * tailEntries, SLACK * tailBytes) - 1 <= base) return;
    const wanted = Math.min(log.tailFrom(tailEntries, tailBytes) - 1, this.#checkpoint);
    const index = this.#forFollowers(wanted, base);
    if (index <= base) return;
    this.#busy = true;
    log.compactTo(index, () => {
      this.#busy = false;
      logger.debug({ index, checkpoint: this.#checkpoint }, "dropped the oldest log entries");
    });
  }

  /** Keeps what followers that are there still need, as far as there is room for it. */
  #forFollowers(wanted: LogIndex, base: LogIndex): LogIndex {
    let index = wanted;
    for (const peer of this.#parts.progress()) {
      if (!peer.isActive) continue;
      // What follows the snapshot that it is taking. Which one that is, is known there only; so nothing goes.
      index = Math.min(index, peer.state === "snapshot" ? base : peer.matchIndex);
    }
    if (index === wanted) return wanted;
    const { log, limits } = this.#parts;
    const most = log.tailFrom(Number.MAX_SAFE_INTEGER, limits.holdBytes) - 1;
    return Math.max(index, Math.min(wanted, most));
  }
}
