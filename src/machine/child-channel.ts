/**
 * A child's end of the pipe to its node. Blocking: the main thread of a child either waits for frames here or works,
 * and never returns to the event loop. Answers are gathered and written at once; the watchdog thread writes them if
 * the main thread is busy for long. Knows nothing of what the frames mean.
 */

import { readSync, writeSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { Worker } from "node:worker_threads";
import { FRAME_HEADER_BYTES, FrameParser, type TakeFrame, writeFrameHeader } from "./frames.ts";
import { HELD_BYTES, LOCK, makeOutbox, type Outbox, PIPE_FD } from "./outbox.ts";

const OUTBOX_BYTES = 256 * 1024;
/** A part from here on is written as it is. */
const COPY_BYTES_MAX = 32 * 1024;
const LOOP_BYTES_MAX = 24;
const READ_BYTES = 128 * 1024;
/** A new read buffer is made when less than this is left of the last. */
const READ_BYTES_MIN = 32 * 1024;
/**
 * Answers are not held back for longer than this while more work is done. Of a writer: entries that come together share
 * frames, log writes and wake-ups on three nodes, which is worth more than an early start.
 */
const HOLD_MS_MAX = 3;

export class ChildChannel {
  readonly #parser: FrameParser;
  readonly #outbox: Outbox = makeOutbox(OUTBOX_BYTES);
  /** What was parsed may be kept until `reuse`, so a buffer is filled once and then left to its frames. */
  #buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  #filled = 0;
  #heldSinceMs = 0;
  #watched = false;

  constructor(take: TakeFrame) {
    this.#parser = new FrameParser(take);
  }

  /** From here on the process dies with its node, whatever it does. Further calls do nothing. */
  startWatchdog(): void {
    if (this.#watched) return;
    this.#watched = true;
    new Worker(new URL("./watchdog-thread.js", import.meta.url), {
      workerData: this.#outbox,
      // Each V8 heap costs memory in every child, and this one needs next to none.
      resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 1, stackSizeMb: 1 },
      trackUnmanagedFds: false,
    });
  }

  /** Waits for bytes, then takes every frame that has arrived. The process ends if the node closed the pipe. */
  receive(): void {
    this.flush();
    if (this.#buffer.length - this.#filled < READ_BYTES_MIN) {
      this.#buffer = Buffer.allocUnsafeSlow(READ_BYTES);
      this.#filled = 0;
    }
    const read = readSync(
      PIPE_FD,
      this.#buffer,
      this.#filled,
      this.#buffer.length - this.#filled,
      null,
    );
    if (read === 0) die();
    const chunk = this.#buffer.subarray(this.#filled, this.#filled + read);
    this.#filled += read;
    this.#parser.push(chunk);
  }

  /** All that was parsed has been dealt with: its memory is filled again. */
  reuse(): void {
    this.#filled = 0;
  }

  /** Gathers a frame; it leaves with the next `flush`, or within milliseconds if the thread is busy. */
  send(type: number, id: number, ...parts: readonly Uint8Array[]): void {
    this.sendParts(type, id, parts);
  }

  /** The same; nothing is made of the parts on the way. */
  sendParts(type: number, id: number, parts: readonly Uint8Array[]): void {
    let payloadBytes = 0;
    for (const part of parts) payloadBytes += part.length;
    const { control, bytes } = this.#outbox;
    this.#lock();
    let held = Atomics.load(control, HELD_BYTES);
    if (held === 0) this.#heldSinceMs = performance.now();
    if (held + FRAME_HEADER_BYTES > bytes.length) held = this.#write(held);
    writeFrameHeader(bytes, held, { type, id, payloadBytes });
    held += FRAME_HEADER_BYTES;
    for (const part of parts) {
      const large = part.length > COPY_BYTES_MAX;
      if (large || held + part.length > bytes.length) held = this.#write(held);
      if (large) writeAll(part, part.length);
      else {
        // A loop costs less than the call, up to here.
        if (part.length > LOOP_BYTES_MAX) bytes.set(part, held);
        else for (let i = 0; i < part.length; i += 1) bytes[held + i] = part[i] as number;
        held += part.length;
      }
    }
    Atomics.store(control, HELD_BYTES, held);
    this.#unlock();
  }

  flush(): void {
    const { control } = this.#outbox;
    if (Atomics.load(control, HELD_BYTES) === 0) return;
    this.#lock();
    Atomics.store(control, HELD_BYTES, this.#write(Atomics.load(control, HELD_BYTES)));
    this.#unlock();
  }

  /** Between two pieces of work: writes what has been held back for long enough. */
  flushIfDue(nowMs = performance.now(), holdMs = HOLD_MS_MAX): void {
    if (Atomics.load(this.#outbox.control, HELD_BYTES) === 0) return;
    if (nowMs - this.#heldSinceMs >= holdMs) this.flush();
  }

  /** Last word: a frame, then the end of the process. */
  end(type: number, id: number, ...parts: readonly Uint8Array[]): never {
    this.send(type, id, ...parts);
    this.flush();
    return die();
  }

  #write(held: number): number {
    writeAll(this.#outbox.bytes, held);
    return 0;
  }

  #lock(): void {
    const { control } = this.#outbox;
    while (Atomics.compareExchange(control, LOCK, 0, 1) !== 0) Atomics.wait(control, LOCK, 1, 10);
  }

  #unlock(): void {
    Atomics.store(this.#outbox.control, LOCK, 0);
  }
}

/** Where the pipe is broken the node is gone, and there is nobody left to tell, nor a lock to give back. */
function writeAll(bytes: Uint8Array, length: number): void {
  try {
    for (let written = 0; written < length; ) {
      written += writeSync(PIPE_FD, bytes, written, length - written);
    }
  } catch {
    die();
  }
}

/** An exit would wait for the watchdog thread, which cannot be woken; a kill does not. */
function die(): never {
  process.kill(process.pid, "SIGKILL");
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_000);
}
