/**
 * Gives a client the node's database file as of one entry: a copy made beside the file, so that nobody waits, sent piece by
 * piece as fast as the client takes it. What the client does with it, and that it is not altered here, is its business.
 */

import type { ServerWritableStream } from "@grpc/grpc-js";
import type { OutgoingSnapshot, SnapshotFiles } from "../node/ports.ts";
import type { NodeService } from "../node/service.ts";
import { BalsaError } from "../sql/errors.ts";
import { decodeCluster, encodeCluster } from "../wire/cluster-codec.ts";
import { encodeStatement } from "../wire/statement-codec.ts";
import { toGrpc } from "../wire/status.ts";
import { asFailure } from "./grpc-methods.ts";

export type ExportCall = ServerWritableStream<Buffer, Buffer>;

const PIECE_BYTES = 256 * 1024;
/** How long the node may take to learn that it is up to date. */
const READ_MS_MAX = 10_000;
/** A client that takes nothing for so long would hold the copy for nothing. */
const STALL_MS_MAX = 60_000;

/** Resolves when the call has ended, however it did. Never rejects. */
export async function serveExport(
  call: ExportCall,
  node: NodeService,
  files: SnapshotFiles | null,
): Promise<void> {
  let copy: OutgoingSnapshot | null = null;
  try {
    if (files === null) throw new BalsaError("UNAVAILABLE", "the node is not ready, or stopping");
    const { stale } = decodeCluster("ExportRequest", call.request);
    const { id, appliedIndex } = node.status();
    const atLeast = stale ? appliedIndex : await currentIndex(node);
    copy = await offer(files, atLeast);
    await send(call, id, copy);
    call.end();
  } catch (reason) {
    if (!call.cancelled) call.emit("error", toGrpc(asFailure(reason)));
  } finally {
    copy?.release();
  }
}

/** An index that the database file has reached, and that no write acknowledged before now is behind. */
export function currentIndex(node: NodeService): Promise<number> {
  const read = { consistency: "linearizable", atLeast: 0, maxStalenessMs: 0 } as const;
  const statement = encodeStatement({ sql: "SELECT 1" });
  return new Promise((resolve, reject) => {
    node.query(
      { ...read, statement, timeoutMs: READ_MS_MAX, window: 0 },
      {
        chunk: (_chunk, done, { index }) => {
          if (done) resolve(index);
        },
        failed: reject,
      },
    );
  });
}

function offer(files: SnapshotFiles, atLeast: number): Promise<OutgoingSnapshot> {
  return new Promise((resolve, reject) => {
    files.offer(atLeast, "", (error, copy) => {
      if (copy !== null) resolve(copy);
      else reject(new BalsaError("UNAVAILABLE", error?.message ?? "no copy was made"));
    });
  });
}

async function send(call: ExportCall, node: number, copy: OutgoingSnapshot): Promise<void> {
  const { index, term, bytes, digest } = copy.manifest;
  const facts = { index, term, bytes, digest, node };
  await write(call, encodeCluster("ExportResponse", { ...facts, data: new Uint8Array(0) }));
  const none = { index: 0, term: 0, bytes: 0, digest: "", node: 0 };
  for (let offset = 0; offset < bytes; offset += PIECE_BYTES) {
    const data = await read(copy, offset, Math.min(PIECE_BYTES, bytes - offset));
    await write(call, encodeCluster("ExportResponse", { ...none, data }));
  }
}

function read(copy: OutgoingSnapshot, offset: number, bytes: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    copy.read(offset, bytes, (error, data) => {
      if (data !== null && data.length === bytes) resolve(data);
      else reject(error ?? new BalsaError("UNAVAILABLE", "the copy was cut short"));
    });
  });
}

/** Resolves when there is room for more. @throws BalsaError when the client has left, or takes nothing any more */
function write(call: ExportCall, message: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (code: "CANCELLED" | "DEADLINE_EXCEEDED", why: string) => {
      reject(new BalsaError(code, why));
    };
    if (call.cancelled) return fail("CANCELLED", "the client has left");
    if (call.write(Buffer.from(message))) return resolve();
    const settle = (run: () => void) => {
      clearTimeout(timer);
      call.off("drain", taken);
      call.off("cancelled", gone);
      run();
    };
    const taken = () => settle(resolve);
    const gone = () => settle(() => fail("CANCELLED", "the client has left"));
    const timer = setTimeout(() => {
      const why = `the client has taken nothing for ${STALL_MS_MAX} ms`;
      settle(() => fail("DEADLINE_EXCEEDED", why));
    }, STALL_MS_MAX);
    call.once("drain", taken);
    call.once("cancelled", gone);
  });
}
