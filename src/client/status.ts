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
  /** One for each endpoint, in the order given to `connect`, then nodes that were learnt besides. */
  readonly nodes: readonly EndpointStatus[];
}

/** `endpoints`: those given to `connect`; the others were learnt, and may be the same nodes by other addresses. */
export function summarize(
  answers: readonly EndpointStatus[],
  endpoints: readonly string[],
): ClusterStatus {
  const answered = new Map<string, number>();
  const idOf = new Map<string, number>();
  for (const { endpoint, status } of answers) {
    if (status === null) continue;
    if (endpoints.includes(endpoint)) answered.set(endpoint, status.id);
    for (const { id, address } of [...status.members, status]) idOf.set(address, id);
  }
  const shown = new Set(answered.values());
  const nodes = answers.filter(({ endpoint }) => {
    return endpoints.includes(endpoint) || !shown.has(idOf.get(endpoint) ?? 0);
  });
  let leader: ClusterStatus["leader"] = null;
  let term = -1;
  for (const { endpoint, status } of nodes) {
    if (status?.role !== "leader" || status.term <= term) continue;
    term = status.term;
    leader = { id: status.id, address: status.address || endpoint };
  }
  return { leader, nodes };
}
