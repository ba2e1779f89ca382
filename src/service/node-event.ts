/** What a node's log says for `balsa cluster` to act on: records that carry an `event`. */

/** The node accepts connections. */
export interface ListeningEvent {
  readonly event: "listening";
}

/** The node follows another leader, or none (0), or leads itself. */
export interface LeaderEvent {
  readonly event: "leader";
  readonly leader: number;
  readonly term: number;
}

export type NodeEvent = ListeningEvent | LeaderEvent;

export function toNodeEvent(facts: { readonly [name: string]: unknown }): NodeEvent | null {
  const { event, leader, term } = facts;
  if (event === "listening") return { event };
  if (event !== "leader" || typeof leader !== "number" || typeof term !== "number") return null;
  return { event, leader, term };
}
