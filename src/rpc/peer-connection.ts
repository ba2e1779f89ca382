/**
 * One TCP connection between two nodes, either way: frames in, frames out, and how it ended. A frame leaves at once: what a
 * turn of the event loop has for a peer is one frame already, but for rare ones. Knows nothing of who may say what.
 */

import type { Socket } from "node:net";
import { decodePeerFrame, FRAME_BYTES_MAX, type PeerFrame } from "../wire/peer-codec.ts";
import { FrameReader } from "./frame-reader.ts";

/** Before a peer has said who it is. */
const HELLO_BYTES_MAX = 64 * 1024;
/** Idle time after which the kernel probes; the transport's own pings are faster. */
const TCP_KEEPALIVE_MS = 10_000;

export interface PeerConnectionEvents {
  frame(frame: PeerFrame): void;
  /** The connection is over, whoever ended it. Once, and the last call. */
  ended(reason: Error | null): void;
}

export class PeerConnection {
  readonly #socket: Socket;
  readonly #events: PeerConnectionEvents;
  readonly #reader = new FrameReader(HELLO_BYTES_MAX);
  #over = false;

  /** @param socket connected. Nothing is read before `start`. */
  constructor(socket: Socket, events: PeerConnectionEvents) {
    this.#socket = socket;
    this.#events = events;
  }

  start(): void {
    const socket = this.#socket;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("end", () => this.#end(null));
    socket.on("error", (error) => this.#end(error));
    socket.on("close", () => this.#end(null));
    socket.resume();
  }

  /** `host:port` of the other end. */
  get remote(): string {
    return `${this.#socket.remoteAddress ?? "?"}:${this.#socket.remotePort ?? 0}`;
  }

  /** Bytes written here and not yet taken by the kernel. */
  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  /** Bytes that the kernel has taken. */
  get takenBytes(): number {
    return this.#socket.bytesWritten - this.#socket.writableLength;
  }

  /** From now on frames of full size are accepted. */
  trust(): void {
    this.#reader.maxBytes = FRAME_BYTES_MAX;
  }

  write(frame: Buffer): void {
    if (!this.#over) this.#socket.write(frame);
  }

  /** Ends after what was written; cut off if the other side does not let go within `graceMs`. Then `done`. */
  finish(graceMs: number, done: () => void): void {
    this.#over = true;
    if (this.#socket.destroyed) {
      setImmediate(done);
      return;
    }
    const timer = setTimeout(() => this.#socket.destroy(), graceMs);
    this.#socket.once("close", () => {
      clearTimeout(timer);
      done();
    });
    this.#socket.end();
  }

  /** Drops it at once. `ended` is not called. */
  destroy(): void {
    this.#over = true;
    this.#socket.destroy();
  }

  /** Only what the bytes are is caught here; what their receiver throws is its own. */
  #receive(chunk: Buffer): void {
    if (this.#over) return;
    const frames: PeerFrame[] = [];
    let broken: Error | null = null;
    try {
      this.#reader.push(chunk, (bytes) => frames.push(decodePeerFrame(bytes)));
    } catch (error) {
      broken = error instanceof Error ? error : new Error(String(error));
    }
    for (const frame of frames) {
      if (this.#over) return;
      this.#events.frame(frame);
    }
    if (broken !== null) this.#end(broken);
  }

  #end(reason: Error | null): void {
    if (this.#over) return;
    this.#over = true;
    this.#socket.destroy();
    this.#events.ended(reason);
  }
}
