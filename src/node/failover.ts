/**
 * Notices a dead leader at once (DESIGN D8): its process is gone, so the kernel closed its connections. The belief in
 * it is dropped and a pre-vote begins after a short, staggered wait. Pre-vote keeps this safe when the guess is wrong:
 * a living leader's followers refuse. Partitions and hangs are left to the election timeout.
 */

import type { RaftStatus } from "../raft/effect.ts";
import { NOBODY, type NodeId } from "../raft/entry.ts";
import type { Environment, Timer } from "./ports.ts";

export interface FailoverParts {
  readonly id: NodeId;
  readonly environment: Environment;
  status(): RaftStatus;
  forgetLeader(): void;
  campaign(): void;
  /** False while this node could not serve as leader, or another that is not `dead` could do so better. */
  mayLead(dead: NodeId): boolean;
}

/** Between the followers' campaigns: longer than an election on one machine or in one room takes. */
const STAGGER_MS = 30;
const JITTER_MS = 10;

export class Failover {
  readonly #parts: FailoverParts;
  /** Believed dead; its refused connections say that it still is. */
  #dead: NodeId = NOBODY;
  #timer: Timer | null = null;

  constructor(parts: FailoverParts) {
    this.#parts = parts;
  }

  /** A connection to or from `peer` broke, or `peer` said goodbye. */
  disconnected(peer: NodeId): void {
    const { role, leader } = this.#parts.status();
    if (leader !== peer || role === "leader") return;
    this.#dead = peer;
    this.#parts.forgetLeader();
    this.#plan();
  }

  /** Nothing listens at the peer's address. */
  refused(peer: NodeId): void {
    if (peer === this.#dead && this.#parts.status().leader === NOBODY) this.#plan();
  }

  /** A leader is known, or this node runs for it already. */
  changed(status: RaftStatus): void {
    if (status.leader === NOBODY) return;
    this.#dead = NOBODY;
    this.stop();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #plan(): void {
    if (this.#timer !== null || !this.#parts.mayLead(this.#dead)) return;
    const jitterMs = this.#parts.environment.random() * JITTER_MS;
    const delayMs = this.#rank() * STAGGER_MS + jitterMs;
    this.#timer = this.#parts.environment.after(delayMs, () => {
      this.#timer = null;
      const { role, leader } = this.#parts.status();
      // A pre-candidate asks again: a voter that still believed in the dead leader has not even answered.
      const waiting = role === "follower" || role === "preCandidate";
      if (waiting && leader === NOBODY) this.#parts.campaign();
    });
  }

  /** Place in the queue: differs by node, and by term, so that no node is always the first. */
  #rank(): number {
    const { id } = this.#parts;
    const { configuration, currentTerm } = this.#parts.status();
    const others = configuration.voters.filter((voter) => voter !== this.#dead);
    const place = others.indexOf(id);
    if (place < 0) return others.length;
    return (place + currentTerm) % others.length;
  }
}
