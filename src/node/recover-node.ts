/**
 * For a cluster whose majority is lost for good: makes a stopped node the only member of a new cluster, with all that its
 * own disk holds (docs/decisions/0008-membership.md). Other nodes of the old cluster are told apart by its id for ever.
 */

import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { loadIdentity } from "../log/identity-store.ts";
import { NodeDisk } from "../log/node-disk.ts";
import { openLog } from "../log/open-log.ts";
import { DirectoryLock } from "../machine/directory-lock.ts";
import { openWriterEngine } from "../machine/engines.ts";
import { FileSeal } from "../machine/file-seal.ts";
import { inspectDatabase } from "../machine/snapshot-task.ts";
import { votersOnly } from "../raft/entry.ts";
import { BalsaError } from "../sql/errors.ts";
import type { Identity } from "./ports.ts";

export interface RecoveredNode {
  readonly id: number;
  readonly clusterId: string;
  /** The last entry of its log: all up to here is kept, also what was not committed. */
  readonly lastIndex: number;
}

/**
 * `dir`: the data directory of a node that does not run. What was acknowledged by others alone is lost.
 *
 * @throws BalsaError INVALID_ARGUMENT if it is none, or never took part; FILE_CHANGED if the database was changed from outside,
 * and is not accepted so; what opening log and database throw
 */
export async function recoverNode(dir: string, acceptChangedFile = false): Promise<RecoveredNode> {
  if (!existsSync(join(dir, "log")) || !existsSync(join(dir, "main.db"))) {
    throw new BalsaError("INVALID_ARGUMENT", `${dir} is no directory of a node`);
  }
  const lock = DirectoryLock.take(dir);
  try {
    return await recover(dir, acceptChangedFile);
  } finally {
    lock.release();
  }
}

async function recover(dir: string, acceptChangedFile: boolean): Promise<RecoveredNode> {
  const id = loadIdentity(new NodeDisk(), join(dir, "log"))?.identity.nodeId ?? 0;
  if (id === 0) throw new BalsaError("INVALID_ARGUMENT", `${dir} does not say whose it is`);
  const log = await openLog({ dir: join(dir, "log"), nodeId: id });
  try {
    const { phase } = log.identity;
    if (phase !== "formed") {
      const message = `node ${id} holds nothing that a cluster could go on with: it is ${phase}`;
      throw new BalsaError("INVALID_ARGUMENT", message);
    }
    const lastIndex = log.lastIndex();
    const path = join(dir, "main.db");
    const seal = new FileSeal(path);
    const found = seal.look();
    if (found.kind === "changed" && !acceptChangedFile) throw changedMeanwhile(dir, found.what);
    if (found.kind === "changed") inspectDatabase(path);
    seal.forget();
    // The database first: a crash in between leaves the old cluster's id, and the same again does no harm.
    const engine = openWriterEngine(path);
    try {
      const { appliedIndex, appliedTerm } = engine.state;
      // Whatever the log says of members up to its end is overruled.
      engine.configure({ ...votersOnly([id]), index: lastIndex });
      engine.commit({ index: appliedIndex, term: appliedTerm });
      if (engine.checkpoint()?.complete !== true) throw new Error("the database cannot be synced");
      seal.close(engine);
    } finally {
      engine.close();
    }
    const clusterId = randomBytes(16).toString("hex");
    const identity: Identity = { ...log.identity, clusterId, members: [id], votesFrom: 0 };
    await new Promise<void>((resolve, reject) => {
      log.onFailure = reject;
      log.setIdentity(identity, resolve);
    });
    return { id, clusterId, lastIndex };
  } finally {
    await new Promise<void>((resolve) => log.close(resolve));
  }
}

function changedMeanwhile(dir: string, what: string): BalsaError {
  return new BalsaError(
    "FILE_CHANGED",
    `${dir}/main.db was changed from outside: ${what}. Choose another node, or restore the file that the node left; if this ` +
      "one shall count as it stands, say --accept-changed-file",
  );
}
