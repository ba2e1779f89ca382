/**
 * The program of a snapshot's process: copies the database, or checks a copy, and ends. It reads whole files, which may
 * take long, and nobody waits for it but one transfer. The database of a node that runs is opened for reading only.
 */

import { createHash } from "node:crypto";
import { closeSync, fsyncSync, openSync, readSync, rmSync, statSync, writeSync } from "node:fs";
import { crc32 } from "node:zlib";
import Database from "better-sqlite3";
import type { SnapshotManifest } from "../node/ports.ts";
import type { Configuration, EntryId } from "../raft/entry.ts";
import type { Extension } from "../sql/extension.ts";
import { invariant, unreachable } from "../sql/invariant.ts";
import { decodeConfiguration } from "../wire/configuration-codec.ts";
import {
  PAGE_HASH_BYTES,
  SNAPSHOT_CHUNK_BYTES,
  SNAPSHOT_PAGE_BYTES,
} from "../wire/snapshot-codec.ts";
import { ChildChannel } from "./child-channel.ts";
import { runDigestTask } from "./digest-task.ts";
import { loadExtensions } from "./extension-loading.ts";
import {
  type ChildArguments,
  encodeJson,
  FROM_SNAPSHOT,
  type SnapshotFacts,
} from "./process-messages.ts";

/** SQLite pages copied before the event loop turns. */
const COPY_PAGES = 4_096;

/** `path`: the node's database. Never returns in the sense that the process ends. */
export async function runSnapshotTask(given: ChildArguments, path: string): Promise<never> {
  if (given.task?.kind === "digest") return runDigestTask(given, path, given.task.deep);
  const channel = new ChildChannel(() => undefined);
  try {
    channel.startWatchdog();
    const { task } = given;
    invariant(task !== undefined, "a snapshot's process has a task");
    switch (task.kind) {
      case "copy": {
        const at = await copyDatabase(path, task.to);
        markOrigin(task.to);
        const manifest = describe(at, task.to, task.hashes);
        return channel.end(FROM_SNAPSHOT.done, 0, encodeJson(manifest));
      }
      case "seed":
        await copyDatabase(path, task.to);
        return channel.end(FROM_SNAPSHOT.done, 0, encodeJson({}));
      case "inspect":
        return channel.end(
          FROM_SNAPSHOT.done,
          0,
          encodeJson(inspectDatabase(path, given.extensions)),
        );
      case "check":
        checkSnapshot(task.path, task.expected, given.extensions);
        return channel.end(FROM_SNAPSHOT.done, 0, encodeJson({}));
      default:
        return unreachable(task);
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return channel.end(FROM_SNAPSHOT.fault, 0, Buffer.from(message));
  }
}

/** What the copy holds: all entries up to here, and who the members are. */
interface CopiedState extends EntryId {
  readonly configuration: Configuration | null;
}

/** All pages as of one moment, while others write. Gives the entry up to which it has applied. */
export async function copyDatabase(path: string, to: string): Promise<CopiedState> {
  rmSync(to, { force: true });
  const database = new Database(path, { readonly: true });
  try {
    database.exec("BEGIN");
    const at = readState(database);
    // The backup reads in the connection's transaction, so writers do not make it begin anew.
    await database.backup(to, { progress: () => COPY_PAGES });
    return at;
  } finally {
    database.close();
  }
}

/** Whoever takes the copy has proven none of its entries: it must not count as one more who found what they do. */
function markOrigin(copy: string): void {
  const database = new Database(copy);
  try {
    database.exec("UPDATE main.balsa_meta SET origin_index = applied_index");
  } finally {
    database.close();
  }
}

/** Reads the copy once: checksums of chunks, hashes of pages, the digest of all. */
export function describe(at: CopiedState, path: string, hashesPath: string): SnapshotManifest {
  const chunks: number[] = [];
  const digest = createHash("sha256");
  const hashes = openSync(hashesPath, "w");
  let bytes = 0;
  try {
    for (const chunk of chunksOf(path)) {
      chunks.push(crc32(chunk));
      digest.update(chunk);
      writeSync(hashes, hashPages(chunk));
      bytes += chunk.length;
    }
  } finally {
    closeSync(hashes);
  }
  const facts = { ...at, bytes, chunks, digest: digest.digest("hex") };
  const id = createHash("sha256").update(JSON.stringify(facts)).digest("hex");
  return { id, ...facts };
}

/** PAGE_HASH_BYTES of SHA-1 for each page; the digest of the whole file catches what that lets through. */
export function hashPages(chunk: Uint8Array): Buffer {
  const count = Math.ceil(chunk.length / SNAPSHOT_PAGE_BYTES);
  const hashes = Buffer.alloc(count * PAGE_HASH_BYTES);
  for (let page = 0; page < count; page += 1) {
    const from = page * SNAPSHOT_PAGE_BYTES;
    const bytes = chunk.subarray(from, from + SNAPSHOT_PAGE_BYTES);
    const hash = createHash("sha1").update(bytes).digest();
    hash.copy(hashes, page * PAGE_HASH_BYTES, 0, PAGE_HASH_BYTES);
  }
  return hashes;
}

/** @throws Error naming what is wrong. */
export function checkSnapshot(
  path: string,
  expected: SnapshotFacts,
  extensions: readonly Extension[] = [],
): void {
  const { size } = statSync(path);
  if (size !== expected.bytes) throw new Error(`${size} bytes instead of ${expected.bytes}`);
  const digest = createHash("sha256");
  for (const chunk of chunksOf(path)) digest.update(chunk);
  if (digest.digest("hex") !== expected.digest) throw new Error("the digest differs");
  checkDatabase(path, expected, extensions);
  const file = openSync(path, "r+");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** @throws Error naming what is wrong */
export function inspectDatabase(path: string, extensions: readonly Extension[] = []): EntryId {
  const database = new Database(path, { fileMustExist: true });
  try {
    return demandWhole(database, extensions);
  } finally {
    database.close();
  }
}

/** Gives the entry at which it stands. */
function demandWhole(database: Database.Database, extensions: readonly Extension[]): EntryId {
  // Constraints and indexes may use what they bring.
  loadExtensions(database, extensions);
  const found = database.pragma("quick_check(1)", { simple: true });
  if (found !== "ok") throw new Error(`the database is damaged: ${found}`);
  database.prepare("SELECT count(*) FROM main.balsa_session").get();
  const { index, term } = readState(database);
  return { index, term };
}

function checkDatabase(path: string, expected: EntryId, extensions: readonly Extension[]): void {
  const database = new Database(path);
  try {
    const { index, term } = demandWhole(database, extensions);
    if (index !== expected.index || term !== expected.term) {
      throw new Error(`it holds entry ${index} of term ${term}`);
    }
  } finally {
    database.close();
    for (const suffix of ["-wal", "-shm"]) rmSync(path + suffix, { force: true });
  }
}

function readState(database: Database.Database): CopiedState {
  const row = database
    .prepare<unknown[], [number, number, string | null]>(
      "SELECT applied_index, applied_term, configuration FROM main.balsa_meta",
    )
    .raw(true)
    .get();
  if (row === undefined) throw new Error("balsa_meta is empty: not a database of Balsa's");
  const [index, term, configuration] = row;
  return {
    index,
    term,
    configuration: configuration === null ? null : decodeConfiguration(configuration),
  };
}

function* chunksOf(path: string): Generator<Buffer> {
  const file = openSync(path, "r");
  try {
    for (;;) {
      const chunk = Buffer.allocUnsafe(SNAPSHOT_CHUNK_BYTES);
      let filled = 0;
      while (filled < chunk.length) {
        const count = readSync(file, chunk, filled, chunk.length - filled, null);
        if (count === 0) break;
        filled += count;
      }
      if (filled === 0) return;
      yield chunk.subarray(0, filled);
      if (filled < chunk.length) return;
    }
  } finally {
    closeSync(file);
  }
}
