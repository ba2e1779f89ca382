/**
 * Lines to a file descriptor that may stop taking them (a pipe whose reader hangs). Writing happens on another thread,
 * one piece at a time; what waits is bounded, and what is beyond the bound is dropped and counted. Never blocks,
 * never throws: a log is worth less than the service.
 */

import { write as writeToDescriptor } from "node:fs";

/** Bytes that may wait. */
const WAITING_BYTES_MAX = 4 * 1024 * 1024;
/** Pause after the descriptor said that it takes nothing now. */
const RETRY_MS = 50;

export class LogWriter {
  readonly #descriptor: number;
  #waiting = "";
  #piece: Uint8Array | null = null;
  #dropped = 0;
  #broken = false;
  #idle: (() => void)[] = [];

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  write(line: string): void {
    if (this.#broken) return;
    if (this.#waiting.length + line.length > WAITING_BYTES_MAX) {
      this.#dropped++;
      return;
    }
    this.#waiting += line;
    this.#next();
  }

  /** Resolves to whether everything was written within the time given. */
  flush(limitMs: number): Promise<boolean> {
    if (this.#piece === null) return Promise.resolve(true);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), limitMs);
      this.#idle.push(() => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  }

  #next(): void {
    if (this.#piece !== null) return;
    if (this.#waiting === "") {
      for (const tell of this.#idle.splice(0)) tell();
      return;
    }
    const note = this.#dropped === 0 ? "" : `balsa: ${this.#dropped} log lines dropped\n`;
    this.#piece = Buffer.from(this.#waiting + note);
    this.#waiting = "";
    this.#dropped = 0;
    this.#writePiece();
  }

  #writePiece(): void {
    const piece = this.#piece ?? new Uint8Array();
    writeToDescriptor(this.#descriptor, piece, (error, written) => {
      if (error?.code === "EAGAIN") {
        setTimeout(() => this.#writePiece(), RETRY_MS);
        return;
      }
      if (error === null && written < piece.byteLength) {
        this.#piece = piece.subarray(written);
        this.#writePiece();
        return;
      }
      if (error !== null) {
        // The reader is gone for good.
        this.#broken = true;
        this.#waiting = "";
      }
      this.#piece = null;
      this.#next();
    });
  }
}
