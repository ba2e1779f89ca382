/** balsa.v1.Cluster for gRPC: what an operator asks of one node. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import type { NodeService, NodeStatus } from "../node/service.ts";
import { encodeStatusResponse } from "../wire/cluster-codec.ts";
import type { UnaryCall, UnaryCallback } from "./grpc-methods.ts";

/** Where package.json lies, seen from src/rpc and from dist/rpc. */
const PACKAGE_FILE = fileURLToPath(new URL("../../package.json", import.meta.url));

export function clusterService(node: NodeService): UntypedServiceImplementation {
  const version = packageVersion();
  return {
    status: (_call: UnaryCall, callback: UnaryCallback) => {
      const status = { ...node.status(), version, pid: process.pid };
      callback(null, Buffer.from(encodeStatusResponse(status)));
    },
  };
}

/** True when clients should be sent here: it knows a leader and nothing keeps it from serving. */
export function isServing(status: NodeStatus): boolean {
  return status.trouble === "" && status.leader !== 0;
}

function packageVersion(): string {
  const content: unknown = JSON.parse(readFileSync(PACKAGE_FILE, "utf8"));
  if (typeof content !== "object" || content === null || !("version" in content)) return "";
  return String(content.version);
}
