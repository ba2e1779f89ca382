/**
 * A disk in memory for deterministic tests. What a real one does and tests must see:
 *
 *  - A write is seen by readers at once and is durable only after a sync of its file. At a crash each 512-byte
 *    sector that was written since then falls back to any of the states it has had since, or keeps its last.
 *  - Making, renaming and removing files is durable only after a sync of the directory. At a crash a random number of the
 *    oldest such changes survives (as a journal would have it), or any other choice that the test makes.
 *  - Calls with a callback take time: `schedule(delayMs, run)` is the only clock. They may fail or stall.
 *  - crash() forgets what was under way: no callback of the dead process ever runs. The disk can then be opened again.
 *
 * Files of one directory only: paths are compared as they are. No clock, no dice but those given.
 */

import type { Disk, DiskCallback, DiskFile } from "../../src/log/disk.ts";
import { LogOpenError } from "../../src/log/errors.ts";
import type { DiskError } from "./disk-error.ts";
import { type Inode, makeDurable, overwrite, own, type SectorChoice, settle } from "./inode.ts";

const SECTOR = 512;

export type Operation =
  | "write"
  | "writeDurably"
  | "sync"
  | "create"
  | "open"
  | "rename"
  | "remove"
  | "syncDirectory"
  | "read";

export interface SimulatedDiskOptions {
  /** 0 ≤ n < 1. */
  readonly random: () => number;
  /** `operation`: the disk completes something then; otherwise only time passes. */
  readonly schedule: (delayMs: number, run: () => void, kind: "operation" | "timer") => void;
  /** Time of a call with a callback, drawn between these. Default 0.05 to 0.5. */
  readonly delayMsMin?: number;
  readonly delayMsMax?: number;
}

export interface CrashChoices {
  /** Default: random. */
  readonly sector?: SectorChoice;
  /** How many of the oldest unsynced directory changes survive. Default: random. */
  readonly directoryChanges?: (count: number) => number;
}

type DirectoryChange =
  | { readonly kind: "link"; readonly path: string; readonly inode: Inode }
  | { readonly kind: "rename"; readonly from: string; readonly to: string }
  | { readonly kind: "remove"; readonly path: string };

export class SimulatedDisk implements Disk {
  readonly #options: SimulatedDiskOptions;
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  #changes: DirectoryChange[] = [];
  readonly #directories = new Set<string>();
  /** Callbacks of an earlier life are dropped. */
  #life = 0;
  #boots = 1;
  readonly #lastWrites = new Map<string, number>();
  /** Every operation so far, for placing crashes and faults. */
  operations = 0;
  /**
   * Called before each operation takes effect. Throw in it to stop the process there (then call crash); give an
   * error to make the operation fail without effect; give a number to make it take that many milliseconds
   * longer, Infinity for ever.
   */
  onOperation: (operation: Operation, path: string, count: number) => Error | number | null = () =>
    null;
  /** Called when an operation with a callback has taken effect, before the callback runs. */
  onCompleted: (operation: Operation, path: string) => void = () => {};

  constructor(options: SimulatedDiskOptions) {
    this.#options = options;
  }

  // --- faults ------------------------------------------------------------------------------------------------

  /** The power goes: what was not synced survives as chosen, what is under way never completes. */
  crash(choices: CrashChoices = {}): void {
    const { random } = this.#options;
    const choose = choices.sector ?? ((_path, _sector, states) => Math.floor(random() * states));
    const keep = choices.directoryChanges ?? ((count) => Math.floor(random() * (count + 1)));
    this.#life += 1;
    this.#boots += 1;
    for (const [path, inode] of this.#inodes()) settle(path, inode, choose);
    const survivors = this.#changes.slice(0, keep(this.#changes.length));
    for (const change of survivors) applyChange(this.#durableNames, change);
    this.#changes = [];
    this.#names = new Map(this.#durableNames);
  }

  /** The process dies, the machine lives: all that was written stays, what is under way never completes. */
  kill(): void {
    this.#life += 1;
  }

  /** Every dirty sector with how many states it may fall back to, and how many directory changes are not durable. */
  unsynced(): { readonly path: string; readonly sector: number; readonly states: number }[] {
    const found: { path: string; sector: number; states: number }[] = [];
    for (const [path, inode] of this.#inodes()) {
      for (const [sector, earlier] of inode.dirty) {
        found.push({ path, sector, states: earlier.length + 1 });
      }
    }
    return found;
  }

  get unsyncedDirectoryChanges(): number {
    return this.#changes.length;
  }

  /** A new disk: nothing is on it. */
  wipe(): void {
    this.#life += 1;
    this.#boots += 1;
    this.#names.clear();
    this.#durableNames.clear();
    this.#changes = [];
  }

  /** Bytes that were durable change behind everybody's back. */
  damage(path: string, offset: number, bytes: Uint8Array): void {
    const inode = this.#inode(path);
    own(inode);
    inode.bytes.set(bytes.subarray(0, Math.max(0, inode.size - offset)), offset);
  }

  flipBit(path: string, offset: number, bit: number): void {
    const inode = this.#inode(path);
    own(inode);
    inode.bytes[offset] = (inode.bytes[offset] as number) ^ (1 << bit);
  }

  /** The bytes of a file as a reader sees them; a copy. */
  content(path: string): Uint8Array {
    const inode = this.#inode(path);
    return inode.bytes.slice(0, inode.size);
  }

  /** Puts a file there, durably. */
  put(path: string, bytes: Uint8Array): void {
    const inode: Inode = {
      bytes: bytes.slice(),
      shared: false,
      size: bytes.length,
      durableSize: bytes.length,
      dirty: new Map(),
    };
    this.#names.set(path, inode);
    this.#durableNames.set(path, inode);
  }

  /** Where the last durable write since the file was opened began; null: there was none. */
  lastWriteAt(path: string): number | null {
    return this.#lastWrites.get(path) ?? null;
  }

  paths(): string[] {
    return [...this.#names.keys()].sort();
  }

  /** The same disk again, in the same state, to try another fate. Nothing is under way on it. */
  clone(options: SimulatedDiskOptions = this.#options): SimulatedDisk {
    const copy = new SimulatedDisk(options);
    const inodes = new Map<Inode, Inode>();
    const copyOf = (inode: Inode): Inode => {
      const known = inodes.get(inode);
      if (known !== undefined) return known;
      const dirty = new Map<number, Uint8Array[]>();
      for (const [sector, states] of inode.dirty) dirty.set(sector, [...states]);
      inode.shared = true;
      const made: Inode = { ...inode, dirty };
      inodes.set(inode, made);
      return made;
    };
    for (const [path, inode] of this.#names) copy.#names.set(path, copyOf(inode));
    for (const [path, inode] of this.#durableNames) copy.#durableNames.set(path, copyOf(inode));
    copy.#changes = this.#changes.map((change) =>
      change.kind === "link" ? { ...change, inode: copyOf(change.inode) } : change,
    );
    for (const directory of this.#directories) copy.#directories.add(directory);
    copy.#boots = this.#boots;
    return copy;
  }

  // --- the port ----------------------------------------------------------------------------------------------

  makeDirectoryNow(directory: string): void {
    if (this.#names.has(directory)) {
      throw new LogOpenError("NOT_A_DIRECTORY", `${directory} is a file`);
    }
    this.#directories.add(directory);
  }

  listNow(directory: string): string[] {
    const prefix = `${directory}/`;
    return [...this.#names.keys()]
      .filter((path) => path.startsWith(prefix))
      .map((path) => path.slice(prefix.length))
      .sort();
  }

  createNow(path: string): DiskFile {
    this.#begin("create", path);
    return this.#created(path);
  }

  openNow(path: string): DiskFile {
    this.#begin("open", path);
    this.#lastWrites.delete(path);
    return new SimulatedFile(this, path, this.#inode(path));
  }

  removeNow(path: string): void {
    this.#begin("remove", path);
    this.#change({ kind: "remove", path });
  }

  renameNow(from: string, to: string): void {
    this.#begin("rename", from);
    this.#change({ kind: "rename", from, to });
  }

  syncDirectoryNow(directory: string): void {
    this.#begin("syncDirectory", directory);
    this.#syncNames();
  }

  create(path: string, done: (error: Error | null, file: DiskFile | null) => void): void {
    let file: DiskFile | null = null;
    const effect = (): void => {
      file = this.#created(path);
    };
    this.perform("create", path, effect, null, (error) => done(error, file));
  }

  remove(path: string, done: DiskCallback): void {
    this.perform("remove", path, () => this.#change({ kind: "remove", path }), null, done);
  }

  rename(from: string, to: string, done: DiskCallback): void {
    this.perform("rename", from, () => this.#change({ kind: "rename", from, to }), null, done);
  }

  syncDirectory(directory: string, done: DiskCallback): void {
    this.perform("syncDirectory", directory, null, () => this.#syncNames(), done);
  }

  soon(run: () => void): void {
    const life = this.#life;
    const mine = (): void => {
      if (life === this.#life) run();
    };
    this.#options.schedule(0, mine, "timer");
  }

  after(delayMs: number, run: () => void): void {
    const life = this.#life;
    const mine = (): void => {
      if (life === this.#life) run();
    };
    this.#options.schedule(delayMs, mine, "timer");
  }

  wallMs(): number {
    return 0;
  }

  /** A power cut empties the page cache; a kill does not. */
  bootIdNow(): string | null {
    return `boot ${this.#boots}`;
  }

  /** For its files: `atOnce` is seen when the call is made, `atEnd` when it completes. */
  perform(
    operation: Operation,
    path: string,
    atOnce: (() => void) | null,
    atEnd: (() => void) | null,
    done: DiskCallback,
  ): void {
    this.operations += 1;
    const verdict = this.onOperation(operation, path, this.operations);
    const failure = verdict instanceof Error ? verdict : null;
    if (failure === null || (failure as DiskError).hasEffect) atOnce?.();
    if (verdict === Number.POSITIVE_INFINITY) return;
    const { random, schedule, delayMsMin = 0.05, delayMsMax = 0.5 } = this.#options;
    const extra = typeof verdict === "number" ? verdict : 0;
    const life = this.#life;
    const complete = (): void => {
      if (life !== this.#life) return;
      if (failure === null) {
        atEnd?.();
        this.onCompleted(operation, path);
      }
      done(failure);
    };
    schedule(delayMsMin + random() * (delayMsMax - delayMsMin) + extra, complete, "operation");
  }

  /** For its files. */
  noteWrite(path: string, offset: number): void {
    this.#lastWrites.set(path, offset);
  }

  /** For its files: a blocking operation begins. */
  performNow(operation: Operation, path: string): void {
    this.#begin(operation, path);
  }

  #begin(operation: Operation, path: string): void {
    this.operations += 1;
    const verdict = this.onOperation(operation, path, this.operations);
    if (verdict instanceof Error) throw verdict;
  }

  #inode(path: string): Inode {
    const inode = this.#names.get(path);
    if (inode !== undefined) return inode;
    throw Object.assign(new Error(`ENOENT: ${path}`), { code: "ENOENT" });
  }

  #inodes(): Map<string, Inode> {
    const all = new Map<string, Inode>();
    const seen = new Set<Inode>();
    const changed = this.#changes.flatMap((change) =>
      change.kind === "link" ? [[change.path, change.inode] as const] : [],
    );
    for (const [path, inode] of [...this.#names, ...this.#durableNames, ...changed]) {
      if (seen.has(inode)) continue;
      seen.add(inode);
      all.set(all.has(path) ? `${path} (earlier)` : path, inode);
    }
    return all;
  }

  #created(path: string): DiskFile {
    const inode: Inode = {
      bytes: new Uint8Array(0),
      shared: false,
      size: 0,
      durableSize: 0,
      dirty: new Map(),
    };
    this.#change({ kind: "link", path, inode });
    return new SimulatedFile(this, path, inode);
  }

  #change(change: DirectoryChange): void {
    applyChange(this.#names, change);
    this.#changes.push(change);
  }

  #syncNames(): void {
    this.#changes = [];
    this.#durableNames = new Map(this.#names);
  }
}

class SimulatedFile implements DiskFile {
  readonly path: string;
  readonly #disk: SimulatedDisk;
  readonly #inode: Inode;

  constructor(disk: SimulatedDisk, path: string, inode: Inode) {
    this.#disk = disk;
    this.path = path;
    this.#inode = inode;
  }

  size(): number {
    return this.#inode.size;
  }

  readNow(target: Uint8Array, offset: number): number {
    this.#disk.performNow("read", this.path);
    return this.#fill(target, offset);
  }

  read(
    target: Uint8Array,
    offset: number,
    done: (error: Error | null, count: number) => void,
  ): void {
    let count = 0;
    const effect = (): void => {
      count = this.#fill(target, offset);
    };
    this.#disk.perform("read", this.path, effect, null, (error) => done(error, count));
  }

  #fill(target: Uint8Array, offset: number): number {
    const { bytes, size } = this.#inode;
    const count = Math.max(0, Math.min(target.length, size - offset));
    target.set(bytes.subarray(offset, offset + count));
    return count;
  }

  writeNow(bytes: Uint8Array, offset: number): void {
    this.#disk.performNow("write", this.path);
    overwrite(this.#inode, bytes, offset);
  }

  syncNow(): void {
    this.#disk.performNow("sync", this.path);
    makeDurable(this.#inode);
  }

  closeNow(): void {}

  write(bytes: Uint8Array, offset: number, done: DiskCallback): void {
    const effect = (): void => overwrite(this.#inode, bytes, offset);
    this.#disk.perform("write", this.path, effect, null, done);
  }

  writeDurably(bytes: Uint8Array, offset: number, done: DiskCallback): void {
    const effect = (): void => {
      this.#disk.noteWrite(this.path, offset);
      overwrite(this.#inode, bytes, offset);
    };
    const from = Math.floor(offset / SECTOR);
    const to = Math.ceil((offset + bytes.length) / SECTOR);
    const atEnd = (): void => {
      for (let sector = from; sector < to; sector += 1) this.#inode.dirty.delete(sector);
    };
    this.#disk.perform("writeDurably", this.path, effect, atEnd, done);
  }

  sync(done: DiskCallback): void {
    this.#disk.perform("sync", this.path, null, () => makeDurable(this.#inode), done);
  }

  close(done: DiskCallback): void {
    this.#disk.soon(() => done(null));
  }
}

function applyChange(names: Map<string, Inode>, change: DirectoryChange): void {
  switch (change.kind) {
    case "link":
      names.set(change.path, change.inode);
      return;
    case "rename": {
      const inode = names.get(change.from);
      if (inode === undefined) throw new Error(`ENOENT: ${change.from}`);
      names.delete(change.from);
      names.set(change.to, inode);
      return;
    }
    case "remove":
      if (!names.delete(change.path)) throw new Error(`ENOENT: ${change.path}`);
      return;
  }
}
