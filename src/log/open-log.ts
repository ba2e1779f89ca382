/**
 * The door of the log: opens a directory, makes it if need be, repairs what a power cut left (and only that), and
 * gives the running log. All of it blocks: a node that opens its log has nothing else to do. No timers, no clock.
 */

import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { Identity, Log } from "../node/ports.ts";
import type { NodeId } from "../raft/entry.ts";
import { invariant } from "../sql/invariant.ts";
import type { Disk } from "./disk.ts";
import { isOutOfSpace, LogCorruptionError, LogOpenError, LogPoisonedError } from "./errors.ts";
import { BATCH_ALIGNMENT } from "./format.ts";
import { IdentityStore, loadIdentity, type StoredIdentity } from "./identity-store.ts";
import { heedMarkerNow, leaveMarkerNow } from "./marker.ts";
import { NodeDisk } from "./node-disk.ts";
import { type Cut, recover } from "./recovery.ts";
import {
  isUnfinished,
  prepareSegmentNow,
  type Segment,
  segmentName,
  writeZerosNow,
} from "./segment.ts";
import { SegmentedLog } from "./segmented-log.ts";

export interface OpenLogOptions {
  /** Made if it is missing. The caller sees to it that no other process uses it (the node's directory lock). */
  readonly dir: string;
  readonly nodeId: NodeId;
  /** Default: the real one. */
  readonly disk?: Disk;
  /** 0 ≤ n < 1, for ids. Default: the system's random bytes. */
  readonly random?: () => number;
  /**
   * Size of a segment, a multiple of 64, 1 KiB to 1 GiB. Default 16 MiB: filling it with zeros takes 20 to 40 ms at a
   * node's first start (64 MiB: 60 to 200 ms), and later segments are prepared in the background.
   */
  readonly segmentBytes?: number;
  /** Memory for the newest entries. Default 8 MiB: a second of the highest rate. Older ones are in the page cache. */
  readonly cacheBytes?: number;
  /**
   * How long after reading all sealed segments again, to find rot, that is begun anew; milliseconds up to a day. Default
   * 0: never.
   */
  readonly scrubIntervalMs?: number;
  /** Most that is written at once, unless a single entry is larger. Default 4 MiB. */
  readonly batchBytesMax?: number;
}

/** @throws LogOpenError, LogUntrustedError (LogCorruptionError, LogPoisonedError), or an error of the file system. */
export async function openLog(options: OpenLogOptions): Promise<Log> {
  return openLogNow(options);
}

/** The same without a promise. */
export function openLogNow(options: OpenLogOptions): SegmentedLog {
  const { dir, disk = new NodeDisk() } = options;
  try {
    return open(options, disk);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (!(error instanceof Error) || code !== "EIO") throw error;
    // A sync that failed may succeed when it is repeated, and mean nothing: the next start must know.
    const poisoned = new LogPoisonedError(dir, error.message, error);
    leaveMarkerNow(disk, dir, poisoned);
    throw poisoned;
  }
}

function open(options: OpenLogOptions, disk: Disk): SegmentedLog {
  const {
    dir,
    nodeId,
    random = systemRandom,
    segmentBytes = 16 * 1024 * 1024,
    cacheBytes = 8 * 1024 * 1024,
    batchBytesMax = 4 * 1024 * 1024,
    scrubIntervalMs = 0,
  } = options;
  invariant(segmentBytes % BATCH_ALIGNMENT === 0, "a segment's size is a multiple of 64");
  invariant(segmentBytes >= 1024 && segmentBytes <= 2 ** 30, "a segment is 1 KiB to 1 GiB");
  disk.makeDirectoryNow(dir);
  heedMarkerNow(disk, dir);
  const found = loadIdentity(disk, dir);
  if (found !== null && found.identity.nodeId !== nodeId) {
    const message = `${dir} belongs to node ${found.identity.nodeId}, not to node ${nodeId}`;
    throw new LogOpenError("OTHER_NODE", message);
  }
  const recovered = recover(disk, dir, found?.identity ?? null);
  const { segments, spares } = recovered;
  if (found !== null && segments.length === 0 && spares.length === 0) {
    throw new LogCorruptionError(join(dir, segmentName(1)), 0, "all segments are missing");
  }
  for (const name of disk.listNow(dir)) if (isUnfinished(name)) disk.removeNow(join(dir, name));
  for (const cut of recovered.cuts) cutNow(disk, dir, cut);
  // After a kill the last write may be in the page cache only: it counts as durable from now on.
  segments.at(-1)?.file.syncNow();
  disk.syncDirectoryNow(dir);
  const stored: StoredIdentity = found ?? { identity: newIdentity(nodeId, random), sequence: 1 };
  for (const unneeded of spares.slice(1)) unneeded.file.closeNow();
  let spare: Segment | null = spares[0] ?? null;
  // The first segment stands before the identity does: an identity without segments means that they were lost.
  if (spare === null && segments.length === 0) {
    spare = prepareSegmentNow(disk, dir, 1, segmentBytes);
  }
  const { identity } = stored;
  const { incarnation } = identity;
  const sizes = { segmentBytes, batchBytesMax, cacheBytes };
  const log = new SegmentedLog(
    { directory: dir, nodeId, incarnation, ...sizes, scrubIntervalMs },
    {
      ...recovered,
      identity,
      identities: IdentityStore.openNow(disk, dir, stored),
      spare,
    },
    { disk, random },
  );
  log.start();
  return log;
}

function newIdentity(nodeId: NodeId, random: () => number): Identity {
  const word = (): string =>
    Math.floor(random() * 0x1_0000_0000)
      .toString(16)
      .padStart(8, "0");
  const incarnation = word() + word() + word() + word();
  return {
    nodeId,
    incarnation,
    clusterId: "",
    phase: "blank",
    members: [],
    votesFrom: 0,
    seed: "",
  };
}

/** Saves what a torn write left, then puts zeros in its place, so that it can never be taken for something later. */
function cutNow(disk: Disk, dir: string, cut: Cut): void {
  const { segment, from, to } = cut;
  const bytes = Buffer.alloc(to - from);
  segment.file.readNow(bytes, from);
  try {
    keepNow(disk, dir, `${segment.number.toString(16)}-${from.toString(16)}`, bytes);
  } catch (error) {
    // It is for people's eyes only: a node must start on a full disk.
    if (!isOutOfSpace(error)) throw error;
  }
  writeZerosNow(segment.file, from, to);
}

function keepNow(disk: Disk, dir: string, place: string, bytes: Buffer): void {
  const path = brokenPath(disk, dir, place);
  const copy = disk.createNow(path);
  try {
    copy.writeNow(bytes, 0);
    copy.syncNow();
  } finally {
    copy.closeNow();
  }
  disk.syncDirectoryNow(dir);
}

/** A name that is free, as long as few are taken; else the last one again. */
function brokenPath(disk: Disk, dir: string, place: string): string {
  const names = new Set(disk.listNow(dir));
  for (let count = 0; count < 16; count += 1) {
    const name = `${place}-${count}.broken`;
    if (!names.has(name)) return join(dir, name);
  }
  return join(dir, `${place}-15.broken`);
}

function systemRandom(): number {
  return randomBytes(6).readUIntBE(0, 6) / 2 ** 48;
}
