/**
 * A simulated client that keeps blobs, by the very statements of `db.blob`: begins a content, writes its chunks, makes it
 * visible, replaces, deletes and takes back; and looks whether each is whole. Needs the real SQLite.
 */

import {
  ABANDON,
  BEGIN_CONTENT,
  BLOB_TABLES,
  DISCARD,
  PUBLISH,
  PUT_CHUNK,
  REMOVE_CHUNKS,
  REMOVE_CONTENT,
  TOUCH_CONTENT,
} from "../../src/client/blob-tables.ts";
import type { StatementResult } from "../../src/sql/result.ts";
import type { Statement } from "../../src/sql/statement.ts";
import type { Value } from "../../src/sql/value.ts";
import { decodeBatchResult, decodeRowChunk } from "../../src/wire/result-codec.ts";
import { encodeBatch, encodeScript, encodeStatement } from "../../src/wire/statement-codec.ts";
import { demand } from "./checkers/violation.ts";
import { type BlobRow, digestOf, LOOK_AT_BLOBS, type WholeBlobs } from "./checkers/whole-blobs.ts";
import { RETRY, type SessionParts, SimSession, type Write } from "./sim-session.ts";

const NAMES = ["a", "b", "c"];
const CHUNKS_MAX = 5;
const CHUNK_BYTES = 90;

interface Upload {
  readonly name: string;
  readonly chunks: readonly Buffer[];
  /** 0: it has none yet. */
  content: number;
  sent: number;
}

export class BlobClient extends SimSession {
  readonly #blobs: WholeBlobs;
  #upload: Upload | null = null;
  #made = 0;

  constructor(parts: SessionParts, blobs: WholeBlobs) {
    super(parts);
    this.#blobs = blobs;
  }

  protected opened(): void {
    this.#upload = null;
    this.#write(encodeScript(BLOB_TABLES), () => {}, { mayGiveUp: false });
  }

  protected next(): void {
    if (this.isStopped) return;
    const { dice } = this.parts;
    if (dice.chance(0.3)) this.#sweep(1 + dice.below(this.#made + 1));
    const what = this.#upload === null ? dice.next() : 1;
    if (what < 0.2) this.#look();
    else if (what < 0.4) this.#delete(dice.pick(NAMES));
    else if (this.#upload !== null) this.#goOn(this.#upload);
    else {
      this.#made += 1;
      const count = 1 + dice.below(CHUNKS_MAX);
      const chunks = Array.from({ length: count }, (_, part) => {
        return Buffer.alloc(1 + dice.below(CHUNK_BYTES), `${this.#made}.${part} `);
      });
      this.#upload = { name: dice.pick(NAMES), chunks, content: 0, sent: 0 };
      this.#goOn(this.#upload);
    }
  }

  #goOn(upload: Upload): void {
    const { chunks, content, sent } = upload;
    const data = chunks[sent];
    if (content === 0) {
      this.#run([{ sql: BEGIN_CONTENT }], ([begun]) => {
        upload.content = Number(begun?.rows[0]?.["id"]);
      });
    } else if (data !== undefined) {
      const touch = { sql: TOUCH_CONTENT, args: { content } };
      this.#run([touch, { sql: PUT_CHUNK, args: { content, part: sent, data } }], (results) => {
        const changes = results.map((result) => result.changes).join();
        demand(changes === "1,1", "a chunk is written once", () => `part ${sent}: ${changes}`);
        upload.sent += 1;
      });
    } else if (this.parts.dice.chance(0.2)) this.#takeBack(content);
    else this.#publish(upload);
  }

  #publish({ name, chunks, content }: Upload): void {
    this.#upload = null;
    const bytes = Buffer.concat(chunks);
    const sha256 = digestOf(bytes);
    const terms = { name, type: null, size: bytes.length, sha256, chunkBytes: CHUNK_BYTES };
    this.#blobs.attempted(name, sha256);
    const done = ([published]: readonly StatementResult[]): void => {
      const count = published?.rows.length;
      demand(count === 1, "a content is published", () => `${name}: ${count} rows`);
      this.#blobs.acknowledged(name, sha256);
      this.parts.coverage.add("blobs published");
    };
    this.#run([{ sql: PUBLISH, args: { ...terms, content } }], done, () =>
      this.#blobs.refused(name),
    );
  }

  #takeBack(content: number): void {
    this.#upload = null;
    this.#run([{ sql: DISCARD, args: { content } }], ([discarded]) => {
      demand(discarded?.changes === 1, "a content is taken back", () => `${content}`);
      this.parts.coverage.add("blobs taken back");
    });
  }

  /** As whoever removes what is due: of a content in whatever state, by whatever program. Nobody waits for its answer. */
  #sweep(content: number): void {
    const args = { content };
    const sweep = [
      { sql: ABANDON, args },
      { sql: REMOVE_CHUNKS, args: { ...args, chunks: 2 } },
      { sql: REMOVE_CONTENT, args },
    ];
    const rest = { session: 0, sequence: 0, acknowledgedThrough: 0, timeoutMs: 1_000 };
    const call = { batch: encodeBatch(sweep), openSession: false, ...rest };
    this.ask(
      (node) => node.execute(call, QUIET),
      () => {},
    );
  }

  #delete(name: string): void {
    this.#blobs.attempted(name, null);
    const done = (): void => {
      this.#blobs.acknowledged(name, null);
      this.parts.coverage.add("blobs deleted");
    };
    const statement = { sql: "DELETE FROM db_blob WHERE name = ?", args: [name] };
    this.#run([statement], done, () => this.#blobs.refused(name));
  }

  #run(
    statements: readonly Statement[],
    done: (results: readonly StatementResult[]) => void,
    refused: () => void = () => {},
  ): void {
    this.#write(encodeBatch(statements), done, { mayGiveUp: true, refused });
  }

  #write(
    batch: Uint8Array,
    done: (results: readonly StatementResult[]) => void,
    { mayGiveUp, refused = () => {} }: { mayGiveUp: boolean; refused?: () => void },
  ): void {
    this.busy = true;
    const write: Write = this.numbered(
      batch,
      (result) => done(decodeBatchResult(result, "number")),
      (bySql) => {
        demand(!bySql, "a blob's statements do not fail", () => JSON.stringify(this.#upload));
        this.#upload = null;
        refused();
      },
    );
    this.send(write, mayGiveUp);
  }

  /** At one moment of one node, which has all that was acknowledged. */
  #look(): void {
    const next = (): void => this.later(5, () => this.next());
    const call = {
      statement: encodeStatement({ sql: LOOK_AT_BLOBS }),
      consistency: "linearizable" as const,
      ...{ atLeast: 0, maxStalenessMs: 0, timeoutMs: 1_000, window: 0 },
    };
    const rows: BlobRow[] = [];
    this.ask((node, once) => {
      node.query(call, {
        chunk: (bytes, isLast) => {
          rows.push(...decodeRowChunk(bytes, "number").rows.map(rowOf));
          if (!isLast) return;
          once(() => {
            this.#blobs.check(node.status().id, rows);
            next();
          });
        },
        failed: ({ code, message }) =>
          once(() => {
            if (!RETRY.has(code)) throw new Error(`a look at blobs: ${code}: ${message}`);
            next();
          }),
      });
    }, next);
  }
}

const QUIET = { done: () => {}, failed: () => {} };

function rowOf([name, size, sha256, data]: readonly Value[]): BlobRow {
  return {
    name: String(name),
    size: Number(size),
    sha256: String(sha256),
    data: data instanceof Uint8Array ? data : null,
  };
}
