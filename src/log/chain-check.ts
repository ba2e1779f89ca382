/**
 * Checks segments piece by piece, as they are read, by the rules by which a log is opened (chain.ts): headers, the chain
 * through them, and each batch's checksum, which covers its records. Holds no bytes and reads no file.
 */

import { batchFault, type ExpectedSegment, segmentFault } from "./chain.ts";
import { checksum } from "./crc.ts";
import { LogCorruptionError } from "./errors.ts";
import {
  BATCH_HEADER_BYTES,
  type BatchHeader,
  batchHeaderFault,
  decodeBatchHeader,
  decodeSegmentHeader,
  headerCrc,
  SEGMENT_HEADER_BYTES,
  segmentHeaderFault,
} from "./format.ts";
import { isZero } from "./torn.ts";

export interface CheckedSegment extends ExpectedSegment {
  readonly path: string;
}

export class ChainCheck {
  #segment: CheckedSegment = { number: 0, bytes: 0, nodeId: 0, incarnation: "", path: "" };
  #segmentId = 0;
  /** Offset in the segment of the next byte. */
  #at = 0;
  /** Of the last batch; null: not known. */
  #sequence: number | null = null;
  /** CRC field of the last header; null: not known. */
  #previous: number | null = null;
  /** The batch that is being read, where it begins, and what is missing of it. */
  #header: BatchHeader | null = null;
  #headerAt = 0;
  #left = 0;
  #crc = 0;

  /** The next segment. It is only held against the one before if it follows it. */
  begin(segment: CheckedSegment): void {
    const follows = segment.number === this.#segment.number + 1 && this.#segment.number > 0;
    if (!follows) {
      this.#sequence = null;
      this.#previous = null;
    }
    this.#segment = segment;
    this.#at = 0;
    this.#header = null;
    this.#left = 0;
  }

  /**
   * The next bytes of the segment; their number is a multiple of 64, so that no header is cut. True when what follows is
   * not in use. @throws LogCorruptionError
   */
  take(piece: Buffer): boolean {
    const start = this.#at;
    let at = 0;
    if (start === 0) {
      this.#takeSegmentHeader(piece);
      at = SEGMENT_HEADER_BYTES;
    }
    while (at < piece.length) {
      this.#at = start + at;
      if (this.#left > 0) {
        at = this.#takeBody(piece, at);
        continue;
      }
      if (at + BATCH_HEADER_BYTES > piece.length || this.#isEnd(piece, at)) return true;
      this.#takeHeader(piece, at);
      at += BATCH_HEADER_BYTES;
    }
    this.#at = start + at;
    if (this.#at < this.#segment.bytes) return false;
    this.#expect(this.#left === 0, this.#headerAt, "the file ends within a batch");
    return true;
  }

  #takeSegmentHeader(piece: Buffer): void {
    this.#expect(piece.length >= SEGMENT_HEADER_BYTES, 0, "the file is too short for a segment");
    this.#expect(segmentHeaderFault(piece, 0) === null, 0, "the segment header is damaged");
    const header = decodeSegmentHeader(piece, 0);
    const fault = segmentFault(header, this.#segment);
    this.#expect(fault === null, 0, fault ?? "");
    const chained = this.#previous === null || this.#previous === header.previous;
    this.#expect(chained, 0, "the end of the segment before it is missing");
    this.#segmentId = header.segmentId;
    this.#previous = headerCrc(piece, 0);
  }

  #isEnd(piece: Buffer, at: number): boolean {
    if (!isZero(piece, at, at + BATCH_HEADER_BYTES)) return false;
    const isEmpty = this.#at === SEGMENT_HEADER_BYTES;
    this.#expect(!isEmpty, this.#at, "the segment's first batch is missing");
    return true;
  }

  #takeHeader(piece: Buffer, at: number): void {
    this.#expect(batchHeaderFault(piece, at) === null, this.#at, "the batch header is damaged");
    const header = decodeBatchHeader(piece, at);
    const fault = batchFault(header, {
      segmentId: this.#segmentId,
      sequence: this.#sequence === null ? null : this.#sequence + 1,
      previous: this.#previous ?? header.previous,
      room: this.#segment.bytes - this.#at,
    });
    this.#expect(fault === null, this.#at, fault ?? "");
    this.#header = header;
    this.#headerAt = this.#at;
    this.#left = header.length - BATCH_HEADER_BYTES;
    this.#crc = 0;
    this.#sequence = header.sequence;
    this.#previous = headerCrc(piece, at);
  }

  #takeBody(piece: Buffer, at: number): number {
    const end = Math.min(piece.length, at + this.#left);
    this.#crc = checksum(piece, at, end, this.#crc);
    this.#left -= end - at;
    const isWhole = this.#left > 0 || this.#crc === this.#header?.bodyCrc;
    this.#expect(isWhole, this.#headerAt, "the batch's bytes do not match its checksum");
    return end;
  }

  #expect(condition: boolean, offset: number, reason: string): void {
    if (!condition) throw new LogCorruptionError(this.#segment.path, offset, reason);
  }
}
