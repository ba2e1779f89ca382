/**
 * One request on its way: what a connection needs to carry it and what the client needs to repeat or settle it.
 * A call knows what to send and what an answer means; where it goes, and how often, others decide.
 */

import { BalsaError, type Failure, type SqlError } from "../sql/errors.ts";
import type { Consistency } from "../sql/statement.ts";
import type { RequestBody, ResponseBody } from "../wire/sql-codec.ts";
import type { Connection } from "./connection.ts";

/** Whoever decides what becomes of a call. */
export interface CallOwner {
  /** An answer has come that ends it. */
  answered(call: Call): void;
  /** A node said no. */
  refused(call: Call, failure: Failure, from: string): void;
  /** The connection ended with no answer. `sent`: the node may have the request. */
  lost(call: Call, error: BalsaError, sent: "sent" | "unsent"): void;
  /** Nobody wants the answer any more. */
  abandon(call: Call): void;
  /** The call's deadline was moved. */
  rescheduled(call: Call): void;
  /** The caller learns of the state at this log index; its session reads must not go back behind it. */
  saw(index: number): void;
  /** Whether nodes may pass a write on, the leader being out of reach from here. */
  readonly isForwarding: boolean;
}

/** `more` answers follow, this was the `last`, or it is `enough` and the node is to send no more. */
export type Receipt = "more" | "last" | "enough";

export interface CallTerms {
  /** On the clock of `performance.now()`. */
  readonly now: number;
  readonly deadlineMs: number;
  readonly signal: AbortSignal | undefined;
  /** What the call takes while it is pending. */
  readonly bytes: number;
}

/** Room left for a node's answer between the time given to it and the deadline here. */
const ANSWER_MS_MAX = 100;

export abstract class Call {
  /** Most go to the leader, reads where their consistency allows; a `step` goes where its transaction is. */
  abstract readonly kind: "write" | "open-session" | "read" | "transaction" | "step";
  readonly owner: CallOwner;
  readonly startedAt: number;
  readonly deadlineMs: number;
  readonly signal: AbortSignal | undefined;
  readonly bytes: number;
  deadline: number;

  /** Names it on its connection. */
  id = 0;
  connection: Connection | null = null;
  /** Its neighbours among the pending calls. */
  earlier: Call | null = null;
  later: Call | null = null;
  /** Which belief in a leader it was sent under. */
  epoch = 0;
  attempts = 0;
  settled = false;
  /** An attempt was sent whose fate is not known. */
  uncertain = false;
  /** Why the last attempt failed. */
  lastFailure: Failure | null = null;
  /** Nodes that answered that they cannot serve it. */
  avoided: Set<string> | null = null;

  constructor(owner: CallOwner, terms: CallTerms) {
    this.owner = owner;
    this.startedAt = terms.now;
    this.deadlineMs = terms.deadlineMs;
    this.deadline = terms.now + terms.deadlineMs;
    this.signal = terms.signal;
    this.bytes = terms.bytes;
  }

  /** What to send now. */
  abstract body(now: number): RequestBody;

  /** Takes an answer. Throws PROTOCOL if it is of another kind or not readable. */
  abstract receive(response: ResponseBody): Receipt;

  /** Ends it without an answer. */
  abstract fail(error: BalsaError | SqlError): void;

  /** How fresh what it reads must be; null if it writes. */
  get readConsistency(): Consistency | null {
    return null;
  }

  /** What is told of a lost connection when it cannot be sent again. */
  get interrupted(): string {
    return "the connection broke while rows were read";
  }

  /** Forgets what a lost attempt brought. False if that cannot be: part of it was handed on. */
  restart(): boolean {
    return true;
  }

  /**
   * The time given to the node: a little less than what is left, so that its answer, which knows what became of
   * the request, arrives before the deadline here.
   */
  timeoutMs(now: number): number {
    const left = Math.min(this.deadline - now, this.deadlineMs);
    return Math.max(1, Math.floor(left - Math.min(ANSWER_MS_MAX, left / 10)));
  }
}

export function unexpected(kind: string): BalsaError {
  return new BalsaError("PROTOCOL", `an answer of another kind: ${kind}`);
}
