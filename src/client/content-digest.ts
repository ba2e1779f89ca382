/**
 * Asks one node what its whole content comes to, table by table, as of a moment that the caller chooses: the node makes
 * ready, is told to take its snapshot, and reads. It compares nothing.
 */

import { Client, type ClientDuplexStream, credentials } from "@grpc/grpc-js";
import { BalsaError, toError } from "../sql/errors.ts";
import { decodeCluster, encodeCluster } from "../wire/cluster-codec.ts";
import { fromGrpc } from "../wire/status.ts";

export interface ContentDigestOptions {
  /** HOST:PORT. */
  readonly endpoint: string;
  /** SQLite's own check of the file, too. */
  readonly deep: boolean;
  /** Longest time in which nothing comes. Milliseconds; a node that reads says so every second. */
  readonly silenceMs: number;
}

export interface TableDigest {
  readonly name: string;
  readonly rows: number;
  /** SHA-256 of all its rows in order, hex; or why it cannot be read. */
  readonly hash: string;
}

export interface NodeContent {
  readonly node: number;
  /** It holds the effects of all log entries up to this one, and of none behind it. */
  readonly index: number;
  readonly tables: readonly TableDigest[];
  /** What SQLite's own check found, if it was asked for. */
  readonly damage: readonly string[];
}

/** Promises are settled in this order; each rejects with a BalsaError if the node fails, falls silent or is given up. */
export class ContentDigest {
  /** The node waits to be told. */
  readonly ready: Promise<void>;
  /** Its snapshot is taken, at this index. */
  readonly opened: Promise<number>;
  readonly content: Promise<NodeContent>;
  /** Rows of the table under way that were read. */
  onProgress: (table: string, rows: number) => void = () => {};
  readonly #client: Client;
  readonly #call: ClientDuplexStream<Buffer, Buffer>;
  readonly #options: ContentDigestOptions;
  readonly #silence: NodeJS.Timeout;
  #isSilent = false;
  #isCancelled = false;

  constructor(options: ContentDigestOptions) {
    this.#options = options;
    const { endpoint, deep, silenceMs } = options;
    this.#client = new Client(endpoint, credentials.createInsecure(), {
      "grpc.enable_channelz": 0,
      "grpc.use_local_subchannel_pool": 1,
    });
    this.#call = this.#client.makeBidiStreamRequest("/balsa.v1.Cluster/Digest", same, same);
    this.#silence = setTimeout(() => {
      this.#isSilent = true;
      this.#call.cancel();
    }, silenceMs);
    const ready = withResolvers<void>();
    const opened = withResolvers<number>();
    const content = withResolvers<NodeContent>();
    this.ready = ready.promise;
    this.opened = opened.promise;
    this.content = content.promise;
    for (const promise of [this.ready, this.opened, this.content]) promise.catch(() => undefined);
    this.#receive(ready.resolve, opened.resolve).then(content.resolve, (error: unknown) => {
      const known = this.#explain(error);
      for (const { reject } of [ready, opened, content]) reject(known);
    });
    this.#call.write(Buffer.from(encodeCluster("DigestRequest", { deep, open: false })));
  }

  /** The snapshot is to be taken now: behind everything that was acknowledged before. */
  open(): void {
    const { deep } = this.#options;
    this.#call.write(Buffer.from(encodeCluster("DigestRequest", { deep, open: true })));
  }

  /** The node stops reading. */
  cancel(): void {
    this.#isCancelled = true;
    clearTimeout(this.#silence);
    this.#call.cancel();
    this.#client.close();
  }

  async #receive(ready: () => void, opened: (index: number) => void): Promise<NodeContent> {
    const tables: TableDigest[] = [];
    const damage: string[] = [];
    let [node, at] = [0, 0];
    let isDone = false;
    try {
      for await (const message of this.#call) {
        this.#silence.refresh();
        const response = decodeCluster("DigestResponse", message as Buffer);
        const { kind, table: name, rows, hash } = response;
        node = response.node;
        if (kind === "ready") ready();
        else if (kind === "progress") this.onProgress(name, rows);
        else if (kind === "table") tables.push({ name, rows, hash });
        else if (kind === "damage") damage.push(response.damage);
        else if (kind === "done") isDone = true;
        else if (kind === "opened") {
          at = response.index;
          opened(at);
        }
      }
    } finally {
      clearTimeout(this.#silence);
      this.#client.close();
    }
    if (!isDone) throw new BalsaError("PROTOCOL", "the answer came incomplete");
    return { node, index: at, tables, damage };
  }

  #explain(error: unknown): unknown {
    const { endpoint, silenceMs } = this.#options;
    if (this.#isCancelled) return new BalsaError("CANCELLED", "the comparison was interrupted");
    if (this.#isSilent) {
      const message = `${endpoint} has said nothing for ${silenceMs} ms`;
      return new BalsaError("DEADLINE_EXCEEDED", message);
    }
    return isServiceError(error) ? toError(fromGrpc(error, "not-applied")) : error;
  }
}

interface Resolvers<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

function withResolvers<T>(): Resolvers<T> {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

function isServiceError(error: unknown): error is { code: number; details: string } {
  return error instanceof Error && "details" in error && "code" in error;
}

function same(bytes: Buffer): Buffer {
  return bytes;
}
