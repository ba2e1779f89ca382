/**
 * What time it is for the log, on a leader: its own wall clock, held to what a majority of the voters' clocks say. Every message
 * between nodes carries its sender's clock. So one clock that is wrong, or jumps, moves log time by no more than the
 * tolerance. That log time never runs backwards is the writer's business. No read relies on any of this.
 */

import type { RaftStatus } from "../raft/effect.ts";
import type { NodeId } from "../raft/entry.ts";
import { quorumValue } from "../raft/quorum.ts";
import type { Environment, Logger } from "./ports.ts";

/** Clocks that are kept in step differ by far less, and messages travel faster. */
export const CLOCK_TOLERANCE_MS = 1_000;
/** How often the clocks are compared anew. */
const COMPARE_MS = 50;

export interface LogClockParts {
  readonly id: NodeId;
  readonly environment: Environment;
  readonly logger: Logger;
  status(): RaftStatus;
}

export class LogClock {
  readonly #parts: LogClockParts;
  /** Of each peer ever heard: its wall clock less our monotonic one. A peer that is gone goes on at our pace. */
  readonly #offsets = new Map<NodeId, number>();
  #compareAtMs = Number.NEGATIVE_INFINITY;
  /** The majority's clock less our monotonic one; not finite while it is not known. */
  #offset = Number.NaN;
  #isOff = false;

  constructor(parts: LogClockParts) {
    this.#parts = parts;
  }

  /** `clockMs`: the peer's wall clock when it sent; 0: not told. A message that was long under way makes it seem behind. */
  heard(peer: NodeId, clockMs: number, nowMs: number): void {
    if (clockMs > 0) this.#offsets.set(peer, clockMs - nowMs);
  }

  /** Milliseconds since 1970. `nowMs`: the monotonic clock. */
  timeMs(nowMs: number): number {
    const ownMs = this.#parts.environment.wallMs();
    if (nowMs >= this.#compareAtMs) this.#compare(ownMs, nowMs);
    // A leader was elected by a majority, whose votes told their clocks.
    if (!Number.isFinite(this.#offset)) return ownMs;
    const majorityMs = Math.floor(nowMs + this.#offset);
    const leastMs = majorityMs - CLOCK_TOLERANCE_MS;
    return Math.min(Math.max(ownMs, leastMs), majorityMs + CLOCK_TOLERANCE_MS);
  }

  /** The time that a majority's clocks have reached: with a majority of them right, none that is wrong can push it on. */
  #compare(ownMs: number, nowMs: number): void {
    this.#compareAtMs = nowMs + COMPARE_MS;
    const { id, logger, status } = this.#parts;
    const offsetOf = (voter: NodeId) =>
      voter === id ? ownMs - nowMs : (this.#offsets.get(voter) ?? Number.NEGATIVE_INFINITY);
    this.#offset = quorumValue(status().configuration, offsetOf);
    const offMs = Math.round(ownMs - nowMs - this.#offset);
    const isOff = Number.isFinite(offMs) && Math.abs(offMs) > CLOCK_TOLERANCE_MS;
    if (isOff === this.#isOff) return;
    this.#isOff = isOff;
    if (isOff) {
      const text =
        "this node's clock differs from a majority's: log time follows theirs; set the clock";
      logger.warn({ offMs }, text);
    } else logger.info({ offMs }, "this node's clock agrees with a majority's again");
  }
}
