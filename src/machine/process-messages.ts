/**
 * What the frames between a node and its child processes mean, and how their payloads are laid out. Both ends are
 * always of one build, so nothing here has a version. Requests, payloads and results pass as bytes, undecoded.
 * Integers beyond 32 bits travel as doubles: all are safe integers.
 */

import type { DigestMismatch, ExecuteJob, ExecuteOutcome, MachineState } from "../node/ports.ts";
import type { Entry, EntryId, EntryKind } from "../raft/entry.ts";
import type { Failure } from "../sql/errors.ts";
import { invariant, unreachable } from "../sql/invariant.ts";
import type { Limits } from "../sql/limits.ts";

/**
 * Node to writer. The id of `execute` comes back in `executed`; the others are answered in order. `checkpointed` has id 1
 * if it answers, 0 if it came by itself, and the entry up to which the file is complete, or nothing if it is not.
 */
export const TO_WRITER = { execute: 1, apply: 2, commit: 3, checkpoint: 4, close: 5 } as const;
export const FROM_WRITER = {
  ready: 1,
  executed: 2,
  applied: 3,
  committed: 4,
  checkpointed: 5,
  fault: 6,
  closed: 7,
} as const;

/**
 * Node to reader. Each `query` gets exactly one of `last`, `failed` and `dropped`. After a slow query the reader sends
 * `sync` and waits for `go`: what was cancelled meanwhile must not be started.
 */
export const TO_READER = { query: 1, fetch: 2, cancel: 3, go: 4, close: 5 } as const;
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

export type ChildRole = "writer" | "reader" | "snapshot";

/** Work on the bytes of whole files, away from the node's thread. */
export type SnapshotTask =
  /** A page-exact copy of the database at `to`, its hashes beside it; answers with its SnapshotManifest. */
  | { readonly kind: "copy"; readonly to: string; readonly hashes: string }
  /** The same without hashes, as a base for what is fetched. */
  | { readonly kind: "seed"; readonly to: string }
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
  /** How long a writer waits for the one before it to be gone. */
  readonly lockWaitMs: number;
  /** The writer checkpoints between transactions when its WAL has grown to this. */
  readonly walBytesMax: number;
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

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
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

export function decodeState(bytes: Uint8Array): MachineState {
  return decodeJson(bytes) as MachineState;
}

// --- execute --------------------------------------------------------------------------------------------------

const JOB_HEAD_BYTES = 41;

/** The fixed head of a job; the batch follows it in the frame. */
export function encodeJobHead(job: ExecuteJob): Uint8Array {
  const head = new Uint8Array(JOB_HEAD_BYTES);
  const view = viewOf(head);
  head[0] = job.openSession ? 1 : 0;
  view.setFloat64(1, job.session, true);
  view.setFloat64(9, job.sequence, true);
  view.setFloat64(17, job.acknowledgedThrough, true);
  view.setFloat64(25, job.timeMs, true);
  view.setUint32(33, job.seedHigh, true);
  view.setUint32(37, job.seedLow, true);
  return head;
}

export function decodeJob(id: number, payload: Uint8Array): ExecuteJob {
  invariant(payload.length >= JOB_HEAD_BYTES, `an execute frame of ${payload.length} bytes`);
  const view = viewOf(payload);
  return {
    id,
    openSession: payload[0] === 1,
    session: view.getFloat64(1, true),
    sequence: view.getFloat64(9, true),
    acknowledgedThrough: view.getFloat64(17, true),
    timeMs: view.getFloat64(25, true),
    seedHigh: view.getUint32(33, true),
    seedLow: view.getUint32(37, true),
    batch: payload.subarray(JOB_HEAD_BYTES),
  };
}

const OUTCOME = { proposal: 0, answer: 1, failure: 2, broken: 3 } as const;

/** Parts of an `executed` frame. A proposal: kind, u32 length of the payload, payload, result. */
export function encodeOutcome(outcome: ExecuteOutcome): readonly Uint8Array[] {
  switch (outcome.kind) {
    case "proposal": {
      const head = new Uint8Array(5);
      head[0] = OUTCOME.proposal;
      viewOf(head).setUint32(1, outcome.payload.length, true);
      return [head, outcome.payload, outcome.result];
    }
    case "answer": {
      const head = new Uint8Array(9);
      head[0] = OUTCOME.answer;
      viewOf(head).setFloat64(1, outcome.index, true);
      return [head, outcome.result];
    }
    case "failure":
    case "broken":
      return [Uint8Array.of(OUTCOME[outcome.kind]), encodeJson(outcome.failure)];
    default:
      return unreachable(outcome);
  }
}

export function decodeOutcome(bytes: Uint8Array): ExecuteOutcome {
  const kind = bytes[0];
  if (kind === OUTCOME.proposal) {
    const end = 5 + viewOf(bytes).getUint32(1, true);
    return { kind: "proposal", payload: bytes.subarray(5, end), result: bytes.subarray(end) };
  }
  if (kind === OUTCOME.answer) {
    return { kind: "answer", index: viewOf(bytes).getFloat64(1, true), result: bytes.subarray(9) };
  }
  const failure = decodeFailure(bytes.subarray(1));
  return { kind: kind === OUTCOME.broken ? "broken" : "failure", failure };
}

// --- apply and commit -------------------------------------------------------------------------------------------

const ENTRY_HEAD_BYTES = 21;

/** Parts of an `apply` frame: for each entry f64 index, f64 term, u8 kind, u32 length, payload. */
export function encodeEntries(entries: readonly Entry[]): readonly Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (const entry of entries) {
    const head = new Uint8Array(ENTRY_HEAD_BYTES);
    const view = viewOf(head);
    view.setFloat64(0, entry.index, true);
    view.setFloat64(8, entry.term, true);
    head[16] = KIND_NUMBER[entry.kind];
    view.setUint32(17, entry.payload.length, true);
    parts.push(head, entry.payload);
  }
  return parts;
}

export function decodeEntries(bytes: Uint8Array): readonly Entry[] {
  const view = viewOf(bytes);
  const entries: Entry[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    const start = offset + ENTRY_HEAD_BYTES;
    const end = start + view.getUint32(offset + 17, true);
    entries.push({
      index: view.getFloat64(offset, true),
      term: view.getFloat64(offset + 8, true),
      kind: KINDS[bytes[offset + 16] ?? 0] ?? "command",
      payload: bytes.subarray(start, end),
    });
    offset = end;
  }
  return entries;
}

export function encodeEntryId(id: EntryId): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = viewOf(bytes);
  view.setFloat64(0, id.index, true);
  view.setFloat64(8, id.term, true);
  return bytes;
}

export function decodeEntryId(bytes: Uint8Array): EntryId {
  const view = viewOf(bytes);
  return { index: view.getFloat64(0, true), term: view.getFloat64(8, true) };
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
  viewOf(bytes).setUint32(0, count, true);
  return bytes;
}

export function decodeCount(bytes: Uint8Array): number {
  return viewOf(bytes).getUint32(0, true);
}

export function decodeQuery(payload: Uint8Array): { credit: number; statement: Uint8Array } {
  return { credit: decodeCount(payload), statement: payload.subarray(4) };
}
