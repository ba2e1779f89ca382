/** What a caller asks for, and how fresh an answer must be. */

import type { Args } from "./value.ts";

/** One statement with its parameters. */
export interface Statement {
  readonly sql: string;
  readonly args?: Args;
}

/**
 * How fresh a read must be.
 *
 * - `linearizable` (default): sees every write acknowledged before the read began, by anybody (Raft thesis §6.4).
 * - `session`: sees every write that this client was told of, and everything it has read.
 * - `stale`: whatever the node has; bounded by `maxStalenessMs` if given.
 */
export type Consistency = "linearizable" | "session" | "stale";

export const CONSISTENCIES: readonly Consistency[] = ["linearizable", "session", "stale"];

/**
 * What a statement that fails does to the batch it is in. `stop` (default): the batch fails, and nothing of it took
 * effect. `continue`: the statement left nothing, the ones behind it run, and all that succeeded takes effect together.
 */
export type OnError = "stop" | "continue";

export const ON_ERROR: readonly OnError[] = ["stop", "continue"];
