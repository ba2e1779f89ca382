/**
 * The disk as the log sees it: a port, so that a simulator can stand in for it. It says nothing of segments or entries.
 *
 * Two kinds of calls. Those ending in `Now` block, throw on failure, and are used only while a log is being opened.
 * The others are for the running log: they return at once and call `done` later, never inside the call, at most once,
 * and not at all if the process dies first. The core's reader is synchronous, so a running log reads by readNow too.
 */

/** `null`: it happened. */
export type DiskCallback = (error: Error | null) => void;

export interface DiskFile {
  readonly path: string;
  /** Bytes. */
  size(): number;
  /** Fills `target` from `offset` on; gives how many bytes there were, fewer only at the end of the file. */
  readNow(target: Uint8Array, offset: number): number;
  writeNow(bytes: Uint8Array, offset: number): void;
  /** Content and size are durable; the name is not (see Disk.syncDirectoryNow). */
  syncNow(): void;
  closeNow(): void;

  /** As readNow, in the background. */
  read(
    target: Uint8Array,
    offset: number,
    done: (error: Error | null, count: number) => void,
  ): void;
  /** Not yet durable. The bytes may not be changed until `done`. */
  write(bytes: Uint8Array, offset: number, done: DiskCallback): void;
  /** Durable when `done` runs. Within the file's size only. The bytes may not be changed until `done`. */
  writeDurably(bytes: Uint8Array, offset: number, done: DiskCallback): void;
  sync(done: DiskCallback): void;
  close(done: DiskCallback): void;
}

export interface Disk {
  /** Makes it and its parents if need be. @throws LogOpenError NOT_A_DIRECTORY or UNUSABLE_DIRECTORY */
  makeDirectoryNow(directory: string): void;
  /** Names of the files in it, in any order. */
  listNow(directory: string): string[];
  /** A new empty file, or an old one emptied. */
  createNow(path: string): DiskFile;
  openNow(path: string): DiskFile;
  removeNow(path: string): void;
  renameNow(from: string, to: string): void;
  /** Names made, changed and removed in it until now are durable. */
  syncDirectoryNow(directory: string): void;

  create(path: string, done: (error: Error | null, file: DiskFile | null) => void): void;
  remove(path: string, done: DiskCallback): void;
  rename(from: string, to: string, done: DiskCallback): void;
  syncDirectory(directory: string, done: DiskCallback): void;
  /** Runs `run` soon, after the present call: a completion of nothing. */
  soon(run: () => void): void;
  /** Runs `run` after so many milliseconds. Does not keep the process alive. */
  after(delayMs: number, run: () => void): void;
  /** Milliseconds since 1970: for what people read, never to decide anything. */
  wallMs(): number;
  /** Another one since the machine was last started, so since its page cache was last empty; null: not known. */
  bootIdNow(): string | null;
}
