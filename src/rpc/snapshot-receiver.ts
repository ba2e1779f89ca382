/**
 * The taking side of a snapshot: asks one source for what it lacks, chunk by chunk, a few at a time. What its file holds
 * already, by an earlier attempt or by the own database, is not asked for. Every chunk is checked as it comes; the
 * whole is checked by whoever keeps the file.
 */

import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { crc32 } from "node:zlib";
import type { IncomingSnapshot, SnapshotManifest } from "../node/ports.ts";
import {
  PAGE_HASH_BYTES,
  PAGES_IN_CHUNK,
  SNAPSHOT_CHUNK_BYTES,
  SNAPSHOT_PAGE_BYTES,
  type SnapshotFrame,
  type Want,
} from "../wire/snapshot-codec.ts";
import { SnapshotSocket } from "./snapshot-socket.ts";

export interface SnapshotReceiverParts {
  readonly silenceMs: number;
  /** Opens the file for it. */
  receive(
    manifest: SnapshotManifest,
    done: (error: Error | null, incoming: IncomingSnapshot | null) => void,
  ): void;
  /** Once. `counts`: what went over the wire. */
  ready(manifest: SnapshotManifest, counts: SnapshotCounts): void;
  /** Once, instead. */
  failed(reason: string): void;
}

export interface SnapshotCounts {
  chunks: number;
  /** Chunks that were there already. */
  kept: number;
  /** Bytes of pages and of hashes received. */
  bytes: number;
}

/** Chunks under way: the memory that a transfer takes on this side. */
const WINDOW = 4;

const WAIT_MS = 1_000;

interface Work {
  readonly chunk: number;
  readonly length: number;
  /** What the file holds. */
  local: Buffer;
  /** Pages asked for. */
  pages: readonly number[];
  /** The pages that are there were not what their hashes said: all are asked for. */
  whole: boolean;
}

export class SnapshotReceiver {
  readonly #parts: SnapshotReceiverParts;
  readonly #socket: SnapshotSocket;
  readonly #want: Want;
  readonly #counts: SnapshotCounts = { chunks: 0, kept: 0, bytes: 0 };
  #manifest: SnapshotManifest | null = null;
  #incoming: IncomingSnapshot | null = null;
  #next = 0;
  readonly #work = new Map<number, Work>();
  #waiting: NodeJS.Timeout | null = null;
  #over = false;

  constructor(socket: Socket, want: Want, parts: SnapshotReceiverParts) {
    this.#parts = parts;
    this.#want = want;
    this.#socket = new SnapshotSocket(socket, {
      frame: (frame) => this.#take(frame),
      ended: (reason) => this.#fail(reason),
    });
  }

  start(): void {
    this.#socket.start(this.#parts.silenceMs);
    this.#socket.send({ kind: "want", want: this.#want });
  }

  /** No event follows. */
  cancel(): void {
    this.#over = true;
    this.#stopWaiting();
    this.#socket.destroy();
    this.#incoming?.abandon();
  }

  #take(frame: SnapshotFrame): void {
    switch (frame.kind) {
      case "wait":
        return;
      case "refused":
        return this.#fail(`refused: ${frame.reason}`);
      case "manifest":
        return this.#begin(frame.manifest);
      case "hashed":
        return this.#compare(frame.chunk, frame.hashes);
      case "data":
        return this.#complete(frame.chunk, frame.bytes);
      default:
        return this.#fail(`a frame of kind ${frame.kind} from a source`);
    }
  }

  #begin(manifest: SnapshotManifest): void {
    if (this.#manifest !== null) return this.#fail("two manifests");
    const { atLeast } = this.#want;
    if (manifest.index < atLeast) return this.#fail(`${manifest.index} offered, ${atLeast} asked`);
    this.#manifest = manifest;
    this.#counts.chunks = manifest.chunks.length;
    // Looking at the own database first may take long; the source must not take that for silence.
    this.#waiting = setInterval(() => this.#socket.send({ kind: "wait" }), WAIT_MS);
    this.#parts.receive(manifest, (error, incoming) => {
      this.#stopWaiting();
      if (this.#over) return incoming?.abandon();
      if (incoming === null) return this.#fail(error?.message ?? "no file");
      this.#incoming = incoming;
      this.#pump();
    });
  }

  #pump(): void {
    const manifest = this.#manifest;
    const incoming = this.#incoming;
    if (this.#over || manifest === null || incoming === null) return;
    while (this.#work.size < WINDOW && this.#next < manifest.chunks.length) {
      const chunk = this.#next;
      this.#next += 1;
      const from = chunk * SNAPSHOT_CHUNK_BYTES;
      const length = Math.min(SNAPSHOT_CHUNK_BYTES, manifest.bytes - from);
      const work: Work = { chunk, length, local: Buffer.alloc(0), pages: [], whole: false };
      this.#work.set(chunk, work);
      incoming.read(from, length, (error, bytes) => {
        if (this.#over) return;
        if (bytes === null) return this.#fail(error?.message ?? "the file cannot be read");
        work.local = asBuffer(bytes);
        this.#ask(work, manifest);
      });
    }
    if (this.#work.size === 0 && this.#next >= manifest.chunks.length) this.#finish(incoming);
  }

  #ask(work: Work, manifest: SnapshotManifest): void {
    const { chunk, length, local } = work;
    if (local.length === length && crc32(local) === manifest.chunks[chunk]) {
      this.#counts.kept += 1;
      return this.#done(work);
    }
    if (local.length === 0) return this.#askWhole(work);
    this.#socket.send({ kind: "hashes", chunk });
  }

  #askWhole(work: Work): void {
    work.whole = true;
    work.pages = Array.from({ length: PAGES_IN_CHUNK }, (_, page) => page);
    this.#socket.send({ kind: "get", chunk: work.chunk, pages: work.pages });
  }

  #compare(chunk: number, hashes: Buffer): void {
    const work = this.#work.get(chunk);
    const expected = Math.ceil((work?.length ?? 0) / SNAPSHOT_PAGE_BYTES) * PAGE_HASH_BYTES;
    if (work === undefined || hashes.length !== expected) return this.#fail("hashes not asked for");
    this.#counts.bytes += hashes.length;
    const { local, length } = work;
    const pages: number[] = [];
    for (let page = 0; page * SNAPSHOT_PAGE_BYTES < length; page += 1) {
      const from = page * SNAPSHOT_PAGE_BYTES;
      const to = Math.min(length, from + SNAPSHOT_PAGE_BYTES);
      const at = page * PAGE_HASH_BYTES;
      const isHere =
        local.length >= to &&
        hashOf(local.subarray(from, to)).equals(hashes.subarray(at, at + PAGE_HASH_BYTES));
      if (!isHere) pages.push(page);
    }
    if (pages.length === 0) return this.#askWhole(work);
    work.pages = pages;
    this.#socket.send({ kind: "get", chunk, pages });
  }

  #complete(chunk: number, bytes: Buffer): void {
    const work = this.#work.get(chunk);
    const manifest = this.#manifest;
    const incoming = this.#incoming;
    if (work === undefined || manifest === null || incoming === null || work.pages.length === 0) {
      return this.#fail("data not asked for");
    }
    this.#counts.bytes += bytes.length;
    const content = overlay(work, bytes);
    if (content === null) return this.#fail("data of another length than asked for");
    if (crc32(content) !== manifest.chunks[chunk]) {
      if (work.whole) return this.#fail(`chunk ${chunk} does not match its checksum`);
      return this.#askWhole(work);
    }
    incoming.write(chunk * SNAPSHOT_CHUNK_BYTES, content, (error) => {
      if (this.#over) return;
      if (error !== null) return this.#fail(error.message);
      this.#done(work);
    });
  }

  #done(work: Work): void {
    this.#work.delete(work.chunk);
    this.#pump();
  }

  #finish(incoming: IncomingSnapshot): void {
    const manifest = this.#manifest;
    if (manifest === null) return;
    this.#socket.finish();
    incoming.finish((error) => {
      if (this.#over) return;
      this.#over = true;
      if (error === null) this.#parts.ready(manifest, this.#counts);
      else this.#parts.failed(`what was fetched is not the snapshot: ${error.message}`);
    });
  }

  #stopWaiting(): void {
    if (this.#waiting !== null) clearInterval(this.#waiting);
    this.#waiting = null;
  }

  #fail(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#stopWaiting();
    this.#socket.destroy();
    this.#incoming?.abandon();
    this.#parts.failed(reason);
  }
}

/** The chunk as it should be: what is here, with the pages that came in their places. Null: they do not fit. */
function overlay({ length, local, pages, whole }: Work, bytes: Buffer): Buffer | null {
  if (whole) return bytes.length === length ? bytes : null;
  const content = Buffer.alloc(length);
  local.copy(content);
  let taken = 0;
  for (const page of pages) {
    const from = page * SNAPSHOT_PAGE_BYTES;
    const size = Math.min(SNAPSHOT_PAGE_BYTES, length - from);
    if (taken + size > bytes.length) return null;
    bytes.copy(content, from, taken, taken + size);
    taken += size;
  }
  return taken === bytes.length ? content : null;
}

/** As machine/snapshot-task.ts has it. */
function hashOf(page: Uint8Array): Buffer {
  return createHash("sha1").update(page).digest().subarray(0, PAGE_HASH_BYTES);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
