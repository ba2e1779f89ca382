/**
 * What a blob is written from, whatever its form, cut into pieces of one length. Holds one piece at a time, waits for
 * nobody who was told to stop, and leaves the source closed. It knows neither tables nor connections.
 */

import { Readable } from "node:stream";
import { BalsaError } from "../sql/errors.ts";

/** Bytes, or something that yields them: a Node stream, a web stream, a file, a generator, an array of pieces. */
export type BlobSource =
  | Uint8Array
  | ArrayBuffer
  | Blob
  | ReadableStream<Uint8Array>
  | AsyncIterable<Uint8Array>
  | Iterable<Uint8Array>;

/**
 * Pieces of `bytes` bytes, the last one shorter; none of a source without bytes. A piece is valid until the next is asked for.
 * @throws BalsaError INVALID_ARGUMENT for what is no bytes; the source's own error; the reason of `stop`.
 */
export async function* cut(
  source: BlobSource,
  bytes: number,
  stop: AbortSignal,
): AsyncGenerator<Uint8Array, void> {
  if (source instanceof Uint8Array || source instanceof ArrayBuffer) {
    const all = source instanceof ArrayBuffer ? new Uint8Array(source) : source;
    for (let at = 0; at < all.length; at += bytes) yield all.subarray(at, at + bytes);
    return;
  }
  const piece = Buffer.allocUnsafe(bytes);
  let filled = 0;
  for await (const given of stoppable(iteratorOf(source), stop)) {
    for (let at = 0; at < given.length; ) {
      const taken = Math.min(given.length - at, bytes - filled);
      piece.set(given.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
      if (filled < bytes) continue;
      yield piece;
      filled = 0;
    }
  }
  if (filled > 0) yield piece.subarray(0, filled);
}

type Pieces = AsyncIterator<unknown> | Iterator<unknown>;

/** Streams are closed by their own word: an iterator would first wait for what is not coming. */
function iteratorOf(source: unknown): Pieces {
  const given = source instanceof Blob ? source.stream() : source;
  if (given instanceof ReadableStream) {
    const reader: ReadableStreamDefaultReader<unknown> = given.getReader();
    const next = async (): Promise<IteratorResult<unknown>> => {
      const { value, done } = await reader.read();
      return done ? { value: undefined, done } : { value, done };
    };
    return { next, return: async () => ({ value: await reader.cancel(), done: true }) };
  }
  if (given instanceof Readable) {
    const pieces = given[Symbol.asyncIterator]();
    const end = async (): Promise<IteratorResult<unknown>> => {
      given.destroy();
      return { value: undefined, done: true };
    };
    return { next: () => pieces.next(), return: end };
  }
  if (typeof given === "object" && given !== null) {
    if (Symbol.asyncIterator in given) {
      return (given as AsyncIterable<unknown>)[Symbol.asyncIterator]();
    }
    if (Symbol.iterator in given) return (given as Iterable<unknown>)[Symbol.iterator]();
  }
  throw notBytes("the source", source);
}

/** Until it ends, or `stop` does, also while the source is silent. */
async function* stoppable(pieces: Pieces, stop: AbortSignal): AsyncGenerator<Uint8Array, void> {
  let isOver = false;
  try {
    for (;;) {
      const { value, done } = await nextOrStopped(pieces, stop);
      if (done === true) {
        isOver = true;
        return;
      }
      if (!(value instanceof Uint8Array)) throw notBytes("a piece of the source", value);
      yield value;
    }
  } finally {
    // Not awaited: one that is silent would not answer.
    if (!isOver) close(pieces).catch(ignore);
  }
}

function nextOrStopped(pieces: Pieces, stop: AbortSignal): Promise<IteratorResult<unknown>> {
  return new Promise((resolve, reject) => {
    const stopped = (): void => reject(stop.reason);
    if (stop.aborted) {
      stopped();
      return;
    }
    stop.addEventListener("abort", stopped, { once: true });
    const forget = (): void => stop.removeEventListener("abort", stopped);
    Promise.resolve(pieces.next()).then(resolve, reject).finally(forget);
  });
}

/** Of one that was never read. */
export function closeSource(source: unknown): void {
  if (source instanceof Readable) source.destroy();
  else if (source instanceof ReadableStream && !source.locked) source.cancel().catch(ignore);
}

async function close(pieces: Pieces): Promise<void> {
  await pieces.return?.();
}

function notBytes(what: string, value: unknown): BalsaError {
  const kind = value === null ? "null" : typeof value;
  const hint = kind === "string" ? ': encode text first, as in Buffer.from(text, "utf8")' : "";
  return new BalsaError("INVALID_ARGUMENT", `${what} must be bytes, and is ${kind}${hint}`);
}

function ignore(): void {
  // It is over in any case.
}
