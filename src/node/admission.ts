/** Counts what is under way on a node and says no at the bounds (DESIGN D14). Decides nothing else. */

import type { Failure } from "../sql/errors.ts";
import type { Limits } from "../sql/limits.ts";
import { failure } from "./write-request.ts";

export class Admission {
  readonly #limits: Limits;
  #writes = 0;
  #reads = 0;
  #bytes = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
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
    if (count > this.#limits[limit]) return overloaded(limit, this.#limits[limit]);
    if (this.#bytes > pendingBytes) return overloaded("pendingBytes", pendingBytes);
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
