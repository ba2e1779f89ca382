/**
 * What the client does with each way a request can fail: one table, and the pauses between attempts. Decides,
 * never sends.
 */

import type { BalsaCode } from "../sql/errors.ts";

/**
 * - `elsewhere`: this node did nothing and will not; ask another at once.
 * - `later`: nothing was done; ask again after a pause.
 * - `same`: it may have been done. A read is asked again; a write is sent again under the same session and
 *   sequence, so that it takes effect once.
 * - `session`: nothing was done, the session is gone; the write may move to a new one if no earlier attempt is open.
 * - `never`: another attempt would end the same way.
 */
export type RetryRule = "elsewhere" | "later" | "same" | "session" | "never";

export const RETRY: Readonly<Record<BalsaCode, RetryRule>> = {
  INVALID_ARGUMENT: "never",
  REFUSED: "never",
  LIMIT_EXCEEDED: "never",
  NOT_LEADER: "elsewhere",
  NO_LEADER: "later",
  LEADERSHIP_LOST: "same",
  UNAVAILABLE: "same",
  OVERLOADED: "later",
  NO_SPACE: "later",
  DEADLINE_EXCEEDED: "never",
  CANCELLED: "never",
  TOO_STALE: "elsewhere",
  SESSION_EXPIRED: "session",
  SEQUENCE_EXPIRED: "never",
  SNAPSHOT_TOO_OLD: "never",
  NO_SUCH_BLOB: "never",
  TRANSACTION_TIMEOUT: "never",
  TRANSACTION_ABORTED: "never",
  NESTED_CALL: "never",
  CLOSED: "same",
  PROTOCOL: "elsewhere",
  WRONG_CLUSTER: "elsewhere",
  NOT_SERVING: "elsewhere",
  FILE_CHANGED: "elsewhere",
  INTERNAL: "never",
};

/** Shortest and longest pause between two attempts. */
const PAUSE_MS_MIN = 20;
const PAUSE_MS_MAX = 500;

/**
 * The pause before the next attempt: a sixth of the time already spent, so that a short outage is noticed to be
 * over within a fraction of its length and a long one costs two attempts a second; ±25 % so that clients spread.
 */
export function pauseMs(spentMs: number, dice: number = Math.random()): number {
  const pause = Math.min(PAUSE_MS_MAX, Math.max(PAUSE_MS_MIN, spentMs / 6));
  return pause * (0.75 + dice / 2);
}
