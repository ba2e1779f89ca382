/**
 * What a start does with a log that cannot be trusted (docs/decisions/0008-membership.md): keeps it under another name, and
 * begins a new one under a new incarnation, which remembers the cluster but holds nothing that counts. Deletes nothing.
 */

import { existsSync, readdirSync, renameSync } from "node:fs";
import { mkdir, rename, rm, utimes } from "node:fs/promises";
import { join } from "node:path";
import type { Identity, Log } from "../node/ports.ts";
import { loadIdentity } from "./identity-store.ts";
import { NodeDisk } from "./node-disk.ts";

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
 * Of a blank log beside one that was set aside: makes it remember the cluster, durably, so that this node never helps to
 * form another one. Also what a crash in the middle left undone.
 */
export async function rememberCluster(dataDir: string, log: Log): Promise<void> {
  const [newest] = asideNumbers(dataDir).sort((a, b) => b - a);
  if (log.identity.phase !== "blank" || newest === undefined) return;
  const clusterId = clusterOf(join(dataDir, `log.damaged-${newest}`));
  const identity: Identity = { ...log.identity, clusterId, phase: "lost" };
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

/** The database goes with its log; its pages are still of use for what is fetched in its place. */
export async function setDatabaseAside(dataDir: string): Promise<void> {
  const database = join(dataDir, "main.db");
  if (!existsSync(database)) return;
  const snapshots = join(dataDir, "snapshots");
  const incoming = join(snapshots, "incoming.db");
  await mkdir(snapshots, { recursive: true });
  for (const suffix of ["-wal", "-shm"]) await rm(database + suffix, { force: true });
  await rm(join(snapshots, "incoming.json"), { force: true });
  await rename(database, incoming);
  const now = new Date();
  await utimes(incoming, now, now);
}
