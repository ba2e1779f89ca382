/**
 * A small file system in memory for one directory, that a test can fill to the brim and empty again: with a balloon, a
 * file of its own in it. Needs the right to mount.
 */

import { execFileSync } from "node:child_process";
import {
  closeSync,
  mkdtempSync,
  openSync,
  rmdirSync,
  rmSync,
  statfsSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PIECE = Buffer.alloc(64 * 1024, 1);

/** Null if small disks can be made here, else the reason why not. */
export function whyNoSmallDisk(): string | null {
  const dir = mkdtempSync(join(tmpdir(), "balsa-mount-"));
  try {
    new SmallDisk(dir, 1024 * 1024).unmount();
    return null;
  } catch {
    return "mount is not permitted";
  } finally {
    rmdirSync(dir);
  }
}

export class SmallDisk {
  readonly dir: string;

  constructor(dir: string, bytes: number) {
    this.dir = dir;
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${bytes},mode=700`, "balsa-test", dir], {
      stdio: "pipe",
    });
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.dir);
    return bavail * bsize;
  }

  /** Leaves so many bytes free, or fewer. */
  fill(leaveBytes = 0): void {
    const balloon = openSync(this.#balloon, "a");
    try {
      while (this.freeBytes > leaveBytes) {
        writeSync(balloon, PIECE, 0, Math.min(PIECE.length, this.freeBytes - leaveBytes));
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    } finally {
      closeSync(balloon);
    }
  }

  empty(): void {
    rmSync(this.#balloon, { force: true });
  }

  /** Even if somebody still has a file open there. */
  unmount(): void {
    execFileSync("umount", ["-l", this.dir], { stdio: "pipe" });
  }

  get #balloon(): string {
    return join(this.dir, "balloon");
  }
}
