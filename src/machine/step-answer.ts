/** The first byte of a step's answer in a read-only transaction: an encoded balsa.v1.BatchResult follows, or a Failure. */
export const STEP_ANSWER = { result: 0, failure: 1 } as const;
