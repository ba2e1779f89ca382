/**
 * How a child learns what it is to be. It loads its program first and then waits for one frame, so a process kept in
 * reserve is of use at once. Until then it holds nothing open, and needs no watchdog: a read of a closed pipe ends it.
 */

import { readSync } from "node:fs";
import { invariant } from "../sql/invariant.ts";
import { BECOME, FRAME_HEADER_BYTES, FrameParser } from "./frames.ts";
import { PIPE_FD } from "./outbox.ts";
import { type ChildArguments, decodeArguments } from "./process-messages.ts";

/** Blocks until the node says it. Reads not one byte more: what follows is for the channel. */
export function awaitRole(): ChildArguments {
  // A terminal or a supervisor signals the whole group; when the children end is for the node to say.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => undefined);
  let given: ChildArguments | null = null;
  const parser = new FrameParser((type, _id, payload) => {
    invariant(type === BECOME, `the first frame is of type ${type}`);
    given = decodeArguments(payload);
  });
  const header = readExactly(FRAME_HEADER_BYTES);
  parser.push(header);
  if (given === null) {
    const payloadBytes = new DataView(header.buffer).getUint32(0, true);
    parser.push(readExactly(payloadBytes));
  }
  invariant(given !== null, "the first frame is whole");
  process.title = `balsa ${(given as ChildArguments).role}`;
  return given;
}

function readExactly(bytes: number): Uint8Array {
  const buffer = new Uint8Array(bytes);
  for (let filled = 0; filled < bytes; ) {
    const read = readSync(PIPE_FD, buffer, filled, bytes - filled, null);
    if (read === 0) process.exit(0);
    filled += read;
  }
  return buffer;
}
