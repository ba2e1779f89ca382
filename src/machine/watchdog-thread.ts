/**
 * The second thread of a child process. It is blocked in a read of the watchdog pipe for all its life. At end of
 * file the node is gone, and the process kills itself, even in the middle of an endless query. A byte is a poke: the main
 * thread has been busy for a while, so answers that it holds back for one write are written now. Touches no SQLite.
 */

import { readSync, writeSync } from "node:fs";
import { workerData } from "node:worker_threads";
import { HELD_BYTES, LOCK, type Outbox, PIPE_FD, WATCHDOG_FD } from "./outbox.ts";

function watch({ control, bytes }: Outbox): void {
  const pokes = new Uint8Array(64);
  while (readSync(WATCHDOG_FD, pokes) > 0) {
    // If the main thread holds the lock it is writing itself.
    if (Atomics.compareExchange(control, LOCK, 0, 1) !== 0) continue;
    const held = Atomics.load(control, HELD_BYTES);
    for (let written = 0; written < held; ) {
      written += writeSync(PIPE_FD, bytes, written, held - written);
    }
    Atomics.store(control, HELD_BYTES, 0);
    Atomics.store(control, LOCK, 0);
    Atomics.notify(control, LOCK);
  }
}

try {
  watch(workerData as Outbox);
} finally {
  process.kill(process.pid, "SIGKILL");
}
