/**
 * What each voter found one entry to do, and what that comes to: which finding a majority shares, or that none can any more.
 * Pure; it asks nobody and acts on nothing.
 */

import type { Configuration, NodeId } from "../raft/entry.ts";
import { quorumTally } from "../raft/quorum.ts";
import type { Effect, PeerFinding } from "./ports.ts";

/** A finding, to be compared: what the entry itself says, or another effect. */
export type FindingKey = string;

export const AS_LOGGED: FindingKey = "as logged";
/** It cannot be known any more: it stands by nobody. */
export const UNKNOWN: FindingKey = "unknown";

export type Judgement =
  | { readonly kind: "majority"; readonly key: FindingKey }
  /** Whoever has not answered yet may decide. */
  | { readonly kind: "open" }
  /** Whatever they answer. */
  | { readonly kind: "none" };

/** Where there is no digest, the words say what happened. */
export function keyOf({ digest, detail }: Effect): FindingKey {
  return digest === 0 ? `nothing: ${detail}` : `digest ${digest}`;
}

/** null: it says nothing about the entry yet. */
export function keyOfPeer(finding: PeerFinding): FindingKey | null {
  switch (finding.kind) {
    case "agrees":
      return AS_LOGGED;
    case "differs":
      return keyOf(finding);
    case "unknown":
      return UNKNOWN;
    case "notYet":
      return null;
  }
}

/** Only voters count, in both halves of a joint configuration. */
export function judge(
  configuration: Configuration,
  findings: ReadonlyMap<NodeId, FindingKey>,
): Judgement {
  // What nobody has found so far may still be what all the others will find.
  const keys = new Set<FindingKey>([...findings.values(), "another"]);
  keys.delete(UNKNOWN);
  let isOpen = false;
  for (const key of keys) {
    const votes = new Map([...findings].map(([id, found]) => [id, found === key]));
    const tally = quorumTally(configuration, votes);
    if (tally === "won" && key !== "another") return { kind: "majority", key };
    if (tally === "pending") isOpen = true;
  }
  return { kind: isOpen ? "open" : "none" };
}
