/** How a node says that it cannot serve a request: the words, in one place. Decides nothing. */

import type { RaftStatus } from "../raft/effect.ts";
import { type LogIndex, NOBODY, type NodeId } from "../raft/entry.ts";
import type { Failure } from "../sql/errors.ts";
import type { DigestMismatch } from "./ports.ts";
import { failure } from "./write-request.ts";

export function notReady(trouble: string): Failure {
  return trouble === ""
    ? failure("UNAVAILABLE", "the node is starting")
    : failure("NOT_SERVING", trouble);
}

export function notServing(trouble: string, isStopping: boolean): Failure {
  return isStopping ? failure("CLOSED", "the node is stopping") : failure("NOT_SERVING", trouble);
}

export function notLeader({ id, leader }: RaftStatus, addressOf: (id: NodeId) => string): Failure {
  if (leader === NOBODY || leader === id) {
    return failure("NO_LEADER", "no leader is known to this node at the moment");
  }
  const address = addressOf(leader);
  const facts = { leader: address, leaderId: String(leader) };
  const message = `node ${leader} at ${address} leads, not this one`;
  return failure("NOT_LEADER", message, "not-applied", facts);
}

/** Where the leader is, if it is another; empty if it is this node, or nobody known. Asked for each write. */
export function elsewhere(
  { id, leader }: RaftStatus,
  book: { addressOf(id: NodeId): string },
  { advertise }: { readonly advertise: string },
): string {
  const address = leader === NOBODY || leader === id ? "" : book.addressOf(leader);
  return address === advertise ? "" : address;
}

/** Of a node that is no member any more. */
export function removedText(index: LogIndex): string {
  return (
    `this node is no member since log entry ${index}: it was removed from the cluster, or its directory was replaced ` +
    "by another one. It has no vote and serves nothing; stop it, and keep or delete its directory"
  );
}

export function notHandedOver(to: NodeId, end: "none" | "late"): Failure {
  const who = to === NOBODY ? "no other voter answers" : `node ${to} does not answer`;
  const why = end === "none" ? who : "nobody took over in time";
  return failure("UNAVAILABLE", `${why}; the leadership stays here`);
}

export function describeMismatch({ index, detail, isUnknown }: DigestMismatch): string {
  if (isUnknown === true) return `log entry ${index} cannot be applied: ${detail}`;
  return `the effects of log entry ${index} differ from the leader's: ${detail}`;
}
