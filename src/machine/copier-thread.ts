/**
 * The third thread of a writer's process: copies the WAL into the file whenever the writer says so, and waits in between. What
 * fails in it is told to the writer and ends nothing: the writer can copy for itself.
 */

import { workerData } from "node:worker_threads";
import {
  CLOSED,
  COPYING,
  type CopierMemory,
  STATE,
  STOPPING,
  setFailed,
  setPassed,
  setState,
} from "./wal-copier.ts";
import { WalCopy } from "./wal-copy.ts";

function run(memory: CopierMemory): void {
  const { control } = memory;
  const copy = new WalCopy(memory.path, memory.files);
  while (Atomics.load(control, STOPPING) === 0) {
    try {
      setPassed(memory, copy.pass());
    } catch (error) {
      setFailed(memory, error);
    }
    for (;;) {
      const state = Atomics.load(control, STATE);
      if (state === COPYING) break;
      Atomics.wait(control, STATE, state);
    }
  }
  copy.close();
  setState(memory, CLOSED);
  // What it has not closed must not be closed by the end of a thread.
  Atomics.wait(control, STATE, CLOSED);
}

run(workerData as CopierMemory);
