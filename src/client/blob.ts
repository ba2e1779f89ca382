/**
 * `db.blob`: values too large for a request, streamed in and out. What a caller sees of it, and the checks at its door; the
 * tables are in blob-tables.ts, the way in in blob-upload.ts, the way out in blob-reader.ts.
 */

import { Readable } from "node:stream";
import { BalsaError } from "../sql/errors.ts";
import type { Value } from "../sql/value.ts";
import {
  type BlobListOptions,
  type BlobReadOptions,
  type BlobStreamOptions,
  type BlobWriteOptions,
  resolveBlobOptions,
} from "./blob-options.ts";
import { readContent, type StoredContent } from "./blob-reader.ts";
import { type BlobSource, closeSource } from "./blob-source.ts";
import { sweep } from "./blob-sweep.ts";
import { BLOB_COLUMNS, isWithoutTables } from "./blob-tables.ts";
import { cancelled, execute, type StagedBlob, stage, type WrittenBlob } from "./blob-upload.ts";
import type { Client } from "./client.ts";
import { onAbort } from "./on-abort.ts";
import { type CallOptions, type ResolvedCallOptions, resolveCallOptions } from "./options.ts";
import { Statement } from "./statement.ts";

/** A blob by its name, or by the `id` of its row, as in a foreign key. */
export type BlobRef = string | { readonly id: number | bigint };

/** What is known of a blob: its row in `db_blob`. */
export interface BlobInfo {
  readonly id: number;
  readonly name: string;
  /** What its writer said it is, such as `image/png`; null if nothing. */
  readonly type: string | null;
  /** Bytes. */
  readonly size: number;
  /** Of its bytes, in hex. */
  readonly sha256: string;
  /** Log time, in whole seconds. */
  readonly writtenAt: Date;
}

const NAME_BYTES_MAX = 1024;
const TYPE_BYTES_MAX = 255;
/** Behind every name that begins with the same letters. */
const LAST = "\u{10ffff}";

const sweeping = new WeakSet<Client>();

/** Large values; see `Database.blob`. */
export class BlobStore {
  readonly #client: Client;
  readonly #options: ResolvedCallOptions;

  /** Made by `Database`. */
  constructor(client: Client, options: ResolvedCallOptions) {
    this.#client = client;
    this.#options = { ...options, integers: "auto" };
  }

  /**
   * Writes a blob of any size and makes it visible when all of it is stored, instead of an older one of that name. The source is
   * read as fast as it can be stored; about 2 MiB of it are in memory. `deadlineMs` bounds each step, not the whole.
   *
   * @throws BalsaError INVALID_ARGUMENT for a bad name, or for a source that yields anything but bytes; CANCELLED by `signal`;
   * NESTED_CALL inside `db.transaction` (see `stage`); what the source throws. Then nothing became visible, unless `outcome` says
   * otherwise.
   */
  async write(
    name: string,
    source: BlobSource,
    options: BlobWriteOptions = {},
  ): Promise<WrittenBlob> {
    const staged = await this.stage(name, source, options);
    const written = await staged.publish();
    this.#sweepSoon();
    return written;
  }

  /** As `write`, but for its last step: the blob is stored, and becomes visible by `publish`. */
  async stage(
    name: string,
    source: BlobSource,
    options: BlobWriteOptions = {},
  ): Promise<StagedBlob> {
    try {
      const given = resolveBlobOptions("blob.write", this.#options, options, ["type"]);
      const { type = null, call } = given;
      checkText("name", name, 1, NAME_BYTES_MAX);
      if (type !== null) checkText("type", type, 0, TYPE_BYTES_MAX);
      return await stage(this.#client, { terms: { name, type }, source }, call);
    } catch (error) {
      closeSource(source);
      throw error;
    }
  }

  /** What is known of a blob; undefined if there is none. */
  async stat(blob: BlobRef, options: CallOptions = {}): Promise<BlobInfo | undefined> {
    const found = await this.#find(blob, resolveCallOptions(this.#options, options));
    return found === undefined ? undefined : infoOf(found);
  }

  /**
   * All of a blob at once; undefined if there is none. Fails with LIMIT_EXCEEDED beyond `maxBytes`: one of any size can be had
   * from `createReadStream`.
   */
  async read(blob: BlobRef, options: BlobReadOptions = {}): Promise<Buffer | undefined> {
    const { call, maxBytes = this.#client.options.limits.resultBytes } = resolveBlobOptions(
      "blob.read",
      this.#options,
      options,
      ["maxBytes"],
    );
    const found = await this.#find(blob, call);
    if (found === undefined) return undefined;
    if (found.size > maxBytes) throw tooLarge(found, maxBytes);
    const pieces: Buffer[] = [];
    const range = { stored: found, start: 0, end: found.size };
    for await (const piece of readContent(this.#client, range, call)) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  /**
   * The bytes of a blob as a Node stream, read as they are consumed, up to 4 MiB ahead. `start` and `end` count from 0 and are
   * both included, as in `fs.createReadStream`. What is read is the blob as it is when reading begins, however slow the
   * consumer; if that content is removed meanwhile it stays for a minute, then the stream fails with NO_SUCH_BLOB.
   *
   * The stream fails with NO_SUCH_BLOB if there is none. `deadlineMs` bounds each step.
   */
  createReadStream(blob: BlobRef, options: BlobStreamOptions = {}): Readable {
    const {
      call,
      start = 0,
      end,
    } = resolveBlobOptions("blob.createReadStream", this.#options, options, ["start", "end"]);
    if (end !== undefined && end < start) {
      const message = `option "end" must not be before "start", ${start}, and is ${end}`;
      throw new BalsaError("INVALID_ARGUMENT", message, { facts: { option: "end" } });
    }
    checkRef(blob);
    const bytes = this.#bytes(blob, { start, end }, call);
    const stream = Readable.from(bytes, { objectMode: false });
    const { signal } = call;
    if (signal !== undefined) {
      const abort = (): unknown => stream.destroy(cancelled(signal.reason));
      if (signal.aborted) abort();
      else stream.once("close", onAbort(signal, abort));
    }
    return stream;
  }

  /** Removes a blob; false if there is none. Its bytes stay for a minute for those who read them, and go by and by. */
  async delete(blob: BlobRef, options: CallOptions = {}): Promise<boolean> {
    const call = resolveCallOptions(this.#options, options);
    const { where, arg } = checkRef(blob);
    const statement = { sql: `DELETE FROM db_blob WHERE ${where}`, args: [arg] };
    try {
      const { results } = await execute(this.#client, [statement], call);
      this.#sweepSoon();
      return results[0]?.changes === 1;
    } catch (error) {
      if (isWithoutTables(error)) return false;
      throw error;
    }
  }

  /** Blobs in the order of their names, read as they are consumed: all, or those whose name begins with `prefix`. */
  async *list(options: BlobListOptions = {}): AsyncIterableIterator<BlobInfo> {
    const { call, prefix = "" } = resolveBlobOptions("blob.list", this.#options, options, [
      "prefix",
    ]);
    checkText("prefix", prefix, 0, NAME_BYTES_MAX);
    const sql = `SELECT ${BLOB_COLUMNS} FROM db_blob WHERE name >= ? AND name < ? ORDER BY name`;
    const rows = new Statement<BlobRow>(this.#client, sql, call).iterate(prefix, prefix + LAST);
    try {
      for await (const row of rows) yield infoOf(row);
    } catch (error) {
      if (!isWithoutTables(error)) throw error;
    }
  }

  /**
   * Deletes the bytes of blobs that were removed more than a minute ago, and of uploads that nobody went on with for an hour,
   * in small steps; returns how many contents it removed. Every `write` and `delete` does so in the background.
   */
  async sweep(options: CallOptions = {}): Promise<number> {
    return sweep(this.#client, resolveCallOptions(this.#options, options));
  }

  /** One at a time. Nobody waits for it, and what it leaves the next one finds. */
  #sweepSoon(): void {
    const client = this.#client;
    if (sweeping.has(client)) return;
    sweeping.add(client);
    sweep(client, { ...this.#options, signal: undefined })
      .catch(() => 0)
      .finally(() => sweeping.delete(client));
  }

  async *#bytes(
    blob: BlobRef,
    range: { readonly start: number; readonly end: number | undefined },
    call: ResolvedCallOptions,
  ): AsyncGenerator<Buffer, void> {
    const stored = await this.#find(blob, call);
    if (stored === undefined) {
      const name = typeof blob === "string" ? `"${blob}"` : `of id ${blob.id}`;
      throw new BalsaError("NO_SUCH_BLOB", `there is no blob ${name}`);
    }
    const end = range.end === undefined ? stored.size : Math.min(stored.size, range.end + 1);
    yield* readContent(this.#client, { stored, start: range.start, end }, call);
  }

  async #find(blob: BlobRef, call: ResolvedCallOptions): Promise<BlobRow | undefined> {
    const { where, arg } = checkRef(blob);
    const sql = `SELECT ${BLOB_COLUMNS} FROM db_blob WHERE ${where}`;
    try {
      return await new Statement<BlobRow>(this.#client, sql, call).get(arg);
    } catch (error) {
      if (isWithoutTables(error)) return undefined;
      throw error;
    }
  }
}

interface BlobRow extends StoredContent {
  readonly id: number;
  readonly type: string | null;
  readonly writtenAt: number;
}

function infoOf({ id, name, type, size, sha256, writtenAt }: BlobRow): BlobInfo {
  return { id, name, type, size, sha256, writtenAt: new Date(writtenAt * 1000) };
}

function checkRef(blob: BlobRef): { readonly where: string; readonly arg: Value } {
  if (typeof blob === "string") return { where: "name = ?", arg: blob };
  const id: unknown = typeof blob === "object" && blob !== null ? blob.id : undefined;
  if (typeof id === "bigint" || Number.isSafeInteger(id))
    return { where: "id = ?", arg: id as number };
  throw new BalsaError("INVALID_ARGUMENT", "a blob is named by a string, or by { id } of its row");
}

function checkText(option: string, text: unknown, min: number, max: number): void {
  const bytes = typeof text === "string" ? Buffer.byteLength(text) : -1;
  if (bytes >= min && bytes <= max) return;
  const is = bytes < 0 ? typeof text : `of ${bytes} bytes`;
  const message = `a blob's ${option} must be text of ${min} to ${max} bytes, and is ${is}`;
  throw new BalsaError("INVALID_ARGUMENT", message, { facts: { option } });
}

function tooLarge({ name, size }: BlobRow, maxBytes: number): BalsaError {
  const message = `"${name}" has ${size} bytes, more than ${maxBytes}: use createReadStream(), or raise maxBytes`;
  const facts = { limit: "maxBytes", value: String(maxBytes) };
  return new BalsaError("LIMIT_EXCEEDED", message, { facts });
}
