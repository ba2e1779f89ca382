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

export function changed(what: string): string {
  return (
    `this node's main.db was changed from outside: ${what}. It serves nothing until it has fetched the database of a ` +
    "healthy node"
  );
}

export function changedAndWaiting(what: string, alike: readonly NodeId[], silent: number): string {
  const others = alike.length === 0 ? "" : `; so was that of node ${alike.join(" and ")}`;
  const rest = silent === 0 ? "" : `; ${silent} of the other voters have not answered`;
  return `${changed(what)}, and none has been found yet${others}${rest}`;
}

/** Where nobody else can say what is right. */
export function changedAlone(what: string): string {
  return (
    `main.db was changed from outside: ${what}. There is no other node to fetch a database from. If it shall count as it ` +
    "stands, start the node once with --accept-changed-file (option acceptChangedFile); else restore the file that " +
    "the node left, or begin a new cluster with a backup (balsa import)"
  );
}

export function changedEverywhere(what: string, others: readonly NodeId[]): string {
  return (
    `main.db was changed from outside: ${what}. So was that of every other voter (node ${others.join(", ")}): no node is ` +
    "left whose database is known to be right. If all directories were only copied or restored together, or hold the same, " +
    "start every node once with --accept-changed-file and compare them with balsa verify; else choose the node whose data " +
    "you trust (balsa export --dir shows each one's), start that one with --accept-changed-file, and the others without: they " +
    "take its database"
  );
}

export function changedOften(what: string): string {
  return (
    `main.db was changed from outside: ${what}. That was the third time within an hour or more: find the program that writes ` +
    "to it, and start the node again"
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
