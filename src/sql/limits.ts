/** Every bound of a request, in one list: its default, unit and reason. Options may change each. */

export interface Limits {
  /** Bytes of one request's statements and parameters together. Below 8 MiB, the largest log entry. */
  readonly requestBytes: number;
  /** Bytes of one text or blob value. */
  readonly valueBytes: number;
  /** Bytes of the text of one statement or script. */
  readonly statementBytes: number;
  /** Statements in one batch or script. */
  readonly statements: number;
  /** Bytes of the rows that one write may return, or one read collected by `all`. */
  readonly resultBytes: number;
  /** Writes waiting or under way on a node; one more is OVERLOADED. */
  readonly pendingWrites: number;
  /** Reads waiting or under way on a node; one more is OVERLOADED. */
  readonly pendingReads: number;
  /** Bytes of requests waiting or under way on a node. */
  readonly pendingBytes: number;
}

const MIB = 1024 * 1024;

export const DEFAULT_LIMITS: Limits = {
  requestBytes: 7 * MIB,
  valueBytes: 6 * MIB,
  statementBytes: 1 * MIB,
  statements: 10_000,
  resultBytes: 64 * MIB,
  pendingWrites: 20_000,
  pendingReads: 20_000,
  pendingBytes: 64 * MIB,
};
