/** One direction between two nodes: how long messages take, whether they pass at all, and what may come again later. */

import type { Prng } from "./prng.ts";

/** A message under way; run at the receiver. */
export type Delivery = () => void;

/** Kept for a replay. */
const RECENT_MAX = 32;
/** As a socket's buffers and a bounded queue would; the oldest give way. */
const HELD_MAX = 512;

export class Link {
  /** Carries nothing; what is sent is lost. */
  isCut = false;
  /** Of this link, beside the weather's: milliseconds, and the chance of a straggler. */
  extraMs = 0;
  tail = 0;
  /** Messages that wait while the link is clogged; null when it is not. */
  held: Delivery[] | null = null;
  readonly recent: Delivery[] = [];
  /** Messages sent so far; and those before this one come too late, as on a connection, which keeps the order. */
  sent = 0;
  floor = 0;
  #oldest = 0;

  remember(delivery: Delivery): void {
    if (this.recent.length < RECENT_MAX) this.recent.push(delivery);
    else this.recent[this.#oldest] = delivery;
    this.#oldest = (this.#oldest + 1) % RECENT_MAX;
  }

  hold(delivery: Delivery): void {
    this.held?.push(delivery);
    if (this.held !== null && this.held.length > HELD_MAX) this.held.shift();
  }

  extra(dice: Prng): number {
    if (this.extraMs === 0) return 0;
    const straggles = dice.chance(this.tail);
    return this.extraMs * dice.next() * (straggles ? 10 : 1);
  }
}
