/** Counts what is under way on a node and says no at the bounds (DESIGN D14). Decides nothing else. */

import type { Failure } from "../sql/errors.ts";
import type { Limits } from "../sql/limits.ts";
import { failure } from "./write-request.ts";

type Bound = "pendingWrites" | "pendingReads" | "pendingBytes";

export class Admission {
  readonly #limits: Limits;
  #writes = 0;
  #reads = 0;
  #bytes = 0;
  /** A flood is told the same again and again: one object for each limit, so that its encoding can be kept, too. */
  readonly #overloaded: { readonly [limit in Bound]: Failure };

  constructor(limits: Limits) {
    this.#limits = limits;
    this.#overloaded = {
      pendingWrites: overloaded("pendingWrites", limits.pendingWrites),
      pendingReads: overloaded("pendingReads", limits.pendingReads),
      pendingBytes: overloaded("pendingBytes", limits.pendingBytes),
    };
  }

  /** Why one more, however small, would be refused. Counts nothing. */
  full(kind: "write" | "read"): Failure | null {
    const { pendingWrites, pendingReads, pendingBytes } = this.#limits;
    if (this.#bytes >= pendingBytes) return this.#overloaded.pendingBytes;
    if (kind === "read") return this.#reads >= pendingReads ? this.#overloaded.pendingReads : null;
    return this.#writes >= pendingWrites ? this.#overloaded.pendingWrites : null;
  }

  /** Counts it in any case: whoever enters must leave. */
  enterWrite(bytes: number): Failure | null {
    this.#writes += 1;
    this.#bytes += bytes;
    return this.#check("pendingWrites", this.#writes, bytes);
  }

  leaveWrite(bytes: number): void {
    this.#writes -= 1;
    this.#bytes -= bytes;
  }

  enterRead(bytes: number): Failure | null {
    this.#reads += 1;
    this.#bytes += bytes;
    return this.#check("pendingReads", this.#reads, bytes);
  }

  leaveRead(bytes: number): void {
    this.#reads -= 1;
    this.#bytes -= bytes;
  }

  #check(limit: "pendingWrites" | "pendingReads", count: number, bytes: number): Failure | null {
    const { requestBytes, pendingBytes } = this.#limits;
    if (bytes > requestBytes) return tooLarge(bytes, requestBytes);
    if (count > this.#limits[limit]) return this.#overloaded[limit];
    if (this.#bytes > pendingBytes) return this.#overloaded.pendingBytes;
    return null;
  }
}

function tooLarge(size: number, value: number): Failure {
  const facts = { limit: "requestBytes", value: String(value), size: String(size) };
  const message = `the request has ${size} bytes; the limit requestBytes is ${value}. Split it up`;
  return failure("LIMIT_EXCEEDED", message, "not-applied", facts);
}

function overloaded(limit: string, value: number): Failure {
  const facts = { limit, value: String(value) };
  const message = `the node is overloaded: its limit ${limit} of ${value} is reached; try later`;
  return failure("OVERLOADED", message, "not-applied", facts);
}
