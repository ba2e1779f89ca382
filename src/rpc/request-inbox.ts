/**
 * Frames of requests that one stream has brought. Requests are decoded and begun in order, in slices: in a flood all streams
 * of a node together get a few milliseconds of each turn of the event loop, and the rest is left for the node's peers
 * and its clock, without which it would lose the leadership. Knows nothing of what the requests ask.
 */

import { ClientFrameReader, type ClientRequest } from "../wire/sql-codec.ts";

const TURN_MS = 5;
/** Begun by each stream in each turn, whatever the time: a look at the clock costs something too. */
const REQUESTS_BETWEEN = 32;

/** The time for requests in a turn of the event loop; shared by all streams of a node. */
export class TurnBudget {
  #untilMs = 0;
  #running = false;

  hasTime(): boolean {
    const nowMs = performance.now();
    if (!this.#running) {
      this.#running = true;
      this.#untilMs = nowMs + TURN_MS;
      setImmediate(() => {
        this.#running = false;
      });
    }
    return nowMs < this.#untilMs;
  }
}

export interface InboxOwner {
  begin(request: ClientRequest): void;
  /** More? If not, it says `goOn` when it is. */
  mayBegin(): boolean;
  /** All that had come is begun. */
  emptied(): void;
  /** Not a request: PROTOCOL. */
  failed(error: unknown): void;
}

export class RequestInbox {
  readonly #owner: InboxOwner;
  readonly #budget: TurnBudget;
  readonly #frames: ClientFrameReader[] = [];
  /** Its next slice is due, or waits for `goOn`. */
  #state: "idle" | "due" | "waiting" = "idle";

  constructor(owner: InboxOwner, budget: TurnBudget) {
    this.#owner = owner;
    this.#budget = budget;
  }

  get isEmpty(): boolean {
    return this.#frames.length === 0;
  }

  /** Begins its requests, the first ones at once if none waited. */
  add(frame: Uint8Array): void {
    this.#frames.push(new ClientFrameReader(frame));
    if (this.#state === "idle") this.#slice();
  }

  /** The owner may begin more. */
  goOn(): void {
    if (this.#state !== "waiting") return;
    this.#state = "due";
    setImmediate(() => this.#slice());
  }

  clear(): void {
    this.#frames.length = 0;
  }

  #slice(): void {
    this.#state = "due";
    try {
      for (;;) {
        if (!this.isEmpty && !this.#owner.mayBegin()) {
          this.#state = "waiting";
          return;
        }
        for (let count = 0; count < REQUESTS_BETWEEN; count += 1) {
          const request = this.#frames[0]?.next();
          if (request === undefined) {
            this.#state = "idle";
            return this.#owner.emptied();
          }
          if (request === null) this.#frames.shift();
          else this.#owner.begin(request);
        }
        if (!this.isEmpty && !this.#budget.hasTime()) break;
      }
      setImmediate(() => this.#slice());
    } catch (error) {
      this.#state = "idle";
      this.clear();
      this.#owner.failed(error);
    }
  }
}
