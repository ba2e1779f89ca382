/**
 * The snapshots of a node as files: copies that it gives to others, and the one that it fetches. Copying and checking
 * are done by child processes; here files are only read and written in pieces. Speaks to no other node.
 */

import type { FileHandle } from "node:fs/promises";
import { mkdir, open, readFile, rm, stat, statfs, writeFile } from "node:fs/promises";
import type {
  Completion,
  DigestEvents,
  IncomingSnapshot,
  Logger,
  OutgoingSnapshot,
  RunningDigest,
  SnapshotFiles,
  SnapshotManifest,
} from "../node/ports.ts";
import type { EntryId, LogIndex } from "../raft/entry.ts";
import { BalsaError } from "../sql/errors.ts";
import { checkManifest, PAGE_HASH_BYTES, PAGES_IN_CHUNK } from "../wire/snapshot-codec.ts";
import type { ChildProcess } from "./child-process.ts";
import type { ChildSupply } from "./child-supply.ts";
import { decodeJson, decodeText, FROM_SNAPSHOT, type SnapshotTask } from "./process-messages.ts";
import { startDigest } from "./running-digest.ts";
import type { SnapshotDirectory } from "./snapshot-directory.ts";

export interface SnapshotFilesOptions {
  readonly directory: SnapshotDirectory;
  readonly supply: ChildSupply;
  readonly logger: Logger;
  /** A copy that nobody reads is kept for so long, for a transfer that goes on. */
  readonly keepMs: number;
  /** A copy or a check that takes longer is given up. */
  readonly taskMsMax: number;
}

/** Copies at a time, made or being made: each is as large as the database. */
const COPIES_MAX = 2;
/** Comparisons at a time: each reads everything. */
const DIGESTS_MAX = 2;
/** Free space that a copy must leave, beside its own size. */
const RESERVE_BYTES = 64 * 1024 * 1024;
/** With less than this, comparing pages is not worth a copy of the own database. */
const SEED_BYTES_MIN = 1024 * 1024;
const HASHES_IN_CHUNK_BYTES = PAGES_IN_CHUNK * PAGE_HASH_BYTES;

interface Copy {
  readonly manifest: SnapshotManifest;
  readonly path: string;
  readonly hashesPath: string;
  readonly file: FileHandle;
  readonly hashes: FileHandle;
  users: number;
  expiry: NodeJS.Timeout | null;
}

export class ProcessSnapshotFiles implements SnapshotFiles {
  readonly #options: SnapshotFilesOptions;
  readonly #copies = new Set<Copy>();
  /** A copy is being made: those who ask meanwhile wait for it. */
  #making: Promise<Copy> | null = null;
  readonly #tasks = new Set<ChildProcess>();
  #digests = 0;
  #idle: (() => void)[] = [];
  #incoming: IncomingFile | null = null;
  #begun = "";
  #copyNumber = 0;
  /** One after the other: they use the same file. */
  #receiving: Promise<unknown> = Promise.resolve();
  #suspended = false;
  #closed = false;

  constructor(options: SnapshotFilesOptions) {
    this.#options = options;
  }

  // --- giving -------------------------------------------------------------------------------------------------

  offer(atLeast: LogIndex, id: string, done: Completion<OutgoingSnapshot>): void {
    settle(this.#offer(atLeast, id), done);
  }

  async #offer(atLeast: LogIndex, id: string): Promise<OutgoingSnapshot> {
    for (const copy of this.#copies) {
      // A newer one would serve as well, but what the receiver has of this one would be of less use.
      if (copy.manifest.id === id && copy.manifest.index >= atLeast) return this.#use(copy);
    }
    for (const copy of this.#copies) if (copy.manifest.index >= atLeast) return this.#use(copy);
    const made = this.#making;
    if (made !== null) {
      const copy = await made;
      if (copy.manifest.index >= atLeast) return this.#use(copy);
    }
    this.#making ??= this.#make().finally(() => {
      this.#making = null;
    });
    return this.#use(await this.#making);
  }

  #use(copy: Copy): OutgoingSnapshot {
    copy.users += 1;
    if (copy.expiry !== null) clearTimeout(copy.expiry);
    copy.expiry = null;
    let released = false;
    return {
      manifest: copy.manifest,
      read: (offset, bytes, done) => settle(readAt(copy.file, offset, bytes), done),
      pageHashes: (chunk, done) => {
        settle(readAt(copy.hashes, chunk * HASHES_IN_CHUNK_BYTES, HASHES_IN_CHUNK_BYTES), done);
      },
      release: () => {
        if (released) return;
        released = true;
        copy.users -= 1;
        if (copy.users > 0) return;
        copy.expiry = setTimeout(() => void this.#drop(copy), this.#options.keepMs).unref();
      },
    };
  }

  async #make(): Promise<Copy> {
    const { directory, logger } = this.#options;
    for (const copy of [...this.#copies]) {
      if (this.#copies.size >= COPIES_MAX && copy.users === 0) await this.#drop(copy);
    }
    if (this.#copies.size >= COPIES_MAX) throw new Error("too many snapshots are being fetched");
    await mkdir(directory.path, { recursive: true });
    await this.#demandRoom();
    this.#copyNumber += 1;
    const path = directory.outgoing(this.#copyNumber);
    const hashesPath = `${path}.hashes`;
    const startedAtMs = performance.now();
    try {
      const task: SnapshotTask = { kind: "copy", to: path, hashes: hashesPath };
      const manifest = checkManifest((await this.#run(task)) as { [name: string]: unknown });
      const file = await open(path, "r");
      const hashes = await open(hashesPath, "r");
      const copy: Copy = { manifest, path, hashesPath, file, hashes, users: 0, expiry: null };
      this.#copies.add(copy);
      const tookMs = Math.round(performance.now() - startedAtMs);
      const { index, bytes } = manifest;
      logger.info({ index, bytes, tookMs }, "made a copy of the database for another node");
      return copy;
    } catch (error) {
      await removeFiles(path, `${path}-journal`, hashesPath);
      throw error;
    }
  }

  async #drop(copy: Copy): Promise<void> {
    if (copy.users > 0 || !this.#copies.delete(copy)) return;
    if (copy.expiry !== null) clearTimeout(copy.expiry);
    await Promise.all([copy.file.close(), copy.hashes.close()]);
    await removeFiles(copy.path, copy.hashesPath);
  }

  async #demandRoom(): Promise<void> {
    const { directory } = this.#options;
    const needed = (await sizeOf(directory.database)) + RESERVE_BYTES;
    const { bavail, bsize } = await statfs(directory.path);
    const free = bavail * bsize;
    if (free < needed) throw new Error(`no space for a copy: ${free} bytes free, ${needed} needed`);
  }

  // --- taking -------------------------------------------------------------------------------------------------

  begun(): string {
    return this.#begun;
  }

  /** Looks at what an earlier life has left. */
  async load(): Promise<void> {
    const { directory } = this.#options;
    try {
      const text = await readFile(directory.incomingManifest, "utf8");
      this.#begun = checkManifest(JSON.parse(text) as { [name: string]: unknown }).id;
    } catch {
      // None, or not written as a whole: what is there is compared page by page all the same.
      this.#begun = "";
    }
  }

  receive(manifest: SnapshotManifest, done: Completion<IncomingSnapshot>): void {
    const receiving = this.#receiving.then(() => this.#receive(manifest));
    this.#receiving = receiving.catch(() => undefined);
    settle(receiving, done);
  }

  async #receive(manifest: SnapshotManifest): Promise<IncomingSnapshot> {
    const { directory } = this.#options;
    this.#incoming?.abandon();
    await mkdir(directory.path, { recursive: true });
    await directory.removeReady();
    const began = await sizeOf(directory.incoming);
    if (began === 0) {
      await this.#demandSpace(manifest.bytes);
      if ((await sizeOf(directory.database)) >= SEED_BYTES_MIN) await this.#seed();
    }
    await writeFile(directory.incomingManifest, JSON.stringify(manifest));
    this.#begun = manifest.id;
    const file = await open(directory.incoming, (await exists(directory.incoming)) ? "r+" : "w+");
    const incoming = new IncomingFile(file, manifest, {
      check: () => this.#check(manifest),
      ended: () => {
        if (this.#incoming === incoming) this.#incoming = null;
      },
    });
    this.#incoming = incoming;
    return incoming;
  }

  async #demandSpace(bytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(this.#options.directory.path);
    const needed = bytes + RESERVE_BYTES;
    if (bavail * bsize >= needed) return;
    throw new Error(`no space for a snapshot: ${bavail * bsize} bytes free, ${needed} needed`);
  }

  /** Most pages of a node that fell behind are what they will be: its own file saves them the way. */
  async #seed(): Promise<void> {
    const { directory, logger } = this.#options;
    try {
      await this.#run({ kind: "seed", to: directory.incoming });
    } catch (error) {
      logger.warn({ error: (error as Error).message }, "the own database cannot be compared");
      await directory.removeIncoming();
    }
  }

  async #check(manifest: SnapshotManifest): Promise<void> {
    const { directory } = this.#options;
    const { index, term, bytes, digest } = manifest;
    const expected = { index, term, bytes, digest };
    this.#begun = "";
    try {
      await this.#run({ kind: "check", path: directory.incoming, expected });
      await directory.keep(manifest);
    } catch (error) {
      await directory.removeIncoming();
      throw error;
    }
  }

  /** Before the first writer. The entry at which a whole database of Balsa's stands. @throws Error naming what is wrong */
  async inspect(): Promise<EntryId> {
    return (await this.#run({ kind: "inspect" })) as EntryId;
  }

  // --- comparing ----------------------------------------------------------------------------------------------

  digest(deep: boolean, events: DigestEvents): RunningDigest {
    const refusal = this.#refuseDigest();
    if (refusal !== null) {
      setImmediate(() => events.ended(refusal));
      return { open() {}, cancel() {} };
    }
    this.#digests += 1;
    const { supply, directory } = this.#options;
    return startDigest(
      {
        supply,
        walPath: `${directory.database}-wal`,
        started: (child) => this.#tasks.add(child),
        ended: (child) => {
          this.#digests -= 1;
          this.#forget(child);
        },
      },
      deep,
      events,
    );
  }

  #refuseDigest(): BalsaError | null {
    if (this.#closed || this.#suspended) {
      return new BalsaError(
        "UNAVAILABLE",
        "the node is closing, or its database is being replaced",
      );
    }
    if (this.#digests < DIGESTS_MAX) return null;
    return new BalsaError("OVERLOADED", `${DIGESTS_MAX} others are comparing nodes already`);
  }

  // --- children -----------------------------------------------------------------------------------------------

  #run(task: SnapshotTask): Promise<unknown> {
    const { supply, taskMsMax } = this.#options;
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new Error("the node is closing"));
      if (this.#suspended) return reject(new Error("the database is being replaced"));
      let answer: unknown = null;
      let reason = "";
      const child = supply.run(task, {
        frame: (type, _id, payload) => {
          if (type === FROM_SNAPSHOT.done) answer = decodeJson(payload);
          else reason = decodeText(payload);
        },
        exited: (why) => {
          clearTimeout(timer);
          if (answer !== null) resolve(answer);
          else reject(new Error(reason === "" ? why : reason));
          this.#forget(child);
        },
      });
      const timer = setTimeout(() => child.kill("it took too long"), taskMsMax).unref();
      this.#tasks.add(child);
    });
  }

  #forget(child: ChildProcess): void {
    this.#tasks.delete(child);
    if (this.#tasks.size > 0) return;
    for (const idle of this.#idle.splice(0)) idle();
  }

  /** The database is about to be replaced: ends all children, which may have it open, and starts none. */
  suspend(done: () => void): void {
    this.#suspended = true;
    this.#stopTasks(done);
  }

  resume(): void {
    this.#suspended = false;
  }

  #stopTasks(done: () => void): void {
    if (this.#tasks.size === 0) return void setImmediate(done);
    this.#idle.push(done);
    for (const child of this.#tasks) child.kill("the database is being replaced or closed");
  }

  close(done: () => void): void {
    this.#closed = true;
    this.#incoming?.abandon();
    this.#stopTasks(() => {
      const copies = [...this.#copies];
      for (const copy of copies) copy.users = 0;
      Promise.all(copies.map((copy) => this.#drop(copy))).then(done, done);
    });
  }
}

class IncomingFile implements IncomingSnapshot {
  readonly #file: FileHandle;
  readonly #manifest: SnapshotManifest;
  readonly #parts: { check(): Promise<void>; ended(): void };
  #open = true;

  constructor(
    file: FileHandle,
    manifest: SnapshotManifest,
    parts: { check(): Promise<void>; ended(): void },
  ) {
    this.#file = file;
    this.#manifest = manifest;
    this.#parts = parts;
  }

  read(offset: number, bytes: number, done: Completion<Uint8Array>): void {
    settle(readAt(this.#file, offset, bytes), done);
  }

  write(offset: number, bytes: Uint8Array, done: (error: Error | null) => void): void {
    settle(writeAt(this.#file, offset, bytes), done);
  }

  finish(done: (error: Error | null) => void): void {
    settle(this.#finish(), done);
  }

  abandon(): void {
    this.#close().catch(() => undefined);
  }

  async #finish(): Promise<void> {
    if (!this.#open) throw new Error("the transfer was abandoned");
    await this.#file.truncate(this.#manifest.bytes);
    await this.#close();
    await this.#parts.check();
  }

  async #close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    this.#parts.ended();
    await this.#file.close();
  }
}

async function readAt(file: FileHandle, offset: number, bytes: number): Promise<Uint8Array> {
  const target = Buffer.allocUnsafe(bytes);
  let filled = 0;
  while (filled < bytes) {
    const { bytesRead } = await file.read(target, filled, bytes - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return target.subarray(0, filled);
}

async function writeAt(file: FileHandle, offset: number, bytes: Uint8Array): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const rest = bytes.length - written;
    written += (await file.write(bytes, written, rest, offset + written)).bytesWritten;
  }
}

/** Callbacks never run inside the call that causes them. */
function settle<T>(
  promise: Promise<T>,
  done: (error: Error | null, value: T | null) => void,
): void {
  promise.then(
    (value) => setImmediate(() => done(null, value)),
    (error: unknown) => {
      const reason = error instanceof Error ? error : new Error(String(error));
      setImmediate(() => done(reason, null));
    },
  );
}

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function removeFiles(...paths: readonly string[]): Promise<void> {
  for (const path of paths) await rm(path, { force: true });
}
