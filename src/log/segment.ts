/** Segment files: their names, how one is prepared, and what is known of one in use. */

import { join } from "node:path";
import type { Disk, DiskCallback, DiskFile } from "./disk.ts";

/** Zeros are written in pieces, each synced, so that the log's own writes pass between them. */
const PIECE_BYTES = 256 * 1024;
const ZEROS = Buffer.alloc(PIECE_BYTES);
const SEGMENT_NAME = /^([0-9a-f]{8})\.wal$/;

export interface Segment {
  readonly number: number;
  readonly file: DiskFile;
  readonly bytes: number;
  /** 0 while it has not been begun. */
  segmentId: number;
}

export function segmentName(number: number): string {
  return `${number.toString(16).padStart(8, "0")}.wal`;
}

/** null: not a segment's name. */
export function segmentNumber(name: string): number | null {
  const match = SEGMENT_NAME.exec(name);
  return match === null ? null : Number.parseInt(match[1] as string, 16);
}

/** Under this name a segment is filled with zeros; left over by a crash, it is deleted. */
export function isUnfinished(name: string): boolean {
  return name.endsWith(".new");
}

function unfinishedPath(directory: string, number: number): string {
  return join(directory, `${segmentName(number)}.new`);
}

export function writeZerosNow(file: DiskFile, from: number, to: number): void {
  for (let at = from; at < to; at += PIECE_BYTES) {
    file.writeNow(ZEROS.subarray(0, Math.min(PIECE_BYTES, to - at)), at);
  }
  file.syncNow();
}

export function prepareSegmentNow(
  disk: Disk,
  directory: string,
  number: number,
  bytes: number,
): Segment {
  const unfinished = unfinishedPath(directory, number);
  const path = join(directory, segmentName(number));
  const file = disk.createNow(unfinished);
  writeZerosNow(file, 0, bytes);
  file.closeNow();
  disk.renameNow(unfinished, path);
  disk.syncDirectoryNow(directory);
  return { number, file: disk.openNow(path), bytes, segmentId: 0 };
}

/**
 * The same in the background. Whatever fails before the segment has its name is undone as far as possible, so that it may
 * be tried again when there was no room for it.
 */
export function prepareSegment(
  disk: Disk,
  directory: string,
  number: number,
  bytes: number,
  done: (error: Error | null, segment: Segment | null) => void,
): void {
  const unfinished = unfinishedPath(directory, number);
  const path = join(directory, segmentName(number));
  const then =
    (next: () => void, undo = (report: () => void) => report()): DiskCallback =>
    (error) => {
      if (error === null) next();
      else undo(() => done(error, null));
    };
  const removeIt = (report: () => void): void => disk.remove(unfinished, report);
  const open = (): void => {
    let file: DiskFile;
    try {
      file = disk.openNow(path);
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)), null);
      return;
    }
    done(null, { number, file, bytes, segmentId: 0 });
  };
  const name = (): void =>
    disk.rename(
      unfinished,
      path,
      then(() => disk.syncDirectory(directory, then(open)), removeIt),
    );
  disk.create(unfinished, (error, file) => {
    if (file === null) {
      done(error, null);
      return;
    }
    const closeAndRemoveIt = (report: () => void): void => file.close(() => removeIt(report));
    const fill = (at: number): void => {
      if (at >= bytes) {
        file.close(then(name, removeIt));
        return;
      }
      const piece = ZEROS.subarray(0, Math.min(PIECE_BYTES, bytes - at));
      file.write(
        piece,
        at,
        then(
          () => file.sync(then(() => fill(at + piece.length), closeAndRemoveIt)),
          closeAndRemoveIt,
        ),
      );
    };
    fill(0);
  });
}
