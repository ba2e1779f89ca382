/**
 * The bytes of a segment: headers and records, encoded and decoded. Knows nothing of files, batches under way or Raft's
 * rules. All numbers are little-endian; 64-bit ones are safe integers; a CRC is CRC-32 (IEEE).
 *
 * A segment is a file of fixed size, written full of zeros before it gets its name, and used once:
 *
 *   | segment header 64 | batch | batch | … | zeros to the end |
 *
 * Segment header, written together with the first batch behind it:
 *
 *    0  8  "BALSALOG"
 *    8  2  version, 1                         (magic, version and CRC stay where they are in all versions)
 *   10  2  zero
 *   12  4  number of the segment, from 1: the same as in the file's name
 *   16  8  segment id, random: no frame of another segment, or of an earlier life of these bytes, can pass for ours
 *   24  8  node id
 *   32  8  first 8 bytes of the node's incarnation
 *   40  8  index after the last entry when the segment was begun
 *   48  4  size of the file in bytes
 *   52  4  CRC of the last batch header before this segment; 0 in segment 1
 *   56  4  zero
 *   60  4  CRC of bytes 0..60
 *
 * A batch is what was written and synced at once. It starts and ends on a multiple of 64, so that its header never lies
 * across two sectors:
 *
 *   | batch header 64 | record | record | … | 0xA5 up to a multiple of 64 |
 *
 *    0  4  "BTCH"
 *    4  2  version, 1
 *    6  2  zero
 *    8  8  segment id
 *   16  8  batch sequence, from 1, without gaps, through all segments
 *   24  8  durable sequence: the last batch known durable when this one was written
 *   32  8  index of the last entry of the log after this batch
 *   40  4  length of the batch in bytes, header and filling included
 *   44  4  records in it
 *   48  4  CRC field of the batch header, or for the first batch of the segment header, before it: a chain
 *   52  4  CRC of everything in the batch after its header
 *   56  4  zero
 *   60  4  CRC of bytes 0..60
 *
 * The header stands before its records, not behind: of a torn batch it tells the extent (see torn.ts).
 *
 * Record, on a multiple of 8:
 *
 *    0  4  length of the payload
 *    4  1  type: 1 Entry, 2 HardState, 3 Base, 4 Restart
 *    5  1  Entry: 1 command, 2 noop, 3 configuration; else 0
 *    6  1  mask: 0, or the payload is stored combined with the mask of this number (see torn.ts)
 *    7  1  0xB5
 *    8  8  index:   Entry: its index.  HardState: commitIndex.   Base, Restart: the last index that was dropped
 *   16  8  term:    Entry: its term.   HardState: currentTerm.   Base, Restart: the term of that index
 *   24  4  CRC of the payload as stored
 *   28  4  CRC of bytes 0..28: who the record is can be read even when its payload is damaged
 *   32  n  payload. HardState: votedFor, 8 bytes. Base, Restart: none.
 *       …  0xA5 up to a multiple of 8
 *
 * An Entry replaces what stood from its index on: there is no other record of truncation, and nothing durable is ever
 * written over. A Base says that entries up to it are gone (compaction). A Restart says that all are gone, those behind
 * it too, and that the next entry follows it (a snapshot takes the log's place). Each segment's first batch begins with
 * a copy of the latest HardState, and of the Base if there is one, so that older segments can be deleted.
 */

import type { EntryKind } from "../raft/entry.ts";
import { checksum } from "./crc.ts";

export const FORMAT_VERSION = 1;
export const SEGMENT_HEADER_BYTES = 64;
export const BATCH_HEADER_BYTES = 64;
export const RECORD_HEADER_BYTES = 32;
export const HARD_STATE_BYTES = RECORD_HEADER_BYTES + 8;
export const BATCH_ALIGNMENT = 64;
export const FILLING = 0xa5;

const SEGMENT_MAGIC = Buffer.from("BALSALOG", "latin1");
/** "BTCH" */
const BATCH_MAGIC = 0x48435442;
const RECORD_MARK = 0xb5;
const HEADER_CRC_AT = 60;
const RECORD_CRC_AT = 28;
const TWO_32 = 0x1_0000_0000;

export const RecordType = { Entry: 1, HardState: 2, Base: 3, Restart: 4 } as const;

const KIND_CODES: Record<EntryKind, number> = { command: 1, noop: 2, configuration: 3 };
const KINDS: readonly (EntryKind | undefined)[] = [undefined, "command", "noop", "configuration"];

export interface SegmentHeader {
  readonly number: number;
  readonly segmentId: number;
  readonly nodeId: number;
  /** 16 hex digits. */
  readonly incarnation: string;
  readonly nextIndex: number;
  readonly bytes: number;
  readonly previous: number;
}

export interface BatchHeader {
  readonly segmentId: number;
  readonly sequence: number;
  readonly durableSequence: number;
  readonly lastIndex: number;
  readonly length: number;
  readonly records: number;
  readonly previous: number;
  readonly bodyCrc: number;
}

/** What is wrong with a header, or null. `version`: it is whole, but of a version that this code does not know. */
export type HeaderFault = "damaged" | "version" | null;

export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

/** Bytes of a record with its filling. */
export function recordBytes(payloadBytes: number): number {
  return RECORD_HEADER_BYTES + alignUp(payloadBytes, 8);
}

function writeU64(target: Buffer, value: number, at: number): void {
  target.writeUInt32LE(value % TWO_32, at);
  target.writeUInt32LE(Math.floor(value / TWO_32), at + 4);
}

function readU64(source: Buffer, at: number): number {
  return source.readUInt32LE(at + 4) * TWO_32 + source.readUInt32LE(at);
}

/** Gives the header's CRC, which the first batch chains to. */
export function encodeSegmentHeader(target: Buffer, at: number, header: SegmentHeader): number {
  target.fill(0, at, at + SEGMENT_HEADER_BYTES);
  SEGMENT_MAGIC.copy(target, at);
  target.writeUInt16LE(FORMAT_VERSION, at + 8);
  target.writeUInt32LE(header.number, at + 12);
  writeU64(target, header.segmentId, at + 16);
  writeU64(target, header.nodeId, at + 24);
  target.write(header.incarnation, at + 32, 8, "hex");
  writeU64(target, header.nextIndex, at + 40);
  target.writeUInt32LE(header.bytes, at + 48);
  target.writeUInt32LE(header.previous, at + 52);
  return seal(target, at);
}

export function segmentHeaderFault(source: Buffer, at: number): HeaderFault {
  const magic = source.subarray(at, at + SEGMENT_MAGIC.length).equals(SEGMENT_MAGIC);
  if (!magic || !isSealed(source, at)) return "damaged";
  return source.readUInt16LE(at + 8) === FORMAT_VERSION ? null : "version";
}

/** Only of a header without fault. */
export function decodeSegmentHeader(source: Buffer, at: number): SegmentHeader {
  return {
    number: source.readUInt32LE(at + 12),
    segmentId: readU64(source, at + 16),
    nodeId: readU64(source, at + 24),
    incarnation: source.toString("hex", at + 32, at + 40),
    nextIndex: readU64(source, at + 40),
    bytes: source.readUInt32LE(at + 48),
    previous: source.readUInt32LE(at + 52),
  };
}

/** Gives the header's CRC, which the next batch chains to. */
export function encodeBatchHeader(target: Buffer, at: number, header: BatchHeader): number {
  target.fill(0, at, at + BATCH_HEADER_BYTES);
  target.writeUInt32LE(BATCH_MAGIC, at);
  target.writeUInt16LE(FORMAT_VERSION, at + 4);
  writeU64(target, header.segmentId, at + 8);
  writeU64(target, header.sequence, at + 16);
  writeU64(target, header.durableSequence, at + 24);
  writeU64(target, header.lastIndex, at + 32);
  target.writeUInt32LE(header.length, at + 40);
  target.writeUInt32LE(header.records, at + 44);
  target.writeUInt32LE(header.previous, at + 48);
  target.writeUInt32LE(header.bodyCrc, at + 52);
  return seal(target, at);
}

export function batchHeaderFault(source: Buffer, at: number): HeaderFault {
  if (source.readUInt32LE(at) !== BATCH_MAGIC || !isSealed(source, at)) return "damaged";
  return source.readUInt16LE(at + 4) === FORMAT_VERSION ? null : "version";
}

/** Only of a header without fault. */
export function decodeBatchHeader(source: Buffer, at: number): BatchHeader {
  return {
    segmentId: readU64(source, at + 8),
    sequence: readU64(source, at + 16),
    durableSequence: readU64(source, at + 24),
    lastIndex: readU64(source, at + 32),
    length: source.readUInt32LE(at + 40),
    records: source.readUInt32LE(at + 44),
    previous: source.readUInt32LE(at + 48),
    bodyCrc: source.readUInt32LE(at + 52),
  };
}

/** The CRC of a header without fault. */
export function headerCrc(source: Buffer, at: number): number {
  return source.readUInt32LE(at + HEADER_CRC_AT);
}

function seal(target: Buffer, at: number): number {
  const crc = checksum(target, at, at + HEADER_CRC_AT);
  target.writeUInt32LE(crc, at + HEADER_CRC_AT);
  return crc;
}

function isSealed(source: Buffer, at: number): boolean {
  return headerCrc(source, at) === checksum(source, at, at + HEADER_CRC_AT);
}

/** The payload must be in place already. Fills up to a multiple of 8 and gives the end. */
function finishRecord(
  target: Buffer,
  at: number,
  word: number,
  index: number,
  term: number,
  length: number,
): number {
  const payloadAt = at + RECORD_HEADER_BYTES;
  const end = at + recordBytes(length);
  for (let fill = payloadAt + length; fill < end; fill += 1) target[fill] = FILLING;
  target.writeUInt32LE(length, at);
  target.writeUInt32LE(word, at + 4);
  writeU64(target, index, at + 8);
  writeU64(target, term, at + 16);
  target.writeUInt32LE(checksum(target, payloadAt, payloadAt + length), at + 24);
  target.writeUInt32LE(checksum(target, at, at + RECORD_CRC_AT), at + RECORD_CRC_AT);
  return end;
}

/** Type, kind and mask with the mark behind them, as one number. */
function recordWord(type: number, kind: number, mask: number): number {
  return (type | (kind << 8) | (mask << 16) | (RECORD_MARK << 24)) >>> 0;
}

/** Encodes an Entry whose payload the caller has put at `at` + RECORD_HEADER_BYTES; gives the record's end. */
export function encodeEntry(
  target: Buffer,
  at: number,
  entry: { readonly kind: EntryKind; readonly index: number; readonly term: number },
  payloadBytes: number,
): number {
  const word = recordWord(RecordType.Entry, KIND_CODES[entry.kind], 0);
  return finishRecord(target, at, word, entry.index, entry.term, payloadBytes);
}

export function encodeHardState(
  target: Buffer,
  at: number,
  state: { readonly currentTerm: number; readonly votedFor: number; readonly commitIndex: number },
): number {
  writeU64(target, state.votedFor, at + RECORD_HEADER_BYTES);
  const word = recordWord(RecordType.HardState, 0, 0);
  return finishRecord(target, at, word, state.commitIndex, state.currentTerm, 8);
}

export function encodeBase(
  target: Buffer,
  at: number,
  base: { readonly index: number; readonly term: number },
): number {
  return finishRecord(target, at, recordWord(RecordType.Base, 0, 0), base.index, base.term, 0);
}

export function encodeRestart(
  target: Buffer,
  at: number,
  base: { readonly index: number; readonly term: number },
): number {
  return finishRecord(target, at, recordWord(RecordType.Restart, 0, 0), base.index, base.term, 0);
}

/** Stores the payload of an encoded Entry combined with `mask`, whose bytes repeat, under the number `number`. */
export function maskRecord(target: Buffer, at: number, number: number, mask: Uint8Array): void {
  const length = target.readUInt32LE(at);
  const from = at + RECORD_HEADER_BYTES;
  for (let i = 0; i < length; i += 1) {
    target[from + i] = (target[from + i] as number) ^ (mask[i % mask.length] as number);
  }
  target[at + 6] = number;
  target.writeUInt32LE(checksum(target, from, from + length), at + 24);
  target.writeUInt32LE(checksum(target, at, at + RECORD_CRC_AT), at + RECORD_CRC_AT);
}

export interface RecordView {
  readonly type: number;
  readonly kind: EntryKind | undefined;
  readonly mask: number;
  readonly index: number;
  readonly term: number;
  readonly payloadAt: number;
  readonly payloadBytes: number;
  readonly end: number;
}

/** Checks a record's header (not its payload) and gives it; null when it is damaged or reaches beyond `limit`. */
export function readRecord(source: Buffer, at: number, limit: number): RecordView | null {
  if (at + RECORD_HEADER_BYTES > limit) return null;
  const crc = source.readUInt32LE(at + RECORD_CRC_AT);
  if (crc !== checksum(source, at, at + RECORD_CRC_AT)) return null;
  const payloadBytes = source.readUInt32LE(at);
  const end = at + recordBytes(payloadBytes);
  if (end > limit || source[at + 7] !== RECORD_MARK) return null;
  return {
    type: source[at + 4] as number,
    kind: KINDS[source[at + 5] as number],
    mask: source[at + 6] as number,
    index: readU64(source, at + 8),
    term: readU64(source, at + 16),
    payloadAt: at + RECORD_HEADER_BYTES,
    payloadBytes,
    end,
  };
}

export function payloadIsWhole(source: Buffer, at: number, record: RecordView): boolean {
  const { payloadAt, payloadBytes } = record;
  return source.readUInt32LE(at + 24) === checksum(source, payloadAt, payloadAt + payloadBytes);
}

export function readVote(source: Buffer, record: RecordView): number {
  return readU64(source, record.payloadAt);
}
