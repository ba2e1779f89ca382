/**
 * Tells a client what the node's whole content comes to, table by table, as of one moment: a process is made ready, takes its
 * snapshot when the client says so, and reads. It compares nothing; when the client goes, the reading ends.
 */

import type { ServerDuplexStream } from "@grpc/grpc-js";
import type { RunningDigest, SnapshotFiles } from "../node/ports.ts";
import type { NodeService } from "../node/service.ts";
import { BalsaError } from "../sql/errors.ts";
import { type DigestResponse, decodeCluster, encodeCluster } from "../wire/cluster-codec.ts";
import { toGrpc } from "../wire/status.ts";
import { currentIndex } from "./export-stream.ts";
import { asFailure } from "./grpc-methods.ts";

export type DigestCall = ServerDuplexStream<Buffer, Buffer>;

const EMPTY: DigestResponse = {
  kind: "",
  node: 0,
  index: 0,
  term: 0,
  table: "",
  rows: 0,
  hash: "",
  damage: "",
};

export function serveDigest(
  call: DigestCall,
  node: NodeService,
  files: SnapshotFiles | null,
): void {
  let running: RunningDigest | null = null;
  let isOpening = false;
  let isOver = false;
  const { id } = node.status();
  const tell = (kind: string, facts: Partial<DigestResponse>) => {
    if (isOver) return;
    call.write(
      Buffer.from(encodeCluster("DigestResponse", { ...EMPTY, kind, node: id, ...facts })),
    );
  };
  const end = (error: unknown) => {
    if (isOver) return;
    isOver = true;
    if (error === null) call.end();
    else call.emit("error", toGrpc(asFailure(error)));
    running?.cancel();
  };
  const start = (deep: boolean) => {
    if (files === null)
      return end(new BalsaError("UNAVAILABLE", "the node is not ready, or stopping"));
    running = files.digest(deep, {
      ready: () => tell("ready", {}),
      opened: ({ index, term }) => tell("opened", { index, term }),
      progress: (table, rows) => tell("progress", { table, rows }),
      table: ({ name, rows, hash }) => tell("table", { table: name, rows, hash }),
      damage: (damage) => tell("damage", { damage }),
      ended: (error) => {
        if (error === null) tell("done", {});
        end(error);
      },
    });
  };
  call.on("data", (message: Buffer) => {
    if (isOver) return;
    try {
      const { deep, open } = decodeCluster("DigestRequest", message);
      if (running === null) start(deep);
      if (!open || isOpening) return;
      isOpening = true;
      // What was acknowledged before is in it.
      currentIndex(node).then(() => running?.open(), end);
    } catch (error) {
      end(error);
    }
  });
  const gone = () => {
    isOver = true;
    running?.cancel();
  };
  call.on("cancelled", gone);
  call.on("error", gone);
  call.on("close", gone);
  call.on("end", () => {
    if (!isOpening) end(new BalsaError("INVALID_ARGUMENT", "the stream ended before it said open"));
  });
}
