/** What a node says of itself, and what a client shows of a whole cluster. Asks nobody. */

import type { BalsaError } from "../sql/errors.ts";
import type { StatusResponse } from "../wire/cluster-codec.ts";

/**
 * One node's view of itself and of the cluster. `role` is `leader`, `follower`, `candidate`, `forming`, `blank` or
 * `halted`; `leader` is 0 when none is known; `trouble` says why it does not serve and is empty when it does.
 */
export type NodeStatus = StatusResponse;

/** An endpoint that answered, or one that did not and why. */
export type EndpointStatus =
  | { readonly endpoint: string; readonly status: NodeStatus; readonly error: null }
  | { readonly endpoint: string; readonly status: null; readonly error: BalsaError };

export interface ClusterStatus {
  /** The leader of the latest term that a node claims to be, if any. */
  readonly leader: { readonly id: number; readonly address: string } | null;
  /** One for each known endpoint, in the order given to `connect`, then those that were learnt. */
  readonly nodes: readonly EndpointStatus[];
}

export function summarize(nodes: readonly EndpointStatus[]): ClusterStatus {
  let best: { readonly endpoint: string; readonly status: NodeStatus } | null = null;
  for (const { endpoint, status } of nodes) {
    if (status?.role !== "leader") continue;
    if (best === null || status.term > best.status.term) best = { endpoint, status };
  }
  const leader =
    best === null ? null : { id: best.status.id, address: best.status.address || best.endpoint };
  return { leader, nodes };
}
