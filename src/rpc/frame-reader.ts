/** Cuts a stream of bytes into length-prefixed frames. Copies only a frame that arrived in several chunks. */

import { BalsaError } from "../sql/errors.ts";
import { FRAME_HEADER_BYTES } from "../wire/peer-codec.ts";

export class FrameReader {
  #maxBytes: number;
  /** What has arrived of a frame that is not complete, header included. */
  #parts: Buffer[] = [];
  #gathered = 0;
  /** Bytes of the frame under way with its header; 0 while the header itself is incomplete. */
  #needed = 0;

  /** @param maxBytes of one frame; a longer one is refused before it is read. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  set maxBytes(value: number) {
    this.#maxBytes = value;
  }

  /**
   * Hands every frame that is now complete, without its header, to `take`; its bytes are a view that stays valid.
   * @throws BalsaError PROTOCOL for a frame that is too long.
   */
  push(chunk: Buffer, take: (frame: Buffer) => void): void {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#parts.length === 0) {
        const used = this.#whole(rest);
        if (used > 0) {
          const frame = rest.subarray(FRAME_HEADER_BYTES, used);
          rest = rest.subarray(used);
          take(frame);
          continue;
        }
      }
      rest = this.#gather(rest);
      if (this.#needed === 0 || this.#gathered < this.#needed) continue;
      const frame = Buffer.concat(this.#parts, this.#gathered).subarray(FRAME_HEADER_BYTES);
      this.#parts = [];
      this.#gathered = 0;
      this.#needed = 0;
      take(frame);
    }
  }

  /** Length with header of the frame at the start of `bytes`, if it is there as a whole; else 0. */
  #whole(bytes: Buffer): number {
    if (bytes.length < FRAME_HEADER_BYTES) return 0;
    const length = FRAME_HEADER_BYTES + this.#checked(bytes.readUInt32BE(0));
    return length <= bytes.length ? length : 0;
  }

  /** Takes what belongs to the frame under way: first the header, then the rest. */
  #gather(bytes: Buffer): Buffer {
    const target = this.#needed === 0 ? FRAME_HEADER_BYTES : this.#needed;
    const taken = bytes.subarray(0, target - this.#gathered);
    this.#parts.push(taken);
    this.#gathered += taken.length;
    if (this.#needed === 0 && this.#gathered === FRAME_HEADER_BYTES) {
      const header = Buffer.concat(this.#parts, FRAME_HEADER_BYTES);
      this.#needed = FRAME_HEADER_BYTES + this.#checked(header.readUInt32BE(0));
    }
    return bytes.subarray(taken.length);
  }

  #checked(length: number): number {
    if (length <= this.#maxBytes) return length;
    const message = `a frame of ${length} bytes, where at most ${this.#maxBytes} are allowed`;
    throw new BalsaError("PROTOCOL", message);
  }
}
