/**
 * What a node needs of its surroundings. Declared here, satisfied by log, machine and rpc, and by the simulator.
 * Everything is a call or a callback on the node's thread; a callback never runs inside the call that causes it.
 */

import type { LogReader } from "../raft/effect.ts";
import type { Configuration, Entry, EntryId, HardState, LogIndex, NodeId } from "../raft/entry.ts";
import type { Message } from "../raft/message.ts";
import type { Failure } from "../sql/errors.ts";
import type { ClusterSettings } from "../sql/settings.ts";
import type { NodeStatus } from "./service.ts";
import type { FreeSpace } from "./space-watch.ts";

// --- time and dice -------------------------------------------------------------------------------------------

export interface Timer {
  cancel(): void;
}

export interface Environment {
  /** Monotonic, in milliseconds, from any origin. */
  monotonicMs(): number;
  /** Wall clock: milliseconds since 1970. May jump. */
  wallMs(): number;
  /** 0 ≤ n < 1. */
  random(): number;
  after(delayMs: number, run: () => void): Timer;
  /** Runs once the work that this turn of the loop brought is done: the place to flush what was gathered. */
  soon(run: () => void): void;
}

/** pino's shape, reduced. */
export interface Logger {
  debug(facts: object, message: string): void;
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

// --- the log -------------------------------------------------------------------------------------------------

/**
 * `blank`: never belonged to a cluster. `forming`: knows the cluster's id and members but may not vote yet.
 * `formed`: takes part. `lost`: belonged to a cluster and cannot trust its log any more; like a blank one it waits to be
 * admitted, but it never helps to form a new cluster. See docs/decisions/0004-formation.md and 0008-membership.md.
 */
export type Phase = "blank" | "forming" | "formed" | "lost";

export interface Identity {
  readonly nodeId: NodeId;
  /** Random, 32 hex digits, made with the directory: tells a node from the one that lost its disk. */
  readonly incarnation: string;
  /** 32 hex digits; empty while blank. */
  readonly clusterId: string;
  readonly phase: Phase;
  /** First voters, ascending; empty while blank. */
  readonly members: readonly NodeId[];
  /** 0 for a founder; else the node votes only once it has committed this entry. */
  readonly votesFrom: LogIndex;
  /** SHA-256, hex, of the file that the directory was prepared with as the cluster's first state; empty: with none. */
  readonly seed: string;
}

/** The stored log. Its reader sees an append as soon as `append` was called; durability is told by `done`. */
export interface Log extends LogReader {
  readonly identity: Identity;
  /** As recovered at open. */
  readonly hardState: HardState;
  /**
   * Stores in order. If entries are given, what stood from entries[0].index on is replaced. Everything that waits is
   * written with one sync. `done` runs when this append and all before it are durable. After a failed write or
   * sync, and when damage is found, `done` never runs and `onFailure` does: the node must halt (traps F2, F3).
   */
  append(hardState: HardState | null, entries: readonly Entry[], done: () => void): void;
  /**
   * Forgets the entries up to `index`: they are committed, durable, and held by the database file durably. Index and
   * term of the last one stay known.
   */
  compactTo(index: LogIndex, done: () => void): void;
  /** Forgets everything, also what stands behind `base`; the next entry follows it. Seen at once, told when durable. */
  restart(base: EntryId, done: () => void): void;
  /** The first index from which on the log holds at most so many entries, and bytes of payload. */
  tailFrom(entries: number, bytes: number): LogIndex;
  /** Replaces the identity, durably. */
  setIdentity(identity: Identity, done: () => void): void;
  onFailure: (error: Error) => void;
  /** The disk has no room for the next segment. The log goes on by itself when there is; what does not fit waits. */
  readonly isFull: boolean;
  /** `isFull` has changed. */
  onSpace: (isFull: boolean) => void;
  close(done: () => void): void;
}

// --- the machine: one writer process -----------------------------------------------------------------------------

/**
 * What a job does to the one interactive transaction. With none open, `settle` fixes whether an earlier one was committed, and
 * `checksum` proposes what some rows come to; it is answered with one byte, 1 if with them all have been read once.
 * `setting` and `machineVersion` are done between transactions: right behind a commit.
 */
export type TransactionVerb =
  | "begin"
  | "run"
  | "savepoint"
  | "release"
  | "rollbackTo"
  | "commit"
  | "rollback"
  | "settle"
  | "setting"
  | "machineVersion"
  | "checksum";

export interface ExecuteJob {
  readonly id: number;
  /** None: an ordinary request. `run` has a batch, the others need none. */
  readonly verb?: TransactionVerb | undefined;
  /** Encoded balsa.v1.Batch; empty to open a session; of `machineVersion` the version, UTF-8. */
  readonly batch: Uint8Array;
  readonly openSession: boolean;
  readonly session: number;
  readonly sequence: number;
  readonly acknowledgedThrough: number;
  readonly timeMs: number;
  readonly seedHigh: number;
  readonly seedLow: number;
}

export type ExecuteOutcome =
  /** Executed in the open transaction; `payload` (an encoded Command) must now be proposed. */
  | { readonly kind: "proposal"; readonly payload: Uint8Array; readonly result: Uint8Array }
  /** Nothing to log: it only read, or it repeats a write whose first answer this is. A read of the open transaction. */
  | { readonly kind: "answer"; readonly result: Uint8Array; readonly index: number }
  /** Refused or failed, without a trace. Also a read of the open transaction when SQLite said it. */
  | { readonly kind: "failure"; readonly failure: Failure }
  /** As failure, but the open transaction is lost with all it held (INSERT OR ROLLBACK): the writer must be replaced. */
  | { readonly kind: "broken"; readonly failure: Failure }
  /** Nothing was done: it is a setting, to be given again between transactions, with the verb `setting`. */
  | { readonly kind: "apart" };

/** What the database file says when a writer opens it. */
export interface MachineState {
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  /** Highest log time seen. */
  readonly timeMs: number;
  /** In force at `appliedIndex`, or at a later entry that is committed; null: the founding one. */
  readonly configuration: Configuration | null;
  readonly settings: ClusterSettings;
  /** The file came from another node, which had applied this: up to here this node has proven nothing itself. */
  readonly originIndex: LogIndex;
  /** The last verdict under which entries were applied; null: none was. */
  readonly settled: Verdict | null;
  /** The file was found changed from outside, in words: the rest is what it had applied before, and nothing is done to it. */
  readonly changed?: string;
}

/** How the database file stands beside what the node left when it closed it. */
export type FileLook =
  /** It was not closed in order: nothing is known. */
  | { readonly kind: "unsealed" }
  | { readonly kind: "unreadable"; readonly why: string }
  | { readonly kind: "intact" }
  /** `state`: what it had applied when it was as it should be; null: not known. */
  | { readonly kind: "changed"; readonly what: string; readonly state: MachineState | null };

/** What an entry does: the digest of its effects, or 0, and why it has none. */
export interface Effect {
  readonly digest: number;
  readonly detail: string;
}

/**
 * What a majority found the entry `index` to do, unlike its leader. The entry `at` says so: from `index` up to there no
 * digest counts (docs/decisions/0013-after-a-mismatch.md).
 */
export interface Verdict extends Effect {
  readonly index: LogIndex;
  readonly at: LogIndex;
}

/** An entry whose effects differ from the leader's (D5). */
export interface DigestMismatch {
  readonly index: number;
  readonly expected: number;
  readonly found: number;
  readonly detail: string;
  /** It is in a form that this program does not know: nothing is wrong with the data. */
  readonly isUnknown?: boolean;
}

export interface WriterEvents {
  /** The process holds the file's lock and has opened it. */
  ready(state: MachineState): void;
  /** In the order of `execute`. */
  executed(id: number, outcome: ExecuteOutcome): void;
  /** All given to one `apply` are committed in SQLite, up to `last`; on a mismatch, only those before it. */
  applied(last: EntryId, mismatch: DigestMismatch | null): void;
  committed(last: EntryId): void;
  /** They changed; told before the commit that stores them. */
  settings(settings: ClusterSettings): void;
  /** The database file alone, without its WAL, holds everything up to `index`, durably. */
  checkpointed(index: LogIndex): void;
  /** Somebody else wrote to the file. What was given and is not answered was not done, and nothing is from now on. */
  changed(what: string): void;
  /** The process is gone, whatever the reason; what was not answered is not going to be. Last call. */
  exited(reason: string): void;
}

/** One writer process (D3). Calls are answered in order. It is in follower mode until the first `execute`. */
export interface Writer {
  /** Leader mode: run in the open transaction (opened if none is). */
  execute(job: ExecuteJob): void;
  /** Follower mode: run and commit as one transaction. Never while a leader's transaction is open. */
  apply(entries: readonly Entry[]): void;
  /** Leader mode: everything executed so far is log[..last]; commit it in SQLite. */
  commit(last: EntryId): void;
  /** What is applied from now on is applied under this verdict, as far as it goes. Follower mode. */
  settle(verdict: Verdict): void;
  /** Stored along with what is committed next (DESIGN D9). */
  configure(configuration: Configuration): void;
  /** SIGKILL. `exited` follows. */
  kill(): void;
  /** Ends in order: commits nothing open, checkpoints, closes. `exited` follows. */
  close(): void;
}

// --- the machine: readers -----------------------------------------------------------------------------------------

export interface QuerySink {
  /** Encoded balsa.v1.RowChunk. */
  chunk(bytes: Uint8Array, done: boolean): void;
  failed(failure: Failure): void;
}

export interface RunningQuery {
  /** Allows `chunks` more chunks to be sent. */
  fetch(chunks: number): void;
  /** In a snapshot: an encoded balsa.v1.Batch to read in it, answered by one chunk. */
  step?(batch: Uint8Array): void;
  /**
   * Its caller's connection is full, or is not any more. Meanwhile it is not begun, and if it has a reader, others that need
   * one come before it after a second.
   */
  hold?(isHeld: boolean): void;
  /** No more chunks, and no further call of the sink. */
  cancel(): void;
}

/** An encoded balsa.v1.BatchResult, or why there is none. */
export type StepAnswer = { readonly result: Uint8Array } | { readonly failure: Failure };

export interface ReaderLimits {
  /** Execution time, waiting for the caller not counted. */
  readonly deadlineMs: number;
  /** Chunks that may be sent before a fetch; Infinity for no limit. */
  readonly window: number;
  /** See `hold`. Default false. */
  readonly isHeld?: boolean;
}

export interface Readers {
  /**
   * `statement`: encoded balsa.v1.Statement. Empty: holds a snapshot; the first chunk says so, and it is never done. The
   * sink is never called before query() has returned.
   */
  query(statement: Uint8Array, limits: ReaderLimits, sink: QuerySink): RunningQuery;
  /** What the chunk that answers a step says. */
  readStep?(bytes: Uint8Array): StepAnswer;
  /** Bytes of the database file and its WAL. */
  databaseBytes(): number;
  close(done: () => void): void;
}

export interface Machine {
  openWriter(events: WriterEvents): Writer;
  /** Usable once a writer has been ready for the first time. */
  readonly readers: Readers;
  /**
   * Puts the snapshot of this mark, which was fetched and is durable, in the database's place, durably. Writers must
   * have been killed; readers wait. Then a new writer may be opened.
   */
  install(mark: EntryId, done: (error: Error | null) => void): void;
  /** The same while the log goes on: it holds this entry, durably. After a crash the start finishes it. */
  exchange(mark: EntryId, done: (error: Error | null) => void): void;
  /** How the log holds a verdict. */
  readonly verdicts: VerdictCodec;
}

export interface VerdictCodec {
  encode(verdict: Omit<Verdict, "at">): Uint8Array;
  /** null: the entry is none. */
  read(entry: Entry): Verdict | null;
}

// --- peers ----------------------------------------------------------------------------------------------------

export interface PeerHello {
  readonly id: NodeId;
  readonly clusterId: string;
  readonly phase: Phase;
  readonly members: readonly NodeId[];
  readonly incarnation: string;
  /** As in its identity. */
  readonly seed: string;
  /** As in its identity: of two directories of one id the later one has the higher number. */
  readonly votesFrom: LogIndex;
  /** Where clients reach it. */
  readonly address: string;
  /** What it runs; empty: a program that does not tell. */
  readonly machineVersion: string;
}

export interface FormRequest {
  readonly clusterId: string;
  readonly phase: "forming" | "formed";
  readonly members: readonly NodeId[];
  /** Of a formed cluster to a node that it has made a member; null in the course of a formation. */
  readonly admission: Admittance | null;
}

/** The configuration names this incarnation; it votes only once it has committed `votesFrom`. */
export interface Admittance {
  readonly incarnation: string;
  readonly votesFrom: LogIndex;
}

export interface FormAnswer {
  readonly clusterId: string;
  readonly phase: Phase;
  /** The entry of the configuration in which the receiver is no member any more; 0: not said. */
  readonly removedAt: LogIndex;
  /** Of the sender's identity. */
  readonly votesFrom: LogIndex;
}

/** What a node found the entry to do; UNKNOWN: its database came from another node behind that entry. */
export interface PeerFinding extends EntryId, Effect {
  readonly kind: "notYet" | "agrees" | "differs" | "unknown";
  /** The sender wants to know the receiver's. */
  readonly asks: boolean;
}

/** What is true of all messages of one frame. */
export interface MessageFacts {
  /** The sender's wall clock. */
  readonly clockMs: number;
  /** The sender's disk is full, or nearly. */
  readonly lowSpace: boolean;
  /** As in the hello of the connection on which they came. */
  readonly incarnation: string;
}

export interface TransportEvents {
  hello(peer: PeerHello): void;
  messages(from: NodeId, messages: readonly Message[], about: MessageFacts): void;
  form(from: NodeId, request: FormRequest): void;
  formResult(from: NodeId, answer: FormAnswer): void;
  finding(from: NodeId, finding: PeerFinding, incarnation: string): void;
  /**
   * A connection to or from this peer ended. `crashed`: without a goodbye, while it had been established.
   * Called once for each broken connection.
   */
  disconnected(peer: NodeId, how: "crashed" | "goodbye"): void;
  /** A dial failed. `refused`: nothing listens there, so the process is not running. */
  unreachable(peer: NodeId, how: "refused" | "other"): void;
}

/** Best effort: messages may be lost, repeated or reordered. Every queue is bounded; what does not fit is dropped. */
export interface Transport {
  start(events: TransportEvents, hello: () => PeerHello): void;
  /** Whom to keep a connection to, and where, from now on; HOST:PORT by id. Who is not named is left alone. */
  setPeers(peers: ReadonlyMap<NodeId, string>): void;
  send(to: NodeId, messages: readonly Message[], clockMs: number, lowSpace?: boolean): void;
  sendForm(to: NodeId, request: FormRequest): void;
  sendFormResult(to: NodeId, answer: FormAnswer): void;
  sendFinding(to: NodeId, finding: PeerFinding): void;
  /** Says goodbye and closes. */
  stop(done: () => void): void;
}

// --- snapshots --------------------------------------------------------------------------------------------------

/** A database file as of one entry, and how to know each part of it. */
export interface SnapshotManifest extends EntryId {
  /** SHA-256 of all the rest, hex. */
  readonly id: string;
  readonly configuration: Configuration | null;
  readonly bytes: number;
  /** CRC-32 of each chunk of 1 MiB. */
  readonly chunks: readonly number[];
  /** SHA-256 of the file, hex. */
  readonly digest: string;
}

export type Completion<T> = (error: Error | null, value: T | null) => void;

/** A copy of the database that stays as it is while somebody fetches it. */
export interface OutgoingSnapshot {
  readonly manifest: SnapshotManifest;
  read(offset: number, bytes: number, done: Completion<Uint8Array>): void;
  /** Hashes of the pages of a chunk, one behind the other. */
  pageHashes(chunk: number, done: Completion<Uint8Array>): void;
  /** Once. It is kept for a while, so that a broken transfer can go on. */
  release(): void;
}

/** A snapshot that is being fetched. It holds what an earlier attempt left, or else pages of the own database. */
export interface IncomingSnapshot {
  /** What stands there now: fewer bytes, or none, where the file ends. */
  read(offset: number, bytes: number, done: Completion<Uint8Array>): void;
  write(offset: number, bytes: Uint8Array, done: (error: Error | null) => void): void;
  /** Checks all of it and makes it durable: then it can be installed. What fails the check is removed. */
  finish(done: (error: Error | null) => void): void;
  /** Ends the attempt; what was stored stays for the next one. */
  abandon(): void;
}

export interface DigestEvents {
  /** Its process is there, has the file open, and waits. */
  ready(): void;
  /** Its snapshot holds the effects of all entries up to this one. */
  opened(at: EntryId): void;
  /** Rows of a table that were read. Told every second, also when nothing has changed. */
  progress(table: string, rows: number): void;
  /** In an order that is the same on all nodes. `hash`: SHA-256, hex; or why it cannot be read. */
  table(table: { readonly name: string; readonly rows: number; readonly hash: string }): void;
  /** A line of SQLite's own check. */
  damage(line: string): void;
  /** Null: everything was told. Last call. */
  ended(error: Error | null): void;
}

/** The whole content is being read. */
export interface RunningDigest {
  /** Its snapshot is to be taken now. */
  open(): void;
  cancel(): void;
}

export interface SnapshotFiles {
  /** The one with this id if it is still there; else one at `atLeast` or later, which may take long to make. */
  offer(atLeast: LogIndex, id: string, done: Completion<OutgoingSnapshot>): void;
  /** Id of the snapshot that was fetched in part; empty if there is none. */
  begun(): string;
  /** One at a time. */
  receive(manifest: SnapshotManifest, done: Completion<IncomingSnapshot>): void;
  /** What the content comes to, table by table; `deep`: with SQLite's own check of the file. */
  digest(deep: boolean, events: DigestEvents): RunningDigest;
}

export interface FetchEvents {
  /** Fetched, checked and durable: may be installed. */
  ready(mark: EntryId, configuration: Configuration | null): void;
  failed(reason: string): void;
}

/** Fetches snapshots from other nodes. One at a time. */
export interface SnapshotFetcher {
  /** At `atLeast` or later. One of the events comes, once, unless it is cancelled. */
  fetch(from: NodeId, atLeast: LogIndex, events: FetchEvents): { cancel(): void };
}

/** Where others fetch snapshots from this node, and this node from others. */
export interface SnapshotTransport extends SnapshotFetcher {
  start(files: SnapshotFiles, status: () => NodeStatus): void;
  /** Cuts off what is under way. */
  stop(done: () => void): void;
}

// --- all of it ------------------------------------------------------------------------------------------------------

export interface NodeParts {
  readonly log: Log;
  readonly machine: Machine;
  readonly transport: Transport;
  readonly fetcher: SnapshotFetcher;
  readonly environment: Environment;
  readonly logger: Logger;
  /** Not given: free space is not looked at. */
  readonly space?: FreeSpace;
}
