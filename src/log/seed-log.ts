/**
 * Makes the log of a directory whose database is begun with a file: blank, but standing behind the entry that the file
 * counts as. So the log reaches back to nothing that lacks the file, and who is behind it needs a snapshot. Only for
 * directories that hold no log, and no node runs on.
 */

import { join } from "node:path";
import type { Log } from "../node/ports.ts";
import { type EntryId, NOBODY, type NodeId } from "../raft/entry.ts";
import { openLog } from "./open-log.ts";

/**
 * Until this has ended, the directory's database and log do not fit together, and no node starts on it.
 *
 * @param seed SHA-256 of the file, hex
 * @param at the entry that the file counts as
 * @throws LogOpenError, LogUntrustedError, or an error of the file system
 */
export async function seedLog(
  dataDir: string,
  nodeId: NodeId,
  seed: string,
  at: EntryId,
): Promise<void> {
  const log = await openLog({ dir: join(dataDir, "log"), nodeId });
  try {
    const { index, term } = at;
    const hardState = { currentTerm: term, votedFor: NOBODY, commitIndex: index };
    await durably(log, (done) => log.setIdentity({ ...log.identity, seed }, done));
    await durably(log, (done) => log.append(hardState, [], done));
    await durably(log, (done) => log.restart(at, done));
  } finally {
    await new Promise<void>((resolve) => log.close(resolve));
  }
}

function durably(log: Log, act: (done: () => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    log.onFailure = reject;
    act(resolve);
  });
}
