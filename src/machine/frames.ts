/**
 * Frames on the pipe between a node and its child processes: many in one write, parsed out of chunks of any size.
 * Knows nothing of what a frame means, and does no I/O.
 *
 *   offset 0   u32 little endian   bytes of the payload
 *          4   u8                  type
 *          5   u32 little endian   id
 *          9   …                   payload
 */

// The global of this name is a getter, which is asked anew at each use.
import { Buffer } from "node:buffer";

export const FRAME_HEADER_BYTES = 9;
/** A type of the pipe's own: the child has written all that it had to say before a poke reached it. */
export const POKED = 0;
/** The same, to the child: its first frame, which says what it is. */
export const BECOME = 0;
/**
 * Payload of one frame: a result of 64 MiB with its entry, with room. More means that the two ends do not understand
 * each other.
 */
export const FRAME_PAYLOAD_BYTES_MAX = 256 * 1024 * 1024;

/** `payload` is a view of the chunk it came in where it could be: who keeps it for long should copy it. */
export type TakeFrame = (type: number, id: number, payload: Uint8Array) => void;

export class FrameError extends Error {
  override readonly name = "FrameError";
}

export function writeFrameHeader(
  target: Uint8Array,
  offset: number,
  header: { readonly type: number; readonly id: number; readonly payloadBytes: number },
): void {
  const { type, id, payloadBytes } = header;
  target[offset] = payloadBytes & 0xff;
  target[offset + 1] = (payloadBytes >>> 8) & 0xff;
  target[offset + 2] = (payloadBytes >>> 16) & 0xff;
  target[offset + 3] = payloadBytes >>> 24;
  target[offset + 4] = type;
  target[offset + 5] = id & 0xff;
  target[offset + 6] = (id >>> 8) & 0xff;
  target[offset + 7] = (id >>> 16) & 0xff;
  target[offset + 8] = id >>> 24;
}

const BATCH_BYTES = 64 * 1024;
/** A part from here on is passed on as it is; a smaller one is cheaper to copy than to hand to the kernel apart. */
const COPY_BYTES_MAX = 16 * 1024;

/** Gathers frames into few buffers, for one write. */
export class FrameBatch {
  #full: Uint8Array[] = [];
  #current: Uint8Array | null = null;
  #used = 0;
  #bytes = 0;

  /** Bytes gathered and not taken yet. */
  get bytes(): number {
    return this.#bytes;
  }

  add(type: number, id: number, ...parts: readonly Uint8Array[]): void {
    let payloadBytes = 0;
    for (const part of parts) payloadBytes += part.length;
    const head = this.#reserve(FRAME_HEADER_BYTES);
    writeFrameHeader(head, this.#used, { type, id, payloadBytes });
    this.#used += FRAME_HEADER_BYTES;
    for (const part of parts) this.#append(part);
    this.#bytes += FRAME_HEADER_BYTES + payloadBytes;
  }

  /** All frames added since the last call, in order. */
  take(): Uint8Array[] {
    this.#seal();
    const taken = this.#full;
    this.#full = [];
    this.#bytes = 0;
    return taken;
  }

  #append(part: Uint8Array): void {
    if (part.length > COPY_BYTES_MAX) {
      this.#seal();
      this.#full.push(part);
      return;
    }
    this.#reserve(part.length).set(part, this.#used);
    this.#used += part.length;
  }

  /** The buffer that has room for so many bytes behind those used. */
  #reserve(bytes: number): Uint8Array {
    const current = this.#current;
    if (current !== null && this.#used + bytes <= current.length) return current;
    this.#seal();
    // A lone frame is small; what follows at once is given more room.
    const room = this.#full.length === 0 ? 4096 : BATCH_BYTES;
    this.#current = Buffer.allocUnsafeSlow(Math.max(bytes, room));
    return this.#current;
  }

  #seal(): void {
    if (this.#current !== null && this.#used > 0) {
      this.#full.push(this.#current.subarray(0, this.#used));
    }
    this.#current = null;
    this.#used = 0;
  }
}

/** Cuts a stream of bytes into frames. A frame that lies within one chunk is not copied, any other exactly once. */
export class FrameParser {
  readonly #take: TakeFrame;
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES);
  #headerBytes = 0;
  #payload: Uint8Array | null = null;
  #payloadBytes = 0;

  constructor(take: TakeFrame) {
    this.#take = take;
  }

  /** @throws FrameError if the bytes cannot be frames. */
  push(chunk: Uint8Array): void {
    let offset = this.#finishStarted(chunk);
    while (chunk.length - offset >= FRAME_HEADER_BYTES) {
      const start = offset + FRAME_HEADER_BYTES;
      const end = start + payloadBytesOf(chunk, offset);
      if (end > chunk.length) break;
      const type = chunk[offset + 4] ?? 0;
      this.#take(type, readId(chunk, offset), chunk.subarray(start, end));
      offset = end;
    }
    if (offset < chunk.length) this.#keep(chunk, offset);
  }

  /** Completes the frame that an earlier chunk began. Returns where the next one starts. */
  #finishStarted(chunk: Uint8Array): number {
    if (this.#headerBytes === 0) return 0;
    return this.#keep(chunk, 0);
  }

  /** Takes bytes of one frame that is not wholly in this chunk. Returns where they end. */
  #keep(chunk: Uint8Array, from: number): number {
    let offset = from;
    if (this.#headerBytes < FRAME_HEADER_BYTES) {
      const missing = FRAME_HEADER_BYTES - this.#headerBytes;
      const part = chunk.subarray(offset, offset + missing);
      this.#header.set(part, this.#headerBytes);
      this.#headerBytes += part.length;
      offset += part.length;
      if (this.#headerBytes < FRAME_HEADER_BYTES) return offset;
    }
    // Views of a Buffer are made faster than those of another array.
    this.#payload ??= Buffer.allocUnsafeSlow(payloadBytesOf(this.#header, 0));
    const part = chunk.subarray(offset, offset + this.#payload.length - this.#payloadBytes);
    this.#payload.set(part, this.#payloadBytes);
    this.#payloadBytes += part.length;
    if (this.#payloadBytes === this.#payload.length) {
      const payload = this.#payload;
      this.#headerBytes = 0;
      this.#payload = null;
      this.#payloadBytes = 0;
      this.#take(this.#header[4] ?? 0, readId(this.#header, 0), payload);
    }
    return offset + part.length;
  }
}

function payloadBytesOf(bytes: Uint8Array, offset: number): number {
  const length = readU32(bytes, offset);
  if (length > FRAME_PAYLOAD_BYTES_MAX) {
    throw new FrameError(`a frame of ${length} bytes; at most ${FRAME_PAYLOAD_BYTES_MAX}`);
  }
  return length;
}

function readId(bytes: Uint8Array, offset: number): number {
  return readU32(bytes, offset + 5);
}

function readU32(bytes: Uint8Array, offset: number): number {
  const low = (bytes[offset] ?? 0) | ((bytes[offset + 1] ?? 0) << 8);
  const high = (bytes[offset + 2] ?? 0) | ((bytes[offset + 3] ?? 0) << 8);
  return (low | (high << 16)) >>> 0;
}
