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
  /** Parameters of one statement. At most 32,766, which is SQLite's own bound. */
  readonly parameters: number;
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

/** What each may be set to at most, where the parts between could not carry more. */
export const LIMITS_MAX: Readonly<Partial<Limits>> = {
  // A log entry of 8 MiB, with room for what is beside the request in it.
  requestBytes: 8 * MIB - 64 * 1024,
  resultBytes: 128 * MIB,
  parameters: 32_766,
};

export const DEFAULT_LIMITS: Limits = {
  requestBytes: 7 * MIB,
  valueBytes: 6 * MIB,
  statementBytes: 1 * MIB,
  statements: 10_000,
  parameters: 32_766,
  resultBytes: 64 * MIB,
  pendingWrites: 10_000,
  pendingReads: 20_000,
  pendingBytes: 64 * MIB,
};
