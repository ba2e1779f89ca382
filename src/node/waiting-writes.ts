/** Requests that wait for the writer, in order, with those that wait no more taken out. Runs nothing. */

import { Deque } from "./deque.ts";
import { failure, lateInLine, type WriteRequest } from "./write-request.ts";

export class WaitingWrites extends Deque<WriteRequest> {
  /** At most so many are settled. Not taken out one by one: a client that goes away leaves thousands. */
  #withdrawn = 0;

  /** Its caller gave up. */
  withdraw(request: WriteRequest): void {
    request.fail(failure("CANCELLED", "the caller gave up before the request was executed"));
    this.#withdrawn += 1;
    if (this.#withdrawn * 2 <= this.length) return;
    this.#withdrawn = 0;
    this.filter(({ stage }) => stage === "waiting");
  }

  /** Those whose deadline has passed are told so. */
  expire(nowMs: number): void {
    for (const late of this.filter((request) => request.deadlineAtMs > nowMs)) {
      late.fail(lateInLine());
    }
  }
}
