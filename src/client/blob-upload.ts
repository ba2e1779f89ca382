/**
 * The way of one blob in: its content is begun, its chunks are written a few at a time, and it waits to be published. What
 * fails on the way is taken back, at once if a leader can be asked and otherwise when its time is up. It never makes
 * anything visible by itself, and holds no more than the chunks that are under way.
 */

import { createHash, type Hash } from "node:crypto";
import { BalsaError, SqlError } from "../sql/errors.ts";
import type { StatementResult } from "../sql/result.ts";
import type { Statement as StatementInput } from "../sql/statement.ts";
import { encodeBatch, encodeScript } from "../wire/statement-codec.ts";
import { roomOf } from "./blob-room.ts";
import { type BlobSource, cut } from "./blob-source.ts";
import {
  BEGIN_CONTENT,
  BLOB_TABLES,
  DISCARD,
  isWithoutTables,
  PUBLISH,
  PUT_CHUNK,
  TOUCH_CONTENT,
} from "./blob-tables.ts";
import type { Client } from "./client.ts";
import { onAbort } from "./on-abort.ts";
import type { ResolvedCallOptions } from "./options.ts";
import { decodeResults } from "./statement.ts";
import type { Transaction } from "./transaction.ts";

const CHUNK_BYTES = 256 * 1024;
/** Chunks sent and not yet answered. */
const UNDER_WAY_MAX = 4;
/** What a request takes beside a chunk. */
const REQUEST_BYTES = 4 * 1024;

export interface BlobTerms {
  readonly name: string;
  readonly type: string | null;
}

/** A blob that was written: what `db.blob.write` and `StagedBlob.publish` give back. */
export interface WrittenBlob {
  /** Of its row in `db_blob`; the same as before if it replaced one. */
  readonly id: number;
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Of its bytes, in hex. */
  readonly sha256: string;
  /** Log index at which it became visible: a token for session reads. 0 inside a transaction. */
  readonly index: number;
}

interface Content {
  readonly content: number;
  readonly size: number;
  readonly sha256: string;
  readonly chunkBytes: number;
}

/** Executes statements as one write. */
export async function execute(
  client: Client,
  statements: readonly StatementInput[],
  options: ResolvedCallOptions,
): Promise<{ readonly results: readonly StatementResult[]; readonly index: number }> {
  const response = await client.write(encodeBatch(statements, client.requestLimits), options);
  return { results: decodeResults(response, options), index: response.index };
}

/**
 * A blob whose bytes are stored and which nobody sees yet. It is kept for an hour: `publish` makes it visible, in a transaction
 * together with other rows or alone; `discard` removes it.
 */
export class StagedBlob {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Of its bytes, in hex. */
  readonly sha256: string;
  readonly #client: Client;
  readonly #terms: BlobTerms;
  readonly #content: Content;
  readonly #options: ResolvedCallOptions;

  /** Made by `db.blob.stage`. */
  constructor(
    client: Client,
    of: { readonly terms: BlobTerms; readonly content: Content },
    options: ResolvedCallOptions,
  ) {
    this.#client = client;
    this.#terms = of.terms;
    this.#content = of.content;
    this.#options = options;
    this.name = of.terms.name;
    this.size = of.content.size;
    this.sha256 = of.content.sha256;
  }

  /**
   * Makes it visible under its name, instead of an older one: at once, or with a transaction when that commits. If the
   * transaction is rolled back it can be published again.
   *
   * @throws BalsaError NO_SUCH_BLOB if it was discarded, published before, or waited for more than an hour. Without a
   * transaction `outcome` is exact, and `unknown` only if no leader could be asked.
   */
  async publish(tx?: Transaction): Promise<WrittenBlob> {
    const statement = { sql: PUBLISH, args: { ...this.#terms, ...this.#content } };
    if (tx === undefined) {
      const { results, index } = await this.#publishAlone(statement);
      return this.#written(results, index);
    }
    return this.#written(await tx.batch([statement]), 0);
  }

  /** Removes it, unless it was published. Its bytes go by and by. */
  async discard(): Promise<void> {
    await discard(this.#client, this.#content.content, this.#options);
  }

  async #publishAlone(statement: StatementInput) {
    try {
      return await execute(this.#client, [statement], this.#options);
    } catch (error) {
      if (!(error instanceof BalsaError) || error.outcome !== "unknown") throw error;
      return this.#settle(error);
    }
  }

  /** What became of it has no answer. Whoever takes it back first knows. */
  async #settle(cause: BalsaError): Promise<{ results: StatementResult[]; index: number }> {
    const { content } = this.#content;
    const find = { sql: "SELECT id FROM db_blob WHERE content = ?", args: [content] };
    const discarding = { sql: DISCARD, args: { content } };
    const patient = { ...this.#options, signal: undefined };
    const { results, index } = await execute(this.#client, [discarding, find], patient).catch(() =>
      Promise.reject(cause),
    );
    const [discarded, found] = results;
    if (discarded?.changes !== 1) {
      // It has been there; whether it was replaced since, or is the blob, its row tells.
      if (found === undefined || found.rows.length === 0) throw cause;
      return { results: [found], index };
    }
    const { code, message, facts } = cause;
    const text = `${message}; it was not published and is discarded`;
    throw new BalsaError(code, text, { outcome: "not-applied", facts, cause });
  }

  #written(results: readonly StatementResult[], index: number): WrittenBlob {
    const id = results[0]?.rows[0]?.["id"];
    if (id === undefined) throw gone(this.name);
    const { name, size, sha256 } = this;
    return { id: Number(id), name, size, sha256, index };
  }
}

/** Writes a content. @throws what the source throws; BalsaError and SqlError as every write does. */
export async function stage(
  client: Client,
  { terms, source }: { readonly terms: BlobTerms; readonly source: BlobSource },
  options: ResolvedCallOptions,
): Promise<StagedBlob> {
  const upload = new Upload(client, terms.name, options);
  await upload.begin();
  const content = await upload.fill(source);
  return new StagedBlob(client, { terms, content }, options);
}

class Upload {
  readonly #client: Client;
  readonly #name: string;
  readonly #options: ResolvedCallOptions;
  readonly #chunkBytes: number;
  readonly #hash: Hash = createHash("sha256");
  /** Ends the reading of the source: by its caller, or as a chunk failed. */
  readonly #stop = new AbortController();
  readonly #underWay = new Set<Promise<void>>();
  #content = 0;
  #size = 0;

  constructor(client: Client, name: string, options: ResolvedCallOptions) {
    this.#client = client;
    this.#name = name;
    this.#options = options;
    const { valueBytes, requestBytes } = client.options.limits;
    const room = Math.min(valueBytes, requestBytes - REQUEST_BYTES);
    this.#chunkBytes = Math.max(1, Math.min(CHUNK_BYTES, room));
  }

  async begin(): Promise<void> {
    const statement = { sql: BEGIN_CONTENT };
    const begun = await execute(this.#client, [statement], this.#options).catch(async (error) => {
      if (!(error instanceof SqlError) || !isWithoutTables(error)) throw error;
      const script = encodeScript(BLOB_TABLES, this.#client.requestLimits);
      await this.#client.write(script, this.#options);
      return execute(this.#client, [statement], this.#options);
    });
    this.#content = Number(begun.results[0]?.rows[0]?.["id"]);
  }

  async fill(source: BlobSource): Promise<Content> {
    const { signal } = this.#options;
    const abort = (): void => this.#stop.abort(cancelled(signal?.reason));
    const forget = signal === undefined ? ignore : onAbort(signal, abort);
    try {
      if (signal?.aborted === true) abort();
      await this.#send(source);
    } catch (error) {
      // Its caller need not wait for that; if nobody can be asked, its time runs out.
      discard(this.#client, this.#content, this.#options).catch(ignore);
      throw error;
    } finally {
      forget();
    }
    const sha256 = this.#hash.digest("hex");
    return { content: this.#content, size: this.#size, sha256, chunkBytes: this.#chunkBytes };
  }

  async #send(source: BlobSource): Promise<void> {
    let part = 0;
    for await (const data of cut(source, this.#chunkBytes, this.#stop.signal)) {
      await roomOf(this.#client).enter();
      this.#hash.update(data);
      this.#size += data.length;
      this.#put(part, data);
      part += 1;
      if (this.#underWay.size >= UNDER_WAY_MAX) await Promise.race(this.#underWay);
    }
    await Promise.all(this.#underWay);
    this.#stop.signal.throwIfAborted();
  }

  #put(part: number, data: Uint8Array): void {
    const written = this.#write(part, data)
      .catch((error: unknown) => this.#stop.abort(error))
      .finally(() => {
        this.#underWay.delete(written);
        roomOf(this.#client).leave();
      });
    this.#underWay.add(written);
  }

  async #write(part: number, data: Uint8Array): Promise<void> {
    const content = this.#content;
    const touch = { sql: TOUCH_CONTENT, args: { content } };
    const put = { sql: PUT_CHUNK, args: { content, part, data } };
    // The bytes are copied before anything is waited for.
    const batch = encodeBatch([touch, put], this.#client.requestLimits);
    const terms = { ...this.#options, signal: this.#stop.signal };
    const response = await this.#client.write(batch, terms).catch((error: unknown) => {
      // It may have been written in the session that is gone: a chunk may be written again.
      if (!(error instanceof BalsaError) || error.code !== "SESSION_EXPIRED") throw error;
      return this.#client.write(batch, terms);
    });
    const [touched] = decodeResults(response, this.#options);
    if (touched?.changes !== 1) throw gone(this.#name);
  }
}

async function discard(
  client: Client,
  content: number,
  options: ResolvedCallOptions,
): Promise<void> {
  const patient = { ...options, signal: undefined };
  await execute(client, [{ sql: DISCARD, args: { content } }], patient);
}

function gone(name: string): BalsaError {
  const message =
    `the content of "${name}" is not there to be published: it was discarded or published already, ` +
    "or nothing was added to it for an hour; write it again";
  return new BalsaError("NO_SUCH_BLOB", message, { facts: { name } });
}

export function cancelled(cause: unknown): BalsaError {
  return new BalsaError("CANCELLED", "the caller gave up", { cause });
}

function ignore(): void {
  // What is left is found by a later sweep.
}
