/**
 * Requests of one stream that have come and are not begun yet. They are begun in order and in slices of a few
 * milliseconds: a flood of them leaves the node's thread time for its peers and its clock, without which it would lose
 * the leadership. Knows nothing of what they ask.
 */

import type { ClientRequest } from "../wire/sql-codec.ts";

const SLICE_MS = 3;
/** Requests begun between two looks at the clock. */
const REQUESTS_BETWEEN = 32;

export interface InboxOwner {
  begin(request: ClientRequest): void;
  /** All that had come is begun. */
  emptied(): void;
}

export class RequestInbox {
  readonly #owner: InboxOwner;
  #requests: readonly ClientRequest[] = [];
  #begun = 0;

  constructor(owner: InboxOwner) {
    this.#owner = owner;
  }

  get isEmpty(): boolean {
    return this.#begun === this.#requests.length;
  }

  /** Begins them, the first ones at once if none waited. */
  add(requests: readonly ClientRequest[]): void {
    if (!this.isEmpty) {
      this.#requests = [...this.#requests.slice(this.#begun), ...requests];
      this.#begun = 0;
      return;
    }
    this.#requests = requests;
    this.#begun = 0;
    this.#slice();
  }

  clear(): void {
    this.#requests = [];
    this.#begun = 0;
  }

  #slice(): void {
    const untilMs = performance.now() + SLICE_MS;
    while (!this.isEmpty) {
      const request = this.#requests[this.#begun];
      this.#begun += 1;
      if (request !== undefined) this.#owner.begin(request);
      if (this.#begun % REQUESTS_BETWEEN !== 0 || performance.now() < untilMs) continue;
      if (!this.isEmpty) setImmediate(() => this.#slice());
      break;
    }
    if (this.isEmpty) this.#owner.emptied();
  }
}
