/** Who served a read, and how fresh it is, as a caller is told. */

import { LAG_NEVER } from "../wire/cluster-codec.ts";

export interface Served {
  /** Id of the node. */
  readonly node: number;
  /** The read sees the effects of all log entries up to this one, at least: a token for session reads. */
  readonly index: number;
  /**
   * At most so long before, in milliseconds, the node was known to have everything that was acknowledged; null if that is not
   * known. A linearizable read has everything that was acknowledged before it began, whatever this says.
   */
  readonly lagMs: number | null;
}

interface ServedOnWire extends Served {
  readonly lagMs: number;
}

export function servedOf({ node, index, lagMs }: ServedOnWire): Served {
  return { node, index, lagMs: lagMs === LAG_NEVER ? null : lagMs };
}
