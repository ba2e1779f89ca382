/** What a child's two threads share: answers held back for one write, under a lock. Holds no code. */

/** Frames, both ways. */
export const PIPE_FD = 3;
/** Read by the watchdog thread alone; its end of file means that the node is gone. */
export const WATCHDOG_FD = 4;

/** Places in `control`: 1 while a thread writes or appends; bytes held. */
export const LOCK = 0;
export const HELD_BYTES = 1;

export interface Outbox {
  readonly control: Int32Array;
  readonly bytes: Uint8Array;
}

export function makeOutbox(bytes: number): Outbox {
  return {
    control: new Int32Array(new SharedArrayBuffer(8)),
    bytes: new Uint8Array(new SharedArrayBuffer(bytes)),
  };
}
