/**
 * One TCP connection that carries a snapshot, either way: frames in, frames out, and its end told once. Writing tells
 * when the kernel has taken the bytes, so that neither side gathers more than it asked for.
 */

import type { Socket } from "node:net";
import {
  decodeSnapshotFrame,
  encodeSnapshotFrame,
  SNAPSHOT_FRAME_BYTES_MAX,
  type SnapshotFrame,
} from "../wire/snapshot-codec.ts";
import { FrameReader } from "./frame-reader.ts";

export interface SnapshotSocketEvents {
  frame(frame: SnapshotFrame): void;
  /** Once, last, unless it was destroyed here. */
  ended(reason: string): void;
}

export class SnapshotSocket {
  readonly #socket: Socket;
  readonly #events: SnapshotSocketEvents;
  readonly #reader = new FrameReader(SNAPSHOT_FRAME_BYTES_MAX);
  #over = false;

  /** @param socket connected. Nothing is read before `start`. */
  constructor(socket: Socket, events: SnapshotSocketEvents) {
    this.#socket = socket;
    this.#events = events;
  }

  /** After `silenceMs` without a byte from the other side it ends. */
  start(silenceMs: number): void {
    const socket = this.#socket;
    socket.setNoDelay(true);
    socket.setTimeout(silenceMs, () => this.#end(`silent for ${silenceMs} ms`));
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("end", () => this.#end("the other side closed the connection"));
    socket.on("error", (error) => this.#end(error.message));
    socket.on("close", () => this.#end("the connection was cut"));
    socket.resume();
  }

  get remote(): string {
    return `${this.#socket.remoteAddress ?? "?"}:${this.#socket.remotePort ?? 0}`;
  }

  send(frame: SnapshotFrame, taken: () => void = () => undefined): void {
    if (this.#over) return;
    const parts = encodeSnapshotFrame(frame);
    this.#socket.cork();
    for (const [at, part] of parts.entries()) {
      if (at < parts.length - 1) this.#socket.write(part);
      else this.#socket.write(part, () => taken());
    }
    this.#socket.uncork();
  }

  /** Ends after what was sent. No event follows. */
  finish(): void {
    this.#over = true;
    this.#socket.end();
    this.#socket.setTimeout(2_000, () => this.#socket.destroy());
  }

  /** No event follows. */
  destroy(): void {
    this.#over = true;
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    if (this.#over) return;
    const frames: SnapshotFrame[] = [];
    let broken = "";
    try {
      this.#reader.push(chunk, (bytes) => frames.push(decodeSnapshotFrame(bytes)));
    } catch (error) {
      broken = error instanceof Error ? error.message : String(error);
    }
    for (const frame of frames) {
      if (this.#over) return;
      this.#events.frame(frame);
    }
    if (broken !== "") this.#end(broken);
  }

  #end(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#socket.destroy();
    this.#events.ended(reason);
  }
}
