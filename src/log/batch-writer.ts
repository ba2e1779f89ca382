/**
 * Writes batches, one after the other: while one is under way the next gathers all that comes, so one sync serves
 * everything that waited. It moves on to the next segment, which is prepared ahead, and tells what is durable. After a
 * failed write or sync it does nothing more, ever: the pages may be marked clean and a retry would lie (trap F2). Want of
 * space for the next segment is no failure: nothing was written that anybody relies on, so it is tried again.
 */

import type { Entry, EntryId, HardState } from "../raft/entry.ts";
import { invariant } from "../sql/invariant.ts";
import { Arena, Batch } from "./batch.ts";
import { checksum } from "./crc.ts";
import type { Disk } from "./disk.ts";
import { isOutOfSpace } from "./errors.ts";
import {
  alignUp,
  BATCH_ALIGNMENT,
  BATCH_HEADER_BYTES,
  encodeBase,
  encodeBatchHeader,
  encodeHardState,
  encodeSegmentHeader,
  FILLING,
  HARD_STATE_BYTES,
  maskRecord,
  RECORD_HEADER_BYTES,
  recordBytes,
  SEGMENT_HEADER_BYTES,
} from "./format.ts";
import type { RecentEntries } from "./recent-entries.ts";
import { prepareSegment, type Segment } from "./segment.ts";
import { hasThinSector, maskOf } from "./torn.ts";

/** Between two attempts to prepare a segment on a full disk. */
const SPACE_RETRY_MS = 1_000;

/** What a segment's head may hold beside its first batch's own records. */
const HEAD_BYTES_MAX = SEGMENT_HEADER_BYTES + HARD_STATE_BYTES + RECORD_HEADER_BYTES;

export interface WriterOptions {
  readonly directory: string;
  readonly nodeId: number;
  /** 32 hex digits. */
  readonly incarnation: string;
  readonly segmentBytes: number;
  readonly batchBytesMax: number;
}

/** Where writing goes on: what opening the log found. */
export interface WriterState {
  /** null: no segment was begun yet. */
  readonly active: Segment | null;
  /** Offset in it of the next batch. */
  readonly position: number;
  /** Prepared, all zero. */
  readonly spare: Segment | null;
  /** Of the last batch. */
  readonly sequence: number;
  readonly previous: number;
  readonly lastIndex: number;
  readonly hardState: HardState;
  readonly base: EntryId;
}

export interface WriterEvents {
  /** A segment was begun. */
  begun(segment: Segment): void;
  /** Durable. Entry i of the batch lies at `at` + its offset in the segment. Its callbacks are still to be run. */
  durable(batch: Batch, segment: Segment, at: number): void;
  /** The next segment finds no room on the disk, or has found it. */
  full(isFull: boolean): void;
  /** Once; nothing follows. */
  failed(error: Error): void;
}

interface Write {
  readonly batch: Batch;
  readonly segment: Segment;
  /** Where the write begins, and where the batch's first record would stand if it had no records before it. */
  readonly at: number;
  readonly recordsAt: number;
  readonly bytes: Buffer;
  readonly begins: boolean;
}

export class BatchWriter {
  readonly #options: WriterOptions;
  readonly #disk: Disk;
  readonly #random: () => number;
  readonly #events: WriterEvents;
  readonly #arena = new Arena();
  #active: Segment | null;
  #position: number;
  #spare: Segment | null;
  #preparing = false;
  /** As told last. */
  #isFull = false;
  /** The next attempt to prepare a segment is due later; #preparing is true meanwhile. */
  #isPausing = false;
  #sequence: number;
  #previous: number;
  /** Of the log with all that was added. */
  #lastIndex: number;
  /** As of the last batch given to the disk. */
  #writtenLast: number;
  /** As of the last batch given to the disk. */
  #hardState: HardState;
  #base: EntryId;
  /** Full batches, oldest first; then the one that gathers. */
  readonly #full: Batch[] = [];
  #gathering: Batch | null = null;
  #writing: Batch | null = null;
  /** Of flushes that found everything durable: they still may not run inside the call. */
  readonly #idleCallbacks: (() => void)[] = [];
  #state: "open" | "failed" | "closing" | "closed" = "open";
  #onClosed: (() => void) | null = null;

  constructor(
    options: WriterOptions,
    state: WriterState,
    parts: { readonly disk: Disk; readonly random: () => number; readonly events: WriterEvents },
  ) {
    this.#options = options;
    this.#disk = parts.disk;
    this.#random = parts.random;
    this.#events = parts.events;
    this.#active = state.active;
    this.#position = state.position;
    this.#spare = state.spare;
    this.#sequence = state.sequence;
    this.#previous = state.previous;
    this.#lastIndex = state.lastIndex;
    this.#writtenLast = state.lastIndex;
    this.#hardState = state.hardState;
    this.#base = state.base;
  }

  /** Prepares the next segment if there is none. */
  start(): void {
    if (this.#spare === null) this.#prepare(this.#options.segmentBytes);
  }

  get segmentNumber(): number {
    return this.#active?.number ?? 0;
  }

  /** Lowest index among entries that are not durable; Infinity if all are. */
  get pinnedFrom(): number {
    let lowest = this.#writing?.firstIndex ?? Number.POSITIVE_INFINITY;
    for (const batch of this.#full) lowest = Math.min(lowest, batch.firstIndex);
    return Math.min(lowest, this.#gathering?.firstIndex ?? Number.POSITIVE_INFINITY);
  }

  addHardState(state: HardState): void {
    this.#batchFor(HARD_STATE_BYTES).addHardState(state);
  }

  addBase(base: EntryId): void {
    const batch = this.#batchFor(RECORD_HEADER_BYTES);
    batch.addBase(base);
    batch.lastIndex = Math.max(batch.lastIndex, base.index);
    this.#lastIndex = batch.lastIndex;
  }

  addRestart(base: EntryId): void {
    this.#batchFor(RECORD_HEADER_BYTES).addRestart(base);
    this.#lastIndex = base.index;
  }

  /** Copies the payload, and tells `recent` where the copy lies. */
  addEntry(entry: Entry, recent: RecentEntries): void {
    this.#lastIndex = entry.index;
    const batch = this.#batchFor(recordBytes(entry.payload.length));
    const at = batch.addEntry(entry);
    recent.put(entry, batch.chunk, at);
  }

  /** `done` runs when all that was added until now is durable. Begins to write if nothing is being written. */
  flush(done: () => void): void {
    if (this.#state === "failed") return;
    const last = this.#gathering ?? this.#full.at(-1) ?? this.#writing;
    if (last === null) {
      this.#idleCallbacks.push(done);
      if (this.#idleCallbacks.length === 1) this.#disk.soon(() => this.#runIdleCallbacks());
      return;
    }
    last.callbacks.push(done);
    this.#writeNext();
  }

  /** `done` runs when all that was added is durable (or writing failed) and nothing is under way. */
  close(done: () => void): void {
    invariant(this.#state === "open" || this.#state === "failed", "the log is closed twice");
    this.#onClosed = done;
    if (this.#state === "open") this.#state = "closing";
    this.#writeNext();
    this.#finishClosing();
  }

  /** The prepared segment, for closing it. */
  takeSpare(): Segment | null {
    const spare = this.#spare;
    this.#spare = null;
    return spare;
  }

  fail(error: Error): void {
    if (this.#state === "failed") return;
    this.#state = "failed";
    this.#writing = null;
    this.#events.failed(error);
    this.#finishClosing();
  }

  #batchFor(bytes: number): Batch {
    invariant(this.#state === "open" || this.#state === "failed", "append to a closed log");
    const { segmentBytes, batchBytesMax } = this.#options;
    const capacity = Math.min(batchBytesMax, segmentBytes - HEAD_BYTES_MAX - BATCH_ALIGNMENT);
    let batch = this.#gathering;
    if (batch !== null && batch.records > 0 && batch.length + bytes > capacity) {
      batch.close();
      this.#full.push(batch);
      batch = null;
    }
    batch ??= new Batch(this.#arena, this.#lastIndex);
    this.#gathering = batch;
    return batch;
  }

  #writeNext(): void {
    if (this.#writing !== null || this.#state === "failed") return;
    const batch = this.#full[0] ?? this.#gathering;
    if (batch === null) return;
    const fits = this.#active !== null && this.#position + batch.length <= this.#active.bytes;
    const needed = alignUp(batch.length + HEAD_BYTES_MAX, BATCH_ALIGNMENT);
    if (!fits && !this.#spareHas(needed)) return;
    if (this.#full.length > 0) this.#full.shift();
    else this.#gathering = null;
    this.#writing = batch;
    const write = fits ? this.#continued(batch) : this.#begun(batch);
    write.segment.file.writeDurably(write.bytes, write.at, (error) => {
      if (this.#state === "failed") return;
      if (error === null) this.#written(write);
      else this.fail(error);
    });
  }

  #runIdleCallbacks(): void {
    if (this.#state === "failed") return;
    for (const done of this.#idleCallbacks.splice(0)) done();
  }

  #written(write: Write): void {
    const { batch, segment } = write;
    this.#writing = null;
    this.#runIdleCallbacks();
    this.#events.durable(batch, segment, write.recordsAt - BATCH_HEADER_BYTES);
    batch.release();
    // The next write goes to the disk before the callbacks use the time.
    this.#writeNext();
    for (const done of batch.callbacks) done();
    if (write.begins && this.#state === "open") this.start();
    this.#finishClosing();
  }

  /** The batch behind those that are in the active segment. */
  #continued(batch: Batch): Write {
    const segment = this.#active;
    invariant(segment !== null, "no segment is active");
    const at = this.#position;
    const closed = batch.close();
    const bytes = masked(closed, batch.entryOffsets, at, segment.segmentId);
    this.#sealBatch(bytes, 0, batch, batch.records, segment);
    this.#position = at + bytes.length;
    return { batch, segment, at, recordsAt: at + BATCH_HEADER_BYTES, bytes, begins: false };
  }

  /** The batch as the first of the next segment: with a segment header before it and copies at its head. */
  #begun(batch: Batch): Write {
    const segment = this.#spare;
    invariant(segment !== null, "no segment is prepared");
    this.#spare = null;
    segment.segmentId = 1 + Math.floor(this.#random() * (Number.MAX_SAFE_INTEGER - 1));
    const closed = batch.close();
    const head = Buffer.alloc(HEAD_BYTES_MAX + BATCH_HEADER_BYTES);
    let end = SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES;
    end = encodeHardState(head, end, this.#hardState);
    const hasBase = this.#base.index > 0;
    if (hasBase) end = encodeBase(head, end, this.#base);
    const shift = end - BATCH_HEADER_BYTES;
    const length = alignUp(shift + closed.length, BATCH_ALIGNMENT);
    let bytes: Buffer = Buffer.alloc(length, FILLING);
    head.copy(bytes, 0, 0, end);
    closed.copy(bytes, end, BATCH_HEADER_BYTES);
    const offsets = batch.entryOffsets.map((offset) => shift + offset);
    bytes = masked(bytes, offsets, 0, segment.segmentId, SEGMENT_HEADER_BYTES);
    this.#previous = encodeSegmentHeader(bytes, 0, {
      number: segment.number,
      segmentId: segment.segmentId,
      nodeId: this.#options.nodeId,
      incarnation: this.#options.incarnation.slice(0, 16),
      nextIndex: this.#writtenLast + 1,
      bytes: segment.bytes,
      previous: this.#previous,
    });
    this.#sealBatch(bytes, SEGMENT_HEADER_BYTES, batch, batch.records + (hasBase ? 2 : 1), segment);
    this.#active = segment;
    this.#position = bytes.length;
    this.#events.begun(segment);
    return { batch, segment, at: 0, recordsAt: end, bytes, begins: true };
  }

  #sealBatch(bytes: Buffer, at: number, batch: Batch, records: number, segment: Segment): void {
    this.#sequence += 1;
    this.#previous = encodeBatchHeader(bytes, at, {
      segmentId: segment.segmentId,
      sequence: this.#sequence,
      durableSequence: this.#sequence - 1,
      lastIndex: batch.lastIndex,
      length: bytes.length - at,
      records,
      previous: this.#previous,
      bodyCrc: checksum(bytes, at + BATCH_HEADER_BYTES, bytes.length),
    });
    this.#hardState = batch.hardState ?? this.#hardState;
    this.#base = batch.base ?? this.#base;
    this.#writtenLast = batch.lastIndex;
  }

  #spareHas(bytes: number): boolean {
    if (this.#spare !== null && this.#spare.bytes >= bytes) return true;
    if (this.#preparing) return false;
    if (this.#spare === null) {
      this.#prepare(Math.max(bytes, this.#options.segmentBytes));
      return false;
    }
    // A single entry larger than a segment: this one is made to measure.
    const spare = this.#spare;
    this.#spare = null;
    this.#preparing = true;
    spare.file.close((error) => {
      this.#preparing = false;
      if (error === null) this.#prepare(bytes);
      else this.fail(error);
    });
    return false;
  }

  #prepare(bytes: number): void {
    if (this.#preparing || this.#state === "failed") return;
    this.#preparing = true;
    const { directory } = this.#options;
    prepareSegment(this.#disk, directory, this.segmentNumber + 1, bytes, (error, segment) => {
      this.#preparing = false;
      if (segment !== null) this.#spare = segment;
      if (isOutOfSpace(error)) this.#waitForSpace(bytes);
      else if (error !== null) this.fail(error);
      else this.#setFull(false);
      this.#writeNext();
      this.#finishClosing();
    });
  }

  /** Meanwhile the active segment takes what fits. */
  #waitForSpace(bytes: number): void {
    this.#preparing = true;
    this.#isPausing = true;
    this.#setFull(true);
    this.#disk.after(SPACE_RETRY_MS, () => {
      this.#preparing = false;
      this.#isPausing = false;
      if (this.#state === "open") this.#prepare(this.#bytesWanted(bytes));
    });
  }

  /** A larger batch may have come to wait since. */
  #bytesWanted(bytes: number): number {
    const waiting = this.#full[0] ?? this.#gathering;
    if (waiting === null) return bytes;
    return Math.max(bytes, alignUp(waiting.length + HEAD_BYTES_MAX, BATCH_ALIGNMENT));
  }

  #setFull(isFull: boolean): void {
    if (isFull === this.#isFull || this.#state === "failed") return;
    this.#isFull = isFull;
    this.#events.full(isFull);
  }

  #finishClosing(): void {
    const idle = this.#writing === null && (this.#isPausing || !this.#preparing);
    // What waits for space was never told durable, and is not going to be.
    const empty = this.#isPausing || (this.#full.length === 0 && this.#gathering === null);
    const onClosed = this.#onClosed;
    if (onClosed === null || !idle || !(empty || this.#state === "failed")) return;
    this.#onClosed = null;
    this.#disk.soon(onClosed);
  }
}

/**
 * The same bytes, or a copy with masked payloads if some sector's share would hold next to nothing (torn.ts). The
 * originals stay as they are: recent entries are views of them.
 */
function masked(
  bytes: Buffer,
  entryOffsets: readonly number[],
  fileOffset: number,
  segmentId: number,
  from = 0,
): Buffer {
  // The first BATCH_HEADER_BYTES are not filled in yet, but will hold enough.
  const body = from + BATCH_HEADER_BYTES;
  const firstEnd = body + ((512 - ((fileOffset + body) % 512)) % 512);
  const checkFrom = Math.min(firstEnd, bytes.length);
  const thin = (candidate: Buffer): boolean =>
    hasThinSector(candidate, checkFrom, candidate.length, fileOffset + checkFrom);
  if (!thin(bytes)) return bytes;
  for (let number = 1; number < 256; number += 1) {
    const copy = Buffer.from(bytes);
    const mask = maskOf(segmentId, number);
    for (const offset of entryOffsets) maskRecord(copy, offset, number, mask);
    if (!thin(copy)) return copy;
  }
  invariant(false, "no mask fits the batch");
}
