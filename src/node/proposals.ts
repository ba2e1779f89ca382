/**
 * Answers that wait for Raft. A write waits until its own entry is committed; an answer that merely read the open
 * transaction waits until everything it could have seen is (DESIGN D1). Knows no SQL and sends nothing.
 */

import type { EntryId, LogIndex, Term } from "../raft/entry.ts";
import type { Failure } from "../sql/errors.ts";
import { Deque } from "./deque.ts";
import { failure, type WriteRequest } from "./write-request.ts";

export type Answer =
  | { readonly kind: "result"; readonly bytes: Uint8Array; readonly index: number }
  | { readonly kind: "failure"; readonly failure: Failure };

interface Ticket {
  readonly at: EntryId;
  /** `write`: settled by the fate of its entry. `read`: an observation, void if the leader falls first. */
  readonly kind: "write" | "read";
  readonly request: WriteRequest;
  readonly answer: Answer;
}

export function give(request: WriteRequest, answer: Answer): void {
  if (answer.kind === "result") request.done(answer.bytes, answer.index);
  else request.fail(answer.failure);
}

const OVERTAKEN =
  "the leader was deposed, and a snapshot took the place of the log that would tell";
const LOST = "the leader was deposed before the request was finished; nothing was applied";

export class Proposals {
  /** Of this leadership, by index. */
  readonly #tickets = new Deque<Ticket>();
  /** Writes of earlier leaderships whose entries are neither committed nor overwritten yet. */
  #orphans: Ticket[] = [];

  get pending(): number {
    return this.#tickets.length + this.#orphans.length;
  }

  /** `result` is given once the entry at `at` is committed. */
  write(at: EntryId, request: WriteRequest, result: Uint8Array): void {
    request.stage = "proposed";
    const answer: Answer = { kind: "result", bytes: result, index: at.index };
    this.#tickets.push({ at, kind: "write", request, answer });
  }

  /** `answer` is given once the entry at `at`, the last it could have seen, is committed. */
  read(at: EntryId, request: WriteRequest, answer: Answer): void {
    this.#tickets.push({ at, kind: "read", request, answer });
  }

  /** `termAt`: term of the entry that this node's log holds at a committed index; null if it holds it no more. */
  committed(commitIndex: LogIndex, termAt: (index: LogIndex) => Term | null): void {
    for (;;) {
      const ticket = this.#tickets.first();
      if (ticket === undefined || ticket.at.index > commitIndex) break;
      this.#tickets.shift();
      give(ticket.request, ticket.answer);
    }
    if (this.#orphans.length > 0) this.#settleOrphans(commitIndex, termAt);
  }

  /** An index is committed once: with the same term it is our entry, with another term ours is gone (D6). */
  #settleOrphans(commitIndex: LogIndex, termAt: (index: LogIndex) => Term | null): void {
    const open: Ticket[] = [];
    for (const ticket of this.#orphans) {
      const { at, request } = ticket;
      const term = at.index > commitIndex ? 0 : termAt(at.index);
      if (at.index > commitIndex) open.push(ticket);
      else if (term === at.term) give(request, ticket.answer);
      else if (term === null) request.fail(failure("LEADERSHIP_LOST", OVERTAKEN, "unknown"));
      else request.fail(failure("LEADERSHIP_LOST", LOST));
    }
    this.#orphans = open;
  }

  leadershipLost(): void {
    for (const ticket of this.#tickets.drain()) {
      if (ticket.kind === "write") this.#orphans.push(ticket);
      else ticket.request.fail(failure("LEADERSHIP_LOST", LOST));
    }
  }

  /** Answers those whose callers stopped waiting. Their entries go on, so what becomes of them is unknown. */
  expire(nowMs: number): void {
    const late = (ticket: Ticket) => ticket.request.deadlineAtMs <= nowMs;
    const expired = [...this.#orphans.filter(late)];
    this.#orphans = this.#orphans.filter((ticket) => !late(ticket));
    expired.push(...this.#tickets.filter((ticket) => !late(ticket)));
    for (const { request, kind } of expired) {
      const message = "the deadline passed while waiting for a majority of the nodes";
      request.fail(
        failure("DEADLINE_EXCEEDED", message, kind === "write" ? "unknown" : "not-applied"),
      );
    }
  }

  /** The node stops: nobody will learn here what becomes of these. */
  abandon(code: "CLOSED" | "NOT_SERVING", message: string): void {
    const all = [...this.#orphans, ...this.#tickets.drain()];
    this.#orphans = [];
    for (const { request, kind } of all) {
      request.fail(failure(code, message, kind === "write" ? "unknown" : "not-applied"));
    }
  }
}
