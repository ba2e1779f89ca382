/**
 * Requests that wait to be sent to the leader, in order, as frames take them. Those withdrawn meanwhile are not taken out one
 * by one: a client that goes away leaves thousands. Sends nothing.
 */

import { Deque } from "../node/deque.ts";
import { type ClientRequest, requestSize } from "../wire/sql-codec.ts";

export interface Outgoing extends ClientRequest {
  /** Set by the outbox. */
  isWithdrawn?: boolean;
}

export class ForwardOutbox {
  readonly #waiting = new Deque<Outgoing>();
  #withdrawn = 0;

  /** Requests that wait to be sent. */
  get length(): number {
    return this.#waiting.length - this.#withdrawn;
  }

  /** Places that are taken: by them, and at most as many that were withdrawn. */
  get room(): number {
    return this.#waiting.length;
  }

  add(request: Outgoing): void {
    this.#waiting.push(request);
  }

  /** It will not be taken. It must wait here, and not have been withdrawn before. Amortised constant time. */
  withdraw(request: Outgoing): void {
    request.isWithdrawn = true;
    this.#withdrawn += 1;
    if (this.#withdrawn * 2 <= this.#waiting.length) return;
    this.#withdrawn = 0;
    this.#waiting.filter(({ isWithdrawn }) => isWithdrawn !== true);
  }

  /** The next ones, of so many bytes together, or a single larger one; none if nothing waits. */
  take(bytes: number): Outgoing[] {
    const taken: Outgoing[] = [];
    let size = 0;
    for (let next = this.#waiting.first(); next !== undefined; next = this.#waiting.first()) {
      if (next.isWithdrawn === true) this.#withdrawn -= 1;
      else {
        size += requestSize(next.body);
        if (taken.length > 0 && size > bytes) break;
        taken.push(next);
      }
      this.#waiting.shift();
    }
    return taken;
  }
}
