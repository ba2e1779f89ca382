/** How an interactive transaction begins and goes on: the words that the wire and a node's door share. No behaviour. */

import type { Consistency } from "./statement.ts";

/** What a transaction is asked for with. Times in milliseconds. */
export interface TransactionTerms {
  /** These three number its commit; session 0: it is not repeated. */
  readonly session: number;
  readonly sequence: number;
  readonly acknowledgedThrough: number;
  /** Until it is open, from now; 0: the node's default. */
  readonly timeoutMs: number;
  /** 0: the node's most. */
  readonly idleMs: number;
  readonly totalMs: number;
  /** Sees one moment and writes nothing. The next three are of such a one. */
  readonly readOnly: boolean;
  readonly consistency: Consistency;
  readonly atLeast: number;
  readonly maxStalenessMs: number;
}

/** What is done in one that is open. */
export type StepKind = "run" | "savepoint" | "release" | "rollbackTo" | "commit";
