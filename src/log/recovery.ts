/**
 * Reads the segments of a directory when a log is opened: checks every batch, gathers where the entries are, and judges
 * what stands at the end (torn.ts). It changes nothing: what is to be cut it only reports.
 */

import { join } from "node:path";
import type { EntryId, HardState } from "../raft/entry.ts";
import { NOBODY } from "../raft/entry.ts";
import { batchFault, segmentFault } from "./chain.ts";
import { checksum } from "./crc.ts";
import type { Disk, DiskFile } from "./disk.ts";
import { EntryIndex } from "./entry-index.ts";
import { LogCorruptionError, LogOpenError, unreadable } from "./errors.ts";
import {
  BATCH_ALIGNMENT,
  BATCH_HEADER_BYTES,
  type BatchHeader,
  batchHeaderFault,
  decodeBatchHeader,
  decodeSegmentHeader,
  type HeaderFault,
  headerCrc,
  payloadIsWhole,
  RecordType,
  type RecordView,
  readRecord,
  readVote,
  SEGMENT_HEADER_BYTES,
  segmentHeaderFault,
} from "./format.ts";
import { type Segment, segmentName, segmentNumber } from "./segment.ts";
import { hasZeroSector, isZero, lastNonZero } from "./torn.ts";

/** What is left of a write that was never acknowledged: bytes [from .. to) of a segment, to be saved and zeroed. */
export interface Cut {
  readonly segment: Segment;
  readonly from: number;
  readonly to: number;
}

export interface Recovered {
  readonly index: EntryIndex;
  readonly hardState: HardState;
  /** Ascending; all in use. */
  readonly segments: readonly Segment[];
  /** Prepared and not begun, once what is to be cut is zeroed. */
  readonly spares: readonly Segment[];
  /** Offset in the last segment of the next batch. */
  readonly position: number;
  readonly sequence: number;
  readonly previous: number;
  readonly cuts: readonly Cut[];
}

/** Who the segments must belong to; null while the directory has no identity. */
export interface Owner {
  readonly nodeId: number;
  readonly incarnation: string;
}

/** @throws LogCorruptionError, LogOpenError, or what the disk throws. */
export function recover(disk: Disk, directory: string, owner: Owner | null): Recovered {
  const numbers = disk
    .listNow(directory)
    .flatMap((name) => segmentNumber(name) ?? [])
    .sort((left, right) => left - right);
  const walk = new Walk(disk, directory, owner);
  return walk.run(numbers);
}

/** Where the walk of one segment ended. `torn`: a batch begins there that was not written as a whole. */
interface SegmentEnd {
  readonly at: number;
  readonly torn: boolean;
}

class Walk {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #owner: Owner | null;
  readonly #index = new EntryIndex({ index: 0, term: 0 });
  #base: EntryId = { index: 0, term: 0 };
  #hardState: HardState = { currentTerm: 0, votedFor: NOBODY, commitIndex: 0 };
  /** Of the last batch. */
  #sequence = 0;
  #previous = 0;
  /** What is being read. */
  #path = "";
  #bytes: Buffer = Buffer.alloc(0);

  constructor(disk: Disk, directory: string, owner: Owner | null) {
    this.#disk = disk;
    this.#directory = directory;
    this.#owner = owner;
  }

  run(numbers: readonly number[]): Recovered {
    const all = this.#open(numbers);
    const begunCount = all.findLastIndex(({ file }) => !isUnbegun(file)) + 1;
    const used = all.slice(0, begunCount);
    const spares = all.slice(begunCount);
    const cuts: Cut[] = [];
    let position = 0;
    for (const [at, segment] of used.entries()) {
      const before = { at: position, previous: this.#previous };
      this.#read(segment);
      const end = this.#walkSegment(segment, at === 0);
      position = end.at;
      if (at < used.length - 1) {
        if (end.torn) this.#corrupt(end.at, "a batch is damaged and a later segment exists");
        continue;
      }
      cuts.push(...this.#cutsAfter(segment, end, spares));
      if (end.torn && end.at === SEGMENT_HEADER_BYTES) {
        // Its first batch is torn: the segment was never begun, and its header is not part of the chain.
        used.pop();
        spares.unshift(segment);
        position = before.at;
        this.#previous = before.previous;
        cuts.push(...this.#leftovers(used.at(-1), position));
      }
    }
    if (begunCount === 0) {
      for (const spare of spares) cuts.push(...this.#cutsOfUnbegun(spare, cuts));
    }
    this.#finish(used);
    return {
      index: this.#index,
      hardState: {
        ...this.#hardState,
        commitIndex: Math.min(this.#hardState.commitIndex, this.#index.last),
      },
      segments: used,
      spares,
      position,
      sequence: this.#sequence,
      previous: this.#previous,
      cuts,
    };
  }

  #open(numbers: readonly number[]): Segment[] {
    return numbers.map((number, at) => {
      const path = join(this.#directory, segmentName(number));
      const before = numbers[at - 1];
      if (before !== undefined && number !== before + 1) {
        throw new LogCorruptionError(path, 0, `the segment before it, ${before + 1}, is missing`);
      }
      const file = this.#disk.openNow(path);
      return { number, file, bytes: file.size(), segmentId: 0 };
    });
  }

  #read(segment: Segment): void {
    this.#path = segment.file.path;
    if (this.#bytes.length !== segment.bytes) this.#bytes = Buffer.alloc(segment.bytes);
    let count: number;
    try {
      count = segment.file.readNow(this.#bytes, 0);
    } catch (error) {
      throw unreadable(error, this.#path, 0);
    }
    if (count !== segment.bytes) this.#corrupt(count, "the file ends here");
  }

  #corrupt(offset: number, reason: string): never {
    throw new LogCorruptionError(this.#path, offset, reason);
  }

  #check(condition: boolean, offset: number, reason: string): asserts condition {
    if (!condition) this.#corrupt(offset, reason);
  }

  #checkHeader(fault: HeaderFault, offset: number, what: string): void {
    if (fault === "version") {
      const message = `${this.#path} was written by another version of Balsa`;
      throw new LogOpenError("UNKNOWN_VERSION", message);
    }
    this.#check(fault === null, offset, `the ${what} is damaged`);
  }

  #walkSegment(segment: Segment, isFirst: boolean): SegmentEnd {
    const bytes = this.#bytes;
    const size = segment.bytes;
    this.#check(size >= SEGMENT_HEADER_BYTES, 0, "the file is too short for a segment");
    this.#check(!isZero(bytes, 0, SEGMENT_HEADER_BYTES), 0, "the segment header is missing");
    this.#checkHeader(segmentHeaderFault(bytes, 0), 0, "segment header");
    this.#checkOwner(segment, isFirst);
    this.#previous = headerCrc(bytes, 0);
    let at = SEGMENT_HEADER_BYTES;
    while (at + BATCH_HEADER_BYTES <= size) {
      if (isZero(bytes, at, at + BATCH_HEADER_BYTES)) break;
      this.#checkHeader(batchHeaderFault(bytes, at), at, "batch header");
      const header = decodeBatchHeader(bytes, at);
      this.#checkBatch(segment, at, header);
      const end = at + header.length;
      if (header.bodyCrc !== checksum(bytes, at + BATCH_HEADER_BYTES, end)) {
        this.#checkIsTorn(at, header);
        return { at, torn: true };
      }
      this.#replay(segment, at, header);
      this.#sequence = header.sequence;
      this.#previous = headerCrc(bytes, at);
      at = end;
    }
    this.#check(at > SEGMENT_HEADER_BYTES, at, "the segment's first batch is missing");
    return { at, torn: false };
  }

  #checkOwner(segment: Segment, isFirst: boolean): void {
    const header = decodeSegmentHeader(this.#bytes, 0);
    const owner = this.#owner;
    if (owner === null) this.#corrupt(0, "the log is there but the identity of its node is not");
    const fault = segmentFault(header, { ...owner, number: segment.number, bytes: segment.bytes });
    if (fault !== null) this.#corrupt(0, fault);
    const chained = isFirst
      ? header.number > 1 || (header.previous === 0 && header.nextIndex === 1)
      : header.previous === this.#previous && header.nextIndex === this.#index.last + 1;
    this.#check(chained, 0, "the end of the segment before it is missing");
    segment.segmentId = header.segmentId;
    // Entries before the oldest segment may have been dropped: whether they could be is known at the end.
    if (isFirst) this.#index.restart({ index: header.nextIndex - 1, term: 0 });
  }

  #checkBatch(segment: Segment, at: number, header: BatchHeader): void {
    // The oldest segment left by a compaction may begin with any sequence.
    const sequence = this.#sequence === 0 && segment.number > 1 ? null : this.#sequence + 1;
    const { segmentId } = segment;
    const expected = { segmentId, sequence, previous: this.#previous, room: segment.bytes - at };
    const fault = batchFault(header, expected);
    if (fault !== null) this.#corrupt(at, fault);
  }

  /** Of a batch whose header is whole and whose body is not. */
  #checkIsTorn(at: number, header: BatchHeader): void {
    const end = at + header.length;
    const torn = hasZeroSector(this.#bytes, at, end, at);
    this.#check(torn, at, "the batch's bytes do not match its checksum");
    this.#checkNoLater(end, header.segmentId, header.sequence);
  }

  /** Nothing that was written later than batch `sequence` may stand behind `from`. */
  #checkNoLater(from: number, segmentId: number | null, sequence: number): void {
    const bytes = this.#bytes;
    for (let at = from; at + BATCH_HEADER_BYTES <= bytes.length; at += BATCH_ALIGNMENT) {
      if (batchHeaderFault(bytes, at) !== null) continue;
      const later = decodeBatchHeader(bytes, at);
      const ours = segmentId === null || later.segmentId === segmentId;
      const proof = `batch ${later.sequence} at byte ${at} is whole: what stood here was durable`;
      this.#check(!(ours && later.sequence > sequence), from, proof);
    }
  }

  /** What to cut behind the end of the last segment in use (which is in #bytes), and in what lies behind it. */
  #cutsAfter(segment: Segment, end: SegmentEnd, spares: readonly Segment[]): Cut[] {
    const from = end.torn && end.at === SEGMENT_HEADER_BYTES ? 0 : end.at;
    const to = lastNonZero(this.#bytes, end.at, segment.bytes);
    if (!end.torn && to > end.at) {
      this.#checkNoLater(end.at, segment.segmentId, this.#sequence + 1);
    }
    const cuts: Cut[] = to > end.at ? [{ segment, from, to }] : [];
    for (const spare of spares) cuts.push(...this.#cutsOfUnbegun(spare, cuts));
    return cuts;
  }

  /** A segment without a header holds either nothing or the rest of a torn first batch. */
  #cutsOfUnbegun(spare: Segment, before: readonly Cut[]): Cut[] {
    this.#read(spare);
    const to = lastNonZero(this.#bytes, 0, spare.bytes);
    if (to === 0) return [];
    const torn = before[0];
    if (torn !== undefined) {
      this.#path = torn.segment.file.path;
      this.#corrupt(torn.from, "a batch is damaged and something was written to a later segment");
    }
    this.#checkNoLater(SEGMENT_HEADER_BYTES, null, this.#sequence + 1);
    return [{ segment: spare, from: 0, to }];
  }

  /** Bytes behind the end of a segment that is written again: stray, they were never part of a batch. */
  #leftovers(segment: Segment | undefined, end: number): Cut[] {
    if (segment === undefined) return [];
    this.#read(segment);
    const to = lastNonZero(this.#bytes, end, segment.bytes);
    return to > end ? [{ segment, from: end, to }] : [];
  }

  #replay(segment: Segment, batchAt: number, header: BatchHeader): void {
    const limit = batchAt + header.length;
    let at = batchAt + BATCH_HEADER_BYTES;
    for (let count = 0; count < header.records; count += 1) {
      const record = readRecord(this.#bytes, at, limit);
      if (record === null) this.#corrupt(at, "the record's header is damaged");
      this.#check(payloadIsWhole(this.#bytes, at, record), at, "the record's payload is damaged");
      this.#replayRecord(segment, at, record);
      at = record.end;
    }
    const last = this.#index.last;
    const told = `the log should end at ${header.lastIndex} here, and ends at ${last}`;
    this.#check(header.lastIndex === last, batchAt, told);
  }

  #replayRecord(segment: Segment, at: number, record: RecordView): void {
    const { type, index, term } = record;
    if (type === RecordType.HardState) {
      this.#check(record.payloadBytes === 8, at, "the hard state has another length");
      const votedFor = readVote(this.#bytes, record);
      this.#check(term >= this.#hardState.currentTerm, at, "the term goes backwards");
      this.#hardState = { currentTerm: term, votedFor, commitIndex: index };
    } else if (type === RecordType.Base) {
      this.#rebase(at, { index, term });
    } else if (type === RecordType.Restart) {
      this.#check(index >= this.#base.index, at, "the base goes backwards");
      this.#base = { index, term };
      this.#index.restart(this.#base);
    } else {
      this.#check(type === RecordType.Entry, at, `a record of unknown type ${type}`);
      this.#check(record.kind !== undefined, at, "an entry of unknown kind");
      this.#putEntry(at, record);
      this.#index.place(index, segment.number, at);
    }
  }

  #putEntry(at: number, record: RecordView): void {
    const index = this.#index;
    this.#check(record.index > this.#base.index, at, `entry ${record.index} had been dropped`);
    if (record.index <= index.base.index) index.restart({ index: record.index - 1, term: 0 });
    const follows = record.index <= index.last + 1;
    this.#check(follows, at, `entry ${record.index} follows entry ${index.last}`);
    index.put(record.index, record.term, record.payloadBytes);
  }

  #rebase(at: number, base: EntryId): void {
    this.#check(base.index >= this.#base.index, at, "the base goes backwards");
    this.#base = base;
    if (base.index > this.#index.last) this.#index.restart(base);
  }

  #finish(used: readonly Segment[]): void {
    const index = this.#index;
    const oldest = used[0];
    if (oldest === undefined) return;
    const missing = `entries before ${index.base.index + 1} are missing`;
    const whole = index.base.index <= this.#base.index;
    if (!whole) throw new LogCorruptionError(oldest.file.path, 0, missing);
    if (oldest.number > 1 && this.#base.index === 0) {
      throw new LogCorruptionError(oldest.file.path, 0, "the segments before it are missing");
    }
    index.rebase(this.#base);
  }
}

function isUnbegun(file: DiskFile): boolean {
  const head = Buffer.alloc(SEGMENT_HEADER_BYTES);
  try {
    return isZero(head, 0, file.readNow(head, 0));
  } catch (error) {
    throw unreadable(error, file.path, 0);
  }
}
