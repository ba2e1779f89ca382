/**
 * Hands the leadership to another node before this one stops (DESIGN D1): nothing new is executed, what was executed is
 * committed, then the best follower is told to take over. Bounded in time; it never makes things worse than a stop.
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
  transfer(to: NodeId): void;
  /** Whether this peer's disk has room for more. */
  hasSpace(peer: NodeId): boolean;
}

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
  #done: (() => void) | null = null;
  #timer: Timer | null = null;

  constructor(parts: HandoverParts) {
    this.#parts = parts;
  }

  /** `done` runs once, when another node leads, or when there is none that could, or too late. */
  start(done: () => void): void {
    this.#done = done;
    this.#timer = this.#parts.environment.after(HANDOVER_MS_MAX, () => this.#end());
    if (this.#best() === NOBODY) return this.#end();
    this.#parts.drain(() => {
      const to = this.#best();
      if (to === NOBODY) this.#end();
      else this.#parts.transfer(to);
    });
  }

  changed(status: RaftStatus): void {
    if (status.role !== "leader" && status.leader !== NOBODY) this.#end();
  }

  /** One with space if there is one. */
  #best(): NodeId {
    const { status, progress, hasSpace } = this.#parts;
    const best = bestSuccessor(status(), progress(), hasSpace);
    return best === NOBODY ? bestSuccessor(status(), progress(), () => true) : best;
  }

  #end(): void {
    const done = this.#done;
    this.#done = null;
    this.#timer?.cancel();
    if (done !== null) this.#parts.environment.soon(done);
  }
}
