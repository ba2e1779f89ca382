/**
 * Power cuts for real processes: records with a preloaded library what every file below a directory had durably on
 * disk, and rewinds the directory to that. See power-cut.c for what counts as durable. It starts and ends no process:
 * the caller kills all that worked below the directory before it rewinds.
 */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { randomOf } from "./random.ts";

const SOURCE = fileURLToPath(new URL("power-cut.c", import.meta.url));
const BLOCK_BYTES = 512;
const PAGE_BYTES = 4096;

export interface PowerCutOptions {
  /**
   * Syncs that only pretend to succeed, as `[kind:]pattern[@n]`: kind is fsync, fdatasync, dsync (a write to a
   * descriptor opened with O_DSYNC) or dir; the pattern is a shell's, on the path below the root ("*" matches "/" too);
   * n picks the n-th match in each process, from 1.
   */
  readonly ignore?: readonly string[];
  /** Syncs that fail with EIO; as `ignore`. They may have happened all the same. */
  readonly fail?: readonly string[];
  /** `fail` holds, and counts, only after `startFailing` and until `stopFailing`. */
  readonly failOnDemand?: boolean;
  /** A synced file brings its own name with it, as on ext4. Default false: the directory must be synced too. */
  readonly entryWithFile?: boolean;
  /** False spares the disk: syncs are recorded but not made. Default true. */
  readonly realSync?: boolean;
}

export interface RewindOptions {
  /** Default 0: what was not synced is gone. Else this share of what was not synced survives, here and there. */
  readonly keep?: number;
  /** Pieces that survive or not: 4096 bytes or 512. Default 4096. */
  readonly piece?: "page" | "sector";
  readonly seed?: number;
  /**
   * `durable` (default): names are as at the last sync of their directory. `all`: every creation, renaming and removal
   * survives, as when the file system had just written its journal.
   */
  readonly names?: "durable" | "all";
}

export interface TraceLine {
  readonly pid: number;
  readonly kind: "fsync" | "fdatasync" | "dsync" | "dir";
  readonly fate: "synced" | "ignored" | "failed";
  /** Blocks of 512 bytes that it made durable. */
  readonly blocks: number;
  /** Below the root. */
  readonly path: string;
}

/** Null if power cuts can be tried here, else the reason why not. */
export function whyNoPowerCut(): string | null {
  if (process.platform !== "linux") return "power cuts need LD_PRELOAD: Linux only";
  try {
    library();
  } catch (error) {
    return `the library cannot be compiled: ${error instanceof Error ? error.message : error}`;
  }
  const path = join(fs.mkdtempSync(join(tmpdir(), "balsa-birth-")), "file");
  fs.writeFileSync(path, "");
  const before = keyOf(path);
  fs.utimesSync(path, 1, 1);
  fs.chmodSync(path, 0o600);
  const after = keyOf(path);
  fs.rmSync(join(path, ".."), { recursive: true });
  return before === after ? null : "the file system keeps no birth times";
}

/** Compiles once for each version of the source, into the system's directory for temporary files. */
function library(): string {
  const version = createHash("sha256").update(fs.readFileSync(SOURCE)).digest("hex").slice(0, 16);
  const path = join(tmpdir(), `balsa-power-cut-${process.getuid?.() ?? 0}-${version}.so`);
  if (fs.existsSync(path)) return path;
  const half = `${path}.${process.pid}`;
  const flags = ["-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden"];
  execFileSync("cc", [...flags, "-o", half, SOURCE, "-ldl", "-pthread"], { stdio: "pipe" });
  fs.renameSync(half, path);
  return path;
}

/** As power-cut.c makes it. */
function keyOf(path: string): string {
  const { ino, birthtimeNs } = fs.lstatSync(path, { bigint: true });
  return `${ino}-${birthtimeNs}`;
}

export class PowerCut {
  readonly #root: string;
  readonly #home: string;
  readonly #options: PowerCutOptions;

  /** What is below `root` now counts as durable. */
  constructor(root: string, options: PowerCutOptions = {}) {
    this.#root = fs.realpathSync(root);
    this.#home = fs.mkdtempSync(`${this.#root}.power-cut-`);
    this.#options = options;
    library();
    this.#beginShadow();
  }

  get #shadow(): string {
    return join(this.#home, "shadow");
  }

  /** For every process that works below the root; its children inherit it. */
  environment(): Record<string, string> {
    const { ignore = [], fail = [], failOnDemand, entryWithFile, realSync } = this.#options;
    return {
      ...(failOnDemand === true ? { POWER_CUT_FAIL_WHILE: this.#failing } : {}),
      LD_PRELOAD: library(),
      POWER_CUT_ROOT: this.#root,
      POWER_CUT_SHADOW: this.#shadow,
      POWER_CUT_TRACE: join(this.#home, "trace"),
      POWER_CUT_IGNORE: ignore.join(";"),
      POWER_CUT_FAIL: fail.join(";"),
      POWER_CUT_ENTRY_WITH_FILE: entryWithFile === true ? "1" : "0",
      POWER_CUT_REAL_SYNC: realSync === false ? "0" : "1",
    };
  }

  get #failing(): string {
    return join(this.#home, "failing");
  }

  startFailing(): void {
    fs.writeFileSync(this.#failing, "");
  }

  stopFailing(): void {
    fs.rmSync(this.#failing, { force: true });
  }

  /** Every sync since the beginning or the last rewind. */
  trace(): TraceLine[] {
    const path = join(this.#home, "trace");
    if (!fs.existsSync(path)) return [];
    const lines = fs.readFileSync(path, "utf8").split("\n").slice(0, -1);
    return lines.map((line) => {
      const [pid, kind, fate, blocks, ...rest] = line.split(" ");
      const path = rest.join(" ");
      return { pid: Number(pid), kind, fate, blocks: Number(blocks), path } as TraceLine;
    });
  }

  /** Ids of the processes that carry this environment, and of no others. */
  processes(): number[] {
    const mark = `POWER_CUT_SHADOW=${this.#shadow}\0`;
    return fs
      .readdirSync("/proc")
      .map(Number)
      .filter((pid) => pid > 0 && environmentOf(pid).includes(mark));
  }

  /** Cuts the power. Every process that worked below the root must be dead. What survives counts as durable from then on. */
  rewind(options: RewindOptions = {}): void {
    const survivors = join(this.#home, "survivors");
    fs.rmSync(survivors, { recursive: true, force: true });
    fs.mkdirSync(survivors);
    const losing = new Loss(this.#shadow, realPaths(this.#root), options);
    if (options.names === "all") losing.keepTree(this.#root, survivors);
    else losing.keepRecorded(join("dirs", keyOf(this.#root)), survivors);
    for (const name of fs.readdirSync(this.#root)) {
      fs.rmSync(join(this.#root, name), { recursive: true });
    }
    for (const name of fs.readdirSync(survivors)) {
      fs.renameSync(join(survivors, name), join(this.#root, name));
    }
    fs.rmSync(survivors, { recursive: true });
    this.#beginShadow();
  }

  /** Removes the records; leaves the root alone. */
  dispose(): void {
    fs.rmSync(this.#home, { recursive: true, force: true });
  }

  #beginShadow(): void {
    fs.rmSync(this.#shadow, { recursive: true, force: true });
    fs.rmSync(join(this.#home, "trace"), { force: true });
    for (const name of ["inodes", "dirty", "dirs", "tmp"]) {
      fs.mkdirSync(join(this.#shadow, name), { recursive: true });
    }
    this.#recordDirectory(this.#root);
  }

  #recordDirectory(path: string): void {
    const own = join(this.#shadow, "dirs", keyOf(path));
    fs.mkdirSync(own);
    for (const entry of fs.readdirSync(path, { withFileTypes: true })) {
      const child = join(path, entry.name);
      if (entry.isDirectory()) {
        this.#recordDirectory(child);
        fs.symlinkSync(join("dirs", keyOf(child)), join(own, entry.name));
      } else if (entry.isFile() && !entry.name.endsWith("-shm")) {
        const content = join(this.#shadow, "inodes", keyOf(child));
        fs.copyFileSync(child, content);
        fs.linkSync(content, join(own, entry.name));
      }
    }
  }
}

function environmentOf(pid: number): string {
  try {
    return fs.readFileSync(`/proc/${pid}/environ`, "latin1");
  } catch {
    // It has just ended, or is not ours to look at.
    return "";
  }
}

/** The real path of each file that still has a name, by key. */
function realPaths(directory: string, found = new Map<string, string>()): Map<string, string> {
  for (const entry of fs.readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) realPaths(path, found);
    else if (entry.isFile()) found.set(keyOf(path), path);
  }
  return found;
}

/** Builds what survives. Files are visited in the order of their names, so that a seed decides alone. */
class Loss {
  readonly #shadow: string;
  readonly #real: ReadonlyMap<string, string>;
  readonly #keep: number;
  readonly #pieceBytes: number;
  readonly #dice: () => number;
  /** Inode of the durable content → key. */
  readonly #keys = new Map<number, string>();

  constructor(shadow: string, real: ReadonlyMap<string, string>, options: RewindOptions) {
    this.#shadow = shadow;
    this.#real = real;
    this.#keep = options.keep ?? 0;
    this.#pieceBytes = options.piece === "sector" ? BLOCK_BYTES : PAGE_BYTES;
    this.#dice = randomOf(options.seed ?? 1);
    for (const key of fs.readdirSync(join(shadow, "inodes"))) {
      this.#keys.set(fs.statSync(join(shadow, "inodes", key)).ino, key);
    }
  }

  keepRecorded(directory: string, target: string): void {
    const path = join(this.#shadow, directory);
    const entries = fs.existsSync(path) ? fs.readdirSync(path, { withFileTypes: true }) : [];
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const [from, to] = [join(path, entry.name), join(target, entry.name)];
      if (entry.isSymbolicLink()) {
        fs.mkdirSync(to);
        this.keepRecorded(fs.readlinkSync(from), to);
      } else {
        this.#keepFile(from, this.#keys.get(fs.statSync(from).ino), to);
      }
    }
  }

  keepTree(directory: string, target: string): void {
    const entries = fs.readdirSync(directory, { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const [from, to] = [join(directory, entry.name), join(target, entry.name)];
      if (entry.isDirectory()) {
        fs.mkdirSync(to);
        this.keepTree(from, to);
      } else if (entry.isFile() && !entry.name.endsWith("-shm")) {
        const key = keyOf(from);
        this.#keepFile(join(this.#shadow, "inodes", key), key, to);
      }
    }
  }

  #keepFile(durable: string, key: string | undefined, target: string): void {
    if (fs.existsSync(durable)) fs.copyFileSync(durable, target);
    else fs.writeFileSync(target, "");
    const real = key === undefined ? undefined : this.#real.get(key);
    if (this.#keep === 0 || key === undefined || real === undefined) return;
    const size = fs.statSync(real).size;
    const durableSize = fs.statSync(target).size;
    const [source, sink] = [fs.openSync(real, "r"), fs.openSync(target, "r+")];
    // The size is written on its own: it may be the old one, the new one, or what the kept pieces need.
    if (size !== durableSize && this.#dice() < this.#keep) fs.ftruncateSync(sink, size);
    let last = -1;
    let kept = false;
    for (const block of this.#dirtyBlocks(key)) {
      const piece = Math.floor((block * BLOCK_BYTES) / this.#pieceBytes);
      if (piece !== last) kept = this.#dice() < this.#keep;
      last = piece;
      const from = block * BLOCK_BYTES;
      if (!kept || from >= size) continue;
      const bytes = Buffer.alloc(Math.min(BLOCK_BYTES, size - from));
      fs.readSync(source, bytes, 0, bytes.length, from);
      fs.writeSync(sink, bytes, 0, bytes.length, from);
    }
    fs.closeSync(source);
    fs.closeSync(sink);
  }

  /** Ascending. The layout is that of `struct bitmaps`. */
  *#dirtyBlocks(key: string): Generator<number> {
    const path = join(this.#shadow, "dirty", key);
    if (!fs.existsSync(path)) return;
    const file = fs.openSync(path, "r");
    const header = Buffer.alloc(8);
    fs.readSync(file, header, 0, 8, 0);
    const bytes = Math.ceil(Number(header.readBigUInt64LE(0)) / 64) * 8;
    const dirty = Buffer.alloc(bytes);
    const copying = Buffer.alloc(bytes);
    fs.readSync(file, dirty, 0, bytes, BITMAPS_OFFSET);
    fs.readSync(file, copying, 0, bytes, BITMAPS_OFFSET + BITMAP_BYTES);
    fs.closeSync(file);
    for (let at = 0; at < bytes; at += 1) {
      const both = (dirty[at] ?? 0) | (copying[at] ?? 0);
      for (let bit = 0; both >> bit !== 0; bit += 1) {
        if (((both >> bit) & 1) === 1) yield at * 8 + bit;
      }
    }
  }
}

const BITMAPS_OFFSET = 4096;
const BITMAP_BYTES = 2 ** 25 / 8;
