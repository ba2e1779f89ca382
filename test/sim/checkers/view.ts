/** What checkers are shown of a node, and when they are asked. They look; they change nothing and keep no node alive. */

import type { Effects, RaftStatus } from "../../../src/raft/effect.ts";
import type { Entry, EntryId, LogIndex, NodeId, Term } from "../../../src/raft/entry.ts";
import type { Message } from "../../../src/raft/message.ts";
import type { ProgressView } from "../../../src/raft/progress.ts";

export interface LogView {
  firstIndex(): LogIndex;
  lastIndex(): LogIndex;
  /** For firstIndex - 1 to lastIndex. */
  term(index: LogIndex): Term;
  entries(from: LogIndex, to: LogIndex, maxBytes: number): readonly Entry[];
}

export interface NodeView {
  readonly id: NodeId;
  /** Of its directory: another one is another node. */
  readonly incarnation: string;
  /** What it runs. */
  readonly machineVersion: string;
  readonly status: RaftStatus;
  /** What it has asked to be stored, durable or not. */
  readonly log: LogView;
  /** What SQLite has committed. */
  readonly appliedIndex: LogIndex;
  /** Empty while it does not lead. */
  readonly progress: readonly ProgressView[];
  /** The entry with which it began to lead; null while it does not. */
  readonly noop: EntryId | null;
}

export interface Checker {
  /** A core was stepped; what it asks is not done yet, but `log` shows it. */
  stepped?(node: NodeView, effects: Effects): void;
  /** Before a message leaves. */
  sent?(node: NodeView, message: Message): void;
  /** A process began on what its disk held. */
  started?(node: NodeView, storedTerm: Term): void;
  /** SQLite has committed up to here. `digest`: of all effects so far; null if the machine cannot tell. */
  /** A node's database was replaced by another's, which stands at this entry. */
  exchanged?(node: NodeView, index: LogIndex): void;
  applied?(node: NodeView, index: LogIndex, digest: number | null): void;
  /** Entries up to here are about to be dropped. */
  compacting?(node: NodeView, index: LogIndex): void;
  /** The log begins anew behind a snapshot. */
  installing?(node: NodeView, base: EntryId): void;
  /** The disk was emptied, or holds what it was not given: nothing that was known of this node's disk holds. */
  damaged?(id: NodeId): void;
}
