/**
 * What a segment's header and each batch header must say to continue what came before them: the rules of the chain,
 * for whoever walks it (recovery.ts when a log is opened, scrub.ts while it runs). No I/O, only looking at headers.
 */

import {
  BATCH_ALIGNMENT,
  BATCH_HEADER_BYTES,
  type BatchHeader,
  type SegmentHeader,
} from "./format.ts";

/** Who a segment must belong to, and which it is. */
export interface ExpectedSegment {
  readonly number: number;
  /** Of the file. */
  readonly bytes: number;
  readonly nodeId: number;
  /** 32 hex digits. */
  readonly incarnation: string;
}

/** What is wrong with it; null: nothing. */
export function segmentFault(header: SegmentHeader, expected: ExpectedSegment): string | null {
  const { number, bytes, nodeId, incarnation } = expected;
  if (header.number !== number) return `it is segment ${header.number} by its header`;
  if (header.bytes !== bytes) {
    return `the file has ${bytes} bytes where its header says ${header.bytes}`;
  }
  const ours = header.nodeId === nodeId && header.incarnation === incarnation.slice(0, 16);
  return ours ? null : `it belongs to node ${header.nodeId}, incarnation ${header.incarnation}…`;
}

export interface ExpectedBatch {
  readonly segmentId: number;
  /** null: any; nothing before it is known. */
  readonly sequence: number | null;
  /** CRC field of the header before it. */
  readonly previous: number;
  /** From the batch's first byte to the end of the file. */
  readonly room: number;
}

/** What is wrong with it; null: nothing. */
export function batchFault(header: BatchHeader, expected: ExpectedBatch): string | null {
  const { length, sequence, segmentId, previous } = header;
  if (segmentId !== expected.segmentId) return "the batch belongs to another segment";
  if (expected.sequence !== null && sequence !== expected.sequence) {
    return `batch ${sequence} where ${expected.sequence} should be`;
  }
  if (previous !== expected.previous) return "the batch does not follow the one before it";
  const sane =
    length % BATCH_ALIGNMENT === 0 && length > BATCH_HEADER_BYTES && length <= expected.room;
  return sane ? null : `the batch cannot be ${length} bytes long`;
}
