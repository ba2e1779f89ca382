/**
 * The reading of a node's whole content, as the node sees it: a process that is started, told when to open its snapshot, and
 * ended when nobody waits for it any more, or when the WAL that it pins has grown too long. Never opens the database.
 */

import { statSync } from "node:fs";
import type { DigestEvents, RunningDigest } from "../node/ports.ts";
import { BalsaError } from "../sql/errors.ts";
import type { ChildProcess } from "./child-process.ts";
import type { ChildSupply } from "./child-supply.ts";
import { decodeJson, decodeText, FROM_DIGEST, TO_DIGEST } from "./process-messages.ts";

export interface DigestParts {
  readonly supply: ChildSupply;
  readonly walPath: string;
  started(child: ChildProcess): void;
  ended(child: ChildProcess): void;
}

/** What is written while a snapshot is read stays in the WAL. */
export const WAL_BYTES_MAX = 4 * 1024 ** 3;
/** Whoever asked must say so within this. */
const OPEN_MS_MAX = 60_000;
/** So often it is told that the process lives, and the WAL is looked at. */
const LOOK_MS = 1_000;

export function startDigest(
  parts: DigestParts,
  deep: boolean,
  events: DigestEvents,
  walBytesMax: number = WAL_BYTES_MAX,
): RunningDigest {
  let why: BalsaError | null = null;
  let reason = "";
  let isDone = false;
  let isOpened = false;
  let at = { table: "", rows: 0 };
  const child = parts.supply.run(
    { kind: "digest", deep },
    {
      frame: (type, _id, payload) => {
        if (type === FROM_DIGEST.ready) events.ready();
        else if (type === FROM_DIGEST.opened) {
          isOpened = true;
          events.opened(decodeJson(payload) as { index: number; term: number });
        } else if (type === FROM_DIGEST.progress) at = decodeJson(payload) as typeof at;
        else if (type === FROM_DIGEST.table) {
          events.table(decodeJson(payload) as { name: string; rows: number; hash: string });
        } else if (type === FROM_DIGEST.damage) events.damage(decodeText(payload));
        else if (type === FROM_DIGEST.done) isDone = true;
        else reason = decodeText(payload);
      },
      exited: (how) => {
        clearInterval(look);
        clearTimeout(impatient);
        parts.ended(child);
        if (isDone) return events.ended(null);
        const message = `the content could not be read: ${reason === "" ? how : reason}`;
        events.ended(why ?? new BalsaError("UNAVAILABLE", message));
      },
    },
  );
  const end = (error: BalsaError) => {
    why ??= error;
    child.kill(error.message);
  };
  const look = setInterval(() => {
    events.progress(at.table, at.rows);
    const walBytes = statSync(parts.walPath, { throwIfNoEntry: false })?.size ?? 0;
    if (isOpened && walBytes > walBytesMax) end(tooOld(walBytes));
  }, LOOK_MS).unref();
  const impatient = setTimeout(() => {
    if (!isOpened) end(new BalsaError("DEADLINE_EXCEEDED", `not opened within ${OPEN_MS_MAX} ms`));
  }, OPEN_MS_MAX).unref();
  parts.started(child);
  return {
    open: () => child.send(TO_DIGEST.open, 0),
    cancel: () => end(new BalsaError("CANCELLED", "nobody waits for it any more")),
  };
}

function tooOld(walBytes: number): BalsaError {
  const message =
    `so much was written meanwhile that the WAL has ${walBytes} bytes, as no snapshot may hold back more; ` +
    "compare the nodes when less is written";
  return new BalsaError("SNAPSHOT_TOO_OLD", message);
}
