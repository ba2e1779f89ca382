/**
 * Fetches the database file of one node as of one log entry, while the cluster goes on. It hands the bytes over as they
 * come and judges only that all have come unaltered; where they go is the caller's business.
 */

import { createHash } from "node:crypto";
import { Client, type ClientReadableStream, credentials, Metadata } from "@grpc/grpc-js";
import { BalsaError, toError } from "../sql/errors.ts";
import { decodeCluster, type ExportResponse, encodeCluster } from "../wire/cluster-codec.ts";
import { fromGrpc } from "../wire/status.ts";

export interface ExportOptions {
  /** HOST:PORT of the node to copy. */
  readonly endpoint: string;
  /** What the node has, also when it cannot know whether it is up to date. */
  readonly stale: boolean;
  /** Longest time in which nothing comes, the making of the copy included. Milliseconds. */
  readonly silenceMs: number;
  readonly signal: AbortSignal;
}

export interface ExportFacts {
  readonly node: number;
  /** The file holds the effects of all log entries up to this one, and of none behind it. */
  readonly index: number;
  readonly bytes: number;
}

/**
 * `take` is given the pieces in order; the next is read when it has resolved.
 * @throws BalsaError of the node; CANCELLED, DEADLINE_EXCEEDED, PROTOCOL if the bytes are not what the node said
 */
export async function exportDatabase(
  options: ExportOptions,
  take: (piece: Uint8Array, facts: ExportFacts) => Promise<void>,
): Promise<ExportFacts> {
  const { endpoint, stale, silenceMs, signal } = options;
  const client = new Client(endpoint, credentials.createInsecure(), {
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.enable_channelz": 0,
  });
  const request = Buffer.from(encodeCluster("ExportRequest", { stale }));
  const path = "/balsa.v1.Cluster/Export";
  const call = client.makeServerStreamRequest(path, same, same, request, new Metadata(), {});
  const silence = new Silence(call, silenceMs);
  const abort = () => call.cancel();
  signal.addEventListener("abort", abort, { once: true });
  try {
    if (signal.aborted) call.cancel();
    return await receive(call, silence, take);
  } catch (error) {
    if (signal.aborted) throw new BalsaError("CANCELLED", "the export was interrupted");
    if (silence.isBroken) {
      const message = `${endpoint} has sent nothing for ${silenceMs} ms`;
      throw new BalsaError("DEADLINE_EXCEEDED", message);
    }
    throw isServiceError(error) ? toError(fromGrpc(error, "not-applied")) : error;
  } finally {
    signal.removeEventListener("abort", abort);
    silence.end();
    call.cancel();
    client.close();
  }
}

async function receive(
  call: ClientReadableStream<Buffer>,
  silence: Silence,
  take: (piece: Uint8Array, facts: ExportFacts) => Promise<void>,
): Promise<ExportFacts> {
  const digest = createHash("sha256");
  let facts: ExportResponse | null = null;
  let received = 0;
  for await (const message of call) {
    silence.heard();
    const response = decodeCluster("ExportResponse", message as Buffer);
    facts ??= response;
    if (response.data.length === 0) continue;
    received += response.data.length;
    digest.update(response.data);
    await take(response.data, facts);
    silence.heard();
  }
  if (facts === null || received !== facts.bytes || digest.digest("hex") !== facts.digest) {
    const message = `the copy came incomplete or altered: ${received} of ${facts?.bytes ?? "?"} bytes`;
    throw new BalsaError("PROTOCOL", message);
  }
  const { node, index, bytes } = facts;
  return { node, index, bytes };
}

/** Ends a call on which nothing comes. */
class Silence {
  readonly #timer: NodeJS.Timeout;
  isBroken = false;

  constructor(call: ClientReadableStream<Buffer>, limitMs: number) {
    this.#timer = setTimeout(() => {
      this.isBroken = true;
      call.cancel();
    }, limitMs);
  }

  heard(): void {
    this.#timer.refresh();
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

function isServiceError(error: unknown): error is { code: number; details: string } {
  return error instanceof Error && "details" in error && "code" in error;
}

function same(bytes: Buffer): Buffer {
  return bytes;
}
