/**
 * Hands the leadership to another node (DESIGN D1), on demand or before this one stops: nothing new is executed, what was
 * executed is committed, then a follower is told to take over. Bounded in time; if nobody takes over, this node goes on.
 */

import type { RaftStatus } from "../raft/effect.ts";
import { NOBODY, type NodeId } from "../raft/entry.ts";
import type { ProgressView } from "../raft/progress.ts";
import type { Environment, Timer } from "./ports.ts";

export interface HandoverParts {
  readonly environment: Environment;
  status(): RaftStatus;
  progress(): readonly ProgressView[];
  /** Executes nothing new; `done` when all that was executed is committed. */
  drain(done: () => void): void;
  /** Executes again. */
  resume(): void;
  /** Sends what waits here to who leads now. */
  refuse(): void;
  transfer(to: NodeId): void;
  /** Whether this peer's disk has room for more. */
  hasSpace(peer: NodeId): boolean;
  /** Whether this peer could lead at all. */
  fits(peer: NodeId): boolean;
}

/** `none`: no node could take over. `late`: none did in time. */
export type HandoverEnd = "done" | "none" | "late";

/** The voter that was heard of lately and has most of the log, among those that pass; NOBODY if this node does not lead. */
export function bestSuccessor(
  { id, role, configuration }: RaftStatus,
  progress: readonly ProgressView[],
  passes: (peer: NodeId) => boolean,
): NodeId {
  if (role !== "leader") return NOBODY;
  let best: ProgressView | null = null;
  for (const peer of progress) {
    if (peer.id === id || !peer.isActive || !configuration.voters.includes(peer.id)) continue;
    if (!passes(peer.id)) continue;
    if (best === null || peer.matchIndex > best.matchIndex) best = peer;
  }
  return best?.id ?? NOBODY;
}

/** Draining and electing together take some ten milliseconds; a slow disk must not hold up a stop for long. */
const HANDOVER_MS_MAX = 1_000;

export class Handover {
  readonly #parts: HandoverParts;
  #done: ((end: HandoverEnd) => void) | null = null;
  #timer: Timer | null = null;

  constructor(parts: HandoverParts) {
    this.#parts = parts;
  }

  get isUnderWay(): boolean {
    return this.#done !== null;
  }

  /** The leadership has gone, and nobody knows yet to whom: what comes may wait for that, no longer than this handover. */
  get isUndecided(): boolean {
    return this.#done !== null && this.#parts.status().leader === NOBODY;
  }

  /** `done` runs once, when another node leads, or when there is none that could, or too late. */
  start(done: () => void): void {
    this.#end("late");
    this.#begin(NOBODY, HANDOVER_MS_MAX, () => done());
  }

  /** To this voter, or to the best one (NOBODY). Not while another handover is under way. */
  to(target: NodeId, timeoutMs: number, done: (end: HandoverEnd) => void): void {
    this.#begin(target, Math.min(timeoutMs, HANDOVER_MS_MAX), (end) => {
      if (end !== "done") this.#parts.resume();
      done(end);
    });
  }

  #begin(target: NodeId, ms: number, done: (end: HandoverEnd) => void): void {
    this.#done = done;
    this.#timer = this.#parts.environment.after(ms, () => this.#end("late"));
    if (this.#best(target) === NOBODY) return this.#end("none");
    this.#parts.drain(() => {
      if (this.#done !== done) return;
      // Who was named was heard of a moment ago: right behind the core's look at its quorum nobody counts as heard of.
      const to = target === NOBODY ? this.#best(NOBODY) : target;
      if (to === NOBODY) this.#end("none");
      else this.#parts.transfer(to);
    });
  }

  changed(status: RaftStatus): void {
    if (status.role !== "leader" && status.leader !== NOBODY) this.#end("done");
  }

  /** The target if it can; without one the best, one with space if there is one. */
  #best(target: NodeId): NodeId {
    const { status, progress, hasSpace, fits } = this.#parts;
    const among = (passes: (peer: NodeId) => boolean) =>
      bestSuccessor(status(), progress(), (peer) => fits(peer) && passes(peer));
    if (target !== NOBODY) return among((peer) => peer === target);
    const best = among(hasSpace);
    return best === NOBODY ? among(() => true) : best;
  }

  #end(end: HandoverEnd): void {
    const done = this.#done;
    this.#done = null;
    this.#timer?.cancel();
    if (done === null) return;
    if (this.#parts.status().role !== "leader") this.#parts.refuse();
    this.#parts.environment.soon(() => done(end));
  }
}
