/**
 * What a start does with a log that cannot be trusted (docs/decisions/0008-membership.md): keeps it under another name, and
 * begins a new one under a new incarnation, which remembers the cluster but holds nothing that counts. Deletes nothing.
 */

import { constants, existsSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { copyFile, mkdir, rename, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Identity, Log } from "../node/ports.ts";
import { loadIdentity } from "./identity-store.ts";
import { NodeDisk } from "./node-disk.ts";

/** A copy is made where at least its size stays free beside it. */
const COPY_LEAVES = 2;
const ASIDE = /^log\.damaged-([0-9]+)$/;

/** Gives the new name of the directory. @throws the file system's error */
export function setLogAside(dataDir: string): string {
  const numbers = asideNumbers(dataDir);
  const to = join(dataDir, `log.damaged-${Math.max(0, ...numbers) + 1}`);
  renameSync(join(dataDir, "log"), to);
  new NodeDisk().syncDirectoryNow(dataDir);
  return to;
}

function asideNumbers(dataDir: string): number[] {
  return readdirSync(dataDir).flatMap((name) => {
    const match = ASIDE.exec(name);
    return match === null ? [] : [Number(match[1])];
  });
}

/**
 * Of a database whose log is gone: nobody knows any more what this node has promised, and no log goes with it. To be
 * asked before a new log is made. Null: there is no such database.
 */
export function setLoneDatabaseAside(dataDir: string): string | null {
  const log = join(dataDir, "log");
  const hasLog = existsSync(log) && readdirSync(log).length > 0;
  if (hasLog || !existsSync(join(dataDir, "main.db"))) return null;
  const newest = Math.max(0, ...asideNumbers(dataDir));
  // A crash came between a log and its database: `rememberCluster` goes on.
  if (newest > 0 && !existsSync(join(dataDir, `log.damaged-${newest}`, "main.db"))) return null;
  const to = join(dataDir, `log.damaged-${newest + 1}`);
  mkdirSync(to);
  new NodeDisk().syncDirectoryNow(dataDir);
  return to;
}

/**
 * Of a blank log beside one that was set aside: makes it remember the cluster, durably, so that this node never helps to
 * form another one. The database goes with its log, once: what the node has later is nothing that must be kept. Also what
 * a crash in the middle left undone.
 */
export async function rememberCluster(dataDir: string, log: Log): Promise<void> {
  const [newest] = asideNumbers(dataDir).sort((a, b) => b - a);
  if (log.identity.phase !== "blank" || newest === undefined) return;
  const aside = join(dataDir, `log.damaged-${newest}`);
  await setDatabaseAside(dataDir, aside);
  const identity: Identity = { ...log.identity, clusterId: clusterOf(aside), phase: "lost" };
  await new Promise<void>((resolve) => log.setIdentity(identity, resolve));
}

/** Empty if that cannot be read either. */
function clusterOf(directory: string): string {
  try {
    return loadIdentity(new NodeDisk(), directory)?.identity.clusterId ?? "";
  } catch {
    return "";
  }
}

/** With its WAL: should no leader be left to take this node in, the two and the log are all that there is. */
async function setDatabaseAside(dataDir: string, aside: string): Promise<void> {
  const [database, kept] = [join(dataDir, "main.db"), join(aside, "main.db")];
  // The database last: all the others are of no use to the one that comes next, and belong to this one.
  for (const suffix of ["-wal", ".seal", ".changed", ""]) {
    if (existsSync(database + suffix)) await rename(database + suffix, kept + suffix);
  }
  await rm(`${database}-shm`, { force: true });
  const disk = new NodeDisk();
  disk.syncDirectoryNow(aside);
  disk.syncDirectoryNow(dataDir);
  if (existsSync(kept)) await copyForComparison(kept, join(dataDir, "snapshots"));
}

/** Its pages are of use for what is fetched in its place; without them, all is fetched. */
async function copyForComparison(database: string, snapshots: string): Promise<void> {
  const incoming = join(snapshots, "incoming.db");
  await mkdir(snapshots, { recursive: true });
  await rm(join(snapshots, "incoming.json"), { force: true });
  await rm(incoming, { force: true });
  try {
    const { bavail, bsize } = await statfs(snapshots);
    if ((await stat(database)).size * COPY_LEAVES > bavail * bsize) return;
    await copyFile(database, incoming, constants.COPYFILE_FICLONE);
  } catch {
    await rm(incoming, { force: true });
  }
}
