/**
 * Numbers writes: has a session opened before the first, keeps those without a number in order, and moves to a new
 * session when the nodes have forgotten the old one. Where a numbered write goes is not its concern.
 */

import { Session } from "./session.ts";
import type { NumberedCall } from "./write-call.ts";

export interface WriteQueueOwner {
  /** Asks for a session until `deadline`, to end by `opened` or `openFailed`. */
  openSession(deadline: number): void;
  /** The write has its number. */
  numbered(call: NumberedCall): void;
}

export class WriteQueue {
  readonly #owner: WriteQueueOwner;
  #session: Session | null = null;
  #isOpening = false;
  readonly #waiting = new Set<NumberedCall>();

  constructor(owner: WriteQueueOwner) {
    this.#owner = owner;
  }

  /** Numbers the write, now or when there is a session and room in its window. */
  add(call: NumberedCall): void {
    if (this.#waiting.size === 0 && this.#number(call)) return;
    this.#waiting.add(call);
    this.#ensureSession();
  }

  #number(call: NumberedCall): boolean {
    const sequence = this.#session?.take() ?? 0;
    if (sequence === 0) return false;
    call.session = this.#session;
    call.sequence = sequence;
    this.#owner.numbered(call);
    return true;
  }

  /** Nobody waits for this write any more. */
  settled(call: NumberedCall): void {
    if (call.session === null) this.#waiting.delete(call);
    else {
      call.session.settle(call.sequence);
      if (this.#waiting.size > 0) this.#pump();
    }
  }

  /** The nodes do not know the write's session. False if it may have been applied in it, and so must not move. */
  sessionExpired(call: NumberedCall): boolean {
    const expired = call.session;
    if (expired === this.#session) this.#session = null;
    // A transaction's beginning does nothing.
    if ((call.uncertain && call.kind === "write") || expired === null) return false;
    call.session = null;
    call.sequence = 0;
    this.add(call);
    return true;
  }

  opened(id: number): void {
    this.#isOpening = false;
    this.#session = new Session(id);
    this.#pump();
  }

  /** No session came of it in time: those who have time left try again. */
  openOverdue(): void {
    this.#isOpening = false;
    this.#ensureSession();
  }

  /** No session will come of it. Returns the writes that waited for one. */
  openFailed(): readonly NumberedCall[] {
    this.#isOpening = false;
    return [...this.#waiting];
  }

  #ensureSession(): void {
    if (this.#session !== null || this.#isOpening || this.#waiting.size === 0) return;
    let deadline = 0;
    for (const call of this.#waiting) deadline = Math.max(deadline, call.deadline);
    this.#isOpening = true;
    this.#owner.openSession(deadline);
  }

  #pump(): void {
    for (const call of this.#waiting) {
      if (this.#session?.hasRoom !== true) break;
      // Taken out first: a write that is numbered may be settled at once.
      this.#waiting.delete(call);
      this.#number(call);
    }
    this.#ensureSession();
  }
}
