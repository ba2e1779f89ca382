/**
 * The second thread of a child process. It is blocked in a read of the watchdog pipe for all its life. At end of
 * file the node is gone, and the process kills itself, even in the middle of an endless query. A byte is a poke: the main
 * thread has been busy for a while, so answers that it holds back for one write are written now, and after them a frame that
 * says so. Touches no SQLite.
 */

import { readSync, writeSync } from "node:fs";
import { workerData } from "node:worker_threads";
import { FRAME_HEADER_BYTES, POKED, writeFrameHeader } from "./frames.ts";
import { HELD_BYTES, LOCK, type Outbox, PIPE_FD, WATCHDOG_FD } from "./outbox.ts";

const LOCK_ATTEMPTS = 10;

function watch({ control, bytes }: Outbox): void {
  const pokes = new Uint8Array(64);
  const poked = new Uint8Array(FRAME_HEADER_BYTES);
  writeFrameHeader(poked, 0, { type: POKED, id: 0, payloadBytes: 0 });
  while (readSync(WATCHDOG_FD, pokes) > 0) {
    if (!tryLock(control)) continue;
    writeAll(bytes, Atomics.load(control, HELD_BYTES));
    writeAll(poked, poked.length);
    Atomics.store(control, HELD_BYTES, 0);
    Atomics.store(control, LOCK, 0);
    Atomics.notify(control, LOCK);
  }
}

/** The main thread holds it for a moment; for longer only while it is writing itself. */
function tryLock(control: Int32Array): boolean {
  for (let attempt = 0; attempt < LOCK_ATTEMPTS; attempt += 1) {
    if (Atomics.compareExchange(control, LOCK, 0, 1) === 0) return true;
    Atomics.wait(control, LOCK, 1, 1);
  }
  return false;
}

function writeAll(bytes: Uint8Array, length: number): void {
  for (let written = 0; written < length; ) {
    written += writeSync(PIPE_FD, bytes, written, length - written);
  }
}

try {
  watch(workerData as Outbox);
} finally {
  process.kill(process.pid, "SIGKILL");
}
