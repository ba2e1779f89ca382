/** A write on its way, and the opening of a session: what they send, and what their answers mean. */

import type { BalsaError, SqlError } from "../sql/errors.ts";
import type { ExecuteResponse, RequestBody, ResponseBody } from "../wire/sql-codec.ts";
import { Call, type CallOwner, type CallTerms, type Receipt, unexpected } from "./call.ts";
import type { Session } from "./session.ts";

/** A call that takes effect once, by its number in a session. */
export abstract class NumberedCall extends Call {
  /** In which it is numbered; null while it waits for a number. */
  session: Session | null = null;
  sequence = 0;
  /** Whoever made it gives the number back, later than its end. */
  readonly keepsNumber: boolean = false;
}

/** Encoded statements, executed atomically on the leader, once. Its result stays encoded. */
export class WriteCall extends NumberedCall {
  readonly kind: "write" = "write";
  readonly promise: Promise<ExecuteResponse>;
  readonly #batch: Uint8Array;
  #resolve: (response: ExecuteResponse) => void = ignore;
  #reject: (error: BalsaError | SqlError) => void = ignore;

  constructor(owner: CallOwner, terms: CallTerms, batch: Uint8Array) {
    super(owner, terms);
    this.#batch = batch;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  body(now: number): RequestBody {
    return this.executeBody(now);
  }

  protected executeBody(now: number): Extract<RequestBody, { kind: "execute" }> {
    return {
      kind: "execute",
      batch: this.#batch,
      session: this.session?.id ?? 0,
      sequence: this.sequence,
      acknowledgedThrough: this.session?.acknowledgedThrough ?? 0,
      timeoutMs: this.timeoutMs(now),
      noForward: !this.owner.isForwarding,
    };
  }

  receive(response: ResponseBody): Receipt {
    if (response.kind !== "execute") throw unexpected(response.kind);
    this.owner.saw(response.index);
    this.#resolve(response);
    return "last";
  }

  fail(error: BalsaError | SqlError): void {
    this.#reject(error);
  }
}

/** Asks for a session. Repeated freely: one that nobody uses is harmless, and expires. */
export class OpenSessionCall extends Call {
  readonly kind = "open-session";
  readonly #opened: (id: number) => void;
  readonly #failed: (error: BalsaError | SqlError) => void;

  constructor(
    owner: CallOwner,
    terms: CallTerms,
    settle: {
      readonly opened: (id: number) => void;
      readonly failed: (error: BalsaError | SqlError) => void;
    },
  ) {
    super(owner, terms);
    this.#opened = settle.opened;
    this.#failed = settle.failed;
  }

  body(now: number): RequestBody {
    const noForward = !this.owner.isForwarding;
    return { kind: "openSession", timeoutMs: this.timeoutMs(now), noForward };
  }

  receive(response: ResponseBody): Receipt {
    if (response.kind !== "openSession") throw unexpected(response.kind);
    this.#opened(response.session);
    return "last";
  }

  fail(error: BalsaError | SqlError): void {
    this.#failed(error);
  }
}

function ignore(): void {
  // Replaced before anybody can call it.
}
