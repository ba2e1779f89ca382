/**
 * A stopped node's log, for people's eyes: what each file holds, every entry, and what a start would make of it. It only
 * reads. Segments are looked at one by one, so that what can be read is shown whatever else is damaged.
 */

import { join } from "node:path";
import type { Identity } from "../node/ports.ts";
import type { Entry } from "../raft/entry.ts";
import { ChainCheck } from "./chain-check.ts";
import { checksum } from "./crc.ts";
import type { Disk } from "./disk.ts";
import { LogCorruptionError, LogUntrustedError } from "./errors.ts";
import {
  BATCH_HEADER_BYTES,
  batchHeaderFault,
  decodeBatchHeader,
  decodeSegmentHeader,
  RecordType,
  type RecordView,
  readRecord,
  SEGMENT_HEADER_BYTES,
  segmentHeaderFault,
} from "./format.ts";
import { faultOfIdentityFile, IDENTITY_NAMES, loadIdentity } from "./identity-store.ts";
import { readMarkerNow } from "./marker.ts";
import { NodeDisk } from "./node-disk.ts";
import { recover } from "./recovery.ts";
import { segmentName, segmentNumber } from "./segment.ts";
import { isZero, maskOf, unmask } from "./torn.ts";

/** `torn`: it ends in the rest of a write that was never acknowledged. `prepared`: zeros, not begun. */
export type SegmentState = "sealed" | "active" | "prepared" | "torn" | "damaged";

export interface Damage {
  readonly file: string;
  readonly offset: number;
  readonly reason: string;
}

export interface SegmentReport {
  readonly number: number;
  readonly name: string;
  readonly state: SegmentState;
  /** Of the file, and of what is written in it. */
  readonly bytes: number;
  readonly usedBytes: number;
  readonly batches: number;
  /** Of the entries that were written to it, replaced ones too; 0: none. */
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly firstTerm: number;
  readonly lastTerm: number;
}

export interface LogReport {
  readonly identity: Identity | null;
  readonly segments: readonly SegmentReport[];
  /** The first of each file. */
  readonly damages: readonly Damage[];
  /** What a start would do. */
  readonly start: StartReport;
}

export type StartReport =
  | {
      readonly kind: "opens";
      readonly firstIndex: number;
      readonly lastIndex: number;
      readonly currentTerm: number;
      readonly votedFor: number;
      readonly commitIndex: number;
      /** Bytes of unacknowledged writes that it would cut. */
      readonly cutBytes: number;
      /** A marker of a failed write that an earlier boot left, and that it would remove. */
      readonly removesMarker: boolean;
    }
  | { readonly kind: "refuses"; readonly reason: string };

interface Scan {
  readonly report: SegmentReport;
  readonly damage: Damage | null;
}

/** @throws the file system's error; for damage it does not throw. */
export function inspectLog(directory: string, disk: Disk = readOnlyDisk()): LogReport {
  const names = disk.listNow(directory).sort();
  const damages: Damage[] = [];
  for (const name of IDENTITY_NAMES.filter((each) => names.includes(each))) {
    const reason = faultOfIdentityFile(disk, join(directory, name));
    if (reason !== null) damages.push({ file: join(directory, name), offset: 0, reason });
  }
  const identity = identityOf(directory, disk);
  const { start, cuts } = startOf(directory, disk);
  let check = new ChainCheck();
  const scans = segmentsOf(names).map((number) => {
    const found = scan(disk, directory, number, identity, check);
    // What comes behind damage is judged by itself.
    if (found.damage !== null) check = new ChainCheck();
    return found;
  });
  const begun = scans.filter(({ report }) => report.state !== "prepared");
  const active = begun.at(-1)?.report.number;
  const segments = scans.map(({ report, damage }): SegmentReport => {
    if (cuts.has(report.number)) return { ...report, state: "torn" };
    if (damage !== null) {
      damages.push(damage);
      return { ...report, state: "damaged" };
    }
    return report.number === active ? { ...report, state: "active" } : report;
  });
  return { identity, segments, damages, start };
}

function readOnlyDisk(): Disk {
  return new NodeDisk({ readOnly: true });
}

function segmentsOf(names: readonly string[]): number[] {
  return names.flatMap((name) => segmentNumber(name) ?? []).sort((one, other) => one - other);
}

function identityOf(directory: string, disk: Disk): Identity | null {
  try {
    return loadIdentity(disk, directory)?.identity ?? null;
  } catch (error) {
    if (error instanceof LogUntrustedError) return null;
    throw error;
  }
}

/** `cuts`: numbers of the segments that would be cut. */
function startOf(
  directory: string,
  disk: Disk,
): { readonly start: StartReport; readonly cuts: ReadonlySet<number> } {
  try {
    const marker = readMarkerNow(disk, directory);
    if (marker !== null && !marker.isPast) throw marker.error;
    const identity = loadIdentity(disk, directory)?.identity ?? null;
    const { index, hardState, cuts, segments, spares } = recover(disk, directory, identity);
    for (const { file } of [...segments, ...spares]) file.closeNow();
    if (identity !== null && segments.length + spares.length === 0) {
      const path = join(directory, segmentName(1));
      throw new LogCorruptionError(path, 0, "all segments are missing");
    }
    const start: StartReport = {
      kind: "opens",
      firstIndex: index.base.index + 1,
      lastIndex: index.last,
      ...hardState,
      cutBytes: cuts.reduce((sum, { from, to }) => sum + to - from, 0),
      removesMarker: marker !== null,
    };
    return { start, cuts: new Set(cuts.map(({ segment }) => segment.number)) };
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error)) throw error;
    return { start: { kind: "refuses", reason: error.message }, cuts: new Set() };
  }
}

/** One segment by itself; `state` is `sealed` or `prepared`: what it is among the others, the caller knows. */
function scan(
  disk: Disk,
  directory: string,
  number: number,
  identity: Identity | null,
  check: ChainCheck,
): Scan {
  const name = segmentName(number);
  const path = join(directory, name);
  const content = readSegment(disk, path);
  const counts = { batches: 0, usedBytes: 0 };
  const range = { firstIndex: 0, lastIndex: 0, firstTerm: 0, lastTerm: 0 };
  for (const found of records(content)) {
    counts.batches = found.batches;
    counts.usedBytes = found.end;
    const { type, index, term } = found.record;
    if (type !== RecordType.Entry) continue;
    if (range.firstIndex === 0) Object.assign(range, { firstIndex: index, firstTerm: term });
    Object.assign(range, { lastIndex: index, lastTerm: term });
  }
  const isPrepared = isZero(content, 0, content.length);
  const state = isPrepared ? "prepared" : "sealed";
  const report = { number, name, state, bytes: content.length, ...counts, ...range } as const;
  if (isPrepared) return { report, damage: null };
  try {
    const { nodeId = 0, incarnation = "" } = identity ?? ownerOf(content);
    check.begin({ number, bytes: content.length, nodeId, incarnation, path });
    check.take(content);
    return { report, damage: null };
  } catch (error) {
    if (!(error instanceof LogCorruptionError)) throw error;
    return { report, damage: { file: path, offset: error.offset, reason: error.reason } };
  }
}

/** Without an identity each segment is taken by its own word. */
function ownerOf(content: Buffer): { readonly nodeId?: number; readonly incarnation?: string } {
  const isWhole = content.length >= SEGMENT_HEADER_BYTES && segmentHeaderFault(content, 0) === null;
  return isWhole ? decodeSegmentHeader(content, 0) : {};
}

function readSegment(disk: Disk, path: string): Buffer {
  const file = disk.openNow(path);
  try {
    const bytes = Buffer.alloc(file.size());
    return bytes.subarray(0, file.readNow(bytes, 0));
  } finally {
    file.closeNow();
  }
}

interface FoundRecord {
  readonly record: RecordView;
  readonly at: number;
  readonly segmentId: number;
  /** Batches so far, and where the last of them ends. */
  readonly batches: number;
  readonly end: number;
}

/** The records of all whole batches from the segment's beginning on. */
function* records(content: Buffer): Generator<FoundRecord> {
  if (content.length < SEGMENT_HEADER_BYTES || segmentHeaderFault(content, 0) !== null) return;
  const { segmentId } = decodeSegmentHeader(content, 0);
  let batches = 0;
  let at = SEGMENT_HEADER_BYTES;
  while (at + BATCH_HEADER_BYTES <= content.length && batchHeaderFault(content, at) === null) {
    const header = decodeBatchHeader(content, at);
    const end = at + header.length;
    const body = at + BATCH_HEADER_BYTES;
    const isWhole = end <= content.length && header.bodyCrc === checksum(content, body, end);
    if (!isWhole || header.segmentId !== segmentId) return;
    batches += 1;
    let recordAt = body;
    for (let count = 0; count < header.records; count += 1) {
      const record = readRecord(content, recordAt, end);
      if (record === null) return;
      yield { record, at: recordAt, segmentId, batches, end };
      recordAt = record.end;
    }
    at = end;
  }
}

interface Loaded {
  readonly number: number;
  readonly content: Buffer;
  readonly segmentId: number;
}

/**
 * The entries from `from` to `to` that the log holds, in order; what was replaced or dropped since is left out. Behind
 * damage in a segment nothing of that segment is seen.
 */
export function* readEntries(
  directory: string,
  from: number,
  to: number,
  disk: Disk = readOnlyDisk(),
): Generator<Entry> {
  const numbers = segmentsOf(disk.listNow(directory));
  const contentOf = (number: number): Buffer =>
    readSegment(disk, join(directory, segmentName(number)));
  /** Which segment holds the last writing of an entry. */
  const places = new Map<number, { readonly number: number; readonly at: number }>();
  let last = 0;
  for (const number of numbers) {
    for (const { record, at } of records(contentOf(number))) {
      if (record.type === RecordType.Restart) places.clear();
      if (record.type === RecordType.Base) {
        for (const index of places.keys()) if (index <= record.index) places.delete(index);
      }
      if (record.type !== RecordType.Entry) continue;
      for (let gone = record.index; gone <= last; gone += 1) places.delete(gone);
      last = record.index;
      places.set(record.index, { number, at });
    }
  }
  let loaded: Loaded = { number: 0, content: Buffer.alloc(0), segmentId: 0 };
  for (const [index, { number, at }] of [...places].sort(([one], [other]) => one - other)) {
    if (index < from || index > to) continue;
    if (loaded.number !== number) {
      const content = contentOf(number);
      loaded = { number, content, segmentId: decodeSegmentHeader(content, 0).segmentId };
    }
    const record = readRecord(loaded.content, at, loaded.content.length);
    if (record?.kind === undefined) continue;
    const { payloadAt, payloadBytes, mask, kind, term } = record;
    const payload = Uint8Array.from(loaded.content.subarray(payloadAt, payloadAt + payloadBytes));
    if (mask !== 0) unmask(payload, maskOf(loaded.segmentId, mask));
    yield { index, term, kind, payload };
  }
}
