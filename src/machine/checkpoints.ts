/**
 * When a writer checkpoints, and what is copied beside it before (docs/decisions/0025-a-copy-beside-the-writer.md). The one
 * checkpoint that counts is the writer's own, between two transactions; nothing that the copier says is ever told as one.
 */

import { MachineFault } from "./machine-fault.ts";
import type { WriterEngine } from "./process-engines.ts";
import { encodeEntryId, encodeJson, FROM_WRITER } from "./process-messages.ts";
import type { Copier } from "./wal-copier.ts";
import { WAL_FRAME_BYTES, type WalSize } from "./wal-state.ts";

/** A point read holds its snapshot for far less than this; a long one is not worth waiting for. */
const ATTEMPTS = 3;
const PAUSE_MS = 1;
/**
 * A long WAL saves copies of pages that are written again and again. A busy writer checkpoints at an eighth of it already, if
 * it did not do so a moment ago: without a copier that is a short stall instead of a long one.
 */
const EARLY_PART = 1 / 8;
const EARLY_PACE_MS = 2_000;
/** The copier starts when so much has come. More often is more syncs, and they share the disk with the log's. */
const COPY_PART = 1 / 16;
/** The copier has left no more than this: the writer's own checkpoint is short. */
const SHORT_PART = 1 / 64;
/** Passes of the copier before a checkpoint that is due, if the writer adds more meanwhile than is short. */
const PASSES_MAX = 2;
/** After a failure the writer copies for itself, for so long. */
const ALONE_MS = 60_000;
/** A pass that takes so long will not end: far more than a healthy disk takes for the whole WAL. */
const PASS_MS_MAX = 300_000;

export interface CheckpointsParts {
  readonly engine: Pick<WriterEngine, "walSize" | "checkpoint" | "state">;
  /** To the node. */
  readonly channel: {
    send(type: number, id: number, ...parts: readonly Uint8Array[]): void;
    flush(): void;
  };
  /** Bytes of the WAL at which a busy writer checkpoints at the latest. */
  readonly walBytesMax: number;
  /** Null: the writer copies for itself. */
  readonly copier: Copier | null;
  /** Monotonic milliseconds. */
  readonly nowMs?: () => number;
}

export class Checkpoints {
  readonly #parts: CheckpointsParts;
  readonly #nowMs: () => number;
  /** Uncopied bytes from which on nothing else is done before they are copied. */
  #boundBytes: number;
  #attemptedAtMs: number;
  /** Bytes that the WAL had at the last attempt, 0 once it was begun anew; and at the last look. */
  #attemptedAtBytes = 0;
  #seenBytes = 0;
  /** Uncopied bytes that the last pass, or attempt, has left for readers. */
  #heldBytes = 0;
  /** It was told to, and what became of it was not seen yet. */
  #isCopying = false;
  /** That were begun since a checkpoint is due. */
  #passes = 0;
  #aloneUntilMs = Number.NEGATIVE_INFINITY;
  #hasToldFailure = false;

  constructor(parts: CheckpointsParts) {
    this.#parts = parts;
    this.#nowMs = parts.nowMs ?? (() => performance.now());
    this.#boundBytes = parts.walBytesMax;
    this.#attemptedAtMs = this.#nowMs();
  }

  /** Behind each commit of a busy writer. Answers go first, where it takes time. */
  ifDue(): void {
    const size = this.#look();
    const copier = this.#copierNow();
    const isOver = size.uncopied >= this.#boundBytes;
    if (copier === null) {
      if (isOver || this.#isEarly(size.uncopied)) this.#attempt(0);
      return;
    }
    if (this.#isCopying && !isOver) return;
    if (this.#isCopying) this.#awaitPass(copier);
    if (isOver) return this.#attempt(0);
    const since = size.all - this.#attemptedAtBytes;
    const isDue = since >= this.#parts.walBytesMax || this.#isEarly(since);
    if (isDue && (this.#isShort(size) || this.#passes >= PASSES_MAX)) return this.#attempt(0);
    if (isDue) this.#passes += 1;
    if (isDue || size.uncopied >= this.#heldBytes + this.#part(COPY_PART)) this.#begin(copier);
  }

  /** The node asks for one, as the writer is idle. Answered in any case; `copying` means that it may ask again soon. */
  asked(id: number): void {
    const size = this.#look();
    const copier = this.#copierNow();
    const isShort = !this.#isCopying && this.#isShort(size);
    if (copier === null || isShort) return this.#attempt(id);
    if (!this.#isCopying) this.#begin(copier);
    this.#parts.channel.send(FROM_WRITER.copying, id);
  }

  #part(part: number): number {
    return this.#parts.walBytesMax * part;
  }

  #isEarly(bytes: number): boolean {
    if (bytes < this.#part(EARLY_PART)) return false;
    return this.#nowMs() - this.#attemptedAtMs >= EARLY_PACE_MS;
  }

  /** Beside what readers hold back, which no pass will copy. */
  #isShort({ uncopied }: WalSize): boolean {
    return uncopied <= this.#heldBytes + this.#part(SHORT_PART);
  }

  #look(): WalSize {
    const size = this.#parts.engine.walSize();
    if (size.all < this.#seenBytes) this.#attemptedAtBytes = 0;
    this.#seenBytes = size.all;
    return size;
  }

  #begin(copier: Copier): void {
    copier.begin();
    this.#isCopying = true;
  }

  /** Null: there is none, or it has failed. What became of the last pass is noted. */
  #copierNow(): Copier | null {
    const { copier } = this.#parts;
    if (copier === null) return null;
    if (this.#isCopying && copier.state !== "copying") this.#passed(copier);
    return this.#nowMs() < this.#aloneUntilMs ? null : copier;
  }

  #passed({ state, reason, heldPages }: Copier): void {
    this.#isCopying = false;
    this.#heldBytes = heldPages * WAL_FRAME_BYTES;
    if (state !== "failed") return;
    this.#aloneUntilMs = this.#nowMs() + ALONE_MS;
    if (this.#hasToldFailure) return;
    this.#hasToldFailure = true;
    this.#parts.channel.send(FROM_WRITER.copierFailed, 0, Buffer.from(reason));
  }

  /** Too much has come meanwhile: the writer waits as long as it would take to copy it. */
  #awaitPass(copier: Copier): void {
    this.#parts.channel.flush();
    if (!copier.wait(PASS_MS_MAX)) {
      throw new MachineFault(`copying the WAL has taken longer than ${PASS_MS_MAX} ms`);
    }
    this.#passed(copier);
  }

  /** Tells what the file holds, if that is everything. A reader in the middle of a short query is waited for. */
  #attempt(id: number): void {
    const { engine, channel, walBytesMax } = this.#parts;
    channel.flush();
    let complete = engine.checkpoint()?.complete;
    for (let attempt = 1; complete === false && attempt < ATTEMPTS; attempt += 1) {
      Atomics.wait(PAUSE, 0, 0, PAUSE_MS);
      complete = engine.checkpoint()?.complete;
    }
    const { all, uncopied } = engine.walSize();
    this.#attemptedAtMs = this.#nowMs();
    this.#attemptedAtBytes = all;
    this.#heldBytes = uncopied;
    this.#passes = 0;
    // A reader may pin the rest: then it is tried again when there is more, not after every commit.
    this.#boundBytes = Math.max(walBytesMax, uncopied + walBytesMax / 2);
    if (complete !== true) {
      return channel.send(FROM_WRITER.pinned, id, encodeJson({ bytes: uncopied }));
    }
    const { appliedIndex: index, appliedTerm: term } = engine.state;
    channel.send(FROM_WRITER.checkpointed, id, encodeEntryId({ index, term }));
  }
}

const PAUSE = new Int32Array(new SharedArrayBuffer(4));
