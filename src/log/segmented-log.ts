/**
 * The log of a running node: the newest entries from memory, older ones from their segments, appends through the batch
 * writer. Synchronous for the reader; it waits for nothing. It never repairs anything: a damaged entry is an exception,
 * and the end of this log, as is a failed write; a marker keeps the next start from trusting it (marker.ts).
 */

import { dirname } from "node:path";
import type { Identity, Log } from "../node/ports.ts";
import type { Entry, EntryId, HardState } from "../raft/entry.ts";
import { invariant } from "../sql/invariant.ts";
import type { Batch } from "./batch.ts";
import { BatchWriter, type WriterOptions } from "./batch-writer.ts";
import type { Disk, DiskFile } from "./disk.ts";
import type { EntryIndex } from "./entry-index.ts";
import { judgeFailure, LogCorruptionError, LogUntrustedError, unreadable } from "./errors.ts";
import {
  payloadIsWhole,
  RECORD_HEADER_BYTES,
  RecordType,
  readRecord,
  recordBytes,
} from "./format.ts";
import type { IdentityStore } from "./identity-store.ts";
import { leaveMarker } from "./marker.ts";
import { RecentEntries } from "./recent-entries.ts";
import type { Cut } from "./recovery.ts";
import { Scrub } from "./scrub.ts";
import type { Segment } from "./segment.ts";
import { maskOf, unmask } from "./torn.ts";

/** Old entries that lie close together are read at once, up to so many bytes of a segment. */
const READ_SPAN_BYTES_MAX = 1024 * 1024;

export interface OpenedState {
  readonly identity: Identity;
  readonly identities: IdentityStore;
  readonly hardState: HardState;
  readonly index: EntryIndex;
  readonly segments: readonly Segment[];
  readonly spare: Segment | null;
  readonly position: number;
  readonly sequence: number;
  readonly previous: number;
  /** What opening had to cut, for the operator's eyes: the rest of writes that were never acknowledged. */
  readonly cuts: readonly Cut[];
}

export interface SegmentedLogOptions extends WriterOptions {
  readonly cacheBytes: number;
  /** 0: never. */
  readonly scrubIntervalMs: number;
}

export class SegmentedLog implements Log {
  readonly hardState: HardState;
  /** Bytes of unacknowledged writes that opening cut. */
  readonly cutBytes: number;
  onFailure: (error: Error) => void = (error) => {
    throw error;
  };
  onSpace: (isFull: boolean) => void = () => {};
  readonly #directory: string;
  readonly #disk: Disk;
  readonly #index: EntryIndex;
  readonly #recent: RecentEntries;
  readonly #writer: BatchWriter;
  readonly #identities: IdentityStore;
  readonly #segments = new Map<number, Segment>();
  #identity: Identity;
  #failed = false;
  #closing: (() => void) | null = null;
  #writerIsClosed = false;
  #isDropping = false;
  #isMarking = false;
  #isFull = false;
  readonly #scrub: Scrub | null;

  constructor(
    options: SegmentedLogOptions,
    state: OpenedState,
    parts: { readonly disk: Disk; readonly random: () => number },
  ) {
    this.#directory = options.directory;
    this.#disk = parts.disk;
    this.#identity = state.identity;
    this.#identities = state.identities;
    this.hardState = state.hardState;
    this.cutBytes = state.cuts.reduce((sum, { from, to }) => sum + to - from, 0);
    this.#index = state.index;
    this.#recent = new RecentEntries(options.cacheBytes, state.index.last + 1);
    for (const segment of state.segments) this.#segments.set(segment.number, segment);
    this.#writer = new BatchWriter(
      options,
      {
        ...state,
        active: state.segments.at(-1) ?? null,
        lastIndex: state.index.last,
        base: state.index.base,
      },
      {
        disk: parts.disk,
        random: parts.random,
        events: {
          begun: (segment) => this.#segments.set(segment.number, segment),
          durable: (batch, segment, at) => this.#durable(batch, segment, at),
          full: (isFull) => {
            this.#isFull = isFull;
            this.#disk.soon(() => this.onSpace(isFull));
          },
          failed: (error) => this.#fail(error),
        },
      },
    );
    const { scrubIntervalMs: intervalMs, nodeId, incarnation } = options;
    this.#scrub =
      intervalMs === 0
        ? null
        : new Scrub(
            { intervalMs, nodeId, incarnation },
            {
              disk: parts.disk,
              sealed: () => [...this.#segments.values()].slice(0, -1),
              damaged: (error) => this.#writer.fail(error),
            },
          );
  }

  /** Prepares the next segment in the background. */
  start(): void {
    this.#writer.start();
    this.#scrub?.start();
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  /** How often all sealed segments were read again and found good. */
  get scrubPasses(): number {
    return this.#scrub?.passes ?? 0;
  }

  get identity(): Identity {
    return this.#identity;
  }

  firstIndex(): number {
    return this.#index.base.index + 1;
  }

  lastIndex(): number {
    return this.#index.last;
  }

  term(index: number): number {
    return this.#index.term(index);
  }

  entries(from: number, to: number, maxBytes: number): readonly Entry[] {
    invariant(from >= this.firstIndex(), `entry ${from} was dropped`);
    invariant(to <= this.lastIndex() + 1, `entries up to ${to} asked for, beyond the log's end`);
    const end = this.#fitting(from, to, maxBytes);
    const found: Entry[] = [];
    const onDiskTo = Math.min(end, this.#recent.first);
    let index = from;
    try {
      while (index < onDiskTo) index = this.#readSpan(index, onDiskTo, found);
    } catch (error) {
      if (error instanceof LogUntrustedError) this.#writer.fail(error);
      throw error;
    }
    if (index < end) this.#recent.read(index, end, found);
    return found;
  }

  append(hardState: HardState | null, entries: readonly Entry[], done: () => void): void {
    invariant(this.#closing === null, "append to a closed log");
    if (this.#failed) return;
    if (hardState !== null) this.#writer.addHardState(hardState);
    for (const entry of entries) {
      this.#index.put(entry.index, entry.term, entry.payload.length);
      this.#writer.addEntry(entry, this.#recent);
    }
    this.#writer.flush(done);
  }

  /**
   * Forgets the entries up to `index`, which must be durable and safe elsewhere; index and term of the last one stay
   * known. Segments that hold nothing else are deleted in the background once that is durable.
   */
  compactTo(index: number, done: () => void): void {
    invariant(this.#closing === null, "compaction of a closed log");
    invariant(index >= this.#index.base.index, `entries up to ${index} were dropped before`);
    invariant(index <= this.#index.last, `entry ${index} is beyond the log's end`);
    invariant(index < this.#writer.pinnedFrom, `entry ${index} is not durable yet`);
    if (this.#failed) return;
    const base = { index, term: this.#index.term(index) };
    this.#index.rebase(base);
    this.#writer.addBase(base);
    this.#writer.flush(() => {
      this.#dropSegments();
      done();
    });
  }

  /**
   * Forgets everything: the next entry follows `base`. `done` runs when that is durable, and with it all that was
   * appended before; what is appended afterwards comes behind it.
   */
  restart(base: EntryId, done: () => void): void {
    invariant(this.#closing === null, "a restart of a closed log");
    invariant(base.index >= this.#index.base.index, "the log's base goes forward");
    if (this.#failed) return;
    this.#index.restart(base);
    this.#recent.clear(base.index + 1);
    this.#writer.addRestart(base);
    this.#writer.flush(() => {
      this.#dropSegments();
      done();
    });
  }

  /** The first index from which on the log holds at most so many entries, and bytes of payload. */
  tailFrom(entries: number, bytes: number): number {
    return this.#index.tailFrom(entries, bytes);
  }

  /** `identity` changes when it is durable, just before `done`. */
  setIdentity(identity: Identity, done: () => void): void {
    invariant(this.#closing === null, "a change of identity in a closed log");
    const { nodeId, incarnation } = this.#identity;
    const same = identity.nodeId === nodeId && identity.incarnation === incarnation;
    invariant(same, "node id and incarnation of a directory never change");
    if (this.#failed) return;
    this.#identities.set(identity, (error) => {
      if (this.#failed) return;
      if (error !== null) {
        this.#writer.fail(error);
        return;
      }
      this.#identity = identity;
      done();
      this.#finishClosing();
    });
  }

  /** What was appended is made durable first, unless the log has failed. */
  close(done: () => void): void {
    invariant(this.#closing === null, "the log is closed twice");
    this.#closing = done;
    this.#writer.close(() => {
      this.#writerIsClosed = true;
      this.#finishClosing();
    });
  }

  /** One after the other, oldest first, each durably: a power cut never leaves a gap. */
  #dropSegments(): void {
    if (this.#isDropping || this.#failed || this.#closing !== null) return;
    const oldest = this.#segments.values().next().value;
    if (oldest === undefined || oldest.number >= this.#oldestNeeded()) return;
    this.#isDropping = true;
    this.#segments.delete(oldest.number);
    const then = (next: () => void) => (error: Error | null) => {
      if (error === null) {
        next();
        return;
      }
      this.#isDropping = false;
      this.#writer.fail(error);
      this.#finishClosing();
    };
    const next = (): void => {
      this.#isDropping = false;
      this.#dropSegments();
      this.#finishClosing();
    };
    const { path } = oldest.file;
    const sync = (): void => this.#disk.syncDirectory(dirname(path), then(next));
    const remove = (): void => oldest.file.close(then(() => this.#disk.remove(path, then(sync))));
    if (this.#scrub === null) remove();
    else this.#scrub.leave(oldest.number, remove);
  }

  /** Later entries never lie in earlier segments: each was written after all before it. */
  #oldestNeeded(): number {
    const { base, last } = this.#index;
    if (base.index === last) return this.#writer.segmentNumber;
    // What the disk does not hold yet may replace entries that it still has to hold.
    return base.index + 1 < this.#writer.pinnedFrom ? this.#index.segment(base.index + 1) : 0;
  }

  #finishClosing(): void {
    const done = this.#closing;
    if (done === null || !this.#writerIsClosed) return;
    if (this.#isMarking || this.#isDropping || (!this.#identities.isIdle && !this.#failed)) return;
    this.#writerIsClosed = false;
    const files = [...this.#segments.values()].map(({ file }) => file);
    const spare = this.#writer.takeSpare();
    if (spare !== null) files.push(spare.file);
    const close = (): void => closeAll([...files, ...this.#identities.files], done);
    if (this.#scrub === null) close();
    else this.#scrub.stop(close);
  }

  #durable(batch: Batch, segment: Segment, at: number): void {
    const { entryIndexes, entryOffsets } = batch;
    for (let i = 0; i < entryIndexes.length; i += 1) {
      const offset = at + (entryOffsets[i] as number);
      this.#index.place(entryIndexes[i] as number, segment.number, offset);
    }
    this.#recent.evict(this.#writer.pinnedFrom);
  }

  /** The node learns of it at once; the marker for the next start is written meanwhile. */
  #fail(reason: Error): void {
    this.#failed = true;
    const error = judgeFailure(reason, this.#directory);
    this.#disk.soon(() => this.onFailure(error));
    if (!(error instanceof LogUntrustedError)) return;
    this.#isMarking = true;
    leaveMarker(this.#disk, this.#directory, error, () => {
      this.#isMarking = false;
      this.#finishClosing();
    });
  }

  /** The end of the entries that fit: the first always does. */
  #fitting(from: number, to: number, maxBytes: number): number {
    let bytes = 0;
    for (let index = from; index < to; index += 1) {
      bytes += this.#index.payloadBytes(index);
      if (bytes > maxBytes && index > from) return index;
    }
    return to;
  }

  /** Reads entries from `from` on that lie close behind each other; gives the index after the last. */
  #readSpan(from: number, to: number, found: Entry[]): number {
    const number = this.#index.segment(from);
    const start = this.#index.offset(from);
    let end = start;
    let next = from;
    while (next < to && this.#index.segment(next) === number) {
      const after = this.#index.offset(next) + recordBytes(this.#index.payloadBytes(next));
      if (next > from && after - start > READ_SPAN_BYTES_MAX) break;
      end = after;
      next += 1;
    }
    const segment = this.#segments.get(number);
    invariant(segment !== undefined, `segment ${number} is not open`);
    const bytes = Buffer.allocUnsafeSlow(end - start);
    let count: number;
    try {
      count = segment.file.readNow(bytes, start);
    } catch (error) {
      throw unreadable(error, segment.file.path, start);
    }
    if (count !== bytes.length) throw corrupt(segment.file, start + count, "the file ends here");
    for (let index = from; index < next; index += 1) {
      const at = this.#index.offset(index);
      found.push(this.#decode(segment, bytes, at - start, at, index));
    }
    return next;
  }

  #decode(segment: Segment, bytes: Buffer, at: number, fileAt: number, index: number): Entry {
    const { file, segmentId } = segment;
    const record = readRecord(bytes, at, bytes.length);
    if (record === null) throw corrupt(file, fileAt, "the record's header is damaged");
    const term = this.#index.term(index);
    const { kind, payloadAt, payloadBytes } = record;
    const expected =
      record.type === RecordType.Entry && record.index === index && record.term === term;
    if (!expected || kind === undefined) {
      throw corrupt(file, fileAt, `entry ${index} of term ${term} is not here`);
    }
    if (!payloadIsWhole(bytes, at, record)) {
      throw corrupt(file, fileAt + RECORD_HEADER_BYTES, "the record's payload is damaged");
    }
    const payload = new Uint8Array(bytes.buffer, bytes.byteOffset + payloadAt, payloadBytes);
    if (record.mask !== 0) unmask(payload, maskOf(segmentId, record.mask));
    return { index, term, kind, payload };
  }
}

function corrupt(file: DiskFile, offset: number, reason: string): LogCorruptionError {
  return new LogCorruptionError(file.path, offset, reason);
}

/** Errors of closing are of no consequence: what had to be durable is. */
function closeAll(files: readonly DiskFile[], done: () => void): void {
  let open = files.length;
  for (const file of files) {
    file.close(() => {
      open -= 1;
      if (open === 0) done();
    });
  }
}
