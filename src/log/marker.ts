/**
 * The marker that a log leaves behind when it fails: `poisoned.json` beside the segments, so that it goes where they go.
 * The next start reads it before anything else. Writing it is best effort: the disk has just refused something.
 *
 *   failed    a write or sync failed. The page cache may show what the disk does not hold, so the log is not to be
 *             trusted before the machine was restarted (another boot id). Then what is there is what the disk holds.
 *   damaged   bytes that had been acknowledged were found changed: no restart makes them good.
 */

import { join } from "node:path";
import type { Disk, DiskCallback } from "./disk.ts";
import { LogCorruptionError, LogPoisonedError, type LogUntrustedError } from "./errors.ts";

export const MARKER_NAME = "poisoned.json";
const MARKER_BYTES_MAX = 64 * 1024;

interface Marker {
  readonly version: 1;
  readonly kind: "failed" | "damaged";
  readonly reason: string;
  /** ISO 8601, for people. */
  readonly time: string;
  /** Empty: it could not be read. */
  readonly bootId: string;
  /** Damaged: where. */
  readonly file?: string;
  readonly offset?: number;
}

function encodeMarker(disk: Disk, error: LogUntrustedError): Buffer {
  const damaged = error instanceof LogCorruptionError;
  const marker: Marker = {
    version: 1,
    kind: damaged ? "damaged" : "failed",
    reason: error.reason,
    time: new Date(disk.wallMs()).toISOString(),
    bootId: disk.bootIdNow() ?? "",
    ...(damaged ? { file: error.file, offset: error.offset } : {}),
  };
  return Buffer.from(`${JSON.stringify(marker, null, 2)}\n`);
}

/** `done` runs when the marker is durable, or cannot be made so. */
export function leaveMarker(
  disk: Disk,
  directory: string,
  error: LogUntrustedError,
  done: DiskCallback,
): void {
  const bytes = encodeMarker(disk, error);
  disk.create(join(directory, MARKER_NAME), (failed, file) => {
    if (file === null) return done(failed);
    const close = (why: Error | null): void => file.close((unclosed) => done(why ?? unclosed));
    file.write(bytes, 0, (unwritten) => {
      if (unwritten !== null) return close(unwritten);
      file.sync((unsynced) => disk.syncDirectory(directory, (why) => close(unsynced ?? why)));
    });
  });
}

/** The same while a log is being opened. */
export function leaveMarkerNow(disk: Disk, directory: string, error: LogUntrustedError): void {
  try {
    const file = disk.createNow(join(directory, MARKER_NAME));
    file.writeNow(encodeMarker(disk, error), 0);
    file.syncNow();
    file.closeNow();
    disk.syncDirectoryNow(directory);
  } catch {
    // Whoever opens the log learns of the first error; that there is no marker changes nothing about it.
  }
}

/** What the marker says of the log today; null: nothing. Changes nothing. */
export function readMarkerNow(
  disk: Disk,
  directory: string,
): { readonly error: LogUntrustedError; readonly isPast: boolean } | null {
  if (!disk.listNow(directory).includes(MARKER_NAME)) return null;
  const path = join(directory, MARKER_NAME);
  const marker = decodeMarker(readTextNow(disk, path));
  if (marker === null) {
    const reason = `its marker ${path} cannot be read`;
    return { error: new LogPoisonedError(directory, reason), isPast: false };
  }
  const { kind, reason, time, file = path, offset = 0 } = marker;
  if (kind === "damaged") {
    const error = new LogCorruptionError(file, offset, `${reason} (found ${time})`);
    return { error, isPast: false };
  }
  const bootId = disk.bootIdNow();
  const isPast = bootId !== null && marker.bootId !== "" && marker.bootId !== bootId;
  return { error: new LogPoisonedError(directory, `${reason} (${time})`), isPast };
}

/** Removes a marker of an earlier boot. @throws LogUntrustedError when the log must not be used. */
export function heedMarkerNow(disk: Disk, directory: string): void {
  const found = readMarkerNow(disk, directory);
  if (found === null) return;
  if (!found.isPast) throw found.error;
  disk.removeNow(join(directory, MARKER_NAME));
  disk.syncDirectoryNow(directory);
}

function readTextNow(disk: Disk, path: string): string {
  const file = disk.openNow(path);
  try {
    const bytes = Buffer.alloc(Math.min(file.size(), MARKER_BYTES_MAX));
    return bytes.toString("utf8", 0, file.readNow(bytes, 0));
  } finally {
    file.closeNow();
  }
}

/** null: it was not written to its end, or by another version. */
function decodeMarker(text: string): Marker | null {
  try {
    const marker = JSON.parse(text) as Marker;
    const { version, kind, reason, time, bootId } = marker;
    const isOurs = version === 1 && (kind === "failed" || kind === "damaged");
    const texts = [reason, time, bootId].every((each) => typeof each === "string");
    return isOurs && texts ? marker : null;
  } catch {
    return null;
  }
}
