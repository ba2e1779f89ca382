/** What a sick node says of itself, in the log, in its status and when it halts: the words, in one place. Decides nothing. */

import type { LogIndex, NodeId } from "../raft/entry.ts";
import type { FindingKey } from "./findings.ts";
import type { Effect } from "./ports.ts";

export function sick(index: LogIndex, found: Effect | null): string {
  const detail = found === null ? "" : `: ${found.detail}`;
  return (
    `the effects of log entry ${index} differ from the leader's${detail}. This node serves nothing, ` +
    "and asks the others what they found"
  );
}

export function overruled(index: LogIndex): string {
  return `a majority found other effects of log entry ${index} than this node. It serves nothing`;
}

export function waitingForVerdict(index: LogIndex): string {
  return (
    `the leader of log entry ${index} was wrong: a majority found what this node found. It serves again when that is ` +
    "in the log"
  );
}

export function reseeding(index: LogIndex, isLeaderRight: boolean): string {
  const whom = isLeaderRight ? "the leader and a majority" : "a majority";
  return (
    `this node's database is wrong: ${whom} found other effects of log entry ${index}. It serves nothing ` +
    "until it has fetched the database of a healthy node"
  );
}

const REASONS = {
  alone: "there is no other voter to ask",
  divided: "no majority of the voters found the same",
  again: "its database was fetched from a healthy node and differs again: look at this machine",
  often: "its database was replaced again and again: look at this machine, its memory and its disk",
} as const;

const WAYS_OUT = {
  alone:
    "Make a new cluster from a backup (balsa import), or from what this node holds (balsa export --dir)",
  divided:
    "Choose the node whose data you trust (balsa export --dir shows each one's), empty the directories of " +
    "those that differ from it, and start them: they are taken in anew",
  again: "Replace the machine, then start the node with an empty directory: it is taken in anew",
  often: "Replace the machine, then start the node with an empty directory: it is taken in anew",
} as const;

export function halted(
  why: keyof typeof REASONS,
  index: LogIndex,
  findings: ReadonlyMap<NodeId, FindingKey>,
): string {
  const found = [...findings].map(([id, key]) => `node ${id} ${key}`).join(", ");
  return (
    `the effects of log entry ${index} differ between the nodes, and ${REASONS[why]} ` +
    `(found: ${found}). ${WAYS_OUT[why]}`
  );
}
