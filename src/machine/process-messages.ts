/**
 * What the frames between a node and its child processes mean, and how their payloads are laid out. Both ends are
 * always of one build, so nothing here has a version. Requests, payloads and results pass as bytes, undecoded.
 * Integers beyond 32 bits travel as doubles: all are safe integers.
 */

import type {
  DigestMismatch,
  ExecuteJob,
  ExecuteOutcome,
  MachineState,
  TransactionVerb,
} from "../node/ports.ts";
import type { Entry, EntryId, EntryKind } from "../raft/entry.ts";
import type { Failure } from "../sql/errors.ts";
import type { KnownExtension } from "../sql/extension.ts";
import { invariant, unreachable } from "../sql/invariant.ts";
import type { Limits } from "../sql/limits.ts";
import type { AutoVacuum, ClusterSettings } from "../sql/settings.ts";

/**
 * Node to writer. The id of `execute` comes back in `executed`; the others are answered in order. `checkpointed` has id 1
 * if it answers, 0 if it came by itself, and the entry up to which the file is complete; `pinned` comes instead if it is not,
 * with the bytes of WAL that readers hold back, or `copying`, and it may be asked for again soon.
 * `configure`, `settle` and `look` are not answered; `changed` may come at any time, and then nothing but the end.
 * `copierFailed` says why the writer copies its WAL for itself; it comes once.
 */
export const TO_WRITER = {
  execute: 1,
  apply: 2,
  commit: 3,
  checkpoint: 4,
  close: 5,
  configure: 6,
  settle: 7,
  look: 8,
} as const;
export const FROM_WRITER = {
  ready: 1,
  executed: 2,
  applied: 3,
  committed: 4,
  checkpointed: 5,
  fault: 6,
  closed: 7,
  settings: 8,
  pinned: 9,
  changed: 10,
  copying: 11,
  copierFailed: 12,
} as const;

/**
 * Node to reader. Each `query`, and each `queryOnce`, which may send one chunk and is its statement alone, gets exactly one of
 * `last`, `failed` and `dropped`. One without a statement holds a snapshot, and
 * each `step` in it is answered by a `chunk`. After a slow query the reader sends `sync` and waits for `go`: what was
 * cancelled meanwhile must not be started.
 */
export const TO_READER = {
  query: 1,
  fetch: 2,
  cancel: 3,
  go: 4,
  close: 5,
  step: 6,
  queryOnce: 7,
} as const;
export const FROM_READER = {
  ready: 1,
  chunk: 2,
  last: 3,
  failed: 4,
  dropped: 5,
  sync: 6,
  fault: 7,
  closed: 8,
} as const;

/** A snapshot's child to its node: one of these, then it ends. */
export const FROM_SNAPSHOT = { done: 1, fault: 2 } as const;

/** A node to the process that reads its content for it, and back. */
export const TO_DIGEST = { open: 1 } as const;
export const FROM_DIGEST = {
  ready: 1,
  opened: 2,
  progress: 3,
  table: 4,
  damage: 5,
  done: 6,
  fault: 7,
} as const;

export type ChildRole = "writer" | "reader" | "snapshot" | "extensions";

/** Work on the bytes of whole files, away from the node's thread. */
export type SnapshotTask =
  /** A page-exact copy of the database at `to`, its hashes beside it; answers with its SnapshotManifest. */
  | { readonly kind: "copy"; readonly to: string; readonly hashes: string }
  /** The same without hashes, as a base for what is fetched. */
  | { readonly kind: "seed"; readonly to: string }
  /** Reads the whole content; see digest-task.ts. */
  | { readonly kind: "digest"; readonly deep: boolean }
  /** Is the database whole, and Balsa's? Answers with the entry at which it stands. Nobody else may have it open. */
  | { readonly kind: "inspect" }
  /** Is the file at `path` the snapshot of this description? Syncs it. */
  | { readonly kind: "check"; readonly path: string; readonly expected: SnapshotFacts };

export interface SnapshotFacts extends EntryId {
  readonly bytes: number;
  readonly digest: string;
}

/** What a child is told at its start, as JSON. */
export interface ChildArguments {
  readonly role: ChildRole;
  /** The data directory. */
  readonly dir: string;
  readonly limits: Limits;
  /** What this node runs: a writer executes nothing for a cluster of another. */
  readonly machineVersion?: string;
  /** Of a file that the writer makes. */
  readonly autoVacuum?: AutoVacuum;
  /** How long a writer waits for the one before it to be gone. */
  readonly lockWaitMs: number;
  /** The writer checkpoints between transactions when its WAL has grown to this, at the latest. */
  readonly walBytesMax: number;
  /** Loaded into each connection that may need them. */
  readonly extensions: readonly KnownExtension[];
  /** Of a snapshot's child. */
  readonly task?: SnapshotTask;
}

const EMPTY = new Uint8Array(0);
const KINDS: readonly EntryKind[] = ["command", "noop", "configuration"];
const KIND_NUMBER: { readonly [kind in EntryKind]: number } = {
  command: 0,
  noop: 1,
  configuration: 2,
};

// Numbers, little-endian, by hand: a DataView for each message cost a tenth of the node's time.
const float = new Float64Array(1);
const floatBytes = new Uint8Array(float.buffer);

function putF64(target: Uint8Array, at: number, value: number): void {
  float[0] = value;
  for (let i = 0; i < 8; i += 1) target[at + i] = floatBytes[i] as number;
}

function getF64(source: Uint8Array, at: number): number {
  for (let i = 0; i < 8; i += 1) floatBytes[i] = source[at + i] as number;
  return float[0] as number;
}

function putU32(target: Uint8Array, at: number, value: number): void {
  target[at] = value;
  target[at + 1] = value >>> 8;
  target[at + 2] = value >>> 16;
  target[at + 3] = value >>> 24;
}

function getU32(source: Uint8Array, at: number): number {
  const low = (source[at] as number) | ((source[at + 1] as number) << 8);
  return (low | ((source[at + 2] as number) << 16) | ((source[at + 3] as number) << 24)) >>> 0;
}

export function encodeJson(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}

export function decodeJson(bytes: Uint8Array): unknown {
  return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString());
}

export function decodeText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
}

/** Trusted: it comes from our own process, of the same build. */
export function decodeFailure(bytes: Uint8Array): Failure {
  return decodeJson(bytes) as Failure;
}

export function decodeArguments(bytes: Uint8Array): ChildArguments {
  return decodeJson(bytes) as ChildArguments;
}

export function decodeSettings(bytes: Uint8Array): ClusterSettings {
  return decodeJson(bytes) as ClusterSettings;
}

export function decodeState(bytes: Uint8Array): MachineState {
  return decodeJson(bytes) as MachineState;
}

// --- execute --------------------------------------------------------------------------------------------------

const JOB_HEAD_BYTES = 41;
/** By the head's first byte: what an ordinary request has, an opened session, and the rest. */
const VERBS: readonly (TransactionVerb | undefined)[] = [
  undefined,
  undefined,
  "begin",
  "run",
  "savepoint",
  "release",
  "rollbackTo",
  "commit",
  "rollback",
  "settle",
  "setting",
  "machineVersion",
  "checksum",
];

const jobHead = new Uint8Array(JOB_HEAD_BYTES);

/** The fixed head of a job; the batch follows it in the frame. Valid until the next call: a frame copies it. */
export function encodeJobHead(job: ExecuteJob): Uint8Array {
  if (job.verb === undefined) jobHead[0] = job.openSession ? 1 : 0;
  else jobHead[0] = VERBS.indexOf(job.verb);
  putF64(jobHead, 1, job.session);
  putF64(jobHead, 9, job.sequence);
  putF64(jobHead, 17, job.acknowledgedThrough);
  putF64(jobHead, 25, job.timeMs);
  putU32(jobHead, 33, job.seedHigh);
  putU32(jobHead, 37, job.seedLow);
  return jobHead;
}

export function decodeJob(id: number, payload: Uint8Array): ExecuteJob {
  invariant(payload.length >= JOB_HEAD_BYTES, `an execute frame of ${payload.length} bytes`);
  return {
    id,
    verb: VERBS[payload[0] ?? 0],
    openSession: payload[0] === 1,
    session: getF64(payload, 1),
    sequence: getF64(payload, 9),
    acknowledgedThrough: getF64(payload, 17),
    timeMs: getF64(payload, 25),
    seedHigh: getU32(payload, 33),
    seedLow: getU32(payload, 37),
    batch: payload.subarray(JOB_HEAD_BYTES),
  };
}

const OUTCOME = { proposal: 0, answer: 1, failure: 2, broken: 3, apart: 4 } as const;

const proposalHead = new Uint8Array(5);
const answerHead = new Uint8Array(9);

/**
 * Parts of an `executed` frame, whose first is valid until the next call. A proposal: kind, u32 length of the payload,
 * payload, result.
 */
export function encodeOutcome(outcome: ExecuteOutcome): readonly Uint8Array[] {
  switch (outcome.kind) {
    case "proposal":
      proposalHead[0] = OUTCOME.proposal;
      putU32(proposalHead, 1, outcome.payload.length);
      return [proposalHead, outcome.payload, outcome.result];
    case "answer":
      answerHead[0] = OUTCOME.answer;
      putF64(answerHead, 1, outcome.index);
      return [answerHead, outcome.result];
    case "failure":
    case "broken":
      return [Uint8Array.of(OUTCOME[outcome.kind]), encodeJson(outcome.failure)];
    case "apart":
      return [Uint8Array.of(OUTCOME.apart)];
    default:
      return unreachable(outcome);
  }
}

export function decodeOutcome(bytes: Uint8Array): ExecuteOutcome {
  const kind = bytes[0];
  if (kind === OUTCOME.proposal) {
    const end = 5 + getU32(bytes, 1);
    return { kind: "proposal", payload: bytes.subarray(5, end), result: bytes.subarray(end) };
  }
  if (kind === OUTCOME.answer) {
    return { kind: "answer", index: getF64(bytes, 1), result: bytes.subarray(9) };
  }
  if (kind === OUTCOME.apart) return { kind: "apart" };
  const failure = decodeFailure(bytes.subarray(1));
  return { kind: kind === OUTCOME.broken ? "broken" : "failure", failure };
}

// --- apply and commit -------------------------------------------------------------------------------------------

const ENTRY_HEAD_BYTES = 21;

/** An `apply` frame's payload: for each entry f64 index, f64 term, u8 kind, u32 length, payload. */
export function encodeEntries(entries: readonly Entry[]): Uint8Array {
  let size = 0;
  for (const { payload } of entries) size += ENTRY_HEAD_BYTES + payload.length;
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const { index, term, kind, payload } of entries) {
    putF64(bytes, at, index);
    putF64(bytes, at + 8, term);
    bytes[at + 16] = KIND_NUMBER[kind];
    putU32(bytes, at + 17, payload.length);
    bytes.set(payload, at + ENTRY_HEAD_BYTES);
    at += ENTRY_HEAD_BYTES + payload.length;
  }
  return bytes;
}

export function decodeEntries(bytes: Uint8Array): readonly Entry[] {
  const entries: Entry[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const start = offset + ENTRY_HEAD_BYTES;
    const end = start + getU32(bytes, offset + 17);
    entries.push({
      index: getF64(bytes, offset),
      term: getF64(bytes, offset + 8),
      kind: KINDS[bytes[offset + 16] ?? 0] ?? "command",
      payload: bytes.subarray(start, end),
    });
    offset = end;
  }
  return entries;
}

export function encodeEntryId(id: EntryId): Uint8Array {
  const bytes = new Uint8Array(16);
  putF64(bytes, 0, id.index);
  putF64(bytes, 8, id.term);
  return bytes;
}

export function decodeEntryId(bytes: Uint8Array): EntryId {
  return { index: getF64(bytes, 0), term: getF64(bytes, 8) };
}

/** Parts of an `applied` frame: the last entry, and the mismatch if there is one. */
export function encodeApplied(
  last: EntryId,
  mismatch: DigestMismatch | null,
): readonly Uint8Array[] {
  return [encodeEntryId(last), mismatch === null ? EMPTY : encodeJson(mismatch)];
}

export function decodeApplied(bytes: Uint8Array): {
  readonly last: EntryId;
  readonly mismatch: DigestMismatch | null;
} {
  const rest = bytes.subarray(16);
  const mismatch = rest.length === 0 ? null : (decodeJson(rest) as DigestMismatch);
  return { last: decodeEntryId(bytes), mismatch };
}

// --- numbers ----------------------------------------------------------------------------------------------------

/** Chunks allowed, at the head of a `query` frame and alone in a `fetch` frame. */
export function encodeCount(count: number): Uint8Array {
  const bytes = new Uint8Array(4);
  putU32(bytes, 0, count);
  return bytes;
}

export function decodeCount(bytes: Uint8Array): number {
  return getU32(bytes, 0);
}

export function decodeQuery(payload: Uint8Array): { credit: number; statement: Uint8Array } {
  return { credit: decodeCount(payload), statement: payload.subarray(4) };
}
