/** Streams that our client would not make: one that floods a node whatever it answers, and one that reads no answers. */

import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { Client, type ClientDuplexStream, credentials, Metadata } from "@grpc/grpc-js";
import {
  type ClientRequest,
  decodeServerFrame,
  encodeClientFrame,
} from "../../src/wire/sql-codec.ts";
import { encodeBatch, encodeStatement } from "../../src/wire/statement-codec.ts";
import { type Bed, INSERT, TEXT } from "./bed.ts";

/** A refused caller comes back after this long, as an impatient user would. */
const AGAIN_MS = 50;
const TIMEOUT_MS = 30_000;
/** Of each read that nobody takes: 1 MiB. */
const WIDE = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1024)
  SELECT i, hex(zeroblob(512)) FROM n`;

/** What the streams of a flood have counted. */
export class Tally {
  served = 0;
  readonly refusedMs: number[] = [];
  readonly others: { [code: string]: number } = {};

  failed(code: string, ms: number): void {
    if (code === "OVERLOADED") this.refusedMs.push(ms);
    else this.others[code] = (this.others[code] ?? 0) + 1;
  }
}

const CONNECT = "/balsa.v1.Sql/Connect";

/** Keeps requests under way on one stream: a refused one comes again, a served one is followed by another. */
export class FloodStream {
  readonly #client: Client;
  readonly #stream: ClientDuplexStream<Buffer, Buffer>;
  readonly #key: () => number;
  readonly #tally: Tally;
  readonly #noForward: boolean;
  readonly #sentAt = new Map<number, number>();
  #nextId = 1;

  constructor(endpoint: string, key: () => number, tally: Tally, noForward: boolean) {
    this.#client = new Client(endpoint, credentials.createInsecure(), {
      "grpc.use_local_subchannel_pool": 1,
      "grpc.max_receive_message_length": -1,
    });
    this.#stream = this.#client.makeBidiStreamRequest(CONNECT, same, same, new Metadata(), {});
    this.#stream.on("error", () => {});
    this.#key = key;
    this.#tally = tally;
    this.#noForward = noForward;
    this.#stream.on("data", (frame: Buffer) => this.#take(frame));
  }

  close(): void {
    this.#stream.cancel();
    this.#client.close();
  }

  send(count: number): void {
    const now = performance.now();
    const requests = Array.from({ length: count }, () => {
      const id = this.#nextId;
      this.#nextId += 1;
      this.#sentAt.set(id, now);
      return insertion(id, this.#key(), this.#noForward);
    });
    this.#stream.write(encodeClientFrame(requests));
  }

  #take(frame: Buffer): void {
    const now = performance.now();
    let served = 0;
    let refused = 0;
    for (const { id, body } of decodeServerFrame(frame)) {
      const sentAt = this.#sentAt.get(id) ?? now;
      this.#sentAt.delete(id);
      if (body.kind === "failure") {
        this.#tally.failed(body.failure.code, now - sentAt);
        refused += 1;
      } else {
        this.#tally.served += 1;
        served += 1;
      }
    }
    if (served > 0) this.send(served);
    if (refused > 0) setTimeout(() => this.send(refused), AGAIN_MS);
  }
}

/**
 * Asks for as much as it may and takes nothing: rows of a mebibyte a read, and the answers of writes. HTTP/2 without gRPC's
 * library, which would take everything that comes before its first message is asked for.
 */
export class UnreadStream {
  readonly #session: ClientHttp2Session;
  readonly #stream: ClientHttp2Stream;

  constructor(endpoint: string, bed: Bed, requests: number) {
    this.#session = connect(`http://${endpoint}`);
    this.#session.on("error", () => {});
    const headers = { "content-type": "application/grpc", te: "trailers" };
    this.#stream = this.#session.request({ ":method": "POST", ":path": CONNECT, ...headers });
    this.#stream.on("error", () => {});
    this.#stream.pause();
    const statement = encodeStatement({ sql: WIDE, args: [] });
    const body = {
      kind: "query" as const,
      statement,
      consistency: "stale" as const,
      atLeast: 0,
      maxStalenessMs: 0,
      timeoutMs: TIMEOUT_MS,
      window: 0,
    };
    const reads = Array.from({ length: requests }, (_, at) => ({ id: at + 1, body }));
    const writes = Array.from({ length: requests }, (_, at) =>
      insertion(requests + at + 1, bed.key(), false),
    );
    for (const requests of [writes, reads])
      this.#stream.write(message(encodeClientFrame(requests)));
  }

  close(): void {
    this.#session.destroy();
  }
}

function insertion(id: number, key: number, noForward: boolean): ClientRequest {
  const batch = encodeBatch([{ sql: INSERT, args: [key, TEXT] }]);
  const numbers = { session: 0, sequence: 0, acknowledgedThrough: 0, timeoutMs: TIMEOUT_MS };
  return { id, body: { kind: "execute", batch, ...numbers, noForward } };
}

/** As gRPC sends it: not compressed, its length, itself. */
function message(bytes: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

function same(bytes: Buffer): Buffer {
  return bytes;
}
