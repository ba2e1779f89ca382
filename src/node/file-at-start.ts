/**
 * What a start does with a database file that somebody has changed since the node closed it
 * (docs/decisions/0020-changed-from-outside.md): with other voters there it goes on, and takes a database of theirs; else it
 * refuses, until it is told to take the file as it stands. It opens nothing.
 */

import { type EntryId, type NodeId, votersOnly } from "../raft/entry.ts";
import { voterIds } from "../raft/quorum.ts";
import { BalsaError } from "../sql/errors.ts";
import type { FileLook, Identity, Logger } from "./ports.ts";
import { changedAlone } from "./sickness-words.ts";

export interface FileAtStartParts {
  readonly id: NodeId;
  readonly identity: Pick<Identity, "phase" | "members">;
  readonly logger: Logger;
  readonly machine: {
    lookAtFile(): FileLook;
    inspectFile(): Promise<EntryId>;
    acceptFile(): void;
  };
  /** The log has this entry, or ends what it has dropped with it. */
  holds(mark: EntryId): boolean;
}

/** @throws BalsaError FILE_CHANGED with the way out */
export async function settleFileAtStart(
  parts: FileAtStartParts,
  isAccepted: boolean,
): Promise<void> {
  const { id, identity, logger, machine } = parts;
  const found = machine.lookAtFile();
  if (found.kind === "unreadable") {
    logger.warn({ why: found.why }, "whether main.db was changed from outside cannot be told");
  }
  if (found.kind !== "changed") return;
  const { what, state } = found;
  logger.error({ what }, "main.db was changed from outside");
  if (isAccepted) return accept(parts, what);
  const { members, phase } = identity;
  const voters = voterIds(state?.configuration ?? votersOnly(members));
  if (phase === "formed" && [...voters].some((voter) => voter !== id)) return;
  throw new BalsaError("FILE_CHANGED", changedAlone(what));
}

async function accept({ machine, logger, holds }: FileAtStartParts, what: string): Promise<void> {
  let at: EntryId;
  try {
    at = await machine.inspectFile();
  } catch (error) {
    throw notTaken(what, error instanceof Error ? error.message : String(error));
  }
  if (!holds(at)) {
    const { index, term } = at;
    throw notTaken(what, `it stands at log entry ${index} of term ${term}, which the log lacks`);
  }
  machine.acceptFile();
  logger.warn({ what, ...at }, "main.db counts as it stands from now on, as it was said");
}

function notTaken(what: string, why: string): BalsaError {
  return new BalsaError(
    "FILE_CHANGED",
    `main.db was changed from outside: ${what}. It cannot be taken as it stands: ${why}. Restore the file that the node ` +
      "left; or, where a majority is left, empty the directory: the node is then taken in anew; or begin a new cluster with a " +
      "backup (balsa import)",
  );
}
