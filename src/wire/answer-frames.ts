/**
 * A stream's answers on their way into frames: each is encoded as it comes, at its place, so that nothing of it is kept and
 * nothing is moved when its length is known. The same bytes as `encodeServerFrame` makes. Knows no stream and bounds nothing.
 */

import { bytesFieldSize, SizedWriter, uintFieldSize } from "./sized-writer.ts";
import { encodeServerFrame, type QueryResponse, type ResponseBody } from "./sql-codec.ts";

/** A frame is closed when it has grown this large; a single larger answer travels alone. */
const FRAME_BYTES = 900_000;
/** Room for the first answers of a frame; more when the frame before was larger. */
const ROOM_MIN = 512;
const ROOM_MAX = 64 * 1024;

export class AnswerFrames {
  #closed: Buffer[] = [];
  #open: SizedWriter | null = null;
  #room = ROOM_MIN;

  get isEmpty(): boolean {
    return this.#open === null && this.#closed.length === 0;
  }

  /** Returns the bytes that it takes. */
  add(id: number, body: ResponseBody): number {
    if (body.kind === "query") return this.query(id, body);
    const encoded = encodeServerFrame([{ id, body }]);
    this.#target(encoded.length).raw(encoded);
    return encoded.length;
  }

  /** As `add`. */
  query(id: number, { chunk, done, node, index, lagMs }: QueryResponse): number {
    const message =
      bytesFieldSize(chunk.length) +
      (done ? 2 : 0) +
      uintFieldSize(node) +
      uintFieldSize(index) +
      uintFieldSize(lagMs);
    const response = uintFieldSize(id) + bytesFieldSize(message);
    const size = bytesFieldSize(response);
    const target = this.#target(size);
    target.bytesHeader(1, response);
    target.uintField(1, id);
    target.bytesHeader(3, message);
    target.bytesHeader(1, chunk.length);
    target.raw(chunk);
    target.boolField(2, done);
    target.uintField(3, node);
    target.uintField(4, index);
    target.uintField(5, lagMs);
    return size;
  }

  /** All that was added since the last call, in order. They are not written to again. */
  take(): Buffer[] {
    this.#close();
    const frames = this.#closed;
    this.#closed = [];
    return frames;
  }

  /** Where `size` bytes may be written. */
  #target(size: number): SizedWriter {
    const open = this.#open;
    if (open !== null) {
      const { buffer, position } = open;
      if (position + size <= buffer.length) return open;
      if (position + size <= FRAME_BYTES) return this.#grow(buffer, position, size);
      this.#close();
    }
    const fresh = new SizedWriter(Buffer.allocUnsafe(Math.max(size, this.#room)));
    this.#open = fresh;
    return fresh;
  }

  #grow(buffer: Buffer, position: number, size: number): SizedWriter {
    const bytes = Math.min(FRAME_BYTES, Math.max(position + size, buffer.length * 2));
    const grown = new SizedWriter(Buffer.allocUnsafe(bytes));
    grown.raw(buffer.subarray(0, position));
    this.#open = grown;
    return grown;
  }

  #close(): void {
    const open = this.#open;
    if (open === null) return;
    const { buffer, position } = open;
    this.#closed.push(buffer.subarray(0, position));
    this.#room = Math.min(ROOM_MAX, Math.max(ROOM_MIN, position + (position >>> 2)));
    this.#open = null;
  }
}
