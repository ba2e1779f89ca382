/** What a running node offers to the world outside it: the door that rpc and the embedded client knock on. */

import type { NodeId } from "../raft/entry.ts";
import type { Failure } from "../sql/errors.ts";
import type { Consistency } from "../sql/statement.ts";
import type { StepKind, TransactionTerms } from "../sql/transaction.ts";
import type { RunningQuery, TransactionVerb } from "./ports.ts";

export interface ExecuteCall {
  /** Encoded balsa.v1.Batch; empty when openSession. */
  readonly batch: Uint8Array;
  readonly openSession: boolean;
  /** 0: none. */
  readonly session: number;
  readonly sequence: number;
  readonly acknowledgedThrough: number;
  /** From now; 0: the node's default. */
  readonly timeoutMs: number;
  /** `settle`, from a caller: what became of the transaction of this sequence? The others are a transaction's own. */
  readonly verb?: TransactionVerb | undefined;
}

export interface ExecuteSink {
  /** `result`: encoded balsa.v1.BatchResult; for openSession an encoded OpenSessionResponse. */
  done(result: Uint8Array, index: number): void;
  failed(failure: Failure): void;
}

export interface BeginSink {
  /** It is the transaction's turn: what it does is done at once. */
  opened(served: Served): void;
  /** It was refused or has ended by itself. Not after `cancel`, nor when it ends by its commit. */
  failed(failure: Failure): void;
}

export interface StepCall {
  readonly verb: StepKind;
  /** Encoded balsa.v1.Batch, of `run`. */
  readonly batch: Uint8Array;
  readonly timeoutMs: number;
}

export interface RunningTransaction {
  /** In order. One that is given up, or passes its deadline, ends the transaction; one that fails does not. */
  step(call: StepCall, sink: ExecuteSink): { cancel(): void };
  /** Rolls it back. */
  cancel(): void;
}

export interface QueryCall {
  /** Encoded balsa.v1.Statement. */
  readonly statement: Uint8Array;
  readonly consistency: Consistency;
  readonly atLeast: number;
  /** 0: no bound. */
  readonly maxStalenessMs: number;
  readonly timeoutMs: number;
  /** Chunks before a fetch; 0: no limit. */
  readonly window: number;
}

export interface Served {
  readonly node: NodeId;
  /** What the node had applied when the read began. */
  readonly index: number;
  readonly lagMs: number;
}

export interface QueryCallSink {
  /** `rows`: encoded balsa.v1.RowChunk. */
  chunk(rows: Uint8Array, done: boolean, served: Served): void;
  failed(failure: Failure): void;
}

/** `leaving`: it votes until the joint configuration is left. */
export type MemberRole = "voter" | "learner" | "leaving";

export interface MemberStatus {
  readonly id: NodeId;
  /** Where clients reach it; empty if not yet known. */
  readonly address: string;
  readonly role: MemberRole;
  /** A learner that becomes a voter by itself when it has caught up. */
  readonly awaitsVote: boolean;
  /** Connected to the node that answers, and a part of the cluster; true of that node itself. */
  readonly connected: boolean;
  /** Up to where it is known to have the log durably. Told by the leader only: else 0. */
  readonly matchIndex: number;
  /** Of a learner, told by the leader only: it follows closely enough to get a vote. */
  readonly caughtUp: boolean;
  /** What it said last that it runs; empty: nothing. */
  readonly machineVersion: string;
}

export interface MemberStep {
  /** `add`: as a learner, which becomes a voter by itself unless `isLearner`. `promote`: a vote for a learner. */
  readonly kind: "add" | "promote" | "remove";
  readonly id: NodeId;
  /** HOST:PORT, of `add`. */
  readonly address: string;
  readonly isLearner: boolean;
}

export interface ChangeCall {
  /** Several take effect together, through a joint configuration. */
  readonly steps: readonly MemberStep[];
  /** Refused unless the configuration's index is this; null: whatever it is. */
  readonly expected: number | null;
  readonly timeoutMs: number;
}

export interface ChangeSink {
  /** Index of the configuration that is in force now. */
  done(index: number): void;
  failed(failure: Failure): void;
}

export interface TransferCall {
  /** 0: the follower that is furthest. */
  readonly to: NodeId;
  readonly timeoutMs: number;
}

export interface TransferSink {
  done(leader: NodeId): void;
  failed(failure: Failure): void;
}

export interface UpgradeCall {
  /** Empty: the one that voters run and the cluster does not. */
  readonly version: string;
  /** Enough that a majority of the voters runs it. */
  readonly majority: boolean;
  readonly timeoutMs: number;
}

export interface UpgradeSink {
  /** The cluster's machine version now and before; before empty: none was set. */
  done(version: string, before: string): void;
  failed(failure: Failure): void;
}

export interface NodeStatus {
  readonly id: NodeId;
  readonly role: "follower" | "candidate" | "leader" | "forming" | "blank" | "halted";
  readonly term: number;
  /** 0: unknown. */
  readonly leader: NodeId;
  readonly leaderAddress: string;
  readonly lastIndex: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly lagMs: number;
  readonly databaseBytes: number;
  readonly clusterId: string;
  readonly address: string;
  readonly members: readonly MemberStatus[];
  /** The entry that made the configuration; 0: the founding one. */
  readonly configurationIndex: number;
  /** Why it does not serve; empty when it does. */
  readonly trouble: string;
  /** Of the cluster, as this node has applied it; empty: none was set. Whoever runs another one does not lead. */
  readonly machineVersion: string;
  /** What this node runs. */
  readonly ownMachineVersion: string;
}

/** Callbacks run on the node's thread, never inside the call that causes them, and once (chunks: until done). */
export interface NodeService {
  /** Answers once. `cancel` withdraws a request that has not started; one under way is finished, its answer dropped. */
  execute(call: ExecuteCall, sink: ExecuteSink): { cancel(): void };
  /** An interactive transaction: it has the writer for itself from its turn until it ends. */
  begin(call: TransactionTerms, sink: BeginSink): RunningTransaction;
  query(call: QueryCall, sink: QueryCallSink): RunningQuery;
  /**
   * Why one more request would be refused because so many are under way; null if it would be served, or refused for
   * another reason. The same object for as long as that lasts. To ask costs next to nothing.
   */
  overloaded(kind: "write" | "read"): Failure | null;
  /**
   * Where a write is to be sent instead, HOST:PORT: this node would only say NOT_LEADER. Empty if it leads, knows of no
   * leader, or would say something else. To ask costs next to nothing.
   */
  leaderElsewhere(): string;
  status(): NodeStatus;
  /** Adds, promotes or removes members; for the leader. */
  changeMembers(call: ChangeCall, sink: ChangeSink): void;
  /** Hands the leadership over; for the leader. What waits is executed by the next one. */
  transferLeadership(call: TransferCall, sink: TransferSink): void;
  /** Sets the cluster's machine version; for the leader. */
  upgrade(call: UpgradeCall, sink: UpgradeSink): void;
  /** Tells every change of leader or of serving; returns a function that stops telling. */
  watch(changed: (status: NodeStatus) => void): () => void;
}
