/**
 * What a node does while its disk is full, or nearly: as leader it refuses writes and hands the leadership to a follower
 * that has room; it lets others stand for leader first; it goes on voting and serving reads. All of it ends by itself
 * when there is room again. It frees nothing and halts nothing.
 */

import type { RaftStatus } from "../raft/effect.ts";
import { NOBODY, type NodeId } from "../raft/entry.ts";
import type { ProgressView } from "../raft/progress.ts";
import type { Failure } from "../sql/errors.ts";
import { bestSuccessor } from "./handover.ts";
import type { Environment, Log, Logger } from "./ports.ts";
import { type FreeSpace, SpaceWatch } from "./space-watch.ts";
import { failure } from "./write-request.ts";

export interface LowSpaceParts {
  readonly environment: Environment;
  readonly logger: Logger;
  readonly log: Log;
  readonly id: NodeId;
  readonly dir: string;
  /** Not given: only what the log and the writer run into counts. */
  readonly space?: FreeSpace;
  /** 0: the same. */
  readonly minFreeBytes: number;
  /** Time that one attempt to hand the leadership over may take. */
  readonly electionMs: number;
  status(): RaftStatus;
  progress(): readonly ProgressView[];
  transfer(to: NodeId): void;
  /** Whether this peer could lead at all. */
  fits(peer: NodeId): boolean;
  /** Refuses the writes that have not begun. */
  refuse(why: Failure): void;
}

export class LowSpace {
  readonly #parts: LowSpaceParts;
  readonly #watch: SpaceWatch | null;
  readonly #lowPeers = new Set<NodeId>();
  /** The writer has stopped for want of space, and is tried again. */
  #writerWaits = false;
  #wasLow = false;
  #transferAtMs = Number.NEGATIVE_INFINITY;

  constructor(parts: LowSpaceParts) {
    this.#parts = parts;
    const { space, minFreeBytes } = parts;
    const looked = (): void => this.sweep();
    this.#watch =
      space === undefined || minFreeBytes === 0
        ? null
        : new SpaceWatch({ ...parts, space, looked });
    parts.log.onSpace = (isFull) => {
      if (isFull)
        parts.logger.warn({ dir: parts.dir }, "the log finds no space for its next segment");
      this.sweep();
    };
  }

  get isLow(): boolean {
    return this.#watch?.isLow === true || this.#parts.log.isFull || this.#writerWaits;
  }

  start(): void {
    this.#watch?.start();
  }

  stop(): void {
    this.#watch?.stop();
  }

  /** What a peer says of its own disk, with each message. */
  heard(peer: NodeId, isLow: boolean): void {
    if (isLow) this.#lowPeers.add(peer);
    else this.#lowPeers.delete(peer);
  }

  hasSpace(peer: NodeId): boolean {
    return !this.#lowPeers.has(peer);
  }

  writer(isWaiting: boolean): void {
    this.#writerWaits = isWaiting;
    this.sweep();
  }

  /** null: writes are welcome. */
  refusal(): Failure | null {
    if (!this.isLow) return null;
    const { id, dir, minFreeBytes } = this.#parts;
    const free = this.#watch?.bytes ?? null;
    const facts: Record<string, string> = { node: String(id), minFreeBytes: String(minFreeBytes) };
    if (free !== null) facts["freeBytes"] = String(free);
    return noSpace(`the disk of node ${id} is full, or nearly: free some in ${dir}`, facts);
  }

  /**
   * Whether this node may stand for leader now that `dead` is gone: with little room it leaves it to the others, as long as
   * one of them may have more. The election timeout asks nobody: without a leader after that, any is better.
   */
  mayLead(dead: NodeId): boolean {
    if (!this.isLow) return true;
    const { id, configuration } = this.#parts.status();
    return !configuration.voters.some(
      (voter) => voter !== id && voter !== dead && this.hasSpace(voter) && this.#parts.fits(voter),
    );
  }

  /** To be called from time to time: tells what has changed, and tries again to hand the leadership over. */
  sweep(): void {
    const isLow = this.isLow;
    if (isLow !== this.#wasLow) this.#changed(isLow);
    if (isLow) this.#handOver();
  }

  #changed(isLow: boolean): void {
    this.#wasLow = isLow;
    const { logger, dir, minFreeBytes } = this.#parts;
    const facts = { dir, freeBytes: this.#watch?.bytes ?? null, minFreeBytes };
    if (!isLow) return logger.info(facts, "there is space on the disk again");
    logger.warn(
      facts,
      "the disk is full, or nearly: this node takes no writes until there is space",
    );
    const refusal = this.refusal();
    if (refusal !== null) this.#parts.refuse(refusal);
  }

  #handOver(): void {
    const { status, progress, environment, electionMs, logger, transfer, fits } = this.#parts;
    const nowMs = environment.monotonicMs();
    if (nowMs - this.#transferAtMs < 2 * electionMs) return;
    const passes = (peer: NodeId) => this.hasSpace(peer) && fits(peer);
    const to = bestSuccessor(status(), progress(), passes);
    if (to === NOBODY) return;
    this.#transferAtMs = nowMs;
    logger.info({ to }, "handing the leadership to a node with space");
    transfer(to);
  }
}

export function noSpace(message: string, facts: Failure["facts"] = {}): Failure {
  return failure("NO_SPACE", message, "not-applied", facts);
}
