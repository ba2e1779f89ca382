/**
 * What travels on a connection that carries a snapshot, behind its own magic. The receiver asks, the source answers.
 *
 * | offset | bytes | what                                                    |
 * |--------|-------|---------------------------------------------------------|
 * | 0      | 4     | length of what follows, big-endian                      |
 * | 4      | 1     | kind                                                    |
 * | 5      | n     | rare frames: JSON. Frames of a chunk: below              |
 *
 * | kind | name     | who      | payload                                                             |
 * |------|----------|----------|---------------------------------------------------------------------|
 * | 1    | want     | receiver | who asks whom, of which cluster, from which index on, what it has    |
 * | 2    | manifest | source   | what it gives                                                       |
 * | 3    | refused  | source   | why not; the end                                                     |
 * | 4    | wait     | both     | it is alive, and busy with its own file                              |
 * | 5    | hashes   | receiver | u32 chunk: the hashes of its pages, please                           |
 * | 6    | hashed   | source   | u32 chunk, then PAGE_HASH_BYTES for each page                        |
 * | 7    | get      | receiver | u32 chunk, then one bit for each of its pages, lowest first           |
 * | 8    | data     | source   | u32 chunk, then those pages, in order                                |
 *
 * Only shapes are judged here.
 */

import type { Configuration } from "../raft/entry.ts";
import { BalsaError } from "../sql/errors.ts";
import { checkConfiguration } from "./configuration-codec.ts";

/** First on a connection for a snapshot, as PEER_MAGIC is on one between peers. */
export const SNAPSHOT_MAGIC: Buffer = Buffer.from("\0bsnap\r\n", "latin1");
export const SNAPSHOT_VERSION = 1;

/** Bytes of a snapshot that are asked for, checked and stored at once; the last chunk may be shorter. */
export const SNAPSHOT_CHUNK_BYTES = 1024 * 1024;
/** What is compared and sent; SQLite's pages may have another size. */
export const SNAPSHOT_PAGE_BYTES = 4096;
export const PAGE_HASH_BYTES = 8;
export const PAGES_IN_CHUNK: number = SNAPSHOT_CHUNK_BYTES / SNAPSHOT_PAGE_BYTES;
const BITMAP_BYTES = PAGES_IN_CHUNK / 8;

/** Largest frame: the manifest of a very large database. */
export const SNAPSHOT_FRAME_BYTES_MAX: number = 16 * SNAPSHOT_CHUNK_BYTES;

export interface Want {
  readonly version: number;
  readonly clusterId: string;
  readonly from: number;
  readonly to: number;
  readonly atLeast: number;
  /** Of the snapshot that was fetched in part; empty if none. */
  readonly begun: string;
}

/** As node/ports.ts has it. */
export interface WireManifest {
  readonly id: string;
  readonly index: number;
  readonly term: number;
  readonly configuration: Configuration | null;
  readonly bytes: number;
  readonly chunks: readonly number[];
  readonly digest: string;
}

export type SnapshotFrame =
  | { readonly kind: "want"; readonly want: Want }
  | { readonly kind: "manifest"; readonly manifest: WireManifest }
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "wait" }
  | { readonly kind: "hashes"; readonly chunk: number }
  | { readonly kind: "hashed"; readonly chunk: number; readonly hashes: Buffer }
  | { readonly kind: "get"; readonly chunk: number; readonly pages: readonly number[] }
  | { readonly kind: "data"; readonly chunk: number; readonly bytes: Buffer };

const KINDS = ["", "want", "manifest", "refused", "wait", "hashes", "hashed", "get", "data"];

/** Length and frame; large bytes stay apart, so that they are not copied. */
export function encodeSnapshotFrame(frame: SnapshotFrame): Buffer[] {
  switch (frame.kind) {
    case "want":
      return framed(frame.kind, json(frame.want));
    case "manifest":
      return framed(frame.kind, json(frame.manifest));
    case "refused":
      return framed(frame.kind, json({ reason: frame.reason }));
    case "wait":
      return framed(frame.kind);
    case "hashes":
      return framed(frame.kind, number(frame.chunk));
    case "hashed":
      return framed(frame.kind, number(frame.chunk), frame.hashes);
    case "get":
      return framed(frame.kind, number(frame.chunk), bitmap(frame.pages));
    case "data":
      return framed(frame.kind, number(frame.chunk), frame.bytes);
  }
}

/** Of a frame without its length. @throws BalsaError PROTOCOL */
export function decodeSnapshotFrame(bytes: Buffer): SnapshotFrame {
  const kind = KINDS[bytes[0] ?? 0] ?? "";
  const payload = bytes.subarray(1);
  switch (kind) {
    case "want":
      return { kind, want: checkWant(parse(payload)) };
    case "manifest":
      return { kind, manifest: checkManifest(parse(payload)) };
    case "refused":
      return { kind, reason: String(parse(payload)["reason"]) };
    case "wait":
      return { kind };
    case "hashes":
      return { kind, chunk: chunkOf(payload, 4) };
    case "hashed":
      return { kind, chunk: chunkOf(payload), hashes: payload.subarray(4) };
    case "get":
      return { kind, chunk: chunkOf(payload, 4 + BITMAP_BYTES), pages: pagesOf(payload) };
    case "data":
      return { kind, chunk: chunkOf(payload), bytes: payload.subarray(4) };
    default:
      throw malformed(`kind ${bytes[0]}`);
  }
}

function framed(kind: SnapshotFrame["kind"], ...parts: readonly Buffer[]): Buffer[] {
  const head = Buffer.alloc(5);
  let length = 1;
  for (const part of parts) length += part.length;
  head.writeUInt32BE(length, 0);
  head[4] = KINDS.indexOf(kind);
  return [head, ...parts];
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function bitmap(pages: readonly number[]): Buffer {
  const bytes = Buffer.alloc(BITMAP_BYTES);
  for (const page of pages) bytes[page >> 3] = (bytes[page >> 3] ?? 0) | (1 << (page & 7));
  return bytes;
}

function pagesOf(payload: Buffer): number[] {
  const pages: number[] = [];
  for (let page = 0; page < PAGES_IN_CHUNK; page += 1) {
    if (((payload[4 + (page >> 3)] ?? 0) >> (page & 7)) & 1) pages.push(page);
  }
  return pages;
}

function chunkOf(payload: Buffer, length?: number): number {
  if (payload.length < 4 || (length !== undefined && payload.length !== length)) {
    throw malformed(`a payload of ${payload.length} bytes`);
  }
  return payload.readUInt32BE(0);
}

type Fields = { readonly [name: string]: unknown };

function parse(payload: Buffer): Fields {
  let value: unknown;
  try {
    value = JSON.parse(payload.toString());
  } catch {
    throw malformed("no JSON");
  }
  if (typeof value !== "object" || value === null) throw malformed("no JSON object");
  return value as Fields;
}

function checkWant(fields: Fields): Want {
  return {
    version: whole(fields, "version"),
    clusterId: text(fields, "clusterId"),
    from: whole(fields, "from"),
    to: whole(fields, "to"),
    atLeast: whole(fields, "atLeast"),
    begun: text(fields, "begun"),
  };
}

/** Also of a manifest that was kept in a file. @throws BalsaError PROTOCOL */
export function checkManifest(fields: Fields): WireManifest {
  const chunks = fields["chunks"];
  const configuration = fields["configuration"] ?? null;
  const bytes = whole(fields, "bytes");
  const expected = Math.ceil(bytes / SNAPSHOT_CHUNK_BYTES);
  if (!Array.isArray(chunks) || chunks.length !== expected || !chunks.every(isWhole)) {
    throw malformed("chunks");
  }
  return {
    id: text(fields, "id"),
    index: whole(fields, "index"),
    term: whole(fields, "term"),
    configuration: configuration === null ? null : checkConfiguration(configuration),
    bytes,
    chunks,
    digest: text(fields, "digest"),
  };
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function whole(fields: Fields, name: string): number {
  const value = fields[name];
  if (!isWhole(value)) throw malformed(name);
  return value;
}

function text(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== "string" || value.length > 1_000) throw malformed(name);
  return value;
}

function malformed(what: string): BalsaError {
  return new BalsaError("PROTOCOL", `a frame of a snapshot cannot be read: ${what}`);
}
