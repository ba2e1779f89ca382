/** The Disk port on node:fs. Blocking calls are made while a log is being opened and for reading, never else. */

import * as fs from "node:fs";
import { dirname, resolve } from "node:path";
import type { Disk, DiskCallback, DiskFile } from "./disk.ts";
import { LogOpenError } from "./errors.ts";

export interface NodeDiskOptions {
  /**
   * How a write is made durable. `dsync` (default): the write itself, O_DSYNC, one trip to the thread pool.
   * `fdatasync`: a write, then a sync: for file systems where O_DSYNC is slow or not honoured.
   */
  readonly durability?: "dsync" | "fdatasync";
  /** Opens files for reading alone. Default false. */
  readonly readOnly?: boolean;
}

export class NodeDisk implements Disk {
  readonly #flags: number;
  readonly #dsync: boolean;

  constructor(options: NodeDiskOptions = {}) {
    // Windows has no O_DSYNC.
    this.#dsync = options.durability !== "fdatasync" && fs.constants.O_DSYNC !== undefined;
    const { O_RDONLY, O_RDWR, O_DSYNC } = fs.constants;
    this.#flags = options.readOnly === true ? O_RDONLY : O_RDWR | (this.#dsync ? O_DSYNC : 0);
  }

  makeDirectoryNow(directory: string): void {
    try {
      makeDirectoryDurably(directory);
      fs.accessSync(directory, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === "EEXIST" || code === "ENOTDIR") {
        const message = `${directory}, or a part of this path, is a file`;
        throw new LogOpenError("NOT_A_DIRECTORY", message, error);
      }
      const message = `the directory ${directory} cannot be used: ${(error as Error).message}`;
      throw new LogOpenError("UNUSABLE_DIRECTORY", message, error);
    }
  }

  listNow(directory: string): string[] {
    return fs
      .readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => name);
  }

  createNow(path: string): DiskFile {
    return new NodeFile(path, fs.openSync(path, "w+"), "fdatasync");
  }

  openNow(path: string): DiskFile {
    return new NodeFile(path, fs.openSync(path, this.#flags), this.#dsync ? "dsync" : "fdatasync");
  }

  removeNow(path: string): void {
    fs.unlinkSync(path);
  }

  renameNow(from: string, to: string): void {
    fs.renameSync(from, to);
  }

  syncDirectoryNow(directory: string): void {
    const fd = fs.openSync(directory, "r");
    try {
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  }

  create(path: string, done: (error: Error | null, file: DiskFile | null) => void): void {
    fs.open(path, "w+", (error, fd) => {
      if (error === null) done(null, new NodeFile(path, fd, "fdatasync"));
      else done(error, null);
    });
  }

  remove(path: string, done: DiskCallback): void {
    fs.unlink(path, done);
  }

  rename(from: string, to: string, done: DiskCallback): void {
    fs.rename(from, to, done);
  }

  syncDirectory(directory: string, done: DiskCallback): void {
    fs.open(directory, "r", (error, fd) => {
      if (error !== null) {
        done(error);
        return;
      }
      fs.fsync(fd, (failed) => fs.close(fd, (unclosed) => done(failed ?? unclosed ?? null)));
    });
  }

  soon(run: () => void): void {
    setImmediate(run);
  }

  after(delayMs: number, run: () => void): void {
    setTimeout(run, delayMs).unref();
  }

  wallMs(): number {
    return Date.now();
  }

  bootIdNow(): string | null {
    try {
      return fs.readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim() || null;
    } catch {
      return null;
    }
  }
}

/**
 * Makes it and its parents if need be, and makes their names durable: each time, as a process may have been killed
 * between making one and syncing it. mkdirSync's own `recursive` never returns where a parent refuses with ENOENT,
 * as in /proc.
 */
export function makeDirectoryDurably(directory: string): void {
  makeWithParents(directory);
  for (let path = resolve(directory); dirname(path) !== path; path = dirname(path)) {
    syncNames(dirname(path));
  }
}

function makeWithParents(directory: string): void {
  try {
    fs.mkdirSync(directory);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST" && fs.statSync(directory).isDirectory()) return;
    const parent = dirname(directory);
    if (code !== "ENOENT" || parent === directory) throw error;
    makeWithParents(parent);
    fs.mkdirSync(directory);
  }
}

/** A directory that we may not even read is none in which we made anything. */
const NOT_OURS = new Set(["EACCES", "EPERM", "EROFS", "EINVAL"]);

function syncNames(directory: string): void {
  let fd: number | null = null;
  try {
    fd = fs.openSync(directory, fs.constants.O_RDONLY);
    fs.fsyncSync(fd);
  } catch (error) {
    if (!NOT_OURS.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
  } finally {
    if (fd !== null) fs.closeSync(fd);
  }
}

class NodeFile implements DiskFile {
  readonly path: string;
  readonly #fd: number;
  readonly #durability: "dsync" | "fdatasync";

  constructor(path: string, fd: number, durability: "dsync" | "fdatasync") {
    this.path = path;
    this.#fd = fd;
    this.#durability = durability;
  }

  size(): number {
    return fs.fstatSync(this.#fd).size;
  }

  readNow(target: Uint8Array, offset: number): number {
    let filled = 0;
    while (filled < target.length) {
      const rest = target.length - filled;
      const count = fs.readSync(this.#fd, target, filled, rest, offset + filled);
      if (count === 0) break;
      filled += count;
    }
    return filled;
  }

  writeNow(bytes: Uint8Array, offset: number): void {
    let written = 0;
    while (written < bytes.length) {
      const rest = bytes.length - written;
      const count = fs.writeSync(this.#fd, bytes, written, rest, offset + written);
      if (count === 0) throw new Error(`nothing could be written to ${this.path}`);
      written += count;
    }
  }

  syncNow(): void {
    fs.fdatasyncSync(this.#fd);
  }

  closeNow(): void {
    fs.closeSync(this.#fd);
  }

  read(
    target: Uint8Array,
    offset: number,
    done: (error: Error | null, count: number) => void,
  ): void {
    const next = (filled: number): void => {
      const rest = target.length - filled;
      fs.read(this.#fd, target, filled, rest, offset + filled, (error, count) => {
        if (error !== null) done(error, filled);
        else if (count === 0 || count === rest) done(null, filled + count);
        else next(filled + count);
      });
    };
    next(0);
  }

  write(bytes: Uint8Array, offset: number, done: DiskCallback): void {
    fs.write(this.#fd, bytes, 0, bytes.length, offset, (error, count) => {
      if (error !== null) done(error);
      else if (count === bytes.length) done(null);
      else if (count === 0) done(new Error(`nothing could be written to ${this.path}`));
      else this.write(bytes.subarray(count), offset + count, done);
    });
  }

  writeDurably(bytes: Uint8Array, offset: number, done: DiskCallback): void {
    this.write(bytes, offset, (error) => {
      if (error !== null || this.#durability === "dsync") done(error);
      else this.sync(done);
    });
  }

  sync(done: DiskCallback): void {
    fs.fdatasync(this.#fd, (error) => done(error));
  }

  close(done: DiskCallback): void {
    fs.close(this.#fd, (error) => done(error ?? null));
  }
}
